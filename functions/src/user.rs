//! The user as bodies show it.

use serde::Serialize;
use shared::db::profile;
use shared::db::sign_in::Account;
use shared::role::Role;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// An account, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
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

impl User {
    /// Of the account that signs in.
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            id: account.id,
            username: account.username.clone(),
            roles: account.roles.clone(),
            created_at: account.created_at,
        }
    }
}

/// An account with its profile, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its id.
    id: Uuid,
    /// Its public handle.
    username: String,
    /// What people see instead of the handle; null when none is set.
    display_name: Option<String>,
    /// What its owner says of themselves.
    bio: Option<String>,
    /// Its verified address.
    email: Option<String>,
    /// Its roles.
    roles: Vec<Role>,
    /// When it was made, RFC 3339.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<profile::Profile> for Profile {
    fn from(profile: profile::Profile) -> Self {
        let profile::Profile { id, username, display_name, bio, email, roles, created_at } =
            profile;
        Self { id, username, display_name, bio, email, roles, created_at }
    }
}
