//! Removing what is old from the beginning of a log.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::db::Error;

/// What is younger is never removed: until then a second try is known by its key, and who was away goes
/// on without a gap. No setting: clients rely on it.
pub const KEPT_AT_LEAST: Duration = Duration::from_hours(24);

/// What stays of a log. What neither names stays, too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// Entries from before go.
    pub before: Option<OffsetDateTime>,
    /// The newest ones, so many: those before them go.
    pub keep: Option<i64>,
}

/// Removes the oldest entries, at most `most` of them, and raises the log's first number in the same
/// statement, so that whoever reads sees both or neither. Up to the first entry that stays: the rest of the
/// log has no holes. How many were removed.
///
/// # Errors
/// The statement's.
pub async fn trim(
    db: impl PgExecutor<'_>,
    room: i64,
    retention: Retention,
    most: u32,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    // Entries that are appended meanwhile come after all that this statement sees, so they stay.
    let removed = sqlx::query!(
        "WITH head AS (
             SELECT first_seq, last_seq FROM room_heads WHERE room = $1 FOR NO KEY UPDATE
         ), oldest AS (
             SELECT seq, at < $4 AND coalesce(at < $2 OR seq <= last_seq - $3, at < $2,
                                              seq <= last_seq - $3, false) AS goes
             FROM head, LATERAL (SELECT seq, at FROM messages WHERE room = $1 ORDER BY seq LIMIT $5) m
         ), cut AS (
             SELECT coalesce((SELECT min(seq) FROM oldest WHERE NOT goes), max(seq) + 1) AS seq
             FROM oldest
         ), raised AS (
             UPDATE room_heads h SET first_seq = cut.seq FROM cut
             WHERE h.room = $1 AND h.first_seq < cut.seq
         )
         DELETE FROM messages m USING cut WHERE m.room = $1 AND m.seq < cut.seq",
        room,
        retention.before,
        retention.keep,
        now - KEPT_AT_LEAST,
        i64::from(most)
    )
    .execute(db)
    .await?;
    Ok(removed.rows_affected())
}
