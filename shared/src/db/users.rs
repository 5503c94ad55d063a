//! Accounts.

pub mod list;
pub mod manage;
pub mod reset_factors;
pub mod send_reset;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::buckets::{Bucket, taking};
use super::{Error, verification};
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
    /// The address it asks for, and the bucket of mails to that.
    pub email: Option<(verification::Wish<'a>, Bucket<'a>)>,
}

/// Lets one transaction at a time change an account, until its end. A statement of its own: the next one
/// then sees the session of a sign-in that was under way, which a statement that itself waited for the
/// account would not see, and so not end.
///
/// # Errors
/// The statement's.
pub(super) async fn hold(transaction: impl PgExecutor<'_>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE", id)
        .fetch_optional(transaction)
        .await?;
    Ok(())
}

/// The same for whoever ends the account: what refers to it waits, too, or is waited for.
///
/// # Errors
/// The statement's.
pub(super) async fn hold_whole(transaction: impl PgExecutor<'_>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("SELECT id FROM users WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(transaction)
        .await?;
    Ok(())
}

/// Makes an account with role `member`, the token and mail for the address it asks for, taken from the
/// bucket of that, and its audit row, in one statement: a registration that fails takes nothing. Whether
/// somebody owns the address is not looked at: the courier does that. `Err(until)` inside when the bucket
/// is empty; then nothing is written.
///
/// # Errors
/// [`Error::Constraint`] with [`USERNAME_TAKEN`], or the statement's.
pub async fn create(
    db: impl PgExecutor<'_>,
    new: NewUser<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Result<(), OffsetDateTime>, Error> {
    let (email, bucket) = new.email.unzip();
    let row = taking!(
        query "WITH asked AS (
             SELECT $15::bytea AS key, $4::timestamptz AS at, $16::float8 AS seconds,
                    $17::timestamptz AS full_at
         )",
        r#", account AS (
             INSERT INTO users (id, username, username_key, created_at)
             SELECT $1::uuid, $2, $3, $4 FROM admitted RETURNING id
         ), secret AS (
             INSERT INTO passwords (user_id, scheme, pepper_id, hash, changed_at)
             SELECT id, $5, $6, $7, $4 FROM account
         ), role AS (
             INSERT INTO user_roles (user_id, role, granted_at)
             SELECT id, 'member', $4 FROM account
         ), token AS (
             INSERT INTO one_time_tokens (id, kind, user_id, target, created_at, expires_at)
             SELECT $11::uuid, 'verify', id, $12::text, $4, $13::timestamptz
             FROM account WHERE $12::text IS NOT NULL
             RETURNING id, user_id
         ), mail AS (
             INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
             SELECT $14::uuid, 'verify', user_id, id, $4, $4 FROM token
         ), logged AS (
             INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id)
             SELECT $4, 'user_created', id, id, $8::text::inet, $9, $10 FROM account
         )
         SELECT EXISTS (SELECT FROM admitted) AS "admitted!", (SELECT tat FROM filled) AS tat"#;
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
        email.map(|wish| wish.token),
        email.map(|wish| wish.email.as_str()),
        email.map(|wish| wish.expires_at),
        Uuid::now_v7(),
        bucket.map(|bucket| bucket.key),
        bucket.and_then(|bucket| bucket.seconds()),
        bucket.and_then(|bucket| bucket.full_at(now)),
    )
    .fetch_one(db)
    .await?;
    Ok(match bucket {
        Some(bucket) if !row.admitted => Err(bucket.free_at(row.tat, now)),
        _ => Ok(()),
    })
}

/// An account that is made for somebody.
#[derive(Debug)]
pub struct Invited<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its handle.
    pub username: &'a Username,
    /// The id of the token that sets its first password.
    pub token: Uuid,
    /// Until when that may be used.
    pub expires_at: OffsetDateTime,
}

/// Makes an account without a password, and the token that sets one, as the owner; writes the audit
/// row. One statement.
///
/// # Errors
/// [`Error::Constraint`] with [`USERNAME_TAKEN`], or the statement's.
pub async fn invite(
    db: impl PgExecutor<'_>,
    new: Invited<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        r#"WITH account AS (
               INSERT INTO users (id, username, username_key, created_at)
               VALUES ($1, $2, $3, $4) RETURNING id
           ), role AS (
               INSERT INTO user_roles (user_id, role, granted_at)
               SELECT id, 'member', $4 FROM account
           ), token AS (
               INSERT INTO one_time_tokens (id, kind, user_id, target, created_at, expires_at)
               SELECT $5::uuid, 'invite', id, '', $4, $6::timestamptz FROM account
           )
           INSERT INTO audit (at, event, subject, detail)
           SELECT $4, 'user_created', id, '{"by": "command line"}' FROM account"#,
        new.id,
        new.username.as_str(),
        new.username.key(),
        now,
        new.token,
        new.expires_at,
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
               SELECT id FROM users WHERE username_key = $1 FOR NO KEY UPDATE
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
