//! A user's factors: the authenticator app, its recovery codes, passkeys.
//!
//! Each statement begins with the session check. Those that add or remove a factor want a session that
//! was signed in not long ago and, where there is an app, has proven a factor: neither who finds a
//! session open nor who knows the password can make the account theirs. Its owner is told by mail.

pub mod passkeys;
pub mod totp;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use super::sessions::checked;
use crate::access_token::Claims;
use crate::extract::Caller;

/// All that a user has.
#[derive(Debug)]
pub struct Factors {
    /// The app and the passkeys, oldest first.
    pub factors: Vec<Factor>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: i64,
}

/// One of them.
#[derive(Debug)]
pub struct Factor {
    /// Its id.
    pub id: Uuid,
    /// `totp` or `passkey`.
    pub kind: String,
    /// A passkey's name.
    pub name: Option<String>,
    /// When it was added.
    pub created_at: OffsetDateTime,
    /// When it last signed in.
    pub last_used_at: Option<OffsetDateTime>,
}

/// As [`checked!`](super::sessions::checked), for changes of the caller's factors. The CTE `recent` has
/// the caller's `id` and `email` when the session was signed in after `$6` and, where an app is
/// confirmed, has proven a factor; else no row, and the statement must change nothing.
///
/// A confirmation ends the sessions that have not, so this is what is asked of those that an older
/// release made; `users::reset_factors` asks the same. The statement's own parameters begin at `$7`.
macro_rules! recent {
    ($sql:literal, $claims:expr, $now:expr, $since:expr $(, $argument:expr)* $(,)?) => {
        $crate::db::sessions::checked!(
            write ", recent AS (
                 SELECT c.id, c.email
                 FROM caller c JOIN sessions s ON s.id = c.session JOIN users u ON u.id = c.id
                 WHERE s.created_at > $6 AND (s.proven_at IS NOT NULL OR NOT u.second_factor)
             )" $sql,
            $claims,
            $now,
            $since
            $(, $argument)*
        )
    };
}
use recent;

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// It was made.
    Made(T),
    /// The sign-in is too long ago, or has not proven the app that there is by now.
    NotRecent,
    /// There is nothing to change, or no place for more.
    Refused,
    /// The challenge is unknown or over.
    Unknown,
}

/// Whether the caller may begin a change now. It changes nothing but when the session was last seen.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn admit(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let recent = recent!(
        r#" SELECT EXISTS (SELECT FROM recent) AS "recent!" FROM caller"#,
        claims,
        now,
        since
    );
    let row = recent.fetch_optional(db).await?.ok_or(Error::SessionRevoked)?;
    Ok(if row.recent { Change::Made(()) } else { Change::NotRecent })
}

/// The caller's own.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn list(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Factors, Error> {
    let rows = checked!(
        read r#", factors AS (
            SELECT t.id, 'totp' AS kind, NULL::text AS name, t.created_at, t.last_used_at
            FROM totp t JOIN caller c ON c.id = t.user_id WHERE t.confirmed_at IS NOT NULL
            UNION ALL
            SELECT p.id, 'passkey', p.name, p.created_at, p.last_used_at
            FROM passkeys p JOIN caller c ON c.id = p.user_id
        )
        SELECT f.id AS "id?", f.kind AS "kind?", f.name, f.created_at AS "created_at?",
               f.last_used_at,
               (SELECT count(*) FROM recovery_codes r JOIN caller c ON c.id = r.user_id
                WHERE r.used_at IS NULL) AS "codes!"
        FROM caller LEFT JOIN factors f ON true ORDER BY f.created_at, f.id"#,
        claims,
        now
    )
    .fetch_all(db)
    .await?;
    let recovery_codes_left = rows.first().ok_or(Error::SessionRevoked)?.codes;
    let factors = rows.into_iter().filter_map(|row| {
        Some(Factor {
            id: row.id?,
            kind: row.kind?,
            name: row.name,
            created_at: row.created_at?,
            last_used_at: row.last_used_at,
        })
    });
    Ok(Factors { factors: factors.collect(), recovery_codes_left })
}

/// Removes an app, and its recovery codes with it, or a passkey; puts a mail into the outbox and writes
/// the audit row. [`Change::Refused`] when the caller has no such factor.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn remove(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    id: Uuid,
    since: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let row = recent!(
        r#", app AS (
            DELETE FROM totp t USING recent
            WHERE t.user_id = recent.id AND t.id = $7 AND t.confirmed_at IS NOT NULL
            RETURNING t.user_id, recent.email, 'totp' AS factor
        ), passkey AS (
            DELETE FROM passkeys p USING recent WHERE p.user_id = recent.id AND p.id = $7
            RETURNING p.user_id, recent.email, 'passkey' AS factor
        ), gone AS (
            SELECT * FROM app UNION ALL SELECT * FROM passkey
        ), mail AS (
            INSERT INTO outbox (id, kind, user_id, created_at, next_at)
            SELECT $11, factor || '_removed', user_id, $3, $3 FROM gone WHERE email IS NOT NULL
        ), logged AS (
            INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                               request_id, detail)
            SELECT $3, 'authn_factor_removed', user_id, user_id, $1, $8::text::inet, $9, $10,
                   jsonb_build_object('factor', factor, 'id', $7::uuid)
            FROM gone
        )
        SELECT EXISTS (SELECT FROM recent) AS "recent!", EXISTS (SELECT FROM gone) AS "done!"
        FROM caller"#,
        claims,
        now,
        since,
        id,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        Uuid::now_v7(),
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.recent, row.done) {
        (false, _) => Change::NotRecent,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(()),
    })
}
