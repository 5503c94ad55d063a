//! Who is in a room, and may do what in it.

mod change;
pub(super) mod inherit;
mod invitations;

use serde::Serialize;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;

pub use change::{Change, change_unlogged, may_own, mute};
pub use invitations::{Invited, decline, invite, uninvite};

/// What a member may do in a room. In a room they own, people let others in, and set roles; with the second
/// they remove and mute plain members, and delete what others said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes part.
    Member,
    /// Keeps order.
    Moderator,
    /// It is theirs.
    Owner,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Moderator, Self::Owner];

    /// The name in the database and on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Owner => "owner",
        }
    }

    /// The role of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// What somebody is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What they may do.
    pub role: Role,
    /// Until when they may say nothing.
    pub muted_until: Option<OffsetDateTime>,
}

/// A member, as others see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub user: Uuid,
    /// Its public handle.
    pub username: String,
    /// What people see instead of the handle.
    pub display_name: Option<String>,
    /// What they may do, and until when not.
    pub membership: Membership,
    /// Since when they are in the room.
    pub joined_at: OffsetDateTime,
}

/// What somebody is in a room; `None` when they are not in it.
///
/// # Errors
/// The statement's.
pub async fn find(
    db: impl PgExecutor<'_>,
    room: i64,
    user: Uuid,
) -> Result<Option<Membership>, Error> {
    let row = sqlx::query!(
        "SELECT role, muted_until FROM room_members WHERE room = $1 AND user_id = $2",
        room,
        user
    );
    let row = row.fetch_optional(db).await?;
    Ok(row.and_then(|row| Membership::of(&row.role, row.muted_until)))
}

/// A page of members by the id of their account, the oldest first, after that of `after`.
///
/// # Errors
/// The statement's.
pub async fn page(
    db: impl PgExecutor<'_>,
    room: i64,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    let rows = sqlx::query!(
        "SELECT m.user_id, u.username, u.display_name, m.role, m.muted_until, m.joined_at
         FROM room_members m JOIN users u ON u.id = m.user_id
         WHERE m.room = $1 AND m.user_id > $2
         ORDER BY m.user_id LIMIT $3",
        room,
        // Nobody's.
        after.unwrap_or(Uuid::nil()),
        limit
    );
    let members = rows.fetch_all(db).await?.into_iter().filter_map(|row| {
        Some(Member {
            user: row.user_id,
            username: row.username,
            display_name: row.display_name,
            membership: Membership::of(&row.role, row.muted_until)?,
            joined_at: row.joined_at,
        })
    });
    Ok(members.collect())
}

impl Membership {
    /// From a row, whose CHECK lets no other role in.
    pub(super) fn of(role: &str, muted_until: Option<OffsetDateTime>) -> Option<Self> {
        Role::find(role).map(|role| Self { role, muted_until })
    }
}
