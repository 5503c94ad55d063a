//! Signing in: the statement before the hash, and the ones after it.
//!
//! Every attempt that fails runs the same two statements, [`admit`] and [`record_failure`], whatever
//! the reason: what they cost tells nothing about the account.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, buckets, sessions};
use crate::credentials::Identifier;
use crate::extract::Caller;
use crate::password::{Scheme, Stored};
use crate::role::Role;
use crate::settings::Rate;

/// Failures older than this no longer count.
const FORGET: Duration = Duration::from_hours(24);
/// A network that signed the account in is known for this long.
const KNOWN: Duration = Duration::from_hours(30 * 24);

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
}

/// An attempt, before it is known whether such an account exists.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// What was typed.
    pub identifier: &'a Identifier,
    /// Its MAC: the subject of failures when no account has it.
    pub identifier_mac: &'a [u8],
    /// The address's bucket.
    pub bucket: &'a [u8],
    /// The address's network.
    pub network: &'a [u8],
}

/// Whether an attempt goes on.
#[derive(Debug)]
pub enum Admission {
    /// On to the hash.
    Admitted(Admitted),
    /// The address's bucket is empty until then.
    BucketEmpty(OffsetDateTime),
    /// The identifier is locked for this network until then.
    Locked(OffsetDateTime),
    /// The identifier is stopped for networks that it does not know.
    Stopped,
}

/// An admitted attempt.
#[derive(Debug)]
pub struct Admitted {
    /// What failures are counted under.
    pub subject: Vec<u8>,
    /// The account, if there is one.
    pub account: Option<Account>,
}

/// An account, as sign-in needs it.
#[derive(Debug)]
pub struct Account {
    /// The user's id.
    pub id: Uuid,
    /// The handle.
    pub username: String,
    /// Whether the account may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The password, if one is set.
    pub password: Option<Stored>,
}

/// Looks up the account, checks lock and stop, and takes one from the address's bucket, in one
/// statement. A refusal writes nothing.
///
/// # Errors
/// The statement's.
pub async fn admit(
    db: impl PgExecutor<'_>,
    attempt: Attempt<'_>,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Admission, Error> {
    let interval = limits.address.map(|rate| rate.interval().as_secs_f64());
    let full_at = limits.address.map(|rate| buckets::full_at(rate, now));
    let row = sqlx::query!(
        r#"WITH account AS (
               SELECT u.id, u.username, u.status, u.created_at, p.scheme, p.pepper_id, p.hash,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
               FROM users u LEFT JOIN passwords p ON p.user_id = u.id
               WHERE u.username_key = $1 OR u.email_key = $2
           ), subject AS (
               SELECT coalesce((SELECT uuid_send(id) FROM account), $3::bytea) AS key
           ), here AS (
               SELECT locked_until, known_until FROM failures, subject
               WHERE failures.subject = subject.key AND network = $4
           ), everywhere AS (
               SELECT count FROM failures, subject
               WHERE failures.subject = subject.key AND network = '' AND last_at > $5
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $6) AS locked_until,
                      EXISTS (SELECT FROM everywhere WHERE count >= $7::integer)
                      AND NOT EXISTS (SELECT FROM here WHERE known_until > $6) AS stopped
           ), seen AS (
               SELECT tat FROM buckets WHERE key = $8
           ), taken AS (
               INSERT INTO buckets AS bucket (key, tat)
               SELECT $8, $6 + $9::float8 * interval '1 second' FROM barred
               WHERE $9::float8 IS NOT NULL AND locked_until IS NULL AND NOT stopped
                 AND NOT EXISTS (SELECT FROM seen WHERE tat > $10)
               ON CONFLICT (key) DO UPDATE
               SET tat = greatest(bucket.tat, $6) + $9::float8 * interval '1 second'
               WHERE bucket.tat <= $10
               RETURNING tat
           )
           SELECT subject.key AS "subject!", barred.locked_until, barred.stopped AS "stopped!",
                  EXISTS (SELECT FROM taken) AS "taken!", (SELECT tat FROM seen) AS tat,
                  account.id AS "id?", username AS "username?", status AS "status?",
                  created_at AS "created_at?", roles, scheme AS "scheme?", pepper_id AS "pepper_id?",
                  hash AS "hash?"
           FROM subject CROSS JOIN barred LEFT JOIN account ON true"#,
        attempt.identifier.username_key(),
        attempt.identifier.email_key(),
        attempt.identifier_mac,
        attempt.network,
        now - FORGET,
        now,
        limits.lock_stop.map(whole),
        attempt.bucket,
        interval,
        full_at,
    )
    .fetch_one(db)
    .await?;
    if let Some(until) = row.locked_until {
        return Ok(Admission::Locked(until));
    }
    if row.stopped {
        return Ok(Admission::Stopped);
    }
    if let Some(rate) = limits.address.filter(|_| !row.taken) {
        return Ok(Admission::BucketEmpty(buckets::free_at(row.tat, rate, now)));
    }
    let password = row.hash.zip(row.scheme).map(|(hash, scheme)| Stored {
        scheme: Scheme::of(&scheme),
        pepper_id: row.pepper_id,
        hash,
    });
    let account =
        row.id.zip(row.username).zip(row.created_at).map(|((id, username), created_at)| {
            let active = row.status.as_deref() == Some("active");
            let roles = sessions::parse_roles(&row.roles.unwrap_or_default());
            Account { id, username, active, created_at, roles, password }
        });
    Ok(Admission::Admitted(Admitted { subject: row.subject, account }))
}

