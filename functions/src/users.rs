//! `/users` and `GET /audit`: managing accounts, for who has the permission.
//!
//! Nothing here reads or sets a password. What changes an account first asks, in a statement of its own,
//! whether the caller may: the change itself waits for a lock that all who manage accounts share, and
//! whoever may not must not stand in that queue.

pub(crate) mod actions;
pub(crate) mod audit;
mod parameters;

use axum::extract::{FromRef, Path, State};
use axum::routing::{get, patch};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use shared::access_token::Claims;
use shared::db::users::list;
use shared::db::users::manage::{self, Changed, Wish};
use shared::extract::parameters::Parameters;
use shared::extract::{Caller, Fields};
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::role::{Permission, Role};
use time::OffsetDateTime;
use uuid::Uuid;

use self::parameters::{
    PAGE, cut, parse_cursor, parse_id, parse_limit, parse_role, parse_roles, parse_status,
};
use crate::App;
use crate::bearer::Bearer;
use crate::openapi::bodies;

/// The routes of accounts, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list_users, show, change))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords) -> Router {
    let state = Users { app, passwords };
    let accounts = Router::new()
        .route("/users", get(list_users))
        .route("/users/{id}", get(show))
        .route("/users/{id}", patch(change))
        .with_state(state.clone());
    accounts.merge(actions::router(state.clone())).merge(audit::router(state))
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

/// An account, for who has the permission; 404 when there is none of this id.
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
/// `validation_failed`, `token_invalid`, `session_revoked`, `forbidden`, `recent_sign_in_required` (to give a
/// role), `not_found`, `last_admin`, `unavailable`.
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
    let id = find(&app, &claims, parse_id(&id), Permission::UsersWrite, &caller).await?.id;
    let (wish, now) = (Wish { roles, status }, app.clock.now());
    let since = now - app.settings.factors.recent_sign_in;
    let changed = manage::change(app.db.pool(), &claims, id, &wish, since, &caller, now);
    match app.db.run(changed).await? {
        Changed::Done(user) => Ok(Json(Shown { user: user.into() })),
        Changed::NotFound => Err(Problem::new(Code::NotFound)),
        Changed::LastAdmin => Err(Problem::new(Code::LastAdmin)),
        Changed::NotRecent => Err(Problem::new(Code::RecentSignInRequired)),
    }
}
