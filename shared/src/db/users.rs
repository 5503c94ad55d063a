//! Accounts.

pub mod list;
pub mod manage;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::credentials::Username;
use crate::extract::Caller;
use crate::password::Stored;
use crate::role::Role;

/// The constraint that a taken username breaks.
pub const USERNAME_TAKEN: &str = "users_username_taken";

/// A new account.
#[derive(Debug)]
pub struct NewUser<'a> {
    /// Its id, made by the caller.
    pub id: Uuid,
    /// Its handle.
    pub username: &'a Username,
    /// Its password, hashed.
    pub password: &'a Stored,
}

/// Makes an account with role `member`, and its audit row, in one statement.
///
/// # Errors
/// [`Error::Constraint`] with [`USERNAME_TAKEN`], or the statement's.
pub async fn create(
    db: impl PgExecutor<'_>,
    new: NewUser<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "WITH account AS (
             INSERT INTO users (id, username, username_key, created_at)
             VALUES ($1, $2, $3, $4) RETURNING id
         ), secret AS (
             INSERT INTO passwords (user_id, scheme, pepper_id, hash, changed_at)
             SELECT id, $5, $6, $7, $4 FROM account
         ), role AS (
             INSERT INTO user_roles (user_id, role, granted_at)
             SELECT id, 'member', $4 FROM account
         )
         INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id)
         SELECT $4, 'user_created', id, id, $8::text::inet, $9, $10 FROM account",
        new.id,
        new.username.as_str(),
        new.username.key(),
        now,
        new.password.scheme.as_str(),
        new.password.pepper_id,
        new.password.hash,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives a role to the user of this name, as the owner, and writes the audit row. `None` when there
/// is no such user; else whether the role is new to them.
///
/// # Errors
/// The statement's.
pub async fn grant_role(
    db: impl PgExecutor<'_>,
    username: &str,
    role: Role,
    now: OffsetDateTime,
) -> Result<Option<bool>, Error> {
    let granted = sqlx::query!(
        r#"WITH account AS (
               SELECT id FROM users WHERE username_key = $1
           ), granted AS (
               INSERT INTO user_roles (user_id, role, granted_at)
               SELECT id, $2, $3 FROM account
               ON CONFLICT DO NOTHING RETURNING user_id
           ), raised AS (
               UPDATE users SET version = version + 1 WHERE id IN (SELECT user_id FROM granted)
           ), logged AS (
               INSERT INTO audit (at, event, subject, detail)
               SELECT $3, 'privilege_permissions_changed', user_id,
                      jsonb_build_object('granted', $2::text)
               FROM granted
           )
           SELECT EXISTS (SELECT FROM account) AS "found!", EXISTS (SELECT FROM granted) AS "new!""#,
        username.to_lowercase(),
        role.as_str(),
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(granted.found.then_some(granted.new))
}
