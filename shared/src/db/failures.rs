//! Failed sign-ins: counted by identifier and network, locked, stopped.
//!
//! A row's subject is the MAC of an identifier, as typed, in lower case: an account's name and its
//! address are counted apart, because a counter they shared would tell that they belong together.
//! The empty network counts every network that the identifier does not know.
//!
//! Whoever locks several of these rows locks those of networks first, then those of all networks, each
//! by subject and network: a sign-in and a failure come by them in that order.

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

/// What stands against an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// The identifier is locked for this network until then.
    Locked(OffsetDateTime),
    /// The identifier is stopped for networks that it does not know.
    Stopped,
}

impl Bar {
    /// From the columns that the statements of sign-in answer with; a lock is told before a stop.
    pub(super) fn find(locked_until: Option<OffsetDateTime>, stopped: bool) -> Option<Self> {
        locked_until.map(Self::Locked).or(stopped.then_some(Self::Stopped))
    }
}

/// What failed, and so how the audit log calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// An identifier with a password.
    Password,
    /// A code, after a right password.
    SecondFactor,
}

impl Failed {
    /// The event of a failure, and of one that locks or stops.
    fn events(self) -> [&'static str; 2] {
        match self {
            Self::Password => ["authn_login_fail", "authn_login_lock"],
            Self::SecondFactor => ["authn_second_factor_fail", "authn_second_factor_lock"],
        }
    }
}

/// Counts a failure here and, unless the identifier knows this network, everywhere; locks when it is
/// time to; writes the audit row. One statement.
///
/// `Some` when a lock or stop was imposed while the hash was computed: the guess is not judged, so
/// that guesses sent at once learn no more than guesses sent one by one. A lock then writes nothing;
/// a stop, which is looked at second, leaves the count of this network raised.
///
/// # Errors
/// The statement's.
pub async fn record(
    db: impl PgExecutor<'_>,
    (failed, at): (Failed, Place<'_>),
    account: Option<Uuid>,
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Option<Bar>, Error> {
    let [fail, lock] = failed.events();
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
               WHERE $7::integer IS NULL OR f.count < $7 OR f.last_at <= $4
               RETURNING count
           ), judged AS (
               SELECT locked_until FROM here
               WHERE known_until > $3 OR EXISTS (SELECT FROM everywhere)
           ), logged AS (
               INSERT INTO audit (at, event, subject, address, user_agent, request_id)
               SELECT $3, CASE WHEN judged.locked_until IS NOT NULL
                                 OR EXISTS (SELECT FROM everywhere WHERE count = $7)
                          THEN $13::text ELSE $12::text END,
                      $8, $9::text::inet, $10, $11
               FROM judged
           )
           SELECT EXISTS (SELECT FROM judged) AS "judged!", EXISTS (SELECT FROM here) AS "stopped!",
                  -- The lock that stood against `here` may be younger than the snapshot, where one
                  -- that has ended still stands: FOR UPDATE reads the row as it is now.
                  (SELECT locked_until FROM failures
                   WHERE subject = $1 AND network = $2 AND NOT EXISTS (SELECT FROM here)
                   FOR UPDATE) AS locked_until"#,
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
        fail,
        lock,
    )
    .fetch_one(db)
    .await?;
    if row.judged {
        return Ok(None);
    }
    // A row that is younger than the snapshot is not found: its lock is a first one, of a second.
    let first = Bar::Locked(now + time::Duration::SECOND);
    Ok(Some(Bar::find(row.locked_until, row.stopped).unwrap_or(first)))
}

/// A count as Postgres takes it.
pub(super) fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
