//! Challenges: random, given to a client, and to be brought back once within a while. The database
//! keeps the hash of each.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::extract::Invalid;
use crate::secrets::WrongKeys;

/// Bytes of a challenge; WebAuthn §13.4.3 asks for 16 at least.
pub const CHALLENGE_BYTES: usize = 32;

/// 256 random bits; base64url in JSON. Debug does not show them: after a right password they stand for
/// it.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge([u8; CHALLENGE_BYTES]);

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(…)")
    }
}

impl From<[u8; CHALLENGE_BYTES]> for Challenge {
    fn from(bytes: [u8; CHALLENGE_BYTES]) -> Self {
        Self(bytes)
    }
}

impl Challenge {
    /// A new one.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, WrongKeys> {
        let mut bytes = [0; CHALLENGE_BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
        Ok(Self(bytes))
    }

    /// Reads one as a client brings it back.
    ///
    /// # Errors
    /// [`Invalid`] with code `wrong_format`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        let wrong = || Invalid::new("wrong_format", "Send the challenge as it was given.");
        bytes.map(Self).ok_or_else(wrong)
    }

    /// As a client gets it.
    pub fn text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.0).into()
    }

    /// What the database keeps.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, &self.0).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_challenge_is_read_back_and_nothing_else_is_one() {
        let challenge = Challenge::generate().unwrap();
        let text = challenge.text().expose_secret().to_owned();
        assert_eq!(Challenge::parse(text.clone()).unwrap(), challenge);
        assert_ne!(Challenge::generate().unwrap().hash(), challenge.hash());
        assert!(!format!("{challenge:?}").contains(&text[..8]));
        for wrong in [&text[1..], &format!("{text}="), &format!("{text}AA"), "", "not base64!"] {
            assert_eq!(Challenge::parse(wrong.to_owned()).unwrap_err().code, "wrong_format");
        }
    }
}
