//! `/me/factors`: the caller's authenticator app with its recovery codes, and passkeys.
//!
//! Adding and removing one needs a sign-in of the last `RECENT_SIGN_IN` that has proven every factor the
//! account has by now, which a password alone would not.

pub(crate) mod passkey;
pub(crate) mod totp;

use axum::extract::{FromRef, Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderName};
use serde::Serialize;
use shared::access_token::Claims;
use shared::db::factors::{self, Change};
use shared::extract::Caller;
use shared::problem::{Code, Problem, Result};
use shared::second_factor::Vault;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::bearer::Bearer;
use crate::openapi::examples;
use crate::{App, throttle};

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(list, remove))]
pub(crate) struct Api;

/// The routes of factors.
pub(super) fn router(app: App, vault: Vault) -> Router {
    let state = Factors { app, vault };
    let all = Router::new()
        .route("/me/factors", get(list))
        .route("/me/factors/{id}", delete(remove))
        .with_state(state.clone());
    all.merge(totp::router(state.clone())).merge(passkey::router(state))
}

#[derive(Debug, Clone)]
struct Factors {
    app: App,
    vault: Vault,
}

impl FromRef<Factors> for App {
    fn from_ref(factors: &Factors) -> Self {
        factors.app.clone()
    }
}

/// The caller's factors.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Factors, examples(examples::factors))]
struct Shown {
    factors: Vec<Factor>,
    /// Recovery codes that were not used.
    #[schema(minimum = 0, maximum = 10)]
    recovery_codes_left: i64,
}

/// A factor, as its owner sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Factor {
    id: Uuid,
    /// `totp` or `passkey`.
    #[schema(pattern = "^(totp|passkey)$")]
    kind: String,
    /// A passkey's name; null for an app.
    name: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    last_used_at: Option<OffsetDateTime>,
}

/// `GET /me/factors` → 200 `{factors, recovery_codes_left}`.
///
/// Problems: `token_invalid`, `session_revoked`, `unavailable`.
#[utoipa::path(
    get,
    path = "/me/factors",
    tag = "profile",
    operation_id = "list_factors",
    summary = "Shows one's own second factors",
    security(("access_token" = [])),
    responses((
        status = 200,
        description = "The factors",
        body = Shown
    ))
)]
async fn list(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Shown>> {
    let found = factors::list(app.db.pool(), &claims, app.clock.now());
    let found = app.db.run(found).await?;
    let shown = found.factors.into_iter().map(|factor| {
        let factors::Factor { id, kind, name, created_at, last_used_at } = factor;
        Factor { id, kind, name, created_at, last_used_at }
    });
    let recovery_codes_left = found.recovery_codes_left;
    Ok(Json(Shown { factors: shown.collect(), recovery_codes_left }))
}

/// `DELETE /me/factors/{id}` → 204; with an app its recovery codes go, too.
///
/// Problems: `token_invalid`, `session_revoked`, `recent_sign_in_required`, `not_found`,
/// `rate_limited`, `unavailable`.
#[utoipa::path(
    delete,
    path = "/me/factors/{id}",
    tag = "profile",
    operation_id = "remove_factor",
    summary = "Removes a factor",
    security(("access_token" = [])),
    params(("id" = String, Path, description = "The factor's id")),
    responses((status = 204, description = "It is removed"))
)]
async fn remove(
    State(Factors { app, .. }): State<Factors>,
    Bearer(claims): Bearer,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    // What is no id is nobody's factor; the session is checked all the same.
    let id: Uuid = id.parse().unwrap_or(Uuid::nil());
    let now = app.clock.now();
    admit(&app, &claims, now).await?;
    let removed = factors::remove(app.db.pool(), &claims, id, since(&app, now), &caller, now);
    made(app.db.run(removed).await?, Code::NotFound)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a change begin: the sign-in is recent, and one is taken from the account's bucket of such
/// changes, each of which is a row of the audit log and a mail. That is asked second, or somebody with a
/// session of old could empty the bucket.
async fn admit(app: &App, claims: &Claims, now: OffsetDateTime) -> Result<()> {
    let admitted = factors::admit(app.db.pool(), claims, since(app, now), now);
    made(app.db.run(admitted).await?, Code::RecentSignInRequired)?;
    throttle::account(app, "factors", app.settings.accounts.profile, claims.sub, now).await
}

/// Since when a sign-in is recent.
fn since(app: &App, now: OffsetDateTime) -> OffsetDateTime {
    now - app.settings.factors.recent_sign_in
}

/// What a change made, or why it was not.
fn made<T>(change: Change<T>, refused: Code) -> Result<T> {
    Err(Problem::new(match change {
        Change::Made(made) => return Ok(made),
        Change::NotRecent => Code::RecentSignInRequired,
        Change::Refused => refused,
        Change::Unknown => Code::ChallengeInvalid,
    }))
}

/// An answer that no cache keeps.
fn secretly(status: StatusCode, body: impl Serialize) -> Response {
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    (status, no_store, Json(body)).into_response()
}
