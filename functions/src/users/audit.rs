//! `GET /audit`: what happened.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;
use shared::db::audit;
use shared::extract::Caller;
use shared::extract::parameters::Parameters;
use shared::problem::Result;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Users;
use super::parameters::{PAGE, cut, parse_limit, parse_place, parse_time, parse_uuid};
use crate::bearer::Bearer;

/// Its route, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list_audit))]
pub(crate) struct Api;

/// Its route.
pub(super) fn router(users: Users) -> Router {
    Router::new().route("/audit", get(list_audit)).with_state(users)
}

/// An event of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditEntry)]
struct Entry {
    id: i64,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    event: String,
    actor: Option<Uuid>,
    subject: Option<Uuid>,
    session: Option<Uuid>,
    #[schema(value_type = Option<String>)]
    address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
    request_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    detail: Option<Value>,
}

impl From<audit::Entry> for Entry {
    fn from(entry: audit::Entry) -> Self {
        let audit::Entry { id, at, event, actor, subject, session, .. } = entry;
        let audit::Entry { address, user_agent, request_id, detail, .. } = entry;
        Self { id, at, event, actor, subject, session, address, user_agent, request_id, detail }
    }
}

/// A page of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(crate::openapi::examples::audit_page))]
struct AuditPage {
    entries: Vec<Entry>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// `GET /audit?event=&actor=&subject=&session=&since=&until=&cursor=&limit=` → 200
/// `{entries, next_cursor}`, the newest first.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `validation_failed`, `unavailable`.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "users",
    operation_id = "list_audit",
    summary = "Reads the audit log",
    security(("access_token" = [])),
    params(
        ("event" = Option<String>, Query, description = "Such as `authn_login_fail`"),
        ("actor" = Option<Uuid>, Query, description = "Who did it"),
        ("subject" = Option<Uuid>, Query, description = "Whom it is about"),
        ("session" = Option<Uuid>, Query, description = "In which session"),
        ("since" = Option<String>, Query, description = "Not before this time, RFC 3339"),
        ("until" = Option<String>, Query, description = "Before this time, RFC 3339"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^[0-9]{1,18}$"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 50 when left out", minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "A page of the audit log", body = AuditPage))
)]
async fn list_audit(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Json<AuditPage>> {
    let event = parameters.take("event", |text| Ok(text.to_owned()));
    let actor = parameters.take("actor", parse_uuid);
    let subject = parameters.take("subject", parse_uuid);
    let session = parameters.take("session", parse_uuid);
    let since = parameters.take("since", parse_time);
    let until = parameters.take("until", parse_time);
    let before = parameters.take("cursor", parse_place);
    let limit = parameters.take("limit", parse_limit);
    let who = actor.zip(subject).zip(session);
    let filters = event.zip(who).zip(since.zip(until)).zip(before.zip(limit));
    let (((event, ((actor, subject), session)), (since, until)), (before, limit)) =
        parameters.finish(filters)?;
    let shown = limit.unwrap_or(PAGE);
    let limit = shown + 1;
    let query = audit::Query { event, actor, subject, session, since, until, before, limit };
    let found = audit::list(app.db.pool(), &claims, &query, &caller, app.clock.now());
    let mut entries: Vec<Entry> = app.db.run(found).await?.into_iter().map(Entry::from).collect();
    let more = cut(&mut entries, shown);
    let next_cursor = entries.last().filter(|_| more).map(|entry| entry.id.to_string());
    Ok(Json(AuditPage { entries, next_cursor }))
}
