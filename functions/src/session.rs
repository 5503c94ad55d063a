//! `POST /token/refresh`, `POST /logout`, `GET /me/sessions`, `DELETE /me/sessions/{id}`: keeping a
//! sign-in, and ending it.

use axum::extract::{FromRef, Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{HeaderName, SET_COOKIE};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::access_token::Subject;
use shared::db::sessions::own::{self, Scope};
use shared::db::sessions::refresh::{self, Admission, Presented};
use shared::extract::{Caller, Fields, Invalid};
use shared::problem::{Code, Problem, Result};
use shared::rate_limit::{self, Refusal};
use shared::refresh_token::RefreshToken;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::App;
use crate::bearer::Bearer;
use crate::cookie::Cookies;
use crate::openapi::bodies;
use crate::tokens::{Delivery, Granted, TokenKeys};

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(refresh_tokens, log_out, list, end))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, tokens: TokenKeys) -> Router {
    Router::new()
        .route("/token/refresh", post(refresh_tokens))
        .route("/logout", post(log_out))
        .route("/me/sessions", get(list))
        .route("/me/sessions/{id}", delete(end))
        .with_state(Session { app, tokens })
}

#[derive(Debug, Clone)]
struct Session {
    app: App,
    tokens: TokenKeys,
}

impl FromRef<Session> for App {
    fn from_ref(session: &Session) -> Self {
        session.app.clone()
    }
}

/// `POST /token/refresh {"refresh_token"}` → 200
/// `{access_token, token_type, expires_in, refresh_token}`; without a body, the token comes and goes by
/// the cookie.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `refresh_token_invalid`, `session_revoked`, `origin_refused`, `rate_limited`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/token/refresh",
    tag = "session",
    operation_id = "refresh_tokens",
    summary = "Gives new tokens for a refresh token",
    security((), ("refresh_cookie" = [])),
    request_body = Option<bodies::Refresh>,
    responses((
        status = 200,
        description = "The next tokens",
        body = crate::tokens::Handed<'_>,
        headers(
            ("Cache-Control", description = "`no-store`"),
            ("Set-Cookie", description = "`keywire_refresh`, when the refresh token is to be a cookie")
        )
    ))
)]
async fn refresh_tokens(
    State(session): State<Session>,
    caller: Caller,
    cookies: Cookies,
    fields: Option<Fields>,
) -> Result<Response> {
    let Some(mut fields) = fields else {
        cookies.check_origin()?;
        let token = cookies.refresh.as_ref();
        let refreshed = session.refresh(token, &caller, Delivery::Cookie(&cookies)).await;
        // What will never work again is taken away; a 429 or a 503 says nothing of the session.
        return refreshed.map_err(|problem| match problem.code {
            Code::RefreshTokenInvalid | Code::SessionRevoked if token.is_some() => {
                problem.header(SET_COOKIE, cookies.clear())
            }
            _ => problem,
        });
    };
    let token = fields.text("refresh_token", |text| Ok(SecretString::from(text)));
    let token = fields.finish(token)?;
    session.refresh(Some(&token), &caller, Delivery::Body).await
}

impl Session {
    async fn refresh(
        &self,
        token: Option<&SecretString>,
        caller: &Caller,
        delivery: Delivery<'_>,
    ) -> Result<Response> {
        let (app, now) = (&self.app, self.app.clock.now());
        let invalid = || Problem::new(Code::RefreshTokenInvalid);
        let token = token.and_then(|token| RefreshToken::parse(token.expose_secret()));
        let token = token.ok_or_else(invalid)?;
        let salt = self.admit(token.session, caller, now).await?;
        if !token.is_genuine(&self.tokens.held().signing, &salt) {
            return Err(invalid());
        }
        let presented = Presented {
            session: token.session,
            counter: token.counter,
            grace: app.settings.refresh_grace,
            idle: app.settings.session_idle,
        };
        let refreshed = refresh::refresh(app.db.pool(), presented, caller, now);
        let refreshed = app.db.run(refreshed).await?;
        let subject = Subject {
            user: refreshed.user,
            session: token.session,
            authenticated_at: refreshed.created_at,
            roles: refreshed.roles,
            counter: refreshed.counter,
        };
        let granted =
            Granted { subject, salt: &salt, idle_until: refreshed.idle_until, user: None };
        self.tokens.hand_out(granted, delivery, now)
    }

