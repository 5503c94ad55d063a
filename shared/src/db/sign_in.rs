//! Signing in: the statement before the hash, and the one after a right password.
//!
//! Every attempt that fails runs the same two statements, [`admit`] and [`super::failures::record`],
//! whatever the reason: what they cost tells nothing about the account.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::failures::{Limits, Place, whole};
use super::{Error, buckets, sessions};
use crate::credentials::Identifier;
use crate::extract::Caller;
use crate::password::{Scheme, Stored};
use crate::role::Role;

/// Whether an attempt goes on.
#[derive(Debug)]
pub enum Admission {
    /// On to the hash, with the account, if there is one.
    Admitted(Option<Account>),
    /// The address's bucket is empty until then.
    BucketEmpty(OffsetDateTime),
    /// The identifier is locked for this network until then.
    Locked(OffsetDateTime),
    /// The identifier is stopped for networks that it does not know.
    Stopped,
}

/// An account, as sign-in needs it.
#[derive(Debug)]
pub struct Account {
    /// The user's id.
    pub id: Uuid,
    /// The handle.
    pub username: String,
    /// What the account signs in with, in lower case: its name and, when verified, its address.
    pub identifiers: Vec<String>,
    /// Whether the account may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The password, if one is set.
    pub password: Option<CurrentPassword>,
}

/// An account's password.
#[derive(Debug)]
pub struct CurrentPassword {
    /// Its hash.
    pub stored: Stored,
    /// When it was set; making the hash anew does not change it.
    pub changed_at: OffsetDateTime,
}

/// Looks up the account, checks lock and stop, and takes one from the address's bucket, in one
/// statement. A refusal writes nothing.
///
/// # Errors
/// The statement's.
pub async fn admit(
    db: impl PgExecutor<'_>,
    identifier: &Identifier,
    at: Place<'_>,
    bucket: &[u8],
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Admission, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"WITH account AS (
               SELECT u.id, u.username, u.username_key, u.email_key, u.status, u.created_at,
                      p.scheme, p.pepper_id, p.hash, p.changed_at,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
               FROM users u LEFT JOIN passwords p ON p.user_id = u.id
               WHERE u.username_key = $1 OR u.email_key = $2
           ), here AS (
               SELECT locked_until, known_until FROM failures WHERE subject = $3 AND network = $4
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $6) AS locked_until,
                      EXISTS (SELECT FROM failures WHERE subject = $3 AND network = ''
                              AND last_at > $5 AND count >= $7::integer)
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
           SELECT barred.locked_until, barred.stopped AS "stopped!",
                  EXISTS (SELECT FROM taken) AS "taken!", (SELECT tat FROM seen) AS tat,
                  account.id AS "id?", username AS "username?", username_key AS "username_key?",
                  email_key, status AS "status?", created_at AS "created_at?", roles,
                  scheme AS "scheme?", pepper_id, hash AS "hash?", changed_at AS "changed_at?"
           FROM barred LEFT JOIN account ON true"#,
        identifier.username_key(),
        identifier.email_key(),
        at.subject,
        at.network,
        now - limits.forget,
        now,
        limits.lock_stop.map(whole),
        bucket,
        limits.address.map(|rate| rate.interval().as_secs_f64()),
        limits.address.map(|rate| buckets::full_at(rate, now)),
    )
    .fetch_one(db)
    .await?;
    Ok(row.admission(limits, now))
}

/// The answer of [`admit`]'s statement.
struct Row {
    locked_until: Option<OffsetDateTime>,
    stopped: bool,
    taken: bool,
    tat: Option<OffsetDateTime>,
    id: Option<Uuid>,
    username: Option<String>,
    username_key: Option<String>,
    email_key: Option<String>,
    status: Option<String>,
    created_at: Option<OffsetDateTime>,
    roles: Option<Vec<String>>,
    scheme: Option<String>,
    pepper_id: Option<String>,
    hash: Option<String>,
    changed_at: Option<OffsetDateTime>,
}

impl Row {
    fn admission(self, limits: &Limits, now: OffsetDateTime) -> Admission {
        if let Some(until) = self.locked_until {
            return Admission::Locked(until);
        }
        if self.stopped {
            return Admission::Stopped;
        }
        match limits.address {
            Some(rate) if !self.taken => {
                Admission::BucketEmpty(buckets::free_at(self.tat, rate, now))
            }
            _ => Admission::Admitted(self.account()),
        }
    }

