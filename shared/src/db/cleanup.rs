//! Removing what no longer decides anything, in steps of a bounded number of rows.
//!
//! Rows that somebody is just writing are passed over, so that no step makes a request wait. What a
//! step leaves, the next one finds.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::Error;

/// How long a session is kept after its end, and a token after its own: somebody may still ask what
/// became of it. No setting: nothing depends on it.
const SHOWN: Duration = Duration::from_hours(24);

/// What is removed, and from when on.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Buckets that are full again.
    Buckets,
    /// Failures that no longer count, of networks that are no longer known.
    Failures {
        /// `LOCK_FORGET`.
        forget: Duration,
    },
    /// Sessions that were revoked or are past their last day. One that was left alone stays until
    /// then, too: a column that a refresh writes has no index to find it by.
    Sessions,
    /// Names of deleted accounts that are free again.
    Names,
    /// Challenges that are over.
    Challenges,
    /// Tokens of links that no longer work.
    Tokens,
    /// Mails that were sent or given up.
    Outbox {
        /// `OUTBOX_KEEP`.
        keep: Duration,
    },
    /// Rows of the audit log; by the owner's function, since the serving role may not.
    Audit {
        /// `AUDIT_KEEP`.
        keep: Duration,
    },
}

impl Step {
    /// What it removes, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Buckets => "buckets",
            Self::Failures { .. } => "failures",
            Self::Sessions => "sessions",
            Self::Names => "reserved_names",
            Self::Challenges => "challenges",
            Self::Tokens => "one_time_tokens",
            Self::Outbox { .. } => "outbox",
            Self::Audit { .. } => "audit",
        }
    }

    /// Takes the step: at most `most` rows. Returns how many it found.
    ///
    /// # Errors
    /// The statement's.
    pub async fn take(
        self,
        db: impl PgExecutor<'_>,
        most: u32,
        now: OffsetDateTime,
    ) -> Result<u64, Error> {
        let limit = i64::from(most);
        let done = match self {
            Self::Buckets => sqlx::query!(
                "DELETE FROM buckets WHERE key IN
                     (SELECT key FROM buckets WHERE tat < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now,
                limit,
            ),
            Self::Failures { forget } => sqlx::query!(
                "DELETE FROM failures WHERE (subject, network) IN
                     (SELECT subject, network FROM failures
                      WHERE last_at < $1 AND coalesce(greatest(locked_until, known_until) < $2, true)
                      LIMIT $3 FOR UPDATE SKIP LOCKED)",
                now - forget,
                now,
                limit,
            ),
            Self::Sessions => sqlx::query!(
                "DELETE FROM sessions WHERE id IN
                     (SELECT id FROM sessions WHERE absolute_until < $1 OR revoked_at < $1
                      LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now - SHOWN,
                limit,
            ),
            Self::Names => sqlx::query!(
                "DELETE FROM reserved_names WHERE username_key IN
                     (SELECT username_key FROM reserved_names WHERE free_at < $1
                      LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now,
                limit,
            ),
            Self::Challenges => sqlx::query!(
                "DELETE FROM challenges WHERE hash IN
                     (SELECT hash FROM challenges WHERE expires_at < $1
                      LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now,
                limit,
            ),
            Self::Tokens => sqlx::query!(
                "DELETE FROM one_time_tokens WHERE id IN
                     (SELECT id FROM one_time_tokens WHERE expires_at < $1
                      LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now - SHOWN,
                limit,
            ),
            Self::Outbox { keep } => sqlx::query!(
                "DELETE FROM outbox WHERE id IN
                     (SELECT id FROM outbox WHERE ended_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
                now - keep,
                limit,
            ),
            Self::Audit { keep } => return prune_audit(db, most, keep).await,
        };
        Ok(done.execute(db).await?.rows_affected())
    }
}

/// By the database's clock: whoever calls it does not choose the time.
async fn prune_audit(db: impl PgExecutor<'_>, most: u32, keep: Duration) -> Result<u64, Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT audit_prune($1, $2::float8 * interval '1 second') AS "found!""#,
        i32::try_from(most).unwrap_or(i32::MAX),
        keep.as_secs_f64(),
    )
    .fetch_one(db)
    .await?;
    Ok(u64::try_from(found).unwrap_or(0))
}
