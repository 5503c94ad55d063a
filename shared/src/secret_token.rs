//! Tokens of links in mails: used once, opaque, and made again from the database's row when needed.
//!
//! base64url(id 16 B ‖ MAC 32 B), 64 characters, the MAC being HMAC-SHA-256 under the link key over
//! id ‖ purpose ‖ 0 ‖ user ‖ target. The id alone, from a dump of the database, is no token; the key
//! alone, without a row, makes none that is taken.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use uuid::Uuid;

use crate::extract::Invalid;
use crate::secrets::{Key, Links, WrongKeys};

/// Bytes of the MAC.
const MAC_BYTES: usize = 32;
/// Characters of every token.
const TOKEN_CHARS: usize = 64;

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sets a new password instead of a forgotten one.
    Reset,
    /// Sets the first password of an account that an administrator made.
    Invite,
    /// Makes an address the account's own.
    Verify,
}

impl Purpose {
    /// The name in the database and in the MAC.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Invite => "invite",
            Self::Verify => "verify",
        }
    }

    /// The purpose of this name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Reset, Self::Invite, Self::Verify].into_iter().find(|one| one.as_str() == name)
    }

    /// The page that a link leads to, below `PUBLIC_URL`. It takes the token out of the fragment,
    /// which no server sees, and posts it.
    fn page(self) -> &'static str {
        match self {
            Self::Reset | Self::Invite => "/account/new-password",
            Self::Verify => "/account/verify-email",
        }
    }
}

/// What a token stands for, as its row has it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The row's id.
    pub id: Uuid,
    /// What it is good for.
    pub purpose: Purpose,
    /// Whose it is.
    pub user: Uuid,
    /// The address it was made for.
    pub target: &'a str,
}

/// A token taken apart, its MAC not yet checked: that needs the row. Debug does not show it.
#[derive(Clone)]
pub struct SecretToken {
    /// The row's id.
    pub id: Uuid,
    mac: [u8; MAC_BYTES],
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(…)")
    }
}

/// A new row's id: 128 bits, all of them random, unlike those of a UUID of version 4.
///
/// # Errors
/// When the system's generator fails.
pub fn new_id() -> Result<Uuid, WrongKeys> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
    Ok(Uuid::from_bytes(bytes))
}

/// The token of a row.
pub fn issue(keys: &Links, row: Row<'_>) -> SecretString {
    let mac = context(&keys.key, row).sign();
    URL_SAFE_NO_PAD.encode([row.id.as_bytes(), mac.as_ref()].concat()).into()
}

/// The link to the page where the token is used: below `public`, the token in the fragment.
pub fn link(public: &Url, purpose: Purpose, token: &SecretString) -> SecretString {
    let mut link = public.clone();
    link.set_path(&format!("{}{}", public.path().trim_end_matches('/'), purpose.page()));
    link.set_query(None);
    link.set_fragment(Some(&format!("token={}", token.expose_secret())));
    String::from(link).into()
}

fn context(key: &Key, row: Row<'_>) -> hmac::Context {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()));
    context.update(row.id.as_bytes());
    context.update(row.purpose.as_str().as_bytes());
    context.update(&[0]);
    context.update(row.user.as_bytes());
    context.update(row.target.as_bytes());
    context
}

impl SecretToken {
    /// Takes a token apart; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TOKEN_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        Some(Self { id: Uuid::from_bytes(*id), mac: mac.try_into().ok()? })
    }

    /// As a field of a body; `None` inside when the text can be no token, which is answered like one
    /// that is not good any more.
    ///
    /// # Errors
    /// [`Invalid`] with code `required`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
    pub fn field(text: String) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new("required", "Enter the token."));
        }
        Ok(Self::parse(&text))
    }

    /// Whether this token was made by us for this row.
    pub fn is_genuine(&self, keys: &Links, row: Row<'_>) -> bool {
        let expected = context(&keys.key, row).sign();
        let mac = aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), &self.mac);
        self.id == row.id && mac.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::secrets::Keys;

    fn keys() -> Links {
        Keys::generate(OffsetDateTime::UNIX_EPOCH).unwrap().links
    }

    fn row() -> Row<'static> {
        let (id, user) = (new_id().unwrap(), Uuid::now_v7());
        Row { id, purpose: Purpose::Reset, user, target: "ann@example.com" }
    }

    #[test]
    fn a_token_is_genuine_only_for_its_whole_row_and_key() {
        let (keys, row) = (keys(), row());
        let token = SecretToken::parse(issue(&keys, row).expose_secret()).unwrap();
        assert_eq!(token.id, row.id);
        assert!(token.is_genuine(&keys, row));
        assert!(!token.is_genuine(&self::keys(), row));
        for other in [
            Row { id: new_id().unwrap(), ..row },
            Row { purpose: Purpose::Verify, ..row },
            Row { user: Uuid::now_v7(), ..row },
            Row { target: "ann@example.org", ..row },
        ] {
            assert!(!token.is_genuine(&keys, other), "{other:?}");
        }
    }

    #[test]
    fn every_changed_byte_of_a_link_token_is_noticed() {
        let (keys, row) = (keys(), row());
        let bytes = URL_SAFE_NO_PAD.decode(issue(&keys, row).expose_secret()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let token = SecretToken::parse(&URL_SAFE_NO_PAD.encode(changed)).unwrap();
            assert!(!token.is_genuine(&keys, row), "byte {at}");
        }
    }

    #[test]
    fn what_can_be_no_link_token_is_told_apart() {
        for text in ["A", &"A".repeat(63), &"A".repeat(65), &"!".repeat(64), &"é".repeat(32)] {
            assert!(SecretToken::parse(text).is_none(), "{text}");
            assert!(SecretToken::field(text.to_owned()).unwrap().is_none(), "{text}");
        }
        assert_eq!(SecretToken::field(String::new()).unwrap_err().code, "required");
    }

    #[test]
    fn a_link_is_below_the_public_url_with_the_token_in_the_fragment() {
        let token = SecretString::from("abc");
        for (public, expected) in [
            ("http://localhost:8080", "http://localhost:8080/account/verify-email#token=abc"),
            (
                "https://example.com/app/?x=1",
                "https://example.com/app/account/verify-email#token=abc",
            ),
        ] {
            let link = link(&public.parse().unwrap(), Purpose::Verify, &token);
            assert_eq!(link.expose_secret(), expected);
        }
    }
}
