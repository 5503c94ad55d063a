//! Sessions: a sign-in that holds until it is revoked, idle or old.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::role::Role;

/// A session that holds, and what its user may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSession {
    /// The user.
    pub user: Uuid,
    /// Raised when roles, status or password change.
    pub user_version: i64,
    /// The user's roles now.
    pub roles: Vec<Role>,
}

/// The session, if it is neither revoked nor over and its user is active.
///
/// # Errors
/// The statement's.
pub async fn find_live(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<LiveSession>, Error> {
    let row = sqlx::query!(
        r#"SELECT u.id, u.version,
                  ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS "roles!"
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.id = $1 AND u.status = 'active' AND s.revoked_at IS NULL
             AND s.idle_until > $2 AND s.absolute_until > $2"#,
        id,
        now,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| LiveSession {
        user: row.id,
        user_version: row.version,
        roles: parse_roles(&row.roles),
    }))
}

/// Roles by name; the table's CHECK lets no other in.
pub(super) fn parse_roles(names: &[String]) -> Vec<Role> {
    names.iter().filter_map(|name| Role::find(name)).collect()
}
