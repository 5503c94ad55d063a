//! Invitations: made, declined and withdrawn. One counts for as long as whoever made it might make it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::Error;
use crate::db::log::Outcome;

/// What became of a wish to invite somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invited {
    /// They are invited, now or since before.
    Done {
        /// Whom.
        user: Uuid,
    },
    /// They are a member already.
    Member {
        /// Who.
        user: Uuid,
    },
    /// Nobody has this name.
    NoSuchUser,
    /// The inviter is no member; or the room is not public, and they neither own nor moderate it.
    Forbidden,
    /// As many of the inviter's invitations are open as may be.
    TooMany,
}

/// Invites whoever has this username, in lower case: any member may into a public room, who owns or
/// moderates it into another. No more than `limit` of theirs are open by that, in all rooms. One statement.
///
/// Two at once may both find room for one more, as where rooms are made.
///
/// # Errors
/// The statement's.
pub async fn invite(
    db: impl PgExecutor<'_>,
    room: i64,
    inviter: Uuid,
    username_key: &str,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Invited, Error> {
    let row = sqlx::query!(
        // Both accounts before the room: who deletes one of them comes to the room from there.
        r#"WITH people AS (
               SELECT id, username_key, status FROM users WHERE id = $2 OR username_key = $3
               ORDER BY id FOR KEY SHARE
           ), allowed AS (
               SELECT FROM room_members m JOIN rooms r ON r.id = m.room JOIN people p ON p.id = m.user_id
               WHERE m.room = $1 AND m.user_id = $2
                 AND (r.public OR m.role IN ('owner', 'moderator'))
           ), invitee AS (
               SELECT u.id, EXISTS (SELECT FROM room_members
                                    WHERE room = $1 AND user_id = u.id) AS is_member,
                      EXISTS (SELECT FROM open_invitations
                              WHERE room = $1 AND user_id = u.id) AS is_invited
               FROM people u
               WHERE u.username_key = $3 AND u.status = 'active' AND EXISTS (SELECT FROM allowed)
           ), wish AS (
               SELECT id FROM invitee WHERE NOT is_member AND NOT is_invited
           ), admitted AS (
               SELECT id FROM wish
               WHERE $5 > (SELECT count(*) FROM (SELECT FROM open_invitations
                                                 WHERE invited_by = $2 LIMIT $5) open)
           ), invited AS (
               INSERT INTO room_invitations (room, user_id, invited_by, created_at)
               SELECT $1, id, $2, $4 FROM admitted
               -- In place of one that counts no more.
               ON CONFLICT (room, user_id) DO UPDATE
               SET invited_by = excluded.invited_by, created_at = excluded.created_at
           )
           SELECT EXISTS (SELECT FROM allowed) AS "is_allowed!", (SELECT id FROM invitee) AS invitee,
                  EXISTS (SELECT FROM invitee WHERE is_member) AS "is_member!",
                  EXISTS (SELECT FROM wish) > EXISTS (SELECT FROM admitted) AS "is_refused!""#,
        room,
        inviter,
        username_key,
        now,
        limit
    )
    .fetch_one(db)
    .await?;
    Ok(match row.invitee {
        _ if !row.is_allowed => Invited::Forbidden,
        None => Invited::NoSuchUser,
        Some(user) if row.is_member => Invited::Member { user },
        Some(_) if row.is_refused => Invited::TooMany,
        Some(user) => Invited::Done { user },
    })
}

/// Declines the invitation to a room; whether there was one.
///
/// # Errors
/// The statement's.
pub async fn decline(db: impl PgExecutor<'_>, room: i64, user: Uuid) -> Result<bool, Error> {
    let declined =
        sqlx::query!("DELETE FROM room_invitations WHERE room = $1 AND user_id = $2", room, user);
    Ok(declined.execute(db).await?.rows_affected() > 0)
}

/// Withdraws an invitation: `None` when done, else why not. Any member may take back what they made, who owns
/// or moderates the room anybody's. One statement.
///
/// # Errors
/// The statement's.
pub async fn uninvite(
    db: impl PgExecutor<'_>,
    room: i64,
    actor: Uuid,
    invitee: Uuid,
) -> Result<Option<Outcome>, Error> {
    let row = sqlx::query!(
        r#"WITH own AS (
               SELECT role IN ('owner', 'moderator') AS moderates
               FROM room_members WHERE room = $1 AND user_id = $2
           ), withdrawn AS (
               DELETE FROM room_invitations i USING own
               WHERE i.room = $1 AND i.user_id = $3 AND (own.moderates OR i.invited_by = $2)
               RETURNING i.user_id
           )
           SELECT EXISTS (SELECT FROM withdrawn) AS "is_done!", (SELECT moderates FROM own) AS moderates"#,
        room,
        actor,
        invitee
    )
    .fetch_one(db)
    .await?;
    Ok(match row.moderates {
        _ if row.is_done => None,
        None => Some(Outcome::NotMember),
        Some(true) => Some(Outcome::Unchanged),
        // Whether others invited somebody is not told.
        Some(false) => Some(Outcome::Forbidden),
    })
}
