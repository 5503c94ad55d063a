//! Refreshing: the statement before the token is checked, and the one that judges it.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{counter, parse_roles};
use crate::db::{Error, buckets, notices};
use crate::extract::Caller;
use crate::role::Role;
use crate::settings::Rate;

/// Whether a refresh goes on.
#[derive(Debug)]
pub enum Admission {
    /// On to the MAC, with the session's salt.
    Admitted(Vec<u8>),
    /// There is no such session any more.
    Ended,
    /// The address's bucket is empty until then.
    BucketEmpty(OffsetDateTime),
}

/// Finds the session's salt and takes one from the address's bucket, in one statement. A refusal
/// writes nothing.
///
/// # Errors
/// The statement's.
pub async fn admit(
    db: impl PgExecutor<'_>,
    session: Uuid,
    bucket: &[u8],
    rate: Option<Rate>,
    now: OffsetDateTime,
) -> Result<Admission, Error> {
    let row = sqlx::query!(
        r#"WITH seen AS (
               SELECT tat FROM buckets WHERE key = $2
           ), taken AS (
               INSERT INTO buckets AS bucket (key, tat)
               SELECT $2, $3::timestamptz + $4::float8 * interval '1 second'
               WHERE $4::float8 IS NOT NULL AND NOT EXISTS (SELECT FROM seen WHERE tat > $5)
               ON CONFLICT (key) DO UPDATE
               SET tat = greatest(bucket.tat, $3) + $4::float8 * interval '1 second'
               WHERE bucket.tat <= $5
               RETURNING tat
           )
           SELECT EXISTS (SELECT FROM taken) AS "taken!", (SELECT tat FROM seen) AS tat,
                  (SELECT salt FROM sessions s JOIN users u ON u.id = s.user_id
                   WHERE s.id = $1 AND u.status = 'active' AND s.revoked_at IS NULL
                     AND s.idle_until > $3 AND s.absolute_until > $3) AS salt"#,
        session,
        bucket,
        now,
        rate.map(|rate| rate.interval().as_secs_f64()),
        rate.map(|rate| buckets::full_at(rate, now)),
    )
    .fetch_one(db)
    .await?;
    Ok(match (rate, row.salt) {
        (Some(rate), _) if !row.taken => {
            Admission::BucketEmpty(buckets::free_at(row.tat, rate, now))
        }
        (_, Some(salt)) => Admission::Admitted(salt),
        (_, None) => Admission::Ended,
    })
}

/// A genuine refresh token, to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// Its session.
    pub session: Uuid,
    /// Which of the session's tokens it is.
    pub counter: u64,
    /// How long after a rotation its predecessor is still good for the same successor.
    pub grace: Duration,
    /// How long the session then holds without a refresh.
    pub idle: Duration,
}

/// A session that was refreshed.
#[derive(Debug)]
pub struct Refreshed {
    /// The user.
    pub user: Uuid,
    /// The user's roles now.
    pub roles: Vec<Role>,
    /// When the user signed in.
    pub created_at: OffsetDateTime,
    /// Which token holds now.
    pub counter: u64,
    /// When the session ends without a further refresh.
    pub idle_until: OffsetDateTime,
}

/// Judges a genuine token against the session's counter, in one statement with all that follows:
///
/// - the one that holds: the next one is made;
/// - its predecessor: the same successor again, if that was made within the grace or was never seen.
///   Answers get lost, and tabs refresh at once;
/// - an older one, or a predecessor whose successor is in use: somebody has a copy. The session ends;
/// - one that is yet to be made: the database is older than the token, restored from a backup. The
///   MAC says that we made it, so the session goes on from there.
///
/// # Errors
/// [`Error::SessionRevoked`] when the session has ended, now or before, or the statement's.
pub async fn refresh(
    db: impl PgExecutor<'_>,
    presented: Presented,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Refreshed, Error> {
    let row = sqlx::query!(
        r#"WITH held AS (
               -- One at a time: whoever waited here sees the counter that the first one set.
               SELECT s.id, s.user_id, s.counter, s.seen_counter, s.rotated_at, s.created_at,
                      s.idle_until, s.absolute_until
               FROM sessions s JOIN users u ON u.id = s.user_id
               WHERE s.id = $1 AND u.status = 'active' AND s.revoked_at IS NULL
                 AND s.idle_until > $2 AND s.absolute_until > $2
               FOR NO KEY UPDATE OF s
           ), judged AS (
               SELECT *, CASE
                   WHEN counter = $3 THEN 'next'
                   WHEN counter < $3 THEN 'ahead'
                   WHEN counter = $3 + 1 AND (rotated_at >= $4 OR seen_counter < counter) THEN 'same'
                   WHEN counter = $3 + 1 THEN 'superseded'
                   ELSE 'reuse'
               END AS verdict
               FROM held
           ), rotated AS (
               UPDATE sessions s
               SET counter = $3::bigint + 1, rotated_at = $2, last_seen_at = $2,
                   idle_until = least(s.absolute_until, $2 + $5::float8 * interval '1 second'),
                   address = $6::text::inet, user_agent = $7
               FROM judged WHERE s.id = judged.id AND verdict IN ('next', 'ahead')
               RETURNING s.counter, s.idle_until
           ), revoked AS (
               UPDATE sessions s SET revoked_at = $2, revoked_reason = verdict
               FROM judged WHERE s.id = judged.id AND verdict IN ('superseded', 'reuse')
               RETURNING s.id
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id,
                                  detail)
               SELECT $2, CASE verdict WHEN 'ahead' THEN 'authn_token_created'
                                       WHEN 'reuse' THEN 'authn_token_reuse'
                                       ELSE 'authn_token_revoked' END,
                      user_id, user_id, id, $6::text::inet, $7, $8,
                      jsonb_build_object('verdict', verdict, 'counter', counter, 'presented', $3::bigint)
               FROM judged WHERE verdict IN ('ahead', 'superseded', 'reuse')
           )
           SELECT judged.user_id, judged.created_at,
                  coalesce(rotated.counter, judged.counter) AS "counter!",
                  coalesce(rotated.idle_until, judged.idle_until) AS "idle_until!",
                  ARRAY(SELECT role FROM user_roles r WHERE r.user_id = judged.user_id
                        ORDER BY role) AS "roles!",
                  (SELECT count(pg_notify($9, 'session ' || id)) FROM revoked) > 0 AS "revoked!"
           FROM judged LEFT JOIN rotated ON true"#,
        presented.session,
        now,
        counter(presented.counter),
        now - presented.grace,
        presented.idle.as_secs_f64(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED,
    )
    .fetch_optional(db)
    .await?;
    let row = row.filter(|row| !row.revoked).ok_or(Error::SessionRevoked)?;
    Ok(Refreshed {
        user: row.user_id,
        roles: parse_roles(&row.roles),
        created_at: row.created_at,
        counter: u64::try_from(row.counter).unwrap_or_default(),
        idle_until: row.idle_until,
    })
}
