//! Lists of rooms, by name, in pages.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Room;
use crate::db::Error;
use crate::db::log::Head;
use crate::db::members::Membership;

/// A room that somebody is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The room.
    pub room: Room,
    /// What they are in it.
    pub membership: Membership,
    /// Where its log begins and ends; `None` when it keeps none.
    pub head: Option<Head>,
}

/// A public room that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The room.
    pub room: Room,
    /// What the one who asks is in it.
    pub membership: Option<Membership>,
}

/// A room that somebody is invited to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The room.
    pub room: Room,
    /// By whom.
    pub invited_by: String,
    /// When.
    pub created_at: OffsetDateTime,
}

/// A page of the rooms that somebody is in, by name, after that of `after`.
///
/// # Errors
/// The statement's.
pub async fn list(
    db: impl PgExecutor<'_>,
    user: Uuid,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Listed>, Error> {
    let rows = sqlx::query!(
        r#"SELECT r.id, r.name, r.title, r.durable, r.public, m.role, m.muted_until,
                  h.epoch AS "epoch?", h.first_seq AS "first_seq?", h.last_seq AS "last_seq?"
           FROM room_members m
           JOIN rooms r ON r.id = m.room
           LEFT JOIN room_heads h ON h.room = r.id
           WHERE m.user_id = $1 AND r.name > $2
           ORDER BY r.name LIMIT $3"#,
        user,
        after.unwrap_or_default(),
        limit
    );
    let rooms = rows.fetch_all(db).await?.into_iter().filter_map(|row| {
        let head = row.epoch.zip(row.first_seq).zip(row.last_seq);
        let (durable, public) = (row.durable, row.public);
        Some(Listed {
            room: Room { id: row.id, name: row.name, title: row.title, durable, public },
            membership: Membership::of(&row.role, row.muted_until)?,
            head: head.map(|((epoch, first_seq), last_seq)| Head { epoch, first_seq, last_seq }),
        })
    });
    Ok(rooms.collect())
}

/// A page of the public rooms whose name or title begins like this, in any case, by name, after that of
/// `after`; and what the one who asks is in them.
///
/// # Errors
/// The statement's.
pub async fn search(
    db: impl PgExecutor<'_>,
    user: Uuid,
    begins: &str,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Found>, Error> {
    // Above every string that begins so, there is that beginning and the last character there is.
    let rows = sqlx::query!(
        r#"SELECT r.id, r.name, r.title, r.durable, r.public, m.role AS "role?", m.muted_until
           FROM rooms r LEFT JOIN room_members m ON m.room = r.id AND m.user_id = $1
           WHERE r.public AND r.name > $3
             AND (r.name BETWEEN lower($2) AND lower($2) || chr(1114109)
                  OR lower(r.title) COLLATE "C" BETWEEN lower($2) AND lower($2) || chr(1114109))
           ORDER BY r.name LIMIT $4"#,
        user,
        begins,
        after.unwrap_or_default(),
        limit
    );
    let rooms = rows.fetch_all(db).await?.into_iter().map(|row| {
        let (durable, public) = (row.durable, row.public);
        Found {
            room: Room { id: row.id, name: row.name, title: row.title, durable, public },
            membership: row.role.and_then(|role| Membership::of(&role, row.muted_until)),
        }
    });
    Ok(rooms.collect())
}

/// A page of the rooms that somebody is invited to, by name, after that of `after`.
///
/// # Errors
/// The statement's.
pub async fn invitations(
    db: impl PgExecutor<'_>,
    user: Uuid,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let rows = sqlx::query!(
        r#"SELECT r.id, r.name, r.title, r.durable, r.public, u.username AS invited_by,
                  i.created_at AS "created_at!"
           FROM open_invitations i
           JOIN rooms r ON r.id = i.room
           JOIN users u ON u.id = i.invited_by
           WHERE i.user_id = $1 AND r.name > $2
           ORDER BY r.name LIMIT $3"#,
        user,
        after.unwrap_or_default(),
        limit
    );
    let rooms = rows.fetch_all(db).await?.into_iter().map(|row| {
        let (durable, public) = (row.durable, row.public);
        Invitation {
            room: Room { id: row.id, name: row.name, title: row.title, durable, public },
            invited_by: row.invited_by,
            created_at: row.created_at,
        }
    });
    Ok(rooms.collect())
}
