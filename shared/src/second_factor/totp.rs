//! Codes of an authenticator app: TOTP (RFC 6238) with SHA-1, 6 digits and steps of 30 seconds, the
//! only parameters that every app knows.

use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use data_encoding::BASE32_NOPAD;
use secrecy::SecretString;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::extract::Invalid;
use crate::secrets::WrongKeys;

/// Bytes of a secret: as many as SHA-1 gives (RFC 4226 §4, R6).
const SECRET_BYTES: usize = 20;
/// Seconds a step lasts.
const STEP: i64 = 30;
/// How many steps a clock may be behind or ahead (RFC 6238 §5.2).
const SKEW: i64 = 1;
/// Digits of a code.
const DIGITS: usize = 6;

/// The secret that an app and we share. Never shown by Debug, overwritten when dropped.
pub struct TotpSecret(Zeroizing<Vec<u8>>);

impl TotpSecret {
    /// 160 random bits.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, WrongKeys> {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES]);
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
        Ok(Self(bytes))
    }

    /// From its bytes, as they were sealed.
    pub(super) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be sealed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an app: base32 without padding.
    pub fn base32(&self) -> SecretString {
        BASE32_NOPAD.encode(&self.0).into()
    }

    /// As an app reads it from a QR code: `otpauth://totp/Keywire:ann?secret=…&issuer=Keywire…`.
    pub fn uri(&self, issuer: &str, account: &str) -> SecretString {
        let (issuer, account) = (escape(issuer), escape(account));
        let secret = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        let secret = secret.as_str();
        format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1\
             &digits={DIGITS}&period={STEP}"
        )
        .into()
    }

    /// The step whose code this is, if it is one of now, a step before or a step after, and later than
    /// `used`, the last step that was taken: a code is good once (RFC 6238 §5.2).
    pub fn find_step(&self, code: &Code, used: Option<i64>, now: OffsetDateTime) -> Option<i64> {
        let step = now.unix_timestamp().div_euclid(STEP);
        let fresh = (step - SKEW..=step + SKEW).filter(|step| used.is_none_or(|used| *step > used));
        let is_of = |step: &i64| {
            verify_slices_are_equal(self.code(*step).as_bytes(), code.0.as_bytes()).is_ok()
        };
        // Every step is looked at, so that the time tells nothing of the app's clock.
        fresh.filter(is_of).fold(None, |found, step| found.or(Some(step)))
    }

    /// The code of a step (RFC 4226 §5.3).
    fn code(&self, step: i64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let mac = hmac::sign(&key, &step.to_be_bytes());
        let mac = mac.as_ref();
        let at = usize::from(mac[mac.len() - 1] & 0xf);
        let word = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
        Zeroizing::new(format!("{:0width$}", word % 1_000_000, width = DIGITS))
    }

    /// The code that an app shows at a time.
    #[cfg(test)]
    fn code_at(&self, at: OffsetDateTime) -> String {
        self.code(at.unix_timestamp().div_euclid(STEP)).to_string()
    }
}

impl std::fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpSecret(…)")
    }
}

/// A code as typed: six digits. Never shown by Debug.
pub struct Code(Zeroizing<String>);

impl Code {
    /// Takes six digits, with or without spaces between them.
    ///
    /// # Errors
    /// [`Invalid`] with code `wrong_format`.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let text = Zeroizing::new(text);
        let digits: String = text.chars().filter(|c| *c != ' ').take(DIGITS + 1).collect();
        let digits = Zeroizing::new(digits);
        if digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(digits));
        }
        Err(Invalid::new("wrong_format", "Enter the six digits that the app shows."))
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(…)")
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3): apps do not read `+` as a space.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(escaped, "%{byte:02X}").unwrap_or_default();
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// The secret of RFC 6238's appendix B, for SHA-1.
    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(Zeroizing::new(b"12345678901234567890".to_vec()))
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn code(text: &str) -> Code {
        Code::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // The last six digits of the eight that appendix B lists.
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().code_at(at(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_a_step_early_and_a_step_late_and_no_further() {
        let found = |seconds| secret().find_step(&code("050471"), None, at(seconds));
        let step = 1_111_111_111 / STEP;
        for seconds in [1_111_111_110 - 30, 1_111_111_110, 1_111_111_110 + 59] {
            assert_eq!(found(seconds), Some(step), "{seconds}");
        }
        for seconds in [1_111_111_110 - 31, 1_111_111_110 + 60, 0] {
            assert_eq!(found(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn a_used_step_and_those_before_it_are_never_taken_again() {
        let (code, now, step) = (code("050471"), at(1_111_111_111), 1_111_111_111 / STEP);
        assert_eq!(secret().find_step(&code, Some(step - 1), now), Some(step));
        for used in [step, step + 1, i64::MAX] {
            assert_eq!(secret().find_step(&code, Some(used), now), None, "{used}");
        }
    }

    #[test]
    fn six_digits_are_a_code_and_nothing_else_is() {
        assert_eq!(*code("050 471").0, "050471");
        for text in ["", "05047", "0504711", "05047a", "०५०४७१", "+50471", &"1".repeat(9_999)]
        {
            let refused = Code::parse(text.to_owned()).unwrap_err();
            assert_eq!(refused.code, "wrong_format", "{text}");
        }
    }

    #[test]
    fn an_app_can_read_the_address_and_nothing_shows_the_secret() {
        let address = secret().uri("Key Wire", "a:ä&?");
        let expected = "otpauth://totp/Key%20Wire:a%3A%C3%A4%26%3F\
                        ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Key%20Wire\
                        &algorithm=SHA1&digits=6&period=30";
        assert_eq!(address.expose_secret(), expected);
        let shown = format!("{:?} {:?} {address:?}", secret(), code("123456"));
        assert!(!shown.contains("1234") && !shown.contains("GEZD"), "{shown}");
    }
}
