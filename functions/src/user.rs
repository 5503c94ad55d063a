//! The user as bodies show it.

use serde::Serialize;
use shared::role::Role;
use time::OffsetDateTime;
use uuid::Uuid;

/// An account, as its owner sees it.
#[derive(Debug, Serialize)]
pub(crate) struct User {
    /// Its id.
    pub(crate) id: Uuid,
    /// Its public handle.
    pub(crate) username: String,
    /// Its roles.
    pub(crate) roles: Vec<Role>,
    /// When it was made, RFC 3339.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
}
