//! Reading the audit log.

use std::net::IpAddr;

use serde_json::Value;
use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use super::permitted::{judge, permitted};
use crate::access_token::Claims;
use crate::extract::Caller;
use crate::role::Permission;

/// An event.
#[derive(Debug)]
pub struct Entry {
    /// Its place in the log.
    pub id: i64,
    /// When it happened.
    pub at: OffsetDateTime,
    /// What happened, like `authn_login_fail`.
    pub event: String,
    /// Who did it.
    pub actor: Option<Uuid>,
    /// To whom.
    pub subject: Option<Uuid>,
    /// In which session.
    pub session: Option<Uuid>,
    /// From where; nothing after 30 days.
    pub address: Option<IpAddr>,
    /// With what; nothing after 30 days.
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// What else there is to say.
    pub detail: Option<Value>,
}

/// Which events, and from where on.
#[derive(Debug, Default)]
pub struct Query {
    /// Only this event.
    pub event: Option<String>,
    /// Only what this user did.
    pub actor: Option<Uuid>,
    /// Only what was done to this user.
    pub subject: Option<Uuid>,
    /// Only what happened in this session.
    pub session: Option<Uuid>,
    /// Only from then on.
    pub since: Option<OffsetDateTime>,
    /// Only before then.
    pub until: Option<OffsetDateTime>,
    /// Only before this place in the log.
    pub before: Option<i64>,
    /// Most events of the page.
    pub limit: i64,
}

/// A page of the log, the newest event first.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or the statement's.
pub async fn list(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    query: &Query,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Vec<Entry>, Error> {
    let rows = permitted!(
        read r#" SELECT EXISTS (SELECT FROM permitted) AS "permitted!", a.id AS "id?", a.at AS "at?",
                        a.event AS "event?", a.actor, a.subject, a.session AS in_session,
                        host(a.address) AS address, a.user_agent, a.request_id, a.detail
                 FROM caller LEFT JOIN LATERAL (
                     SELECT * FROM audit
                     WHERE EXISTS (SELECT FROM permitted)
                       AND ($11::text IS NULL OR event = $11)
                       AND ($12::uuid IS NULL OR actor = $12)
                       AND ($13::uuid IS NULL OR subject = $13)
                       AND ($14::uuid IS NULL OR session = $14)
                       AND ($15::timestamptz IS NULL OR at >= $15)
                       AND ($16::timestamptz IS NULL OR at < $16)
                       AND ($17::bigint IS NULL OR id < $17)
                     ORDER BY id DESC LIMIT $18
                 ) a ON true
                 ORDER BY a.id DESC"#,
        claims,
        now,
        Permission::AuditRead,
        caller,
        query.event,
        query.actor,
        query.subject,
        query.session,
        query.since,
        query.until,
        query.before,
        query.limit
    )
    .fetch_all(db)
    .await?;
    judge(rows.first().map(|row| row.permitted))?;
    let entries = rows.into_iter().filter_map(|row| {
        Some(Entry {
            id: row.id?,
            at: row.at?,
            event: row.event?,
            actor: row.actor,
            subject: row.subject,
            session: row.in_session,
            address: row.address.and_then(|address| address.parse().ok()),
            user_agent: row.user_agent,
            request_id: row.request_id,
            detail: row.detail,
        })
    });
    Ok(entries.collect())
}
