//! Failed sign-ins: counted by identifier and network, locked, stopped.
//!
//! A row's subject is the MAC of an identifier, as typed, in lower case: an account's name and its
//! address are counted apart, because a counter they shared would tell that they belong together.
//! The empty network counts every network that the identifier does not know.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::extract::Caller;
use crate::settings::Rate;

/// The limits of sign-in; `None` is off.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `LIMIT_LOGIN_ADDRESS`.
    pub address: Option<Rate>,
    /// `LOCK_AFTER`: failures of an identifier from a network before it is locked there.
    pub lock_after: Option<u32>,
    /// `LOCK_MAX`: longest lock.
    pub lock_max: Duration,
    /// `LOCK_STOP`: failures of an identifier from all unknown networks before it is stopped.
    pub lock_stop: Option<u32>,
    /// `LOCK_FORGET`: failures this long after the last one no longer count.
    pub forget: Duration,
    /// `KNOWN_NETWORK`: how long a network that signed an identifier in is known to it.
    pub known: Duration,
}

/// Where a failure is counted.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The identifier's MAC.
    pub subject: &'a [u8],
    /// The caller's network.
    pub network: &'a [u8],
}

/// Counts a failure here and, unless the identifier knows this network, everywhere; locks when it is
/// time to; writes the audit row. One statement.
///
/// `Some(until)`, and nothing written, when a lock was imposed while the hash was computed: guesses
/// sent at once learn no more than guesses sent one by one.
///
/// # Errors
/// The statement's.
pub async fn record(
    db: impl PgExecutor<'_>,
    at: Place<'_>,
    account: Option<Uuid>,
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, Error> {
    let row = sqlx::query!(
        r#"WITH here AS (
               INSERT INTO failures AS f (subject, network, count, last_at, locked_until)
               VALUES ($1, $2, 1, $3::timestamptz, CASE WHEN $5::integer <= 1 THEN
                   $3::timestamptz + interval '1 second' * least($6::float8, 1) END)
               ON CONFLICT (subject, network) DO UPDATE SET
                   count = CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END,
                   last_at = $3,
                   locked_until = CASE
                       WHEN CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END >= $5 THEN
                           $3::timestamptz + interval '1 second' * least($6::float8, 2.0 ^ least(30,
                               CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END - $5))
                   END
               WHERE f.locked_until IS NULL OR f.locked_until <= $3
               RETURNING known_until, locked_until
           ), everywhere AS (
               INSERT INTO failures AS f (subject, network, count, last_at)
               SELECT $1, '', 1, $3 FROM here WHERE known_until IS NULL OR known_until <= $3
               ON CONFLICT (subject, network) DO UPDATE SET
                   count = CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END,
                   last_at = $3
               RETURNING count
           ), logged AS (
               INSERT INTO audit (at, event, subject, address, user_agent, request_id)
               SELECT $3, CASE WHEN here.locked_until IS NOT NULL
                                 OR EXISTS (SELECT FROM everywhere WHERE count = $7::integer)
                          THEN 'authn_login_lock' ELSE 'authn_login_fail' END,
                      $8, $9::text::inet, $10, $11
               FROM here
           )
           SELECT EXISTS (SELECT FROM here) AS "recorded!",
                  (SELECT locked_until FROM failures WHERE subject = $1 AND network = $2) AS until"#,
        at.subject,
        at.network,
        now,
        now - limits.forget,
        limits.lock_after.map(whole),
        limits.lock_max.as_secs_f64(),
        limits.lock_stop.map(whole),
        account,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    // A lock imposed since this statement began is not in its snapshot: such a one lasts a second.
    let until = row.until.filter(|until| *until > now).unwrap_or(now + time::Duration::SECOND);
    Ok((!row.recorded).then_some(until))
}

/// A count as Postgres takes it.
pub(super) fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
