//! `/users` and `GET /audit`: managing accounts, for who has the permission.
//!
//! Nothing here reads or sets a password.

use axum::extract::{FromRef, Path, State};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use shared::access_token::Claims;
use shared::db::audit;
use shared::db::second_factor;
use shared::db::users::list::{self, Status};
use shared::db::users::manage::{self, Changed, Wish};
use shared::db::users::reset_factors::{self, Reset};
use shared::db::users::send_reset::{self, Sent};
use shared::extract::parameters::Parameters;
use shared::extract::{Caller, Fields, Invalid};
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::role::{Permission, Role};
use shared::secret_token;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::App;
use crate::bearer::Bearer;
use crate::openapi::bodies;

/// Entries of a page unless another number is asked for.
const PAGE: i64 = 50;
/// Most entries of a page. No setting: an answer stays under a megabyte.
const LARGEST_PAGE: i64 = 200;

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list_users, show, change, revoke, unlock, reset_factors, send_reset, list_audit))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords) -> Router {
    Router::new()
        .route("/users", get(list_users))
        .route("/users/{id}", get(show))
        .route("/users/{id}", patch(change))
        .route("/users/{id}/revoke", post(revoke))
        .route("/users/{id}/unlock", post(unlock))
        .route("/users/{id}/reset-factors", post(reset_factors))
        .route("/users/{id}/send-reset", post(send_reset))
        .route("/audit", get(list_audit))
        .with_state(Users { app, passwords })
}

#[derive(Debug, Clone)]
struct Users {
    app: App,
    /// For the MACs under which failures are counted.
    passwords: Passwords,
}

impl FromRef<Users> for App {
    fn from_ref(users: &Users) -> Self {
        users.app.clone()
    }
}

