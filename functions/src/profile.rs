//! `GET, PATCH, DELETE /me`, `GET /me/export`, `POST /me/password`, `POST /me/email`: what users see and
//! change of themselves; its part, `/me/factors`.

pub(crate) mod factors;

use axum::extract::{FromRef, State};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName};
use serde::Serialize;
use shared::credentials::{Bio, DisplayName, Email, Password};
use shared::db::buckets::Bucket;
use shared::db::profile::change::{self, Deletion};
use shared::db::profile::export;
use shared::db::second_factor;
use shared::db::verification::{self, Wish};
use shared::extract::{Caller, Fields};
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::rate_limit;
use shared::second_factor::Vault;
use shared::secret_token;

use crate::bearer::Bearer;
use crate::openapi::bodies;
use crate::reauthenticate::{self, reauthenticate};
use crate::user::Profile;
use crate::{App, throttle};

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(show, update, remove, export_all, change_password, change_email))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords, vault: Vault) -> Router {
    let factors = factors::router(app.clone(), vault);
    let me = Router::new()
        .route("/me", get(show))
        .route("/me", patch(update))
        .route("/me", delete(remove))
        .route("/me/export", get(export_all))
        .route("/me/password", post(change_password))
        .route("/me/email", post(change_email))
        .with_state(Me { app, passwords });
    me.merge(factors)
}

#[derive(Debug, Clone)]
struct Me {
    app: App,
    passwords: Passwords,
}

impl FromRef<Me> for App {
    fn from_ref(me: &Me) -> Self {
        me.app.clone()
    }
}

/// The caller's account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnAccount, examples(crate::openapi::examples::profile))]
struct Shown {
    user: Profile,
}

/// `GET /me` → 200 `{user}`.
///
/// Problems: `token_invalid`, `session_revoked`, `unavailable`.
#[utoipa::path(
    get,
    path = "/me",
    tag = "profile",
    operation_id = "show_me",
    summary = "Shows one's own account",
    security(("access_token" = [])),
    responses((status = 200, description = "The account", body = Shown))
)]
async fn show(State(Me { app, .. }): State<Me>, Bearer(claims): Bearer) -> Result<Json<Shown>> {
    let found = app.db.check(&claims, app.clock.now()).await?;
    Ok(Json(Shown { user: found.into() }))
}

/// `PATCH /me {"display_name", "bio"}` → 200 `{user}`; what is left out stays, null takes it away.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `rate_limited`, `unavailable`.
#[utoipa::path(
    patch,
    path = "/me",
    tag = "profile",
    operation_id = "update_me",
    summary = "Changes one's own account",
    security(("access_token" = [])),
    request_body = bodies::ProfileChange,
    responses((status = 200, description = "The account as it is now", body = Shown))
)]
async fn update(
    State(Me { app, .. }): State<Me>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<Json<Shown>> {
    let display_name = fields.change("display_name", DisplayName::parse);
    let bio = fields.change("bio", Bio::parse);
    let (display_name, bio) = fields.finish(display_name.zip(bio))?;
    let (db, now) = (app.db.pool(), app.clock.now());
    let (key, rate) =
        (throttle::account_bucket("profile", claims.sub), app.settings.accounts.profile);
    let (wish, bucket) = ((&display_name, &bio), Bucket { key: &key, rate });
    let changed = change::change(db, &claims, wish, bucket, &caller, now);
    match app.db.run(changed).await? {
        Ok(profile) => Ok(Json(Shown { user: profile.into() })),
        // Not remembered by this process: what changes nothing is let through all the same.
        Err(until) => Err(rate_limit::refused("profile", rate, until, now)),
    }
}

/// `DELETE /me {"password"}` → 204.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `wrong_password`, `last_admin`,
/// `rate_limited`, `unavailable`.
#[utoipa::path(
    delete,
    path = "/me",
    tag = "profile",
    operation_id = "delete_me",
    summary = "Deletes one's own account",
    security(("access_token" = [])),
    request_body = bodies::OwnPassword,
    responses((status = 204, description = "There is no such account any more"))
)]
async fn remove(
    State(Me { app, passwords }): State<Me>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let password = fields.text("password", Password::parse);
    let password = fields.finish(password)?;
    let checked = reauthenticate(&app, &passwords, &claims, &password, &caller).await?;
    let (db, now) = (app.db.pool(), app.clock.now());
    let deleted = change::delete(db, &claims, checked.verified, &caller, now);
    match app.db.run(deleted).await? {
        Deletion::Done => Ok(StatusCode::NO_CONTENT),
        Deletion::Changed => Err(reauthenticate::wrong()),
        Deletion::LastAdmin => Err(Problem::new(Code::LastAdmin)),
    }
}

