//! What administrators change of other accounts. None of it reads or sets a password.
//!
//! Each is a transaction that first takes the lock of `admins`: two administrators who act on each
//! other would else each hold what the other waits for, and the last one could be taken away.

use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use super::list::{Status, User};
use crate::access_token::Claims;
use crate::db::permitted::{judge, permitted};
use crate::db::pool::{Lent, Pool};
use crate::db::sessions::parse_roles;
use crate::db::{Error, admins, notices};
use crate::extract::Caller;
use crate::role::{Permission, Role};

/// A change of an account; `None` keeps.
#[derive(Debug, Default)]
pub struct Wish {
    /// All roles it is to have.
    pub roles: Option<Vec<Role>>,
    /// Whether it may sign in.
    pub status: Option<Status>,
}

/// What became of a wish.
#[derive(Debug)]
pub enum Changed {
    /// The account as it is now.
    Done(User),
    /// There is no account of this id.
    NotFound,
    /// No administrator would be left.
    LastAdmin,
    /// A role would be given, and the caller's sign-in is too long ago or has not proven the app that
    /// they have.
    NotRecent,
}

/// A transaction that alone changes who manages accounts, and this account.
pub(super) async fn begin(
    connection: &mut Lent,
    id: Uuid,
) -> Result<Transaction<'_, Postgres>, Error> {
    let mut transaction = connection.begin().await?;
    admins::hold(&mut *transaction).await?;
    super::hold(&mut *transaction, id).await?;
    Ok(transaction)
}

/// Changes roles and status of an account, raises its version, ends its sessions when it is disabled,
/// tells the nodes, writes the audit rows. A role is given only by who signed in after `since` and has
/// proven the app that they have: whoever finds an administrator's session open would else make another
/// administrator, whose sign-in is recent.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or a statement's.
pub async fn change(
    db: &Pool,
    claims: &Claims,
    id: Uuid,
    wish: &Wish,
    since: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Changed, Error> {
    let names = |roles: &Vec<Role>| roles.iter().map(|role| role.as_str().to_owned()).collect();
    let roles: Option<Vec<String>> = wish.roles.as_ref().map(names);
    let mut connection = db.lend().await?;
    let mut transaction = begin(&mut connection, id).await?;
    let row = permitted!(
        own r#", target AS (
               SELECT u.id, u.username, u.display_name, u.email, u.created_at, u.status,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
               FROM users u WHERE u.id = $11 AND EXISTS (SELECT FROM permitted)
               FOR NO KEY UPDATE OF u
           ), wish AS (
               SELECT *, coalesce($12::text, status) AS new_status,
                      coalesce((SELECT array_agg(role ORDER BY role) FROM unnest($13::text[]) role),
                               roles) AS new_roles
               FROM target
           ), stale AS (
               SELECT FROM wish
               WHERE NOT new_roles <@ roles
                 AND NOT EXISTS (
                     -- As for changes of one's own factors, in `factors`.
                     SELECT FROM caller c JOIN sessions s ON s.id = c.session JOIN users u ON u.id = c.id
                     WHERE s.created_at > $15 AND (s.proven_at IS NOT NULL OR NOT u.second_factor))
           ), last AS (
               SELECT FROM wish
               WHERE status = 'active' AND 'admin' = ANY(roles)
                 AND (new_status <> 'active' OR NOT 'admin' = ANY(new_roles))
                 AND NOT EXISTS (SELECT FROM user_roles r JOIN users u ON u.id = r.user_id
                                 WHERE r.role = 'admin' AND u.status = 'active' AND u.id <> wish.id)
           ), done AS (
               SELECT * FROM wish
               WHERE NOT EXISTS (SELECT FROM last) AND NOT EXISTS (SELECT FROM stale) AND (new_status <> status OR new_roles <> roles)
           ), taken AS (
               DELETE FROM user_roles r USING done
               WHERE r.user_id = done.id AND NOT r.role = ANY(done.new_roles)
           ), given AS (
               INSERT INTO user_roles (user_id, role, granted_by, granted_at)
               SELECT done.id, role, caller.id, $3 FROM caller, done, unnest(done.new_roles) role
               ON CONFLICT DO NOTHING
           ), raised AS (
               UPDATE users u SET status = done.new_status, version = u.version + 1
               FROM done WHERE u.id = done.id
           ), ended AS (
               UPDATE sessions s SET revoked_at = $3, revoked_reason = 'disabled'
               FROM done
               WHERE s.user_id = done.id AND done.new_status = 'disabled' AND s.revoked_at IS NULL
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id,
                                  detail)
               SELECT $3, what.event, caller.id, done.id, caller.session, $7::text::inet, $8, $9,
                      what.detail
               FROM caller, done, LATERAL (VALUES
                   ('privilege_permissions_changed', done.new_roles <> done.roles,
                    jsonb_build_object('from', done.roles, 'to', done.new_roles)),
                   (CASE done.new_status WHEN 'active' THEN 'user_enabled' ELSE 'user_disabled' END,
                    done.new_status <> done.status, NULL)
               ) AS what (event, is_so, detail)
               WHERE what.is_so
           )
           SELECT EXISTS (SELECT FROM permitted) AS "permitted!", EXISTS (SELECT FROM last) AS "last!",
                  EXISTS (SELECT FROM stale) AS "stale!",
                  (SELECT count(pg_notify($14, 'user ' || id)) FROM done) AS "told!",
                  wish.id AS "id?", wish.username AS "username?", wish.display_name AS name,
                  wish.email AS address, wish.created_at AS "created_at?", new_status AS "status?",
                  new_roles AS "roles?"
           FROM caller LEFT JOIN wish ON true"#,
        claims,
        now,
        Permission::UsersWrite,
        caller,
        id,
        wish.status.map(Status::as_str),
        roles.as_deref(),
        notices::REVOKED,
        since
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    let Some(row) = row else { return Ok(Changed::NotFound) };
    if row.last {
        return Ok(Changed::LastAdmin);
    }
    if row.stale {
        return Ok(Changed::NotRecent);
    }
    let user = || {
        Some(User {
            id: row.id?,
            username: row.username?,
            display_name: row.name,
            email: row.address,
            status: Status::find(&row.status?)?,
            roles: parse_roles(&row.roles?),
            created_at: row.created_at?,
        })
    };
    Ok(user().map_or(Changed::NotFound, Changed::Done))
}