/// An account, as who manages it sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManagedUser)]
struct User {
    id: Uuid,
    username: String,
    display_name: Option<String>,
    email: Option<String>,
    status: &'static str,
    roles: Vec<Role>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<list::User> for User {
    fn from(user: list::User) -> Self {
        let list::User { id, username, display_name, email, status, roles, created_at } = user;
        Self { id, username, display_name, email, status: status.as_str(), roles, created_at }
    }
}

/// One account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManagedAccount, examples(crate::openapi::examples::managed))]
struct Shown {
    user: User,
}

/// A page of accounts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(crate::openapi::examples::users_page))]
struct UsersPage {
    users: Vec<User>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// `GET /users?search=&status=&role=&cursor=&limit=` → 200 `{users, next_cursor}`, by username.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `validation_failed`, `unavailable`.
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    operation_id = "list_users",
    summary = "Lists and finds accounts",
    security(("access_token" = [])),
    params(
        ("search" = Option<String>, Query, description = "How the name or address begins"),
        ("status" = Option<bodies::Status>, Query, description = "Whether it may sign in"),
        ("role" = Option<Role>, Query, description = "A role that it has"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^[A-Za-z0-9_-]*$"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 50 when left out", minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "A page of accounts", body = UsersPage))
)]
async fn list_users(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Json<UsersPage>> {
    let begins = parameters.take("search", |text| Ok(text.to_lowercase()));
    let status = parameters.take("status", parse_status);
    let role = parameters.take("role", parse_role);
    let after = parameters.take("cursor", parse_cursor);
    let limit = parameters.take("limit", parse_limit);
    let filters = begins.zip(status).zip(role).zip(after).zip(limit);
    let ((((begins, status), role), after), limit) = parameters.finish(filters)?;
    let limit = limit.unwrap_or(PAGE);
    // One more than is shown, to know whether there is a next page.
    let query = list::Query { begins, status, role, after, limit: limit + 1 };
    let found = list::list(app.db.pool(), &claims, &query, &caller, app.clock.now());
    let mut users: Vec<User> = app.db.run(found).await?.into_iter().map(User::from).collect();
    let more = cut(&mut users, limit);
    let last = users.last().filter(|_| more);
    let next_cursor = last.map(|user| URL_SAFE_NO_PAD.encode(user.username.to_lowercase()));
    Ok(Json(UsersPage { users, next_cursor }))
}

/// Leaves one page, and says whether there was more.
fn cut<T>(entries: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    more
}

/// `GET /users/{id}` → 200 `{user}`.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `unavailable`.
#[utoipa::path(
    get,
    path = "/users/{id}",
    tag = "users",
    operation_id = "show_user",
    summary = "Shows an account",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = Shown))
)]
async fn show(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Shown>> {
    let user = find(&app, &claims, parse_id(&id), Permission::UsersRead, &caller).await?;
    Ok(Json(Shown { user: user.into() }))
}

async fn find(
    app: &App,
    claims: &Claims,
    id: Uuid,
    permission: Permission,
    caller: &Caller,
) -> Result<list::User> {
    let found = list::find(app.db.pool(), claims, id, permission, caller, app.clock.now());
    app.db.run(found).await?.ok_or_else(|| Problem::new(Code::NotFound))
}

/// `PATCH /users/{id} {"roles", "status"}` → 200 `{user}`; what is left out stays.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `last_admin`,
/// `unavailable`.
#[utoipa::path(
    patch,
    path = "/users/{id}",
    tag = "users",
    operation_id = "change_user",
    summary = "Changes an account's roles and status",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    request_body = bodies::ManagedChange,
    responses((status = 200, description = "The account as it is now", body = Shown))
)]
async fn change(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
    mut fields: Fields,
) -> Result<Json<Shown>> {
    let roles = fields.optional_list("roles", parse_roles);
    let status = fields.optional_text("status", |text| parse_status(&text));
    let (roles, status) = fields.finish(roles.zip(status))?;
    let (wish, now) = (Wish { roles, status }, app.clock.now());
    let changed = manage::change(app.db.pool(), &claims, parse_id(&id), &wish, &caller, now);
    match app.db.run(changed).await? {
        Changed::Done(user) => Ok(Json(Shown { user: user.into() })),
        Changed::NotFound => Err(Problem::new(Code::NotFound)),
        Changed::LastAdmin => Err(Problem::new(Code::LastAdmin)),
    }
}

/// `POST /users/{id}/revoke` → 204: all sessions of the account end.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `unavailable`.
#[utoipa::path(
    post,
    path = "/users/{id}/revoke",
    tag = "users",
    operation_id = "revoke_user",
    summary = "Ends an account's sessions",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 204, description = "Its sessions have ended"))
)]
async fn revoke(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let (db, now) = (app.db.pool(), app.clock.now());
    done(app.db.run(manage::revoke(db, &claims, parse_id(&id), &caller, now)).await?)
}

/// `POST /users/{id}/unlock` → 204: the locks and the stop of the account end.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `unavailable`.
#[utoipa::path(
    post,
    path = "/users/{id}/unlock",
    tag = "users",
    operation_id = "unlock_user",
    summary = "Ends an account's locks",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 204, description = "Its locks have ended"))
)]
async fn unlock(
    State(Users { app, passwords }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let user = find(&app, &claims, parse_id(&id), Permission::UsersWrite, &caller).await?;
    let identifiers = [Some(user.username), user.email].into_iter().flatten();
    let subjects = identifiers.map(|name| passwords.identifier_mac(&name.to_lowercase()));
    let subjects: Vec<_> = subjects.chain([second_factor::subject(user.id)]).collect();
    let (db, now) = (app.db.pool(), app.clock.now());
    done(app.db.run(manage::unlock(db, &claims, user.id, &subjects, &caller, now)).await?)
}

/// `POST /users/{id}/reset-factors` → 204: the account has no second factor any more.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `recent_sign_in_required`, `not_found`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/users/{id}/reset-factors",
    tag = "users",
    operation_id = "reset_factors",
    summary = "Takes an account's second factors away",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 204, description = "It has none"))
)]
async fn reset_factors(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let (db, id, now) = (app.db.pool(), parse_id(&id), app.clock.now());
    let since = now - app.settings.factors.recent_sign_in;
    let reset = reset_factors::reset_factors(db, &claims, id, since, &caller, now);
    match app.db.run(reset).await? {
        Reset::Done => Ok(StatusCode::NO_CONTENT),
        Reset::NotFound => Err(Problem::new(Code::NotFound)),
        Reset::NotRecent => Err(Problem::new(Code::RecentSignInRequired)),
    }
}

