//! Settings of access tokens and of the keys that verify them.

use std::time::Duration;

use super::Reader;

/// What an access token says of its issuer and audience, how long it holds, and how often the keys
/// that verify it are read.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `TOKEN_ISSUER`: claim `iss`.
    pub issuer: String,
    /// `TOKEN_AUDIENCE`: claim `aud`.
    pub audience: String,
    /// `ACCESS_TOKEN_LIFETIME`: from `iat` to `exp`, whole seconds.
    pub access_lifetime: Duration,
    /// `TOKEN_LEEWAY`: how far clocks may differ, whole seconds.
    pub leeway: Duration,
    /// `KEYS_MAX_AGE`: the public keys are read again at least so often while they are used.
    pub keys_max_age: Duration,
    /// `KEYS_RELOAD_PAUSE`: for a key id that is not known they are read at most so often.
    pub keys_reload_pause: Duration,
    /// `KEYS_RETRY_PAUSE`: after a reading that failed they are read at most so often.
    pub keys_retry_pause: Duration,
}

impl Tokens {
    /// Reads the group.
    pub fn read(reader: &mut Reader) -> Self {
        let tokens = Self {
            issuer: reader.get(
                "TOKEN_ISSUER",
                "keywire",
                "Claim `iss` of access tokens; functions and nodes must agree.",
            ),
            audience: reader.get(
                "TOKEN_AUDIENCE",
                "keywire",
                "Claim `aud` of access tokens; functions and nodes must agree.",
            ),
            access_lifetime: reader.get_in(
                "ACCESS_TOKEN_LIFETIME",
                "1h",
                ("1s", "30d"),
                "How long an access token is valid, in whole seconds. Revocation does not wait for it.",
            ),
            leeway: reader.get_in(
                "TOKEN_LEEWAY",
                "5s",
                ("0", "1min"),
                "How far the clocks of two machines may differ, in whole seconds: a token is taken, and a socket kept, this long after its `exp`.",
            ),
            keys_max_age: reader.get_in(
                "KEYS_MAX_AGE",
                "1min",
                ("1s", "5min"),
                "The public signing keys are read again from the database at least so often while they are used; a retired key is refused that much later at most.",
            ),
            keys_reload_pause: reader.get_in(
                "KEYS_RELOAD_PAUSE",
                "30s",
                ("1s", "5min"),
                "Tokens with an unknown key id make the keys be read at most so often: strangers can send such tokens.",
            ),
            keys_retry_pause: reader.get_in(
                "KEYS_RETRY_PAUSE",
                "1s",
                ("100ms", "1min"),
                "After the keys could not be read they are tried again at most so often. At most KEYS_MAX_AGE and KEYS_RELOAD_PAUSE.",
            ),
        };
        tokens.check(reader);
        tokens
    }

    fn check(&self, reader: &mut Reader) {
        // The claims count seconds: a part of one would be lost in silence.
        for (name, value) in
            [("ACCESS_TOKEN_LIFETIME", self.access_lifetime), ("TOKEN_LEEWAY", self.leeway)]
        {
            if value.subsec_nanos() != 0 {
                reader.refuse(format!("{name}: whole seconds"));
            }
        }
        if self.keys_retry_pause > self.keys_max_age.min(self.keys_reload_pause) {
            reader.refuse(
                "KEYS_RETRY_PAUSE: at most KEYS_MAX_AGE and KEYS_RELOAD_PAUSE, or a failure would put off what must be read sooner",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_contradict_each_other_are_refused_together() {
        let wrong = [
            ("ACCESS_TOKEN_LIFETIME", "1500ms"),
            ("TOKEN_LEEWAY", "10ms"),
            ("KEYS_RETRY_PAUSE", "30s"),
            ("KEYS_MAX_AGE", "20s"),
        ];
        let mut reader = Reader::from_pairs(wrong);
        Tokens::read(&mut reader);
        let told = reader.finish().unwrap_err().0;
        assert_eq!(told.len(), 3, "{told:?}");
        for name in ["ACCESS_TOKEN_LIFETIME", "TOKEN_LEEWAY", "KEYS_RETRY_PAUSE"] {
            assert!(told.iter().any(|sentence| sentence.starts_with(name)), "{name}: {told:?}");
        }
    }
}