/// Ends all sessions of an account, tells the nodes, writes the audit row. `false` when there is no
/// account of this id.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or a statement's.
pub async fn revoke(
    db: &Pool,
    claims: &Claims,
    id: Uuid,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = begin(&mut connection, id).await?;
    let row = permitted!(
        own r#", target AS (
               SELECT u.id FROM users u WHERE u.id = $11 AND EXISTS (SELECT FROM permitted)
               FOR NO KEY UPDATE OF u
           ), ended AS (
               UPDATE sessions s SET revoked_at = $3, revoked_reason = 'revoked'
               FROM target WHERE s.user_id = target.id AND s.revoked_at IS NULL
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id,
                                  detail)
               SELECT $3, 'authn_token_revoked', caller.id, target.id, caller.session,
                      $7::text::inet, $8, $9, jsonb_build_object('scope', 'all')
               FROM caller, target
           )
           SELECT EXISTS (SELECT FROM permitted) AS "permitted!",
                  (SELECT count(pg_notify($12, 'user ' || id)) FROM target) > 0 AS "found!"
           FROM caller"#,
        claims,
        now,
        Permission::UsersWrite,
        caller,
        id,
        notices::REVOKED
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    Ok(row.is_some_and(|row| row.found))
}

/// Forgets the failures of an account, which ends its locks and its stop, and writes the audit row.
/// `subjects` are the MACs of all that it signs in with. `false` when there is no account of this id.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or a statement's.
pub async fn unlock(
    db: &Pool,
    claims: &Claims,
    id: Uuid,
    subjects: &[Vec<u8>],
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = begin(&mut connection, id).await?;
    let row = permitted!(
        own r#", target AS (
               SELECT u.id FROM users u WHERE u.id = $11 AND EXISTS (SELECT FROM permitted)
           ), here AS (
               -- In the order of `failures`.
               SELECT f.subject, f.network FROM failures f, target
               WHERE f.subject = ANY($12::bytea[]) AND (f.count > 0 OR f.locked_until IS NOT NULL)
               ORDER BY f.network = '', f.subject, f.network FOR NO KEY UPDATE OF f
           ), freed AS (
               UPDATE failures f SET count = 0, locked_until = NULL
               FROM here WHERE f.subject = here.subject AND f.network = here.network
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'authn_login_unlock', caller.id, target.id, caller.session,
                      $7::text::inet, $8, $9
               FROM caller, target
           )
           SELECT EXISTS (SELECT FROM permitted) AS "permitted!",
                  EXISTS (SELECT FROM target) AS "found!"
           FROM caller"#,
        claims,
        now,
        Permission::UsersWrite,
        caller,
        id,
        subjects
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    Ok(row.is_some_and(|row| row.found))
}
