//! Settings of what one account may ask for.

use shared::settings::{Rate, Reader};

/// The group; `None` is off.
#[derive(Debug, Clone, Copy)]
pub struct Accounts {
    /// `LIMIT_PROFILE_ACCOUNT`.
    pub profile: Option<Rate>,
    /// `LIMIT_EXPORT_ACCOUNT`.
    pub export: Option<Rate>,
}

impl Accounts {
    /// Reads the group.
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            profile: reader.get(
                "LIMIT_PROFILE_ACCOUNT",
                "100/h burst 50",
                "Changes that an account may make of its profile, and, counted apart, of its second factors; each is a row of the audit log. `off` for none.",
            ),
            export: reader.get(
                "LIMIT_EXPORT_ACCOUNT",
                "10/h burst 3",
                "Exports of everything that is held about an account, some megabytes each; `off` for none.",
            ),
        }
    }
}
