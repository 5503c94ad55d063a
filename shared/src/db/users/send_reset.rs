//! A link to set a new password, sent by an administrator, who never sees it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::access_token::Claims;
use crate::db::Error;
use crate::db::buckets::{Bucket, taking};
use crate::db::permitted::judge;
use crate::extract::Caller;
use crate::role::Permission;

/// What became of the wish for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The mail is in the outbox.
    Done,
    /// There is no account of this id.
    NotFound,
    /// The account is disabled, or the address is not its own.
    NoAddress,
    /// The address's bucket is empty until then.
    BucketEmpty(OffsetDateTime),
}

/// A link asked for.
#[derive(Debug)]
pub struct Link<'a> {
    /// The account's verified address.
    pub email: &'a str,
    /// The token's id.
    pub token: Uuid,
    /// Until when that may be used.
    pub expires_at: OffsetDateTime,
    /// The bucket of mails to the address.
    pub bucket: Bucket<'a>,
}

/// Takes one from the address's bucket, makes the token in place of an older one, puts the mail into the
/// outbox and writes the audit row, in one statement.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or the statement's.
pub async fn send_reset(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    id: Uuid,
    link: Link<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Sent, Error> {
    // The caller's row is not locked: they may be the target, and whoever forgot a password has the
    // bucket first and waits for that row then.
    let row = taking!(
        permitted read ", target AS (
               SELECT id, email, status FROM users
               WHERE id = $11 AND EXISTS (SELECT FROM permitted)
               -- Before its tokens, as whoever voids them; no more than a token's reference needs, since
               -- two administrators may send each other links.
               FOR KEY SHARE
           ), reached AS (
               SELECT id, email FROM target WHERE email = $15 AND status = 'active'
           ), asked AS (
               SELECT $16::bytea AS key, $3::timestamptz AS at, $17::float8 AS seconds,
                      $18::timestamptz AS full_at
               FROM reached
           )",
        r#", token AS (
               INSERT INTO one_time_tokens AS t (id, kind, user_id, target, created_at, expires_at)
               SELECT $12::uuid, 'reset', id, email, $3, $13::timestamptz FROM reached
               WHERE EXISTS (SELECT FROM admitted)
               ON CONFLICT (user_id, kind) WHERE used_at IS NULL DO UPDATE
               SET id = excluded.id, target = excluded.target, created_at = excluded.created_at,
                   expires_at = excluded.expires_at
               RETURNING id, user_id
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, token_id, created_at, next_at)
               SELECT $14::uuid, 'reset', user_id, id, $3, $3 FROM token
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id,
                                  detail)
               SELECT $3, 'authn_token_created', caller.id, token.user_id, caller.session,
                      $7::text::inet, $8, $9, '{"purpose": "reset"}'
               FROM caller, token
           )
           SELECT EXISTS (SELECT FROM permitted) AS "permitted!",
                  EXISTS (SELECT FROM target) AS "found!", EXISTS (SELECT FROM reached) AS "reached!",
                  EXISTS (SELECT FROM token) AS "sent!", (SELECT tat FROM filled) AS tat
           FROM caller"#;
        claims,
        now,
        Permission::UsersWrite,
        caller,
        id,
        link.token,
        link.expires_at,
        Uuid::now_v7(),
        link.email,
        link.bucket.key,
        link.bucket.seconds(),
        link.bucket.full_at(now)
    )
    .fetch_optional(db)
    .await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    Ok(match row {
        Some(row) if row.sent => Sent::Done,
        Some(row) if row.reached => Sent::BucketEmpty(link.bucket.free_at(row.tat, now)),
        Some(row) if row.found => Sent::NoAddress,
        _ => Sent::NotFound,
    })
}
