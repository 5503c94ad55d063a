//! Hashes that another app made, before they are stored here.

use std::str::FromStr as _;

use bcrypt::HashParts;

use super::bcrypt_work::MAX_COST;
use super::{Scheme, Stored};

/// The lowest cost that bcrypt has.
const MIN_COST: u32 = 4;

/// Why a hash is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Not bcrypt, or of the broken variant `$2x$`.
    #[error("the hash is not bcrypt: 60 characters that begin `$2a$`, `$2b$` or `$2y$`")]
    Malformed,
    /// Checking it would take seconds.
    #[error(
        "the hash has cost {0}: above {MAX_COST} none is taken, for one sign-in would take seconds"
    )]
    TooCostly(u32),
}

impl Stored {
    /// A plain bcrypt hash from elsewhere, and its cost.
    ///
    /// # Errors
    /// [`NotTaken`], when it could never be checked here.
    pub fn imported(hash: &str) -> Result<(Self, u32), NotTaken> {
        let parts = HashParts::from_str(hash).map_err(|_| NotTaken::Malformed)?;
        let written = format!("${:02}$", parts.get_cost());
        let known = ["$2a", "$2b", "$2y"].iter().any(|version| hash.starts_with(version));
        if !known || hash[3..7] != written || !(MIN_COST..=31).contains(&parts.get_cost()) {
            return Err(NotTaken::Malformed);
        }
        match parts.get_cost() {
            cost @ ..=MAX_COST => {
                let hash = hash.to_owned();
                Ok((Self { scheme: Scheme::Bcrypt, pepper_id: None, hash }, cost))
            }
            cost => Err(NotTaken::TooCostly(cost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// bcrypt of `U*U`: a vector of `crypt_blowfish`.
    const GOOD: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn hashes_of_every_sound_variant_are_taken() {
        for version in ["$2a$", "$2b$", "$2y$"] {
            let (stored, cost) = Stored::imported(&GOOD.replace("$2a$", version)).unwrap();
            assert_eq!((stored.scheme, stored.pepper_id, cost), (Scheme::Bcrypt, None, 5));
        }
    }

    #[test]
    fn what_could_never_be_checked_is_refused() {
        for wrong in [
            "",
            "password123",
            &GOOD[..59],
            &format!("{GOOD}x"),
            &GOOD.replace("$2a$", "$2x$"),
            &GOOD.replace("$05$", "$03$"),
            &GOOD.replace("$05$", "$32$"),
            &GOOD.replace("$05$", "$+5$"),
            &GOOD.replace("CCC.", "CCC!"),
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoa",
        ] {
            assert_eq!(Stored::imported(wrong), Err(NotTaken::Malformed), "{wrong}");
        }
        for cost in [16, 31] {
            let costly = GOOD.replace("$05$", &format!("${cost}$"));
            assert_eq!(Stored::imported(&costly), Err(NotTaken::TooCostly(cost)));
        }
    }
}
