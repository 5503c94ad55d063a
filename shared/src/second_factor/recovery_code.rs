//! Recovery codes: what signs in when the authenticator app is gone, each once.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::BASE32_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::extract::Invalid;
use crate::secrets::WrongKeys;

/// Codes made at once. No setting: as many as people are used to keep.
pub const RECOVERY_CODES: usize = 10;
/// Random bytes of a code. With 80 bits a guess is hopeless, and a fast MAC is enough to store it.
const BYTES: usize = 10;
/// Characters of a code without its hyphens.
const CHARACTERS: usize = 16;

/// A code without hyphens, in lower case: 16 letters and digits of base32. Debug does not show it.
#[derive(Debug)]
pub struct RecoveryCode(SecretString);

impl RecoveryCode {
    /// A new code.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, WrongKeys> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let filled = SystemRandom::new().fill(bytes.as_mut());
        filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
        let upper = Zeroizing::new(BASE32_NOPAD.encode(bytes.as_ref()));
        Ok(Self(upper.to_ascii_lowercase().into()))
    }

    /// Takes a code as people type it: hyphens, spaces and case do not matter.
    ///
    /// # Errors
    /// [`Invalid`] with code `wrong_format`.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let text = Zeroizing::new(text);
        let kept = text.chars().filter(|c| !matches!(c, '-' | ' ')).take(CHARACTERS + 1);
        let code: String = kept.map(|c| c.to_ascii_lowercase()).collect();
        let code = SecretString::from(code);
        let of_base32 = |c: char| matches!(c, 'a'..='z' | '2'..='7');
        if code.expose_secret().len() == CHARACTERS && code.expose_secret().chars().all(of_base32) {
            return Ok(Self(code));
        }
        Err(Invalid::new("wrong_format", "Enter a recovery code as it was shown."))
    }

    /// As it is shown: `abcd-efgh-ijkl-mnop`.
    pub fn shown(&self) -> SecretString {
        let text = self.0.expose_secret();
        let groups: Vec<&str> = (0..CHARACTERS).step_by(4).map(|at| &text[at..at + 4]).collect();
        groups.join("-").into()
    }

    /// Its bytes, to be hashed.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_however_it_is_typed() {
        let code = RecoveryCode::generate().unwrap();
        let shown = code.shown().expose_secret().to_owned();
        assert_eq!((shown.len(), shown.matches('-').count()), (19, 3), "{shown}");
        for typed in [shown.clone(), shown.to_uppercase(), shown.replace('-', "  ")] {
            let read = RecoveryCode::parse(typed).unwrap();
            assert_eq!(read.bytes(), code.bytes());
        }
        assert_ne!(RecoveryCode::generate().unwrap().bytes(), code.bytes());
        assert!(!format!("{code:?}").contains(&shown[..4]));
    }

    #[test]
    fn what_has_not_the_shape_of_a_code_is_refused() {
        for text in ["", "abcd-efgh-ijkl-mno", "abcd-efgh-ijkl-mnop-q", "abcd-efgh-ijkl-mno1", "ä"]
        {
            let refused = RecoveryCode::parse(text.to_owned()).unwrap_err();
            assert_eq!(refused.code, "wrong_format", "{text}");
        }
    }
}
