//! Rooms: making them, and finding one's own and those of others.

mod list;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use super::log::{Append, NewEntry};
use super::members::Membership;

pub use list::{Found, Invitation, Listed, invitations, list, search};

/// A room to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewRoom<'a> {
    /// What everybody calls it by, for good: 1 to 64 of `a` to `z`, digits, `.`, `_` and `-`, the first a
    /// letter or digit.
    pub name: &'a str,
    /// What people see, at most 100 characters.
    pub title: &'a str,
    /// Whether what is said is kept.
    pub durable: bool,
    /// Whether anybody may find it and join.
    pub public: bool,
}

/// A room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// What the database calls it by.
    pub id: i64,
    /// What everybody calls it by.
    pub name: String,
    /// What people see.
    pub title: String,
    /// Whether what is said is kept.
    pub durable: bool,
    /// Whether anybody may find it and join.
    pub public: bool,
}

/// A room, and what the one who asks is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The room.
    pub room: Room,
    /// What they are in it.
    pub membership: Option<Membership>,
    /// Whether they may join although it is not public.
    pub is_invited: bool,
    /// How many changes of members this has seen: the log's last place, or a count where there is none.
    pub version: i64,
}

/// What became of a wish to make a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    New(Room),
    /// It was there, just so, and the one who asks owns it: an earlier try made it.
    Before(Room),
    /// The name is another room's.
    Taken,
    /// The one who asks owns as many as they may.
    TooMany,
}

/// Makes a room whose creator owns it, and, if it is durable, its log, which begins with their `joined`;
/// nobody owns more than `limit` by this. One statement.
///
/// Two at once may both find room for one more: the limit bounds what is stored, and counts what is committed.
///
/// # Errors
/// The statement's.
///
/// # Panics
/// If the system has no random numbers.
pub async fn create(
    db: impl PgExecutor<'_> + Copy,
    new: NewRoom<'_>,
    creator: Uuid,
    limit: Option<i64>,
    now: OffsetDateTime,
) -> Result<Created, Error> {
    let created = attempt(db, new, creator, limit, now).await?;
    // It was made while the statement ran, which therefore does not see it: the next one does.
    let created = match created {
        None => attempt(db, new, creator, limit, now).await?,
        made => made,
    };
    Ok(created.unwrap_or(Created::Taken))
}

/// `None`: the name was taken meanwhile.
async fn attempt(
    db: impl PgExecutor<'_>,
    new: NewRoom<'_>,
    creator: Uuid,
    limit: Option<i64>,
    now: OffsetDateTime,
) -> Result<Option<Created>, Error> {
    let mut epoch = [0; 8];
    SystemRandom::new().fill(&mut epoch).expect("a system without random numbers is broken");
    let (moderates, key, entry) = (false, Uuid::now_v7(), NewEntry::Joined);
    let joined = Append { room: 0, user: creator, moderates, key, entry };
    let row = sqlx::query!(
        r#"WITH existing AS (
             SELECT r.id, r.title = $2 AND r.durable = $3 AND r.public = $4
                    AND EXISTS (SELECT FROM room_members m
                                WHERE m.room = r.id AND m.user_id = $5 AND m.role = 'owner') AS is_same
             FROM rooms r WHERE r.name = $1
         ), allowed AS (
             SELECT $10::bigint IS NULL
                 OR $10 > (SELECT count(*) FROM (SELECT FROM room_members
                                                 WHERE user_id = $5 AND role = 'owner' LIMIT $10) owned)
                 AS is_allowed
         ), made AS (
             INSERT INTO rooms (name, title, durable, public, created_by, created_at)
             SELECT $1, $2, $3, $4, $5, $6 FROM allowed
             WHERE is_allowed AND NOT EXISTS (SELECT FROM existing)
             ON CONFLICT ON CONSTRAINT rooms_name_taken DO NOTHING RETURNING id
         ), head AS (
             INSERT INTO room_heads (room, epoch, last_seq) SELECT id, $7, 1 FROM made WHERE $3
         ), owner AS (
             INSERT INTO room_members (room, user_id, role, joined_at)
             SELECT id, $5, 'owner', $6 FROM made
         ), joined AS (
             INSERT INTO messages (room, seq, kind, user_id, key, body, digest, at)
             SELECT id, 1, 'joined', $5, $8, member_ref($5, 'owner'), $9, $6 FROM made WHERE $3
         )
         SELECT (SELECT id FROM made) AS made, (SELECT id FROM existing) AS existing,
                coalesce((SELECT is_same FROM existing), false) AS "is_same!",
                (SELECT is_allowed FROM allowed) AS "is_allowed!""#,
        new.name,
        new.title,
        new.durable,
        new.public,
        creator,
        now,
        i64::from_be_bytes(epoch),
        joined.key,
        joined.digest(),
        limit
    )
    .fetch_one(db)
    .await?;
    let NewRoom { name, title, durable, public } = new;
    let room = |id| Room { id, name: name.to_owned(), title: title.to_owned(), durable, public };
    Ok(match (row.made, row.existing) {
        (Some(id), _) => Some(Created::New(room(id))),
        (None, Some(id)) if row.is_same => Some(Created::Before(room(id))),
        (None, Some(_)) => Some(Created::Taken),
        (None, None) if !row.is_allowed => Some(Created::TooMany),
        (None, None) => None,
    })
}

/// The room of this name, and what somebody is in it.
///
/// # Errors
/// The statement's.
pub async fn find(
    db: impl PgExecutor<'_>,
    name: &str,
    user: Option<Uuid>,
) -> Result<Option<Standing>, Error> {
    let row = sqlx::query!(
        r#"SELECT r.id, r.name, r.title, r.durable, r.public, m.role AS "role?", m.muted_until,
                  coalesce(h.last_seq, r.changes) AS "version!",
                  EXISTS (SELECT FROM open_invitations i
                          WHERE i.room = r.id AND i.user_id = $2) AS "is_invited!"
           FROM rooms r LEFT JOIN room_members m ON m.room = r.id AND m.user_id = $2
                LEFT JOIN room_heads h ON h.room = r.id
           WHERE r.name = $1"#,
        name,
        user
    );
    Ok(row.fetch_optional(db).await?.map(|row| Standing {
        room: Room {
            id: row.id,
            name: row.name,
            title: row.title,
            durable: row.durable,
            public: row.public,
        },
        membership: row.role.and_then(|role| Membership::of(&role, row.muted_until)),
        is_invited: row.is_invited,
        version: row.version,
    }))
}

/// Whether a room has ended with its last member.
///
/// # Errors
/// The statement's.
pub async fn has_ended(db: impl PgExecutor<'_>, room: i64) -> Result<bool, Error> {
    let there = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM rooms WHERE id = $1 AND ended_at IS NULL) AS "there!""#,
        room
    );
    Ok(!there.fetch_one(db).await?)
}
