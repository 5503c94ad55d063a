//! Removing what is old from the beginning of a log.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::HEADS;
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
    // Entries that are appended meanwhile come after all that this statement sees, so they stay. Nothing is
    // looked for before the first entry: the index keeps what was removed there until it is vacuumed. And the
    // rows are named one by one: a range of unknown length may be planned as a scan of the whole table, which
    // those who append would wait for.
    let removed = sqlx::query!(
        "WITH head AS (
             SELECT first_seq, last_seq FROM room_heads WHERE room = $1 FOR NO KEY UPDATE
         ), oldest AS (
             SELECT seq, at < $4 AND coalesce(at < $2 OR seq <= last_seq - $3, at < $2,
                                              seq <= last_seq - $3, false) AS goes
             FROM head, LATERAL (SELECT seq, at FROM messages
                                 WHERE room = $1 AND seq >= head.first_seq ORDER BY seq LIMIT $5) m
         ), cut AS (
             SELECT coalesce((SELECT min(seq) FROM oldest WHERE NOT goes), max(seq) + 1) AS seq
             FROM oldest
         ), raised AS (
             UPDATE room_heads h SET first_seq = cut.seq FROM cut
             WHERE h.room = $1 AND h.first_seq < cut.seq
         )
         DELETE FROM messages
         WHERE room = $1 AND seq = ANY (ARRAY(SELECT o.seq FROM oldest o, cut WHERE o.seq < cut.seq))",
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

/// Removes rooms that have ended and their logs, at most `most` rooms and entries; how many there were.
///
/// # Errors
/// The statement's.
pub async fn remove_ended(db: impl PgExecutor<'_>, most: u32) -> Result<u64, Error> {
    let removed =
        sqlx::query_scalar!(r#"SELECT remove_ended_rooms($1) AS "removed!""#, i64::from(most));
    Ok(removed.fetch_one(db).await?.unsigned_abs())
}

/// Of the rooms after this one, [`HEADS`] at most and by number, the last that was looked at, and those whose
/// first entry is from before: what [`trim`] finds something in. `None` when no room comes after.
///
/// # Errors
/// The statement's.
pub async fn aged(
    db: impl PgExecutor<'_>,
    after: i64,
    before: OffsetDateTime,
) -> Result<Option<(i64, Vec<i64>)>, Error> {
    // A look into the primary key for each room, whatever was said in it.
    let rooms = sqlx::query!(
        r#"SELECT h.room, coalesce((SELECT m.at < $3 FROM messages m
                                    WHERE m.room = h.room AND m.seq = h.first_seq), false) AS "is_aged!"
           FROM room_heads h WHERE h.room > $1 ORDER BY h.room LIMIT $2"#,
        after,
        i64::try_from(HEADS).unwrap_or(i64::MAX),
        before
    );
    let rooms = rooms.fetch_all(db).await?;
    let Some(last) = rooms.last().map(|row| row.room) else { return Ok(None) };
    Ok(Some((last, rooms.into_iter().filter(|row| row.is_aged).map(|row| row.room).collect())))
}
