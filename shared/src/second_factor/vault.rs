//! What is kept of second factors, made with the pepper's key `factors`: a dump of the database alone
//! gives neither the secret of an app nor a recovery code.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{RecoveryCode, TotpSecret};
use crate::secrets::{Pepper, WrongKeys};

/// First byte of every sealed secret: AES-256-GCM, the key made below, the AAD of [`aad`].
const VERSION: u8 = 1;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;

/// Seals secrets and makes the MACs of recovery codes; shared by all requests of a process.
#[derive(Clone)]
pub struct Vault {
    sealing: Arc<RandomizedNonceKey>,
    codes: hmac::Key,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// With this pepper's key.
    ///
    /// # Errors
    /// [`WrongKeys`] when AES does not take the key, which is made with its right size.
    pub fn new(pepper: &Pepper) -> Result<Self, WrongKeys> {
        // A key for each use, by HMAC as a PRF: no ciphertext helps against a MAC or the other way.
        let root = hmac::Key::new(hmac::HMAC_SHA256, pepper.factors.bytes());
        let derive = |label: &[u8]| hmac::sign(&root, label);
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, derive(b"totp secrets").as_ref());
        let sealing = sealing.map_err(|_| WrongKeys::new("pepper: `factors` makes no AES key"))?;
        let codes = hmac::Key::new(hmac::HMAC_SHA256, derive(b"recovery codes").as_ref());
        Ok(Self { sealing: Arc::new(sealing), codes })
    }

    /// Seals an app's secret for the factor `id` of `user`: version ‖ nonce ‖ ciphertext ‖ tag.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn seal(&self, secret: &TotpSecret, user: Uuid, id: Uuid) -> Result<Vec<u8>, WrongKeys> {
        let mut text = Zeroizing::new(Vec::with_capacity(64));
        text.extend_from_slice(secret.bytes());
        let nonce = self.sealing.seal_in_place_append_tag(aad(user, id), &mut *text);
        let nonce = nonce.map_err(|_| WrongKeys::new("a secret could not be sealed"))?;
        Ok([&[VERSION], nonce.as_ref().as_slice(), &text].concat())
    }

    /// Opens what [`Vault::seal`] made for the same factor of the same user.
    ///
    /// # Errors
    /// When it was made with another key, for another factor or user, or was changed.
    pub fn open(&self, sealed: &[u8], user: Uuid, id: Uuid) -> Result<TotpSecret, WrongKeys> {
        let wrong = || WrongKeys::new("the secret of an authenticator app cannot be opened");
        let rest = sealed.strip_prefix(&[VERSION]).ok_or_else(wrong)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.sealing.open_in_place(nonce, aad(user, id), &mut text);
        let opened = opened.map_err(|_| wrong())?;
        Ok(TotpSecret::from_bytes(Zeroizing::new(opened.to_vec())))
    }

    /// What is kept of a recovery code of `user`.
    pub fn recovery_mac(&self, code: &RecoveryCode, user: Uuid) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.codes);
        context.update(user.as_bytes());
        context.update(code.bytes());
        context.sign().as_ref().to_vec()
    }
}

/// Whose secret it is: one moved to another row is not opened.
fn aad(user: Uuid, id: Uuid) -> Aad<Vec<u8>> {
    Aad::from([user.into_bytes(), id.into_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::secrets::Keys;

    fn vault() -> Vault {
        Vault::new(&Keys::generate(OffsetDateTime::UNIX_EPOCH).unwrap().pepper).unwrap()
    }

    #[test]
    fn a_secret_is_opened_only_for_its_user_and_factor_and_with_its_key() {
        let (vault, secret) = (vault(), TotpSecret::generate().unwrap());
        let [user, id, other] = [(); 3].map(|()| Uuid::now_v7());
        let sealed = vault.seal(&secret, user, id).unwrap();
        assert_eq!(vault.open(&sealed, user, id).unwrap().bytes(), secret.bytes());
        assert!(vault.open(&sealed, other, id).is_err());
        assert!(vault.open(&sealed, user, other).is_err());
        assert!(vault.open(&sealed, id, user).is_err());
        assert!(self::vault().open(&sealed, user, id).is_err());
        assert_ne!(vault.seal(&secret, user, id).unwrap(), sealed, "a nonce was used twice");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let (vault, secret) = (vault(), TotpSecret::generate().unwrap());
        let (user, id) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = vault.seal(&secret, user, id).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(&changed, user, id).is_err(), "byte {at}");
            assert!(vault.open(&sealed[..at], user, id).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_recovery_codes_mac_is_its_users_alone() {
        let (vault, code) = (vault(), RecoveryCode::generate().unwrap());
        let [user, other] = [(); 2].map(|()| Uuid::now_v7());
        assert_eq!(vault.recovery_mac(&code, user), vault.recovery_mac(&code, user));
        assert_ne!(vault.recovery_mac(&code, user), vault.recovery_mac(&code, other));
        assert_ne!(vault.recovery_mac(&code, user), self::vault().recovery_mac(&code, user));
    }
}
