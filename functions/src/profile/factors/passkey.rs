//! `/me/factors/passkey`: adding passkeys.

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use shared::challenge::Challenge;
use shared::db;
use shared::db::factors::passkeys::{self, NewPasskey};
use shared::extract::{Caller, Fields, Invalid};
use shared::problem::{Code, Problem, Result};
use shared::webauthn::{Refused, Registration};
use uuid::Uuid;

use super::{Factors, admit, made, secretly, since};
use crate::bearer::Bearer;
use crate::ceremony::CreationOptions;
use crate::openapi::{bodies, examples};

/// Longest name of a passkey, in characters. No setting: it is a word or two for its owner.
const NAME_MAX: usize = 64;

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(begin, add))]
pub(crate) struct Api;

/// Its routes.
pub(super) fn router(factors: Factors) -> Router {
    Router::new()
        .route("/me/factors/passkey/options", post(begin))
        .route("/me/factors/passkey", post(add))
        .with_state(factors)
}

/// A passkey that was added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AddedPasskey, examples(examples::added_passkey))]
struct Added {
    id: Uuid,
}

/// `POST /me/factors/passkey/options {}` → 200 `{publicKey}`, for `navigator.credentials.create`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `recent_sign_in_required`,
/// `too_many_passkeys`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/me/factors/passkey/options",
    tag = "profile",
    operation_id = "begin_passkey",
    summary = "Begins to add a passkey",
    security(("access_token" = [])),
    request_body = bodies::Nothing,
    responses((
        status = 200,
        description = "For `navigator.credentials.create`",
        body = CreationOptions,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn begin(
    State(Factors { app, .. }): State<Factors>,
    Bearer(claims): Bearer,
    fields: Fields,
) -> Result<Response> {
    fields.finish(Some(()))?;
    let (party, now) = (app.relying_party()?, app.clock.now());
    admit(&app, &claims, now).await?;
    let challenge = Challenge::generate().map_err(|error| Problem::internal(&error))?;
    let given = (&challenge, now + app.settings.factors.challenge_lifetime);
    let most = app.settings.factors.passkeys_max;
    let begun = passkeys::begin(app.db.pool(), &claims, given, most, since(&app, now), now);
    let owner = made(app.db.run(begun).await?, Code::TooManyPasskeys)?;
    let options = CreationOptions::new(&app, &party, (claims.sub, owner), &challenge);
    Ok(secretly(StatusCode::OK, options))
}

/// `POST /me/factors/passkey {"name", "credential"}` → 201 `{id}`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `challenge_invalid`, `factor_exists`,
/// `too_many_passkeys`, `unavailable`.
#[utoipa::path(
    post,
    path = "/me/factors/passkey",
    tag = "profile",
    operation_id = "add_passkey",
    summary = "Adds a passkey",
    security(("access_token" = [])),
    request_body = bodies::NewPasskey,
    responses((
        status = 201,
        description = "It is added",
        body = Added
    ))
)]
async fn add(
    State(Factors { app, .. }): State<Factors>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<(StatusCode, Json<Added>)> {
    let name = fields.text("name", parse_name);
    let registration = fields.object("credential", Registration::from_json);
    let (name, registration) = fields.finish(name.zip(registration))?;
    let (party, now, id) = (app.relying_party()?, app.clock.now(), Uuid::now_v7());
    let answered = registration.answered(&party).map_err(refused)?;
    let credential = registration.verify(&party).map_err(refused)?;
    let new = NewPasskey { id, name: &name, credential: &credential };
    let (db, most) = (&app.db, app.settings.factors.passkeys_max);
    let added = passkeys::add(db.pool(), &claims, &answered.challenge, new, most, &caller, now);
    let added = db.run(added).await.map_err(|error| match error {
        db::Error::Constraint(name) if name == passkeys::CREDENTIAL_TAKEN => {
            Problem::new(Code::FactorExists)
        }
        error => error.into(),
    })?;
    made(added, Code::TooManyPasskeys)?;
    Ok((StatusCode::CREATED, Json(Added { id })))
}

fn parse_name(text: String) -> std::result::Result<String, Invalid> {
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("invalid_characters", "Leave out control characters."));
    }
    match text.chars().count() {
        0 => Err(Invalid::new("required", "Name the passkey.")),
        1..=NAME_MAX => Ok(text),
        _ => Err(Invalid::new("too_long", "Use at most 64 characters.")),
    }
}

/// Why a new passkey is not taken: its owner may know, unlike whoever tries to sign in with one.
fn refused(why: Refused) -> Problem {
    let message = format!("This passkey cannot be added ({why}); use another device or browser.");
    Problem::validation(vec![Invalid::new("not_accepted", message).at("/credential")])
}
