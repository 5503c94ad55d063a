//! Making an address an account's own.
//!
//! Until its link is used an address is only the target of a token. Any number of accounts may wait for
//! the same one; whoever uses a link first owns it, by the unique index of verified addresses.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::pool::Pool;
use super::sessions::checked;
use super::{Error, one_time_tokens, users};
use crate::access_token::Claims;
use crate::credentials::Email;
use crate::extract::Caller;

/// The constraint that an address breaks that another account has verified.
pub const EMAIL_TAKEN: &str = "users_email_taken";

/// An address that an account asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The address.
    pub email: &'a Email,
    /// The token's id.
    pub token: Uuid,
    /// Until when that may be used.
    pub expires_at: OffsetDateTime,
}

/// Makes the token for an address that the caller asks for, in place of one that waits, puts the mail
/// into the outbox and writes the audit row, in one transaction. Whether somebody owns the address is not
/// looked at: the courier does that. `false`, and nothing done, when the password is no longer the one
/// set at `verified`.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn ask(
    db: &Pool,
    claims: &Claims,
    verified: OffsetDateTime,
    wish: Wish<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    // In a statement of its own: a change of the password that was under way is then seen.
    users::hold(&mut *transaction, claims.sub).await?;
    let row = checked!(
        write r#", account AS (
               SELECT caller.id, caller.session FROM caller JOIN passwords p ON p.user_id = caller.id
               WHERE p.changed_at = $6
           ), token AS (
               INSERT INTO one_time_tokens AS t (id, kind, user_id, target, created_at, expires_at)
               SELECT $7::uuid, 'verify', id, $8, $3, $9::timestamptz FROM account
               ON CONFLICT (user_id, kind) WHERE used_at IS NULL DO UPDATE
               SET id = excluded.id, target = excluded.target, created_at = excluded.created_at,
                   expires_at = excluded.expires_at
               RETURNING id, user_id
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
               SELECT $10::uuid, 'verify', user_id, id, $3, $3 FROM token
           ), logged AS (
               INSERT INTO audit
                   (at, event, actor, subject, session, address, user_agent, request_id, detail)
               SELECT $3, 'authn_token_created', id, id, session, $11::text::inet, $12, $13,
                      '{"purpose": "verify"}'
               FROM account
           )
           SELECT EXISTS (SELECT FROM token) AS "done!" FROM caller"#,
        claims,
        now,
        verified,
        wish.token,
        wish.email.as_str(),
        wish.expires_at,
        Uuid::now_v7(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(Error::SessionRevoked)?;
    transaction.commit().await?;
    Ok(row.done)
}

/// The address that the caller has asked for and not yet made their own.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn find_pending(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Option<String>, Error> {
    let row = checked!(
        read r#" SELECT t.target AS "target?" FROM caller LEFT JOIN one_time_tokens t
                 ON t.user_id = caller.id AND t.kind = 'verify' AND t.used_at IS NULL"#,
        claims,
        now
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(row.target)
}

/// Makes a new token for that address in place of the old one, puts the mail into the outbox and writes
/// the audit row, in one statement. `false`, and nothing done, when the caller waits for another address
/// by now, or for none.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn ask_again(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    wish: Wish<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let row = checked!(
        write r#", token AS (
               UPDATE one_time_tokens t SET id = $6, created_at = $3, expires_at = $8
               FROM caller
               WHERE t.user_id = caller.id AND t.kind = 'verify' AND t.used_at IS NULL
                 AND t.target = $7
               RETURNING t.id, t.user_id
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
               SELECT $9::uuid, 'verify', user_id, id, $3, $3 FROM token
           ), logged AS (
               INSERT INTO audit
                   (at, event, actor, subject, session, address, user_agent, request_id, detail)
               SELECT $3, 'authn_token_created', user_id, user_id, $1, $10::text::inet, $11, $12,
                      '{"purpose": "verify"}'
               FROM token
           )
           SELECT EXISTS (SELECT FROM token) AS "done!" FROM caller"#,
        claims,
        now,
        wish.token,
        wish.email.as_str(),
        wish.expires_at,
        Uuid::now_v7(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(row.done)
}

/// Uses a token: its address becomes the account's own, every other token of the account is void, an
/// address it had before is told, and the audit row written, in one transaction. `false` when the token
/// was used, replaced or voided meanwhile; then nothing is done.
///
/// # Errors
/// [`Error::Constraint`] with [`EMAIL_TAKEN`], or the statement's.
pub async fn verify(
    db: &Pool,
    token: Uuid,
    email_key: &str,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    one_time_tokens::hold_user(&mut *transaction, token).await?;
    let done = sqlx::query_scalar!(
        r#"WITH used AS (
               UPDATE one_time_tokens SET used_at = $2
               WHERE id = $1 AND used_at IS NULL AND expires_at > $2
               RETURNING user_id, target
           ), account AS (
               SELECT u.id, u.email, u.email_key, used.target
               FROM users u JOIN used ON used.user_id = u.id
               WHERE u.status = 'active' FOR UPDATE OF u
           ), changed AS (
               UPDATE users u SET email = account.target, email_key = $3
               FROM account WHERE u.id = account.id
               RETURNING u.id, account.email AS before, account.email_key AS key_before
           ), void AS (
               DELETE FROM one_time_tokens
               WHERE user_id IN (SELECT id FROM changed) AND used_at IS NULL AND id <> $1
           ), moved AS (
               INSERT INTO one_time_tokens
                   (id, kind, user_id, target, created_at, expires_at, used_at)
               SELECT $4::uuid, 'moved', id, before, $2, $2, $2 FROM changed WHERE key_before <> $3
               RETURNING id, user_id
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
               SELECT $5::uuid, 'email_changed', user_id, id, $2, $2 FROM moved
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id, detail)
               SELECT $2, 'user_updated', id, id, $6::text::inet, $7, $8, '{"changed": "email"}'
               FROM changed
           )
           SELECT EXISTS (SELECT FROM changed) AS "done!""#,
        token,
        now,
        email_key,
        Uuid::now_v7(),
        Uuid::now_v7(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done)
}
