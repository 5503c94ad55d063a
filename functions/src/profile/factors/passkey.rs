//! `/me/factors/passkey`: adding passkeys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::access_token::Claims;
use shared::challenge::Challenge;
use shared::db;
use shared::db::factors::passkeys::{self, NewPasskey, Owner};
use shared::extract::{Caller, Fields, Invalid};
use shared::problem::{Code, Problem, Result};
use shared::webauthn::{self, Algorithm, Refused, Registration, RelyingParty};
use uuid::Uuid;

use super::{Factors, made, secretly, since};
use crate::App;
use crate::bearer::Bearer;
use crate::openapi::bodies;

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

/// `POST /me/factors/passkey/options {}` → 200 `{publicKey}`, for `navigator.credentials.create`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `recent_sign_in_required`,
/// `too_many_passkeys`, `unavailable`.
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
        body = Object,
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
    let challenge = Challenge::generate().map_err(|error| Problem::internal(&error))?;
    let given = (&challenge, now + app.settings.factors.challenge_lifetime);
    let most = app.settings.factors.passkeys_max;
    let begun = passkeys::begin(app.db.pool(), &claims, given, most, since(&app, now), now);
    let owner = made(app.db.run(begun).await?, Code::TooManyPasskeys)?;
    Ok(secretly(StatusCode::OK, creation_options(&app, &party, &claims, &owner, &challenge)))
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
        body = Object
    ))
)]
async fn add(
    State(Factors { app, .. }): State<Factors>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response> {
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
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// `PublicKeyCredentialCreationOptions` as JSON (WebAuthn §5.1.9).
fn creation_options(
    app: &App,
    party: &RelyingParty,
    claims: &Claims,
    owner: &Owner,
    challenge: &Challenge,
) -> Value {
    let kinds = Algorithm::ALL.map(|one| json!({ "type": "public-key", "alg": one.id() }));
    let there = owner.credentials.iter();
    let there = there.map(|id| json!({ "type": "public-key", "id": webauthn::encode(id) }));
    let timeout =
        u64::try_from(app.settings.factors.challenge_lifetime.as_millis()).unwrap_or(u64::MAX);
    json!({ "publicKey": {
        "rp": { "id": party.id(), "name": app.settings.factors.service_name },
        "user": {
            "id": webauthn::encode(claims.sub.as_bytes()),
            "name": owner.username,
            "displayName": owner.display_name.as_ref().unwrap_or(&owner.username),
        },
        "challenge": challenge.text().expose_secret(),
        "pubKeyCredParams": kinds,
        "timeout": timeout,
        "excludeCredentials": there.collect::<Vec<_>>(),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": "required",
        },
        "attestation": "none",
    }})
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