/// `GET /me/export` → 200, everything that is held about the caller, of what may be without end the newest.
///
/// Problems: `token_invalid`, `session_revoked`, `rate_limited`, `unavailable`.
#[utoipa::path(
    get,
    path = "/me/export",
    tag = "profile",
    operation_id = "export_me",
    summary = "Gives everything that is held about one",
    security(("access_token" = [])),
    responses((
        status = 200,
        description = "All of it",
        body = bodies::Export,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn export_all(
    State(Me { app, passwords }): State<Me>,
    Bearer(claims): Bearer,
) -> Result<impl IntoResponse> {
    let (db, now) = (app.db.pool(), app.clock.now());
    let profile = app.db.check(&claims, now).await?;
    throttle::account(&app, "export", app.settings.accounts.export, claims.sub, now).await?;
    let identifiers = [Some(profile.username), profile.email].into_iter().flatten();
    let subjects = identifiers.map(|name| passwords.identifier_mac(&name.to_lowercase()));
    let subjects: Vec<_> = subjects.chain([second_factor::subject(claims.sub)]).collect();
    let all = app.db.run(export::export(db, &claims, &subjects, now)).await?;
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    Ok((no_store, Json(all)))
}

/// `POST /me/password {"current_password", "new_password"}` → 204; the other sessions end.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `wrong_password`, `rate_limited`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/me/password",
    tag = "profile",
    operation_id = "change_password",
    summary = "Changes one's password",
    security(("access_token" = [])),
    request_body = bodies::PasswordChange,
    responses((
        status = 204,
        description = "The password is changed, and the other sessions have ended"
    ))
)]
async fn change_password(
    State(Me { app, passwords }): State<Me>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let rules = app.settings.rules;
    let current = fields.text("current_password", Password::parse);
    let new = fields.text("new_password", |text| rules.check_length(Password::parse(text)?));
    let (current, new) = fields.finish(current.zip(new))?;
    let checked = reauthenticate(&app, &passwords, &claims, &current, &caller).await?;
    let names = checked.account.identifiers.clone();
    let strong = passwords.check_strength(rules, &new, names).await?;
    strong.map_err(|invalid| Problem::validation(vec![invalid.at("/new_password")]))?;
    let stored = passwords.hash(&new).await?;
    let (db, now) = (app.db.pool(), app.clock.now());
    let set = change::set_password(db, &claims, checked.verified, &stored, &caller, now);
    if app.db.run(set).await? { Ok(StatusCode::NO_CONTENT) } else { Err(reauthenticate::wrong()) }
}

/// `POST /me/email {"email", "password"}` → 202. The address is the account's own once the link that is
/// mailed to it was used; the answer is the same when somebody owns it.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `wrong_password`, `rate_limited`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/me/email",
    tag = "profile",
    operation_id = "change_email",
    summary = "Asks for another address",
    security(("access_token" = [])),
    request_body = bodies::EmailChange,
    responses((status = 202, description = "A link to confirm it is on its way"))
)]
async fn change_email(
    State(Me { app, passwords }): State<Me>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let email = fields.text("email", Email::parse);
    let password = fields.text("password", Password::parse);
    let (email, password) = fields.finish(email.zip(password))?;
    let checked = reauthenticate(&app, &passwords, &claims, &password, &caller).await?;
    let now = app.clock.now();
    throttle::mail(&app, &passwords, &email, now).await?;
    let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
    let expires_at = now + app.settings.mail.verify_lifetime;
    let wish = Wish { email: &email, token, expires_at };
    let asked = verification::ask(app.db.pool(), &claims, checked.verified, wish, &caller, now);
    if app.db.run(asked).await? { Ok(StatusCode::ACCEPTED) } else { Err(reauthenticate::wrong()) }
}
