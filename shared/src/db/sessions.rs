//! Sessions: a sign-in that holds until it is revoked, idle or old; and the check of one.
//!
//! `checked!` puts the check before a handler's own statement, so that a revocation holds on the
//! very next call and costs no round trip.

pub mod own;
pub mod refresh;
pub(super) mod together;

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use super::profile::{Profile, profile_of};
use crate::access_token::Claims;
use crate::role::Role;

/// How old `last_seen_at` gets before a call renews it. No setting: it bounds the writes that calls
/// cost, and is as fine as people are shown it.
pub(super) const SEEN_EVERY: Duration = Duration::from_mins(1);

/// A `sqlx::query!` whose statement begins with the session check.
///
/// The CTE `caller` has one row while the token's session is neither revoked nor over and its user is
/// active, else none; the statement selects from it, or gives [`Error::SessionRevoked`] itself:
/// `session`, the user's `id`, `version`, `username`, `email`, `display_name`, `bio`, `created_at`,
/// and `roles`, those that hold now.
///
/// - `read`: nothing is locked. `seen` writes `last_seen_at` when it is older than [`SEEN_EVERY`], and
///   `seen_counter` at the first call with a newer refresh counter.
/// - `write`: besides, the user and then the session are locked, so that a revocation under way is
///   waited for and then decides. Whoever locks several sessions of a user locks the user first.
/// - `own`: as `write`, without `seen`: for statements that change the caller's own session row, which
///   a statement may change only once.
///
/// `together` and [`look_at`] ask the same of many sessions at once: what changes here changes there.
///
/// The first parameters are the check's: `$1` the session, `$2` the user, `$3` now, `$4` the token's
/// counter, `$5` since when a session counts as seen. The statement's own begin at `$6`, and its text
/// goes on behind the CTEs: with `SELECT`, or with a comma and a further one.
macro_rules! checked {
    (read $($rest:tt)*) => { $crate::db::sessions::checked!(@seen "" $($rest)*) };
    (write $($rest:tt)*) => { $crate::db::sessions::checked!(@seen " FOR NO KEY UPDATE OF u, s" $($rest)*) };
    (own $($rest:tt)*) => {
        $crate::db::sessions::checked!(
            @query " FOR NO KEY UPDATE OF u, s), times AS (SELECT $4::bigint, $5::timestamptz)" $($rest)*
        )
    };
    (@seen $lock:literal $($rest:tt)*) => {
        $crate::db::sessions::checked!(@query $lock "), seen AS (
            UPDATE sessions s SET last_seen_at = greatest(s.last_seen_at, $3),
                                  seen_counter = greatest(s.seen_counter, $4)
            FROM caller
            WHERE s.id = caller.session AND (s.last_seen_at < $5 OR s.seen_counter < $4))" $($rest)*)
    };
    (@query $($part:literal)+, $claims:expr, $now:expr $(, $argument:expr)* $(,)?) => {
        sqlx::query!(
            "WITH caller AS (
                 SELECT s.id AS session, u.id, u.version, u.username, u.email, u.display_name, u.bio,
                        u.created_at,
                        ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
                 FROM sessions s JOIN users u ON u.id = s.user_id
                 WHERE s.id = $1 AND u.id = $2 AND u.status = 'active' AND s.revoked_at IS NULL
                   AND s.idle_until > $3 AND s.absolute_until > $3" $(+ $part)+,
            $claims.sid,
            $claims.sub,
            $now,
            $crate::db::sessions::counter($claims.ctr),
            $now - $crate::db::sessions::SEEN_EVERY
            $(, $argument)*
        )
    };
}
pub(super) use checked;

/// A refresh counter as Postgres keeps it; one of ours never comes near the limit.
pub(super) fn counter(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// The session check alone: whose the session is, as of now.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
async fn check(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Profile, Error> {
    let row = checked!(
        read r#" SELECT id, username, display_name, bio, email, roles AS "roles!", created_at
                 FROM caller"#,
        claims,
        now
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(profile_of!(row))
}

/// A session, as it is found without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSession {
    /// The session.
    pub id: Uuid,
    /// Its user.
    pub user: Uuid,
    /// What its user may do now; `None`: the session has ended, or the user is not active.
    pub roles: Option<Vec<Role>>,
}

/// Looks whether sessions still hold, by what `checked!` asks, too; those that are gone are left out.
/// That is no call of theirs: none counts as seen.
///
/// # Errors
/// The statement's.
pub async fn look_at(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<FoundSession>, Error> {
    let rows = sqlx::query!(
        r#"SELECT s.id, s.user_id,
                  u.status = 'active' AND s.revoked_at IS NULL
                  AND s.idle_until > $2 AND s.absolute_until > $2 AS "holds!",
                  ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS "roles!"
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.id = ANY($1)"#,
        ids,
        now
    );
    let rows = rows.fetch_all(db).await?;
    let found = rows.into_iter().map(|row| {
        let roles = row.holds.then(|| parse_roles(&row.roles));
        FoundSession { id: row.id, user: row.user_id, roles }
    });
    Ok(found.collect())
}

/// Roles by name; the table's CHECK lets no other in.
pub(super) fn parse_roles(names: &[String]) -> Vec<Role> {
    names.iter().filter_map(|name| Role::find(name)).collect()
}