    /// The account; every column of `users` is there, or none.
    fn account(self) -> Option<Account> {
        let password = self.hash.zip(self.scheme).zip(self.changed_at);
        let password = password.map(|((hash, scheme), changed_at)| CurrentPassword {
            stored: Stored { scheme: Scheme::of(&scheme), pepper_id: self.pepper_id, hash },
            changed_at,
        });
        Some(Account {
            id: self.id?,
            username: self.username?,
            identifiers: self.username_key.into_iter().chain(self.email_key).collect(),
            active: self.status? == "active",
            created_at: self.created_at?,
            roles: sessions::parse_roles(&self.roles?),
            password,
        })
    }
}

/// A right password, and the session it makes.
pub struct Success<'a> {
    /// Whose it is.
    pub account: &'a Account,
    /// What it was checked against.
    pub verified: &'a CurrentPassword,
    /// The hash made anew, when it was not of today.
    pub upgrade: Option<&'a Stored>,
    /// The session's id.
    pub session: Uuid,
    /// Half of its refresh tokens' MAC.
    pub salt: &'a [u8],
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// When it ends in any case.
    pub absolute_until: OffsetDateTime,
    /// What was typed, as failures count it.
    pub at: Place<'a>,
    /// The MACs of all that the account signs in with: their failures are forgotten, and they know
    /// the network from now on.
    pub subjects: &'a [Vec<u8>],
}

/// What became of a right password.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session is there.
    SignedIn,
    /// A lock was imposed while the hash was computed; nothing was done.
    Locked(OffsetDateTime),
    /// The account was disabled or its password changed meanwhile; nothing was done.
    Changed,
}

/// Makes the session, upgrades the hash, forgets the failures, knows the network, writes the audit
/// row: one statement.
///
/// # Errors
/// The statement's.
pub async fn succeed(
    db: impl PgExecutor<'_>,
    success: Success<'_>,
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Outcome, Error> {
    let row = sqlx::query!(
        r#"WITH lock AS (
               SELECT locked_until FROM failures
               WHERE subject = $1 AND network = $2 AND locked_until > $3
           ), account AS (
               -- The locks wait for a change of status or password under way; then the rows as they
               -- are after it decide. The password's is the one its UPDATE takes, or two sign-ins
               -- that both upgrade would each wait for the other.
               SELECT u.id FROM users u JOIN passwords p ON p.user_id = u.id
               WHERE u.id = $4 AND u.status = 'active' AND p.changed_at = $5
                 AND NOT EXISTS (SELECT FROM lock)
               FOR SHARE OF u FOR NO KEY UPDATE OF p
           ), session AS (
               INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at,
                                     idle_until, absolute_until, address, user_agent)
               SELECT $6, id, $7, $3, $3, $3, $8, $9, $10::text::inet, $11 FROM account
           ), upgraded AS (
               UPDATE passwords SET scheme = $12, pepper_id = $13, hash = $14::text
               WHERE user_id IN (SELECT id FROM account) AND hash = $15 AND $14::text IS NOT NULL
           ), here AS (
               INSERT INTO failures AS f (subject, network, count, last_at, known_until)
               SELECT subject, $2, 0, $3, $16::timestamptz
               FROM account, unnest($17::bytea[]) AS subject ORDER BY subject
               ON CONFLICT (subject, network) DO UPDATE
               SET count = 0, last_at = $3, locked_until = NULL, known_until = $16
               RETURNING subject
           ), everywhere AS (
               -- After `here`, as in a failure: two that lock the same rows never cross.
               UPDATE failures SET count = 0
               WHERE subject IN (SELECT subject FROM here) AND network = '' AND count > 0
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'authn_login_success', id, id, $6, $10::text::inet, $11, $18 FROM account
           )
           SELECT EXISTS (SELECT FROM account) AS "done!",
                  (SELECT locked_until FROM lock) AS locked_until"#,
        success.at.subject,
        success.at.network,
        now,
        success.account.id,
        success.verified.changed_at,
        success.session,
        success.salt,
        success.idle_until,
        success.absolute_until,
        caller.address.0.to_string(),
        caller.user_agent,
        success.upgrade.map(|stored| stored.scheme.as_str()),
        success.upgrade.and_then(|stored| stored.pepper_id.as_deref()),
        success.upgrade.map(|stored| stored.hash.as_str()),
        success.verified.stored.hash,
        now + limits.known,
        success.subjects,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.done, row.locked_until) {
        (true, _) => Outcome::SignedIn,
        (false, Some(until)) => Outcome::Locked(until),
        (false, None) => Outcome::Changed,
    })
}

/// Writes the audit row of a right password for a disabled account.
///
/// # Errors
/// The statement's.
pub async fn record_disabled(
    db: impl PgExecutor<'_>,
    user: Uuid,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO audit (at, event, subject, address, user_agent, request_id)
         VALUES ($1, 'authn_login_fail_disabled', $2, $3::text::inet, $4, $5)",
        now,
        user,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}
