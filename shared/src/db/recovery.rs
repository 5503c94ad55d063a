//! Setting a new password by a link in a mail: asking for one, and using it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::buckets::taking;
use super::pool::Pool;
use super::{Error, buckets, notices, one_time_tokens};
use crate::credentials::Email;
use crate::extract::Caller;
use crate::password::Stored;
use crate::settings::Rate;

/// A link asked for.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The address, which somebody may have or not.
    pub email: &'a Email,
    /// The token's id, if somebody has it.
    pub token: Uuid,
    /// Until when that may be used.
    pub expires_at: OffsetDateTime,
    /// The address's bucket.
    pub bucket: &'a [u8],
    /// `LIMIT_MAIL_ADDRESS`.
    pub rate: Option<Rate>,
}

/// Takes one from the address's bucket; if an active account has verified the address, makes its token
/// in place of an older one and puts the mail into the outbox; writes the audit row. One statement, for
/// known and unknown addresses: both change a table that is logged, so that neither returns sooner for
/// want of a write to wait for. `Err(until)` inside when the bucket is empty; then nothing is written.
///
/// # Errors
/// The statement's.
pub async fn ask(
    db: impl PgExecutor<'_>,
    wish: Wish<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Result<(), OffsetDateTime>, Error> {
    let row = taking!(
        query "WITH asked AS (
               SELECT $6::bytea AS key, $2::timestamptz AS at, $7::float8 AS seconds,
                      $8::timestamptz AS full_at
           )",
        r#", account AS (
               -- Locked before its tokens, as by whoever voids them.
               SELECT u.id, u.email FROM users u, admitted
               WHERE u.email_key = $1 AND u.status = 'active' FOR SHARE OF u
           ), token AS (
               INSERT INTO one_time_tokens AS t (id, kind, user_id, target, created_at, expires_at)
               SELECT $3::uuid, 'reset', id, email, $2, $4::timestamptz FROM account
               ON CONFLICT (user_id, kind) WHERE used_at IS NULL DO UPDATE
               SET id = excluded.id, target = excluded.target, created_at = excluded.created_at,
                   expires_at = excluded.expires_at
               RETURNING id, user_id
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
               SELECT $5::uuid, 'reset', user_id, id, $2, $2 FROM token
           ), logged AS (
               INSERT INTO audit (at, event, subject, address, user_agent, request_id, detail)
               SELECT $2, CASE WHEN account.id IS NULL
                          THEN 'authn_token_create_fail' ELSE 'authn_token_created' END,
                      account.id, $9::text::inet, $10, $11, '{"purpose": "reset"}'
               FROM admitted LEFT JOIN account ON true
           )
           SELECT EXISTS (SELECT FROM admitted) AS "admitted!", (SELECT tat FROM filled) AS tat"#;
        wish.email.key(),
        now,
        wish.token,
        wish.expires_at,
        Uuid::now_v7(),
        wish.bucket,
        wish.rate.map(|rate| rate.interval().as_secs_f64()),
        wish.rate.map(|rate| buckets::full_at(rate, now)),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    match wish.rate {
        Some(rate) if !row.admitted => Ok(Err(buckets::free_at(row.tat, rate, now))),
        _ => Ok(Ok(())),
    }
}

/// A new password by a link.
#[derive(Debug)]
pub struct NewPassword<'a> {
    /// The token's id.
    pub token: Uuid,
    /// The password, hashed.
    pub password: &'a Stored,
    /// The MACs of all that the account signs in with: their locks and stops end.
    pub subjects: &'a [Vec<u8>],
}

/// Uses the token and sets the password: ends every session, tells the nodes, forgets failures, voids
/// every other token of the account, puts a notice into the outbox and writes the audit row, in one transaction. `false`
/// when the token was used, replaced or voided meanwhile, or is for an address or from before a password
/// that the account no longer has; then nothing is done. Factors stay.
///
/// # Errors
/// The statement's.
pub async fn reset(
    db: &Pool,
    new: NewPassword<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    one_time_tokens::hold_user(&mut *transaction, new.token).await?;
    let done = sqlx::query_scalar!(
        r#"WITH used AS (
               -- Of uses at once the first updates the row; the others wait for it and then find it
               -- used.
               UPDATE one_time_tokens t SET used_at = $2
               WHERE id = $1 AND used_at IS NULL AND expires_at > $2
                 -- Another address or password voids a token. One that was being made at that very
                 -- moment was not there to be voided, and is told apart here.
                 AND (kind <> 'reset' OR target = (SELECT email FROM users WHERE id = t.user_id))
                 AND NOT EXISTS (SELECT FROM passwords p
                                 WHERE p.user_id = t.user_id AND p.changed_at > t.created_at)
               RETURNING user_id
           ), account AS (
               -- User, password, failures: locked in the order in which a sign-in locks them.
               SELECT u.id, u.email FROM users u JOIN used ON used.user_id = u.id
               WHERE u.status = 'active' FOR NO KEY UPDATE OF u
           ), secret AS (
               INSERT INTO passwords AS p (user_id, scheme, pepper_id, hash, changed_at)
               SELECT id, $3, $4, $5, $2 FROM account
               ON CONFLICT (user_id) DO UPDATE
               SET scheme = excluded.scheme, pepper_id = excluded.pepper_id, hash = excluded.hash,
                   changed_at = excluded.changed_at
               RETURNING user_id
           ), raised AS (
               UPDATE users SET version = version + 1 WHERE id IN (SELECT user_id FROM secret)
           ), ended AS (
               UPDATE sessions SET revoked_at = $2, revoked_reason = 'password_reset'
               WHERE user_id IN (SELECT user_id FROM secret) AND revoked_at IS NULL
           ), void AS (
               DELETE FROM one_time_tokens
               WHERE user_id IN (SELECT user_id FROM secret) AND used_at IS NULL AND id <> $1
           ), failed AS (
               -- In the order of `failures`.
               SELECT subject, network FROM failures
               WHERE subject = ANY($6::bytea[]) AND EXISTS (SELECT FROM secret)
               ORDER BY network = '', subject, network FOR NO KEY UPDATE
           ), cleared AS (
               UPDATE failures f SET count = 0, locked_until = NULL
               FROM failed WHERE f.subject = failed.subject AND f.network = failed.network
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, created_at, next_at)
               SELECT $7, 'password_changed', id, $2, $2 FROM account WHERE email IS NOT NULL
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id, detail)
               SELECT $2, 'authn_password_change', id, id, $8::text::inet, $9, $10, '{"by": "link"}'
               FROM account
           )
           SELECT (SELECT count(pg_notify($11, 'user ' || user_id)) FROM secret) > 0 AS "done!""#,
        new.token,
        now,
        new.password.scheme.as_str(),
        new.password.pepper_id,
        new.password.hash,
        new.subjects,
        Uuid::now_v7(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED,
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(done)
}
