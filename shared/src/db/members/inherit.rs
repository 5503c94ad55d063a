//! Rooms whose owner deletes their account.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Error;

/// Locks the logs of the rooms that somebody owns, and tells which they are. Before the account is locked:
/// who appends comes to it from the log.
///
/// # Errors
/// The statement's.
pub(in crate::db) async fn hold_logs(
    transaction: impl PgExecutor<'_>,
    owner: Uuid,
) -> Result<Vec<i64>, Error> {
    let held = sqlx::query_scalar!(
        "SELECT h.room FROM room_heads h
         WHERE h.room IN (SELECT room FROM room_members WHERE user_id = $1 AND role = 'owner')
         ORDER BY h.room FOR NO KEY UPDATE",
        owner
    );
    Ok(held.fetch_all(transaction).await?)
}

/// Whether somebody, whose account is locked whole, owns rooms with logs other than these: they became an
/// owner there meanwhile.
///
/// # Errors
/// The statement's.
pub(in crate::db) async fn owns_others(
    transaction: impl PgExecutor<'_>,
    owner: Uuid,
    held: &[i64],
) -> Result<bool, Error> {
    let others = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM room_members m JOIN room_heads h ON h.room = m.room
                          WHERE m.user_id = $1 AND m.role = 'owner'
                            AND m.room <> ALL ($2::bigint[])) AS "others!""#,
        owner,
        held
    );
    Ok(others.fetch_one(transaction).await?)
}

/// Locks the rooms that somebody owns or made, and tells which of the former keep no log. After the account
/// is locked.
///
/// # Errors
/// The statement's.
pub(in crate::db) async fn hold_rooms(
    transaction: impl PgExecutor<'_>,
    owner: Uuid,
) -> Result<Vec<i64>, Error> {
    // Those they made are changed by the deletion, one after the other as they are found: two who delete
    // themselves would else wait for each other.
    let held = sqlx::query!(
        r#"SELECT r.id, NOT r.durable AND EXISTS (
                      SELECT FROM room_members m
                      WHERE m.room = r.id AND m.user_id = $1 AND m.role = 'owner') AS "is_unlogged!"
           FROM rooms r
           WHERE r.id IN (SELECT room FROM room_members WHERE user_id = $1 AND role = 'owner'
                          UNION ALL SELECT id FROM rooms WHERE created_by = $1)
           ORDER BY r.id FOR NO KEY UPDATE"#,
        owner
    );
    let held = held.fetch_all(transaction).await?;
    Ok(held.into_iter().filter(|room| room.is_unlogged).map(|room| room.id).collect())
}

/// Gives another owner to each of these rooms, all held, that has none any more: the moderator who has been
/// there longest, else the member. Where nobody is left the room ends.
///
/// # Errors
/// The statement's.
pub(in crate::db) async fn hand_over(
    transaction: impl PgExecutor<'_>,
    rooms: &[i64],
    gone: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(r#"SELECT hand_over_rooms($1, $2, $3)::text AS "done""#, rooms, gone, now)
        .fetch_one(transaction)
        .await?;
    Ok(())
}
