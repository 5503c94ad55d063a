//! What users see and change of themselves.

pub mod change;
pub mod export;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use super::sessions::{checked, parse_roles};
use crate::access_token::Claims;
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

/// The caller's own, in one statement with the session check.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn get(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Profile, Error> {
    let row = checked!(
        read r#" SELECT id, username, display_name, bio, email, roles AS "roles!", created_at
                 FROM caller"#,
        claims,
        now
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(Profile {
        id: row.id,
        username: row.username,
        display_name: row.display_name,
        bio: row.bio,
        email: row.email,
        roles: parse_roles(&row.roles),
        created_at: row.created_at,
    })
}
