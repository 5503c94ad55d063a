//! The letters about second factors.

use super::{Letter, hello};

/// What changed of an account's second factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorChange {
    /// An authenticator app was confirmed.
    AppAdded,
    /// It was removed, by who signs in with it.
    AppRemoved,
    /// A passkey was added.
    PasskeyAdded,
    /// One was removed.
    PasskeyRemoved,
    /// New recovery codes took the place of the old ones.
    RecoveryCodesRenewed,
    /// An administrator took all factors away.
    Reset,
}

impl FactorChange {
    pub(super) const ALL: [Self; 6] = [
        Self::AppAdded,
        Self::AppRemoved,
        Self::PasskeyAdded,
        Self::PasskeyRemoved,
        Self::RecoveryCodesRenewed,
        Self::Reset,
    ];

    /// The name in the database: for the first four, a factor's name and what became of it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AppAdded => "totp_added",
            Self::AppRemoved => "totp_removed",
            Self::PasskeyAdded => "passkey_added",
            Self::PasskeyRemoved => "passkey_removed",
            Self::RecoveryCodesRenewed => "recovery_codes_renewed",
            Self::Reset => "factors_reset",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::AppAdded => "An authenticator app was added to your account",
            Self::AppRemoved => "The authenticator app was removed from your account",
            Self::PasskeyAdded => "A passkey was added to your account",
            Self::PasskeyRemoved => "A passkey was removed from your account",
            Self::RecoveryCodesRenewed => "Your recovery codes were replaced",
            Self::Reset => "Your second factors were removed",
        }
    }

    /// What it means for who signs in.
    fn meaning(self) -> &'static str {
        match self {
            Self::AppAdded => {
                "From now on, signing in with the password asks for a code of that app, too. Whoever \
                 else was signed in to your account is signed out."
            }
            Self::AppRemoved => "From now on, the password alone signs in.",
            Self::PasskeyAdded => "It signs in without the password.",
            Self::PasskeyRemoved => "It no longer signs in.",
            Self::RecoveryCodesRenewed => "Those that you had before are no longer good.",
            Self::Reset => {
                "Somebody who manages the service has taken away your authenticator app and your \
                 passkeys. From now on, the password alone signs in."
            }
        }
    }
}

impl Letter {
    /// After a change of second factors.
    pub fn factors_changed(username: &str, change: FactorChange) -> Self {
        Self {
            subject: change.subject(),
            before: vec![
                hello(username),
                format!("{}. {}", change.subject(), change.meaning()),
                "If it was not you, change your password at once, which signs everybody else out, and \
                 look through your second factors. If you cannot sign in any more, write to whoever \
                 runs the service."
                    .to_owned(),
            ],
            link: None,
            after: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_told_in_both_forms() {
        for change in FactorChange::ALL {
            let letter = Letter::factors_changed("ann", change);
            for form in [letter.text(), letter.html()] {
                assert!(form.contains(letter.subject()) && form.contains("Hello ann,"), "{form}");
                assert!(form.contains(change.meaning()), "{form}");
            }
        }
    }
}