    /// The session's salt, unless the network asks too often.
    async fn admit(&self, session: Uuid, caller: &Caller, now: OffsetDateTime) -> Result<Vec<u8>> {
        let app = &self.app;
        let rate = app.settings.refresh_address;
        let key = [b"refresh\0".as_slice(), &caller.address.network()].concat();
        if let Some(until) = app.refusals.find(&key, now) {
            return Err(rate_limit::refused("refresh", rate, until, now));
        }
        match app.db.run(refresh::admit(app.db.pool(), session, &key, rate, now)).await? {
            Admission::Admitted(salt) => Ok(salt),
            Admission::Ended => Err(Problem::new(Code::SessionRevoked)),
            Admission::BucketEmpty(until) => {
                app.refusals.remember(key, Refusal { until, ask_again: until }, now);
                Err(rate_limit::refused("refresh", rate, until, now))
            }
        }
    }
}

/// `POST /logout {"scope"}` → 204; `local` (the default), `others` or `all`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `unavailable`.
#[utoipa::path(
    post,
    path = "/logout",
    tag = "session",
    operation_id = "log_out",
    summary = "Ends sessions",
    security(("access_token" = [])),
    request_body = Option<bodies::SignOut>,
    responses((
        status = 204,
        description = "Signed out",
        headers(
            ("Set-Cookie", description = "Takes `keywire_refresh` away, unless the scope is `others`")
        )
    ))
)]
async fn log_out(
    State(Session { app, .. }): State<Session>,
    Bearer(claims): Bearer,
    caller: Caller,
    cookies: Cookies,
    fields: Option<Fields>,
) -> Result<Response> {
    let scope = match fields {
        None => Scope::Local,
        Some(mut fields) => {
            let scope = fields.optional_text("scope", parse_scope);
            fields.finish(scope)?.unwrap_or(Scope::Local)
        }
    };
    let now = app.clock.now();
    app.db.run(own::sign_out(app.db.pool(), &claims, scope, &caller, now)).await?;
    if scope == Scope::Others {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let cleared: AppendHeaders<[(HeaderName, _); 1]> =
        AppendHeaders([(SET_COOKIE, cookies.clear())]);
    Ok((StatusCode::NO_CONTENT, cleared).into_response())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
fn parse_scope(text: String) -> std::result::Result<Scope, Invalid> {
    let wrong = || Invalid::new("unknown_value", "Send `local`, `others` or `all`.");
    Scope::find(&text).ok_or_else(wrong)
}

/// A session, as its user sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnSession)]
struct Shown {
    id: Uuid,
    current: bool,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    idle_until: OffsetDateTime,
    #[schema(value_type = Option<String>)]
    address: Option<std::net::IpAddr>,
    user_agent: Option<String>,
}

/// The caller's sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(crate::openapi::examples::sessions))]
struct Sessions {
    sessions: Vec<Shown>,
}

/// `GET /me/sessions` → 200 `{sessions}`, the current one first.
///
/// Problems: `token_invalid`, `session_revoked`, `unavailable`.
#[utoipa::path(
    get,
    path = "/me/sessions",
    tag = "session",
    operation_id = "list_sessions",
    summary = "Lists one's own sessions",
    security(("access_token" = [])),
    responses((status = 200, description = "The sessions that hold", body = Sessions))
)]
async fn list(
    State(Session { app, .. }): State<Session>,
    Bearer(claims): Bearer,
) -> Result<Json<Sessions>> {
    let found = app.db.run(own::list(app.db.pool(), &claims, app.clock.now())).await?;
    let shown =
        found.into_iter().map(|session| {
            let own::Session {
                id,
                current,
                created_at,
                last_seen_at,
                idle_until,
                address,
                user_agent,
            } = session;
            Shown { id, current, created_at, last_seen_at, idle_until, address, user_agent }
        });
    Ok(Json(Sessions { sessions: shown.collect() }))
}

/// `DELETE /me/sessions/{id}` → 204.
///
/// Problems: `token_invalid`, `session_revoked`, `not_found`, `unavailable`.
#[utoipa::path(
    delete,
    path = "/me/sessions/{id}",
    tag = "session",
    operation_id = "end_session",
    summary = "Ends one of one's own sessions",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "The session has ended"))
)]
async fn end(
    State(Session { app, .. }): State<Session>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    // What is no id is one that nobody has; the session is checked all the same.
    let id = id.parse().unwrap_or(Uuid::nil());
    let ended = own::end(app.db.pool(), &claims, id, &caller, app.clock.now());
    if app.db.run(ended).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(Code::NotFound))
    }
}
