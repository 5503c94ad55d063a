//! Accounts, as who manages them sees them.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::access_token::Claims;
use crate::db::Error;
use crate::db::permitted::{judge, permitted};
use crate::db::sessions::parse_roles;
use crate::extract::Caller;
use crate::role::{Permission, Role};

/// Whether an account may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Active,
    /// It may not.
    Disabled,
}

impl Status {
    /// The name in the database and in bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The status of this name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Active, Self::Disabled].into_iter().find(|status| status.as_str() == name)
    }
}

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// Its public handle.
    pub username: String,
    /// What people see instead of the handle.
    pub display_name: Option<String>,
    /// Its verified address.
    pub email: Option<String>,
    /// Whether it may sign in.
    pub status: Status,
    /// Its roles.
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// Which accounts, and from where on.
#[derive(Debug, Default)]
pub struct Query {
    /// How the username or the verified address begins, in lower case.
    pub begins: Option<String>,
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those with this role.
    pub role: Option<Role>,
    /// The username, in lower case, after which the page begins.
    pub after: Option<String>,
    /// Most accounts of the page.
    pub limit: i64,
}

/// A page of accounts, by username.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or the statement's.
pub async fn list(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    query: &Query,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Vec<User>, Error> {
    let rows = permitted!(
        read r#" SELECT EXISTS (SELECT FROM permitted) AS "permitted!", found.id AS "id?",
                        username_ AS "username?", display_name_, email_, status AS "status?",
                        roles_, created_at_ AS "created_at?"
                 FROM caller LEFT JOIN LATERAL (
                     SELECT u.id, u.username AS username_, u.username_key,
                            u.display_name AS display_name_, u.email AS email_, u.status,
                            u.created_at AS created_at_,
                            ARRAY(SELECT role FROM user_roles WHERE user_id = u.id
                                  ORDER BY role) AS roles_
                     FROM users u
                     WHERE EXISTS (SELECT FROM permitted)
                       AND ($11::text IS NULL OR u.username_key COLLATE "C" > $11)
                       AND ($12::text IS NULL
                            OR u.username_key COLLATE "C" BETWEEN $12 AND $12 || chr(1114109)
                            OR u.email_key COLLATE "C" BETWEEN $12 AND $12 || chr(1114109))
                       AND ($13::text IS NULL OR u.status = $13)
                       AND ($14::text IS NULL OR EXISTS (SELECT FROM user_roles r
                                                         WHERE r.user_id = u.id AND r.role = $14))
                     ORDER BY u.username_key COLLATE "C" LIMIT $15
                 ) found ON true
                 ORDER BY found.username_key COLLATE "C""#,
        claims,
        now,
        Permission::UsersRead,
        caller,
        query.after,
        query.begins,
        query.status.map(Status::as_str),
        query.role.map(Role::as_str),
        query.limit
    )
    .fetch_all(db)
    .await?;
    judge(rows.first().map(|row| row.permitted))?;
    let users = rows.into_iter().filter_map(|row| {
        Some(User {
            id: row.id?,
            username: row.username?,
            display_name: row.display_name_,
            email: row.email_,
            status: Status::find(&row.status?)?,
            roles: parse_roles(&row.roles_?),
            created_at: row.created_at?,
        })
    });
    Ok(users.collect())
}

/// One account; `None` when there is none of this id.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or the statement's.
pub async fn find(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    id: Uuid,
    permission: Permission,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Option<User>, Error> {
    let row = permitted!(
        read r#" SELECT EXISTS (SELECT FROM permitted) AS "permitted!", u.id AS "id?",
                        u.username AS "username?", u.display_name, u.email, u.status AS "status?",
                        u.created_at AS "created_at?",
                        ARRAY(SELECT role FROM user_roles WHERE user_id = u.id
                              ORDER BY role) AS "roles!"
                 FROM caller
                 LEFT JOIN users u ON u.id = $11 AND EXISTS (SELECT FROM permitted)"#,
        claims,
        now,
        permission,
        caller,
        id
    )
    .fetch_optional(db)
    .await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    Ok(row.and_then(|row| {
        Some(User {
            id: row.id?,
            username: row.username?,
            display_name: row.display_name,
            email: row.email,
            status: Status::find(&row.status?)?,
            roles: parse_roles(&row.roles),
            created_at: row.created_at?,
        })
    }))
}
