//! What users see of their sessions, and how they end them.

use std::net::IpAddr;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::checked;
use crate::access_token::Claims;
use crate::db::{Error, notices};
use crate::extract::Caller;

/// Most sessions shown. No setting: nobody looks through more, and all of them can be ended at once.
const SHOWN: i64 = 100;

/// A session, as its user sees it.
#[derive(Debug)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// Whether it is the caller's.
    pub current: bool,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    pub last_seen_at: OffsetDateTime,
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// From where it was last refreshed, or began.
    pub address: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}

/// The caller's sessions that hold, the current one first, then those used last; at most a hundred.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn list(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Vec<Session>, Error> {
    let rows = checked!(
        read r#" SELECT s.id, s.id = caller.session AS "current!", s.created_at, s.idle_until,
                        CASE WHEN s.id = caller.session THEN $3 ELSE s.last_seen_at END AS "last_seen_at!",
                        host(s.address) AS "address!", s.user_agent
                 FROM caller JOIN sessions s ON s.user_id = caller.id
                 WHERE s.revoked_at IS NULL AND s.idle_until > $3 AND s.absolute_until > $3
                 ORDER BY s.id = caller.session DESC, s.last_seen_at DESC, s.id DESC LIMIT $6"#,
        claims,
        now,
        SHOWN
    )
    .fetch_all(db)
    .await?;
    if rows.is_empty() {
        return Err(Error::SessionRevoked);
    }
    let sessions = rows.into_iter().map(|row| Session {
        id: row.id,
        current: row.current,
        created_at: row.created_at,
        last_seen_at: row.last_seen_at,
        idle_until: row.idle_until,
        address: row.address.parse().ok(),
        user_agent: row.user_agent,
    });
    Ok(sessions.collect())
}

/// Which of one's sessions a sign-out ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The caller's.
    Local,
    /// All but the caller's.
    Others,
    /// All.
    All,
}

impl Scope {
    /// The name in bodies and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Others => "others",
            Self::All => "all",
        }
    }

    /// The scope of this name.
    pub fn find(name: &str) -> Option<Self> {
        [Self::Local, Self::Others, Self::All].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Ends the caller's session, the others, or all; tells the nodes; writes the audit row. One statement.
/// Where there are no others, nobody is told and nothing written.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn sign_out(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    scope: Scope,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    checked!(
        own r#", ended AS (
               UPDATE sessions s SET revoked_at = $3, revoked_reason = 'signed_out'
               FROM caller
               WHERE s.user_id = caller.id AND s.revoked_at IS NULL
                 AND CASE $6::text WHEN 'local' THEN s.id = caller.session
                                   WHEN 'others' THEN s.id <> caller.session ELSE true END
               RETURNING s.id
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id,
                                  detail)
               SELECT $3, 'authn_token_revoked', id, id, session, $7::text::inet, $8, $9,
                      jsonb_build_object('scope', $6::text)
               FROM caller WHERE EXISTS (SELECT FROM ended)
           )
           SELECT CASE WHEN NOT EXISTS (SELECT FROM ended) THEN NULL
                       WHEN $6 = 'local' THEN pg_notify($10, 'session ' || session)
                       ELSE pg_notify($10, 'user ' || id) END::text AS told
           FROM caller"#,
        claims,
        now,
        scope.as_str(),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(())
}

/// Ends one of the caller's sessions, tells the nodes, writes the audit row: one statement. `false`
/// when the caller has no such session that holds.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn end(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    session: Uuid,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let row = checked!(
        own r#", ended AS (
               UPDATE sessions s SET revoked_at = $3, revoked_reason = 'signed_out'
               FROM caller
               WHERE s.id = $6 AND s.user_id = caller.id AND s.revoked_at IS NULL
                 AND s.idle_until > $3 AND s.absolute_until > $3
               RETURNING s.id, s.user_id
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'authn_token_revoked', user_id, user_id, id, $7::text::inet, $8, $9 FROM ended
           )
           SELECT (SELECT count(pg_notify($10, 'session ' || id)) FROM ended) > 0 AS "ended!"
           FROM caller"#,
        claims,
        now,
        session,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(row.ended)
}
