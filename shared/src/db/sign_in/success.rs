//! After a right password: the session it makes, the second factor it needs, or what stands against it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::challenge::Challenge;
use crate::db::failures::{Bar, Limits, Place, whole};
use crate::db::{Error, challenges};
use crate::extract::Caller;
use crate::password::Stored;

/// A right password.
#[derive(Debug, Clone, Copy)]
pub struct RightPassword<'a> {
    /// Whose it is.
    pub user: Uuid,
    /// When that password was set.
    pub changed_at: OffsetDateTime,
    /// When the hash was not of today: the one it was checked against, and the one made anew.
    pub upgrade: Option<(&'a Stored, &'a Stored)>,
}

/// A right password, with a second factor where one is needed, and the session it makes.
pub struct Success<'a> {
    /// The password.
    pub password: RightPassword<'a>,
    /// The second factor that was proved, such as `totp`.
    pub second_factor: Option<&'a str>,
    /// The session's id.
    pub session: Uuid,
    /// Half of its refresh tokens' MAC.
    pub salt: &'a [u8],
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// When it ends in any case.
    pub absolute_until: OffsetDateTime,
    /// What was tried, as failures count it.
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
    /// The challenge for the second factor is.
    SecondFactorAsked,
    /// A lock or stop was imposed while the hash was computed; nothing was done.
    Barred(Bar),
    /// The account was disabled, or its password or its need of a second factor changed meanwhile;
    /// nothing was done.
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
    let (old, new) = success.password.upgrade.unzip();
    let row = sqlx::query!(
        r#"WITH known AS (
               SELECT subject FROM failures
               WHERE subject = ANY($17::bytea[]) AND network = $2 AND known_until > $3
           ), stopped AS (
               SELECT subject FROM failures
               WHERE subject = ANY($17) AND network = '' AND last_at > $19 AND count >= $20::integer
           ), barred AS (
               SELECT (SELECT locked_until FROM failures
                       WHERE subject = $1 AND network = $2 AND locked_until > $3) AS locked_until,
                      EXISTS (SELECT FROM stopped WHERE subject = $1)
                      AND NOT EXISTS (SELECT FROM known WHERE subject = $1) AS stopped
           ), account AS (
               -- The locks wait for a change of status, password or factors under way; then the rows as
               -- they are after it decide, and no other table's. The password's is the one its UPDATE
               -- takes, or two sign-ins that both upgrade would each wait for the other.
               SELECT u.id FROM users u JOIN passwords p ON p.user_id = u.id
               WHERE u.id = $4 AND u.status = 'active' AND p.changed_at = $5
                 AND EXISTS (SELECT FROM barred WHERE locked_until IS NULL AND NOT stopped)
                 AND ($21::text IS NOT NULL OR NOT u.second_factor)
               FOR SHARE OF u FOR NO KEY UPDATE OF p
           ), session AS (
               INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at,
                                     idle_until, absolute_until, address, user_agent, proven_at)
               SELECT $6, id, $7, $3, $3, $3, $8, $9, $10::text::inet, $11,
                      CASE WHEN $21::text IS NOT NULL THEN $3::timestamptz END
               FROM account
           ), upgraded AS (
               UPDATE passwords SET scheme = $12, pepper_id = $13, hash = $14::text
               WHERE user_id IN (SELECT id FROM account) AND hash = $15 AND $14::text IS NOT NULL
           ), here AS (
               INSERT INTO failures AS f (subject, network, count, last_at, known_until)
               SELECT subject, $2, 0, $3, $16::timestamptz
               FROM account, unnest($17) AS subject ORDER BY subject
               ON CONFLICT (subject, network) DO UPDATE
               SET count = 0, last_at = $3, locked_until = NULL, known_until = $16
               RETURNING subject
           ), counted AS (
               -- After `here` and by subject, as everybody: see `failures`. Only a network's first
               -- sign-in begins the count anew: else whoever guesses elsewhere would have as many
               -- guesses again with each sign-in at home. And no sign-in ends a stop.
               SELECT f.subject FROM failures f JOIN here USING (subject)
               WHERE f.network = '' AND f.count > 0
                 AND f.subject NOT IN (SELECT subject FROM known)
                 AND f.subject NOT IN (SELECT subject FROM stopped)
               ORDER BY f.subject FOR NO KEY UPDATE OF f
           ), everywhere AS (
               UPDATE failures f SET count = 0
               FROM counted WHERE f.subject = counted.subject AND f.network = ''
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                                  request_id, detail)
               SELECT $3, 'authn_login_success', id, id, $6, $10::text::inet, $11, $18,
                      CASE WHEN $21 IS NOT NULL THEN jsonb_build_object('factor', $21::text) END
               FROM account
           )
           SELECT EXISTS (SELECT FROM account) AS "done!", locked_until, stopped AS "stopped!"
           FROM barred"#,
        success.at.subject,
        success.at.network,
        now,
        success.password.user,
        success.password.changed_at,
        success.session,
        success.salt,
        success.idle_until,
        success.absolute_until,
        caller.address.0.to_string(),
        caller.user_agent,
        new.map(|stored| stored.scheme.as_str()),
        new.and_then(|stored| stored.pepper_id.as_deref()),
        new.map(|stored| stored.hash.as_str()),
        old.map(|stored| stored.hash.as_str()),
        now + limits.known,
        success.subjects,
        caller.request_id,
        now - limits.forget,
        limits.lock_stop.map(whole),
        success.second_factor,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.done, Bar::find(row.locked_until, row.stopped)) {
        (true, _) => Outcome::SignedIn,
        (false, Some(bar)) => Outcome::Barred(bar),
        (false, None) => Outcome::Changed,
    })
}

