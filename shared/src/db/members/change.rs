//! Mutes, and changes of members where no log is kept. In a durable room members change by
//! entries of its log: see [`crate::db::log::NewEntry`].

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Role;
use crate::db::Error;
use crate::db::log::{Kind, Outcome};

/// Mutes a member until then, or lets them speak again, or why not. By who owns the room anybody but an
/// owner, by who moderates it, or every room, a plain member; by nobody oneself. Where no log is kept, it is a
/// change of members like others, and has its number among them. One statement.
///
/// # Errors
/// The statement's.
pub async fn mute(
    db: impl PgExecutor<'_>,
    room: i64,
    (actor, moderates): (Uuid, bool),
    subject: Uuid,
    until: Option<OffsetDateTime>,
) -> Result<Result<Option<i64>, Outcome>, Error> {
    if actor == subject {
        return Ok(Err(Outcome::Forbidden));
    }
    let row = sqlx::query!(
        r#"WITH held AS (
               -- Before the member, as whoever changes members does: they are numbered as they are committed.
               SELECT id FROM rooms WHERE id = $1 AND NOT durable FOR NO KEY UPDATE
           ), own AS (
               SELECT role FROM room_members WHERE room = $1 AND user_id = $2
           ), allowed AS (
               SELECT role = 'member' OR EXISTS (SELECT FROM own WHERE role = 'owner')
                                         AND role <> 'owner' AS is_below
               FROM room_members WHERE room = $1 AND user_id = $4
           ), muted AS (
               UPDATE room_members SET muted_until = $5
               WHERE (SELECT count(*) FROM held) <= 1 AND room = $1 AND user_id = $4
                 AND ($3 OR EXISTS (SELECT FROM own WHERE role IN ('owner', 'moderator')))
                 AND (SELECT is_below FROM allowed)
               RETURNING user_id
           ), numbered AS (
               UPDATE rooms SET changes = changes + 1
               WHERE id = (SELECT id FROM held) AND EXISTS (SELECT FROM muted)
               RETURNING changes
           )
           SELECT EXISTS (SELECT FROM muted) AS "is_done!", (SELECT changes FROM numbered) AS version,
                  EXISTS (SELECT FROM own) AS "is_member!",
                  $3 OR EXISTS (SELECT FROM own WHERE role <> 'member') AS "moderates!",
                  EXISTS (SELECT FROM allowed) AS "is_there!""#,
        room,
        actor,
        moderates,
        subject,
        until
    )
    .fetch_one(db)
    .await?;
    Ok(match row {
        row if row.is_done => Ok(row.version),
        row if !row.is_member && !row.moderates => Err(Outcome::NotMember),
        row if row.moderates && !row.is_there => Err(Outcome::NoSuchMember),
        _ => Err(Outcome::Forbidden),
    })
}

/// Whether this member may become an owner of the room: nobody owns more than `limit` rooms by that. Who owns
/// it already, or is no member, is judged elsewhere.
///
/// Two at once may both find room for one more, as where rooms are made.
///
/// # Errors
/// The statement's.
pub async fn may_own(
    db: impl PgExecutor<'_>,
    room: i64,
    subject: Uuid,
    limit: i64,
) -> Result<bool, Error> {
    let may = sqlx::query_scalar!(
        r#"SELECT $3 > (SELECT count(*) FROM (SELECT FROM room_members
                                              WHERE user_id = $2 AND role = 'owner' LIMIT $3) owned)
               OR NOT EXISTS (SELECT FROM room_members
                              WHERE room = $1 AND user_id = $2 AND role <> 'owner') AS "may!""#,
        room,
        subject,
        limit
    );
    Ok(may.fetch_one(db).await?)
}

/// How the members of a room change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Oneself becomes one.
    Join,
    /// Somebody is one no longer.
    Leave {
        /// Who.
        subject: Uuid,
    },
    /// One has another role.
    Role {
        /// Whose.
        subject: Uuid,
        /// Which.
        role: Role,
    },
}

/// Changes the members of a room that keeps no log, by the rules of one that does: the number of the change
/// among those of the room, in the order in which they are committed, or why not. One transaction.
///
/// # Errors
/// The statement's.
pub async fn change_unlogged(
    db: impl PgExecutor<'_>,
    room: i64,
    (actor, moderates): (Uuid, bool),
    change: Change,
    now: OffsetDateTime,
) -> Result<Result<i64, Outcome>, Error> {
    let (kind, subject, role) = match change {
        Change::Join => (Kind::Joined, actor, None),
        Change::Leave { subject } => (Kind::Left, subject, None),
        Change::Role { subject, role } => (Kind::Role, subject, Some(role)),
    };
    let told = sqlx::query!(
        "SELECT refused, version FROM change_member_unlogged($1, $2, $3, $4, $5, $6, $7)",
        room,
        actor,
        moderates,
        kind.as_str(),
        subject,
        role.map(Role::as_str),
        now
    )
    .fetch_one(db)
    .await?;
    if let Some(version) = told.version {
        return Ok(Ok(version));
    }
    let name = told.refused.unwrap_or_default();
    let unknown = || Error::Fault(sqlx::Error::Decode(format!("outcome {name}").into()));
    Outcome::refusal(&name).map(Err).ok_or_else(unknown)
}