/// `POST /users/{id}/send-reset` → 202: the account gets a link to set a new password by mail.
///
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `no_email`, `unavailable`.
#[utoipa::path(
    post,
    path = "/users/{id}/send-reset",
    tag = "users",
    operation_id = "send_reset",
    summary = "Mails a link to set an account's password",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The account's id")),
    responses((status = 202, description = "It is on its way"))
)]
async fn send_reset(
    State(Users { app, .. }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
    let now = app.clock.now();
    let token = (token, now + app.settings.mail.reset_lifetime);
    let (db, id) = (app.db.pool(), parse_id(&id));
    match app.db.run(send_reset::send_reset(db, &claims, id, token, &caller, now)).await? {
        Sent::Done => Ok(StatusCode::ACCEPTED),
        Sent::NotFound => Err(Problem::new(Code::NotFound)),
        Sent::NoAddress => Err(Problem::new(Code::NoEmail)),
    }
}

fn done(found: bool) -> Result<StatusCode> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::new(Code::NotFound)) }
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

/// An id of the path. What is no id is one that nobody has; who may ask is checked all the same.
fn parse_id(text: &str) -> Uuid {
    text.parse().unwrap_or(Uuid::nil())
}

/// Result of a value that was sent.
type Parsed<T> = std::result::Result<T, Invalid>;

fn parse_uuid(text: &str) -> Parsed<Uuid> {
    text.parse().map_err(|_| Invalid::new("unknown_value", "Send a UUID."))
}

fn parse_status(text: &str) -> Parsed<Status> {
    let wrong = || Invalid::new("unknown_value", "Send `active` or `disabled`.");
    Status::find(text).ok_or_else(wrong)
}

fn parse_role(text: &str) -> Parsed<Role> {
    let wrong = || Invalid::new("unknown_value", "Send `member`, `moderator` or `admin`.");
    Role::find(text).ok_or_else(wrong)
}

/// The roles an account is to have; every account is a member.
#[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::optional_list calls")]
fn parse_roles(names: Vec<String>) -> Parsed<Vec<Role>> {
    let given: Vec<Role> = names.iter().map(|name| parse_role(name)).collect::<Parsed<_>>()?;
    Ok(Role::ALL.into_iter().filter(|role| *role == Role::Member || given.contains(role)).collect())
}

fn parse_cursor(text: &str) -> Parsed<String> {
    let wrong = || Invalid::new("unknown_value", "Send the `next_cursor` of the page before.");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    String::from_utf8(bytes).ok().filter(|name| !name.contains('\0')).ok_or_else(wrong)
}

fn parse_place(text: &str) -> Parsed<i64> {
    let wrong = "Send the `next_cursor` of the page before.";
    text.parse().map_err(|_| Invalid::new("unknown_value", wrong))
}

fn parse_limit(text: &str) -> Parsed<i64> {
    let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
    let wrong =
        || Invalid::new("unknown_value", format!("Send a number from 1 to {LARGEST_PAGE}."));
    limit.ok_or_else(wrong)
}

fn parse_time(text: &str) -> Parsed<OffsetDateTime> {
    let wrong = || Invalid::new("unknown_value", "Send a time like `2026-11-22T20:00:00Z`.");
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    // In the last hours of the year 9999 another offset may leave what can be counted.
    time.checked_to_offset(UtcOffset::UTC).ok_or_else(wrong)
}
