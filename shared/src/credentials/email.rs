//! Addresses of e-mail.

use std::fmt;

use super::IDENTIFIER_MAX_BYTES;
use crate::extract::Invalid;
use crate::mail;

/// An e-mail address, of ASCII characters: upper and lower case of others is not the same everywhere.
/// Debug does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl Email {
    /// Takes an address that mail can be sent to, as written.
    ///
    /// # Errors
    /// [`Invalid`] with code `required`, `too_long` or `invalid_address`.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        match text.len() {
            0 => Err(Invalid::new("required", "Enter the e-mail address.")),
            1..=IDENTIFIER_MAX_BYTES if text.is_ascii() && mail::is_address(&text) => {
                Ok(Self(text))
            }
            1..=IDENTIFIER_MAX_BYTES => {
                let shape = "Enter an address like name@example.com, without accents.";
                Err(Invalid::new("invalid_address", shape))
            }
            _ => Err(Invalid::new("too_long", "Use at most 254 bytes.")),
        }
    }

    /// The address as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What must be unique among verified ones: the address in lower case, as [`super::Identifier`] has it.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Identifier;

    #[test]
    fn an_address_is_one_that_mail_can_be_sent_to() {
        for good in
            ["ann@example.com", "Ann+tag@sub.example.com", "a'b@example.com", "x@[192.0.2.1]"]
        {
            let email = Email::parse(good.to_owned()).unwrap();
            let identifier = Identifier::parse(good.to_owned()).unwrap();
            assert_eq!(Some(email.key().as_str()), identifier.email_key());
        }
        for (bad, expected) in [
            ("", "required"),
            ("ann", "invalid_address"),
            ("ann@", "invalid_address"),
            ("@example.com", "invalid_address"),
            ("a b@example.com", "invalid_address"),
            ("ann@example.com\r\nBcc: eve@example.com", "invalid_address"),
            ("ann@example.com,eve@example.com", "invalid_address"),
            ("<ann@example.com>", "invalid_address"),
            ("ann\0@example.com", "invalid_address"),
            ("\u{e4}nn@example.com", "invalid_address"),
            ("ann@m\u{fc}ller.example", "invalid_address"),
            (&format!("{}@example.com", "a".repeat(250)), "too_long"),
        ] {
            let code = Email::parse(bad.to_owned()).unwrap_err().code;
            assert_eq!(code, expected, "{bad:?}");
        }
        let shown = format!("{:?}", Email::parse("ann@example.com".to_owned()).unwrap());
        assert!(!shown.contains("ann"), "{shown}");
    }
}
