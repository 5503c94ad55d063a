//! Usernames, addresses and passwords as people send them, parsed at the edge.

mod email;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

pub use email::Email;

use crate::extract::Invalid;

/// Longest password, in bytes as sent; checked before any hashing.
pub const PASSWORD_MAX_BYTES: usize = 1_024;
/// Longest identifier at sign-in, in bytes; RFC 5321 allows no longer address.
const IDENTIFIER_MAX_BYTES: usize = 254;
/// Names that people would take for the service itself.
const RESERVED: &[&str] = &[
    "abuse",
    "admin",
    "administrator",
    "anonymous",
    "api",
    "everyone",
    "help",
    "here",
    "hostmaster",
    "info",
    "keywire",
    "mail",
    "me",
    "moderator",
    "no-reply",
    "noreply",
    "null",
    "owner",
    "postmaster",
    "root",
    "security",
    "staff",
    "support",
    "system",
    "undefined",
    "webmaster",
    "www",
];

/// A new account's public handle: ASCII letters, digits, `.`, `_`, `-`, 3 to 32 of them, the first a
/// letter or digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Parses a wished-for name.
    ///
    /// # Errors
    /// [`Invalid`] with code `too_short`, `too_long`, `invalid_characters` or `reserved`.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !text.chars().all(allowed) || (!text.is_empty() && !starts_well) {
            let rule =
                "Use letters a to z, digits, `.`, `_` and `-`; begin with a letter or digit.";
            return Err(Invalid::new("invalid_characters", rule));
        }
        match text.len() {
            0..3 => Err(Invalid::new("too_short", "Use at least 3 characters.")),
            33.. => Err(Invalid::new("too_long", "Use at most 32 characters.")),
            _ if RESERVED.contains(&text.to_ascii_lowercase().as_str()) => {
                Err(Invalid::new("reserved", "This name is reserved; choose another."))
            }
            _ => Ok(Self(text)),
        }
    }

    /// Takes the name that an account had in another app as it is, if it can be typed at sign-in.
    ///
    /// # Errors
    /// [`Invalid`] with code `required`, `too_long` or `invalid_characters`.
    pub fn imported(text: String) -> Result<Self, Invalid> {
        let Identifier(_) = Identifier::parse(text.clone())?;
        Ok(Self(text))
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What must be unique: the name in lower case, as [`Identifier::username_key`] looks it up.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

/// What somebody signs in with: a username or, with `@`, a verified e-mail address. Debug does not show
/// it: it may be a password typed into the wrong field.
#[derive(Clone)]
pub struct Identifier(String);

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identifier(…)")
    }
}

impl Identifier {
    /// Takes any text of 1 to 254 bytes: imported names do not follow today's rules.
    ///
    /// # Errors
    /// [`Invalid`] with code `required`, `too_long` or `invalid_characters`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
    pub fn parse(text: String) -> Result<Self, Invalid> {
        match text.len() {
            0 => Err(Invalid::new("required", "Enter the username.")),
            1..=IDENTIFIER_MAX_BYTES if text.contains('\0') => {
                // Postgres stores no NUL, so no user can have one.
                Err(Invalid::new("invalid_characters", "Leave out the NUL character."))
            }
            1..=IDENTIFIER_MAX_BYTES => Ok(Self(text.to_lowercase())),
            _ => Err(Invalid::new("too_long", "Use at most 254 bytes.")),
        }
    }

    /// The key of a username, if this is one.
    pub fn username_key(&self) -> Option<&str> {
        (!self.0.contains('@')).then_some(self.0.as_str())
    }

    /// The key of an e-mail address, if this is one.
    pub fn email_key(&self) -> Option<&str> {
        self.0.contains('@').then_some(self.0.as_str())
    }

    /// The identifier in lower case.
    pub fn key(&self) -> &str {
        &self.0
    }
}

