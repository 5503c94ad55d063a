//! `POST /users/{id}/…`: what administrators do to other accounts beside changing them.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use http::StatusCode;
use shared::db::buckets::Bucket;
use shared::db::second_factor;
use shared::db::users::list::Status;
use shared::db::users::manage;
use shared::db::users::reset_factors::{self, Reset};
use shared::db::users::send_reset::{self, Link, Sent};
use shared::extract::Caller;
use shared::problem::{Code, Problem, Result};
use shared::role::Permission;
use shared::secret_token;

use super::parameters::parse_id;
use super::{Users, find};
use crate::bearer::Bearer;
use crate::throttle;

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(revoke, unlock, reset_factors, send_reset))]
pub(crate) struct Api;

/// Its routes.
pub(super) fn router(users: Users) -> Router {
    Router::new()
        .route("/users/{id}/revoke", post(revoke))
        .route("/users/{id}/unlock", post(unlock))
        .route("/users/{id}/reset-factors", post(reset_factors))
        .route("/users/{id}/send-reset", post(send_reset))
        .with_state(users)
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
    let id = find(&app, &claims, parse_id(&id), Permission::UsersWrite, &caller).await?.id;
    let (db, now) = (app.db.pool(), app.clock.now());
    done(app.db.run(manage::revoke(db, &claims, id, &caller, now)).await?)
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
    let id = find(&app, &claims, parse_id(&id), Permission::UsersWrite, &caller).await?.id;
    let (db, now) = (app.db.pool(), app.clock.now());
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
/// Problems: `token_invalid`, `session_revoked`, `forbidden`, `not_found`, `no_email`, `rate_limited`,
/// `unavailable`.
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
    State(Users { app, passwords }): State<Users>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let no_email = || Problem::new(Code::NoEmail);
    let user = find(&app, &claims, parse_id(&id), Permission::UsersWrite, &caller).await?;
    let email = user.email.filter(|_| user.status == Status::Active).ok_or_else(no_email)?;
    let (rate, now) = (app.settings.mail.address, app.clock.now());
    let key = throttle::mail_bucket(&passwords, &email.to_lowercase());
    throttle::remembered(&app, "mail", rate, &key, now)?;
    let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
    let expires_at = now + app.settings.mail.reset_lifetime;
    let link = Link { email: &email, token, expires_at, bucket: Bucket { key: &key, rate } };
    let sent = send_reset::send_reset(app.db.pool(), &claims, user.id, link, &caller, now);
    match app.db.run(sent).await? {
        Sent::Done => Ok(StatusCode::ACCEPTED),
        Sent::NotFound => Err(Problem::new(Code::NotFound)),
        Sent::NoAddress => Err(no_email()),
        Sent::BucketEmpty(until) => Err(throttle::empty(&app, "mail", rate, key, (until, now))),
    }
}

fn done(found: bool) -> Result<StatusCode> {
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::new(Code::NotFound)) }
}
