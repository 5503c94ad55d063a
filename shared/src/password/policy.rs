//! What a new password must be. Sign-in never asks this: old passwords go on working.

use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use crate::credentials::Password;
use crate::extract::Invalid;
use crate::settings::Value;

/// Longest text given to the estimate, in characters: its work grows with the square.
const ESTIMATED_CHARS: usize = 100;
/// Fewest changes that make a password different from a name (as Ory Kratos counts).
const MIN_DISTANCE: usize = 5;
/// The product's name, which is in every guesser's list.
const PRODUCT: &str = "keywire";

/// How strictly new passwords are judged, setting `PASSWORD_POLICY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Length only.
    Basic,
    /// Also no common password and none like the account's names.
    Strict,
}

impl Value for Policy {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "basic" => Ok(Self::Basic),
            "strict" => Ok(Self::Strict),
            _ => Err("`basic` or `strict`".to_owned()),
        }
    }
}

/// The rules in force.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `PASSWORD_MIN`: code points after NFC.
    pub min: usize,
    /// `PASSWORD_POLICY`.
    pub policy: Policy,
}

impl Rules {
    /// Whether the length is enough: all that basic asks, and all that needs no other field.
    ///
    /// # Errors
    /// [`Invalid`] with code `too_short`.
    pub fn check_length(&self, password: Password) -> Result<Password, Invalid> {
        if password.normalised().chars().count() < self.min {
            return Err(Invalid::new(
                "too_short",
                format!("Use at least {} characters.", self.min),
            ));
        }
        Ok(password)
    }
}

/// Whether `strict` lets the password pass beside the account's own names.
///
/// # Errors
/// [`Invalid`] with code `too_similar` or `too_common`.
pub(super) fn check_strength(password: &Password, names: &[String]) -> Result<(), Invalid> {
    let text = Zeroizing::new(password.normalised().to_lowercase());
    let text = Zeroizing::new(text.chars().take(ESTIMATED_CHARS).collect::<String>());
    // An address is a name, and so is its part before the `@`.
    let locals = names.iter().filter_map(|name| name.rsplit_once('@')).map(|(local, _)| local);
    let names: Vec<&str> =
        names.iter().map(String::as_str).chain(locals).chain([PRODUCT]).collect();
    let near = |name: &&str| {
        let name = name.to_lowercase();
        text.contains(&name) && text.chars().count() < name.chars().count() + MIN_DISTANCE
            || strsim::levenshtein(&text, &name) < MIN_DISTANCE
    };
    if names.iter().any(near) {
        return Err(Invalid::new("too_similar", "Choose a password that is not like a name."));
    }
    if zxcvbn(&text, &names).score() < Score::Two {
        let common = "This password is easy to guess; add a word or two.";
        return Err(Invalid::new("too_common", common));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text.to_owned()).unwrap()
    }

    fn strength(text: &str) -> Option<&'static str> {
        let names = ["marguerite".to_owned()];
        check_strength(&password(text), &names).err().map(|invalid| invalid.code)
    }

    #[test]
    fn length_is_counted_in_code_points_after_nfc() {
        let rules = Rules { min: 8, policy: Policy::Basic };
        let short = |text: &str| rules.check_length(password(text)).is_err();
        assert!(short("1234567"));
        assert!(!short("12345678"));
        assert!(short("e\u{301}234567"), "seven letters, eight code points as sent");
        assert!(!short(&"\u{1f511}".repeat(64)), "64 characters of four bytes");
    }

    /// The 3,000 commonest passwords of 8 characters and more, commonest first, one a line: from
    /// zxcvbn's list (MIT, Dropbox), which counts ten million leaked ones.
    const COMMON: &str = include_str!("common.txt");

    #[test]
    fn strict_refuses_each_of_the_3000_commonest_passwords() {
        assert_eq!(COMMON.lines().count(), 3_000);
        let passed: Vec<_> = COMMON.lines().filter(|text| strength(text).is_none()).collect();
        assert!(passed.is_empty(), "{passed:?}");
    }

    #[test]
    fn strict_refuses_common_passwords_and_near_names() {
        for text in ["password", "password123", "12345678", "iloveyou", "qwertyuiop", "football1"] {
            assert_eq!(strength(text), Some("too_common"), "{text}");
        }
        for text in ["marguerite", "Marguerite1", "marguerit3!", "keywire123", "KEYWIRE!!"] {
            assert_eq!(strength(text), Some("too_similar"), "{text}");
        }
        for text in ["correct horse battery", "V7#kq!x2Lm", "\u{1f511}\u{1f98a} tiny brass fox"] {
            assert_eq!(strength(text), None, "{text}");
        }
    }
}