/// Counts a failure here and, unless the account knows this network, everywhere; locks when it is
/// time to; writes the audit row. One statement.
///
/// # Errors
/// The statement's.
pub async fn record_failure(
    db: impl PgExecutor<'_>,
    admitted: &Admitted,
    network: &[u8],
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        r#"WITH here AS (
               INSERT INTO failures AS f (subject, network, count, last_at, locked_until)
               VALUES ($1, $2, 1, $3::timestamptz, CASE WHEN $5::integer <= 1 THEN $3::timestamptz + interval '1 second' END)
               ON CONFLICT (subject, network) DO UPDATE SET
                   count = CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END,
                   last_at = $3,
                   -- A lock that still holds is not made longer by an attempt that began before it.
                   locked_until = CASE
                       WHEN f.locked_until > $3::timestamptz THEN f.locked_until
                       WHEN f.last_at > $4 AND f.count + 1 >= $5 THEN $3::timestamptz + interval '1 second'
                           * least($6::float8, 2.0 ^ least(f.count + 1 - $5, 30))
                   END
               RETURNING known_until
           ), everywhere AS (
               INSERT INTO failures AS f (subject, network, count, last_at)
               SELECT $1, '', 1, $3 FROM here WHERE known_until IS NULL OR known_until <= $3
               ON CONFLICT (subject, network) DO UPDATE SET
                   count = CASE WHEN f.last_at > $4 THEN f.count + 1 ELSE 1 END,
                   last_at = $3
           )
           INSERT INTO audit (at, event, subject, address, user_agent, request_id)
           VALUES ($3, 'authn_login_fail', $7, $8::text::inet, $9, $10)"#,
        admitted.subject,
        network,
        now,
        now - FORGET,
        limits.lock_after.map(whole),
        limits.lock_max.as_secs_f64(),
        admitted.account.as_ref().map(|account| account.id),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A session to be made.
#[derive(Debug)]
pub struct NewSession<'a> {
    /// Its id.
    pub id: Uuid,
    /// Half of its refresh tokens' MAC.
    pub salt: &'a [u8],
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// When it ends in any case.
    pub absolute_until: OffsetDateTime,
}

/// Makes the session, upgrades the hash, forgets the failures, knows the network, writes the audit
/// row: one statement. `false`, and nothing done, when the account was disabled or its password
/// changed since [`admit`].
///
/// # Errors
/// The statement's.
pub async fn succeed(
    db: impl PgExecutor<'_>,
    (account, verified): (&Account, &Stored),
    (session, upgrade): (NewSession<'_>, Option<&Stored>),
    network: &[u8],
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let done = sqlx::query_scalar!(
        r#"WITH account AS (
               -- The lock waits for a change of password or status under way; then the row as it
               -- is after that change decides.
               SELECT u.id FROM users u JOIN passwords p ON p.user_id = u.id
               WHERE u.id = $1 AND u.status = 'active' AND p.hash = $2
               FOR SHARE OF u, p
           ), session AS (
               INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at,
                                     idle_until, absolute_until, address, user_agent)
               SELECT $3, id, $4, $5, $5, $5, $6, $7, $8::text::inet, $9 FROM account
           ), upgraded AS (
               UPDATE passwords SET scheme = $10, pepper_id = $11, hash = $12::text
               WHERE user_id IN (SELECT id FROM account) AND $12::text IS NOT NULL
           ), here AS (
               INSERT INTO failures AS f (subject, network, count, last_at, known_until)
               SELECT uuid_send(id), $13::bytea, 0, $5, $14::timestamptz FROM account
               ON CONFLICT (subject, network) DO UPDATE
               SET count = 0, last_at = $5, locked_until = NULL, known_until = $14
           ), everywhere AS (
               UPDATE failures SET count = 0
               WHERE subject IN (SELECT uuid_send(id) FROM account) AND network = '' AND count > 0
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $5, 'authn_login_success', id, id, $3, $8::text::inet, $9, $15 FROM account
           )
           SELECT EXISTS (SELECT FROM account) AS "done!""#,
        account.id,
        verified.hash,
        session.id,
        session.salt,
        now,
        session.idle_until,
        session.absolute_until,
        caller.address.0.to_string(),
        caller.user_agent,
        upgrade.map(|stored| stored.scheme.as_str()),
        upgrade.and_then(|stored| stored.pepper_id.as_deref()),
        upgrade.map(|stored| stored.hash.as_str()),
        network,
        now + KNOWN,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    Ok(done)
}

fn whole(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