/// What people see instead of a username: any Unicode, 1 to 64 characters after NFC and without the white
/// space around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Parses a wished-for name.
    ///
    /// # Errors
    /// [`Invalid`] with code `required`, `too_long` or `invalid_characters`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let name: String = text.trim().nfc().collect();
        if name.chars().any(|c| c.is_control() || is_layout(c)) {
            let rule = "Leave out line breaks, control characters and marks of text direction.";
            return Err(Invalid::new("invalid_characters", rule));
        }
        match name.chars().count() {
            0 => Err(Invalid::new("required", "Enter a name, or null for none.")),
            1..=64 => Ok(Self(name)),
            _ => Err(Invalid::new("too_long", "Use at most 64 characters.")),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What somebody says of themselves: any Unicode with line breaks, at most 500 characters after NFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bio(String);

impl Bio {
    /// Parses a text.
    ///
    /// # Errors
    /// [`Invalid`] with code `too_long` or `invalid_characters`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let text: String = text.trim().nfc().collect();
        if text.chars().any(|c| c != '\n' && c.is_control()) {
            let rule = "Leave out control characters; a line ends with \\n.";
            return Err(Invalid::new("invalid_characters", rule));
        }
        if text.chars().count() > 500 {
            return Err(Invalid::new("too_long", "Use at most 500 characters."));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Separators of lines and paragraphs, and what turns the direction of the text around: a name with one
/// could look like another, or turn around what stands beside it.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A password as sent, of 1 to 1,024 bytes. Never shown by Debug, overwritten when dropped.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// Takes any text of 1 to 1,024 bytes, unchanged.
    ///
    /// # Errors
    /// [`Invalid`] with code `required` or `too_long`.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let text = SecretString::from(text);
        match text.expose_secret().len() {
            0 => Err(Invalid::new("required", "Enter the password.")),
            1..=PASSWORD_MAX_BYTES => Ok(Self(text)),
            _ => Err(Invalid::new("too_long", "Use at most 1,024 bytes.")),
        }
    }

    /// The text in Unicode normalisation form C: the same password from every keyboard.
    pub fn normalised(&self) -> Zeroizing<String> {
        // Reserved at once: a string that grows leaves copies behind. NFC at most triples UTF-8.
        let mut text = Zeroizing::new(String::with_capacity(self.0.expose_secret().len() * 3));
        text.extend(self.0.expose_secret().nfc());
        text
    }

    /// The bytes as sent, for hashes made elsewhere.
    pub fn as_sent(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Invalid>) -> &'static str {
        result.err().map_or("ok", |invalid| invalid.code)
    }

    #[test]
    fn usernames_are_ascii_handles() {
        for name in ["example", "Bob", "a.b_c-d", "0ab", "a".repeat(32).as_str()] {
            assert_eq!(code(Username::parse(name.to_owned())), "ok", "{name}");
        }
        for (name, expected) in [
            ("", "too_short"),
            ("ab", "too_short"),
            (&"a".repeat(33), "too_long"),
            ("\u{430}dmin", "invalid_characters"),
            ("\u{ff41}\u{ff44}min", "invalid_characters"),
            (".dot", "invalid_characters"),
            ("a b c", "invalid_characters"),
            ("a\0bc", "invalid_characters"),
            ("a@b.c", "invalid_characters"),
            ("Admin", "reserved"),
        ] {
            assert_eq!(code(Username::parse(name.to_owned())), expected, "{name:?}");
        }
    }

    #[test]
    fn an_imported_name_is_found_by_what_is_typed_at_sign_in() {
        for name in ["Sir Old Name", "\u{c4}rger", "x", "\u{130}stanbul"] {
            let imported = Username::imported(name.to_owned()).unwrap();
            let typed = Identifier::parse(name.to_owned()).unwrap();
            assert_eq!(Some(imported.key().as_str()), typed.username_key(), "{name}");
            assert_eq!(imported.as_str(), name);
        }
        assert_eq!(code(Username::imported("a\0b".to_owned())), "invalid_characters");
        assert_eq!(code(Username::imported("x".repeat(255))), "too_long");
    }

    #[test]
    fn an_identifier_with_an_at_sign_is_an_address() {
        let name = Identifier::parse("Ann".to_owned()).unwrap();
        assert_eq!((name.username_key(), name.email_key()), (Some("ann"), None));
        let address = Identifier::parse("Ann@Example.com".to_owned()).unwrap();
        assert_eq!((address.username_key(), address.email_key()), (None, Some("ann@example.com")));
        assert_eq!(code(Identifier::parse("x".repeat(255))), "too_long");
    }

    #[test]
    fn a_password_is_at_most_1024_bytes_and_never_shown() {
        assert_eq!(code(Password::parse("x".repeat(1_024))), "ok");
        assert_eq!(code(Password::parse("x".repeat(1_025))), "too_long");
        let shown = format!("{:?}", Password::parse("hunter2hunter2".to_owned()).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same_password() {
        let composed = Password::parse("caf\u{e9} society".to_owned()).unwrap();
        let decomposed = Password::parse("cafe\u{301} society".to_owned()).unwrap();
        assert_eq!(*composed.normalised(), *decomposed.normalised());
        let spaced = Password::parse("  Caf\u{e9}\0 ".to_owned()).unwrap();
        assert_eq!(*spaced.normalised(), "  Caf\u{e9}\0 ", "no trim, no case fold");
    }
}
