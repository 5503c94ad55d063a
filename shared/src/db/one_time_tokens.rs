//! Tokens of links, by their id: what a use of one is judged by.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::secret_token::{Purpose, Row};

/// A token that may be used, and whose it is.
#[derive(Debug)]
pub struct Live {
    /// Its id.
    pub id: Uuid,
    /// What it is good for.
    pub purpose: Purpose,
    /// The address it was made for.
    pub target: String,
    /// Whose it is.
    pub user: Uuid,
    /// What the account signs in with, in lower case: its name and, when verified, its address.
    pub identifiers: Vec<String>,
}

impl Live {
    /// What the MAC is over.
    pub fn row(&self) -> Row<'_> {
        Row { id: self.id, purpose: self.purpose, user: self.user, target: &self.target }
    }
}

/// Lets one transaction at a time change the account that a token is of, until its end, before the
/// token's row is locked. A statement of its own, as [`users::hold`](super::users::hold) is; and no row
/// may be made meanwhile that refers to the account, since `verify` changes a key of it: such as a token
/// that would have to be void.
///
/// # Errors
/// The statement's.
pub(super) async fn hold_user(transaction: impl PgExecutor<'_>, token: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "SELECT id FROM users WHERE id = (SELECT user_id FROM one_time_tokens WHERE id = $1)
         FOR UPDATE",
        token
    )
    .fetch_optional(transaction)
    .await?;
    Ok(())
}

/// The token of this id, if it was neither used nor is too old, its user is active and has set no
/// password since it was made; one that resets a password, only while the address that it was mailed to is
/// the account's.
///
/// # Errors
/// The statement's.
pub async fn find_live(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<Live>, Error> {
    let row = sqlx::query!(
        "SELECT t.kind, t.target, u.id, u.username_key, u.email_key
         FROM one_time_tokens t JOIN users u ON u.id = t.user_id
         WHERE t.id = $1 AND t.used_at IS NULL AND t.expires_at > $2 AND u.status = 'active'
           AND (t.kind <> 'reset' OR t.target = u.email)
           AND NOT EXISTS (SELECT FROM passwords p
                           WHERE p.user_id = u.id AND p.changed_at > t.created_at)",
        id,
        now,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.and_then(|row| {
        Some(Live {
            id,
            purpose: Purpose::find(&row.kind)?,
            target: row.target,
            user: row.id,
            identifiers: [row.username_key].into_iter().chain(row.email_key).collect(),
        })
    }))
}
