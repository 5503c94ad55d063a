//! Refresh tokens: opaque to clients, made of what the session row and a key say together.
//!
//! base64url(version 1 B ‖ key id length 1 B ‖ key id ‖ session id 16 B ‖ counter 8 B big-endian ‖
//! MAC 32 B), the MAC being HMAC-SHA-256 under the refresh key over all before it and the session's
//! salt. A database dump lacks the key, a stolen key lacks the salt: neither alone makes a token.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::secrets::{Key, Signing};

/// First byte of every token.
const VERSION: u8 = 1;
/// Bytes of the MAC.
const MAC_BYTES: usize = 32;

/// A token taken apart, its MAC not yet checked: that needs the session's salt. It has no Debug: its
/// parts are the token.
#[derive(Clone)]
pub struct RefreshToken {
    /// Which refresh key made it.
    pub key_id: String,
    /// The session it renews.
    pub session: Uuid,
    /// Which of the session's tokens it is, from 0.
    pub counter: u64,
    signed: Vec<u8>,
    mac: [u8; MAC_BYTES],
}

/// Makes the token of a session with the refresh key of this time.
///
/// # Panics
/// For a set that `Signing::check` refuses: without refresh keys, or with too long an id.
pub fn issue(
    keys: &Signing,
    session: Uuid,
    counter: u64,
    salt: &[u8],
    now: OffsetDateTime,
) -> SecretString {
    let (id, key) = keys.refresh_key(now);
    let mut token = vec![VERSION, u8::try_from(id.len()).expect("ids have at most 32 bytes")];
    token.extend_from_slice(id.as_bytes());
    token.extend_from_slice(session.as_bytes());
    token.extend_from_slice(&counter.to_be_bytes());
    let mac = context(key, &token, salt).sign();
    token.extend_from_slice(mac.as_ref());
    URL_SAFE_NO_PAD.encode(token).into()
}

fn context(key: &Key, signed: &[u8], salt: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()));
    context.update(signed);
    context.update(salt);
    context
}

impl RefreshToken {
    /// Takes a token apart; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        // 1 + 1 + 32 + 16 + 8 + 32 bytes at most.
        if text.len() > 120 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, mac) = bytes.split_last_chunk::<MAC_BYTES>()?;
        let (&[version, id_length], rest) = signed.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_at_checked(usize::from(id_length))?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let counter: [u8; 8] = rest.try_into().ok()?;
        (version == VERSION).then_some(())?;
        Some(Self {
            key_id: std::str::from_utf8(id).ok()?.to_owned(),
            session: Uuid::from_bytes(*session),
            counter: u64::from_be_bytes(counter),
            signed: signed.to_vec(),
            mac: *mac,
        })
    }

    /// Whether this token was made by us for the session with this salt.
    pub fn is_genuine(&self, keys: &Signing, salt: &[u8]) -> bool {
        let Some(refresh) = keys.refresh.get(&self.key_id) else { return false };
        let expected = context(&refresh.key, &self.signed, salt).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), &self.mac).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::secrets::Keys;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_token_is_genuine_only_with_its_key_and_its_salt() {
        let keys = Keys::generate(NOW).unwrap().signing;
        let others = Keys::generate(NOW).unwrap().signing;
        let session = Uuid::now_v7();
        let text = issue(&keys, session, 7, b"salt", NOW);
        let token = RefreshToken::parse(text.expose_secret()).unwrap();
        assert_eq!((token.session, token.counter), (session, 7));
        assert!(token.is_genuine(&keys, b"salt"));
        assert!(!token.is_genuine(&keys, b"other salt"));
        assert!(!token.is_genuine(&others, b"salt"));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let keys = Keys::generate(NOW).unwrap().signing;
        let text = issue(&keys, Uuid::now_v7(), 0, b"salt", NOW);
        let bytes = URL_SAFE_NO_PAD.decode(text.expose_secret()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let token = RefreshToken::parse(&URL_SAFE_NO_PAD.encode(changed));
            assert!(!token.is_some_and(|token| token.is_genuine(&keys, b"salt")), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "AQ", "not base64!", &"A".repeat(121), &URL_SAFE_NO_PAD.encode([1; 50])] {
            assert!(RefreshToken::parse(text).is_none(), "{text}");
        }
    }
}
