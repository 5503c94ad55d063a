//! What users see and change of themselves.

pub mod change;
pub mod export;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::role::Role;

/// An account, as its owner sees it.
#[derive(Debug)]
pub struct Profile {
    /// Its id.
    pub id: Uuid,
    /// Its public handle.
    pub username: String,
    /// What people see instead of the handle.
    pub display_name: Option<String>,
    /// What its owner says of themselves.
    pub bio: Option<String>,
    /// Its verified address.
    pub email: Option<String>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// The profile in a row with its columns: the rows of each statement are a type of their own.
macro_rules! profile_of {
    ($row:expr) => {{
        let row = $row;
        $crate::db::profile::Profile {
            id: row.id,
            username: row.username,
            display_name: row.display_name,
            bio: row.bio,
            email: row.email,
            roles: $crate::db::sessions::parse_roles(&row.roles),
            created_at: row.created_at,
        }
    }};
}
pub(super) use profile_of;