/// Makes a challenge for the second factor that the account has, upgrades the hash, writes the audit
/// row: one statement. Failures are forgotten and the network is known only after the factor.
///
/// # Errors
/// The statement's.
pub async fn ask_second_factor(
    db: impl PgExecutor<'_>,
    password: RightPassword<'_>,
    (challenge, until): (&Challenge, OffsetDateTime),
    at: Place<'_>,
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Outcome, Error> {
    let (old, new) = password.upgrade.unzip();
    let row = sqlx::query!(
        r#"WITH here AS (
               SELECT locked_until, known_until FROM failures WHERE subject = $1 AND network = $2
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $3) AS locked_until,
                      EXISTS (SELECT FROM failures WHERE subject = $1 AND network = ''
                              AND last_at > $4 AND count >= $5::integer)
                      AND NOT EXISTS (SELECT FROM here WHERE known_until > $3) AS stopped
           ), account AS (
               -- As in `succeed`.
               SELECT u.id, p.changed_at FROM users u JOIN passwords p ON p.user_id = u.id
               WHERE u.id = $6 AND u.status = 'active' AND p.changed_at = $7
                 AND EXISTS (SELECT FROM barred WHERE locked_until IS NULL AND NOT stopped)
               FOR SHARE OF u FOR NO KEY UPDATE OF p
           ), upgraded AS (
               UPDATE passwords SET scheme = $8, pepper_id = $9, hash = $10::text
               WHERE user_id IN (SELECT id FROM account) AND hash = $11 AND $10::text IS NOT NULL
           ), swept AS (
               DELETE FROM challenges WHERE hash IN (
                   SELECT hash FROM challenges WHERE expires_at <= $3
                   ORDER BY expires_at LIMIT $12 FOR UPDATE SKIP LOCKED)
           ), asked AS (
               INSERT INTO challenges (hash, kind, user_id, changed_at, expires_at)
               SELECT $13, 'second_factor', id, changed_at, $14 FROM account
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id)
               SELECT $3, 'authn_login_second_factor', id, id, $15::text::inet, $16, $17 FROM account
           )
           SELECT EXISTS (SELECT FROM account) AS "done!", locked_until, stopped AS "stopped!"
           FROM barred"#,
        at.subject,
        at.network,
        now,
        now - limits.forget,
        limits.lock_stop.map(whole),
        password.user,
        password.changed_at,
        new.map(|stored| stored.scheme.as_str()),
        new.and_then(|stored| stored.pepper_id.as_deref()),
        new.map(|stored| stored.hash.as_str()),
        old.map(|stored| stored.hash.as_str()),
        challenges::SWEPT_AT_ONCE,
        challenge.hash(),
        until,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    Ok(match (row.done, Bar::find(row.locked_until, row.stopped)) {
        (true, _) => Outcome::SecondFactorAsked,
        (false, Some(bar)) => Outcome::Barred(bar),
        (false, None) => Outcome::Changed,
    })
}

/// Writes the audit row of a right password for a disabled account; `Some`, and nothing written, when
/// a lock or stop was imposed while the hash was computed.
///
/// # Errors
/// The statement's.
pub async fn record_disabled(
    db: impl PgExecutor<'_>,
    user: Uuid,
    at: Place<'_>,
    limits: &Limits,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Option<Bar>, Error> {
    let row = sqlx::query!(
        r#"WITH here AS (
               SELECT locked_until, known_until FROM failures WHERE subject = $6 AND network = $7
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $1) AS locked_until,
                      EXISTS (SELECT FROM failures WHERE subject = $6 AND network = ''
                              AND last_at > $8 AND count >= $9::integer)
                      AND NOT EXISTS (SELECT FROM here WHERE known_until > $1) AS stopped
           ), logged AS (
               INSERT INTO audit (at, event, subject, address, user_agent, request_id)
               SELECT $1, 'authn_login_fail_disabled', $2, $3::text::inet, $4, $5
               FROM barred WHERE locked_until IS NULL AND NOT stopped
           )
           SELECT locked_until, stopped AS "stopped!" FROM barred"#,
        now,
        user,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        at.subject,
        at.network,
        now - limits.forget,
        limits.lock_stop.map(whole),
    )
    .fetch_one(db)
    .await?;
    Ok(Bar::find(row.locked_until, row.stopped))
}
