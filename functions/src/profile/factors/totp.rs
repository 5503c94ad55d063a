//! `/me/factors/totp`: an authenticator app, and its recovery codes.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::access_token::Claims;
use shared::db::factors::Change;
use shared::db::factors::totp;
use shared::extract::{Caller, Fields, Invalid};
use shared::problem::{Code, Problem, Result};
use shared::second_factor::{self, RECOVERY_CODES, RecoveryCode, TotpSecret, Vault};
use uuid::Uuid;

use super::{Factors, admit, made, secretly, since};
use crate::bearer::Bearer;
use crate::openapi::{bodies, examples};

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(begin, confirm, renew_recovery_codes))]
pub(crate) struct Api;

/// Its routes.
pub(super) fn router(factors: Factors) -> Router {
    Router::new()
        .route("/me/factors/totp", post(begin))
        .route("/me/factors/totp/confirm", post(confirm))
        .route("/me/factors/recovery-codes", post(renew_recovery_codes))
        .with_state(factors)
}

/// What the app needs.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BegunTotp, examples(examples::begun_totp))]
struct Begun<'a> {
    id: Uuid,
    /// Base32, for who types it.
    #[schema(pattern = "^[A-Z2-7]{32}$")]
    secret: &'a str,
    /// The same and more, for a QR code.
    #[schema(pattern = "^otpauth://totp/")]
    uri: &'a str,
}

/// The app that counts from now on, and its recovery codes.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ConfirmedTotp, examples(examples::confirmed_totp))]
struct Confirmed<'a> {
    id: Uuid,
    /// Each good once.
    #[schema(min_items = 10, max_items = 10)]
    recovery_codes: Vec<&'a str>,
}

/// New recovery codes.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecoveryCodes, examples(examples::recovery_codes))]
struct Renewed<'a> {
    /// Each good once.
    #[schema(min_items = 10, max_items = 10)]
    recovery_codes: Vec<&'a str>,
}

/// `POST /me/factors/totp {}` → 201 `{id, secret, uri}`: an app that counts once it is confirmed.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `recent_sign_in_required`,
/// `factor_exists`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/me/factors/totp",
    tag = "profile",
    operation_id = "begin_totp",
    summary = "Begins to add an authenticator app",
    security(("access_token" = [])),
    request_body = bodies::Nothing,
    responses((
        status = 201,
        description = "What the app needs",
        body = Begun<'_>,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn begin(
    State(Factors { app, vault }): State<Factors>,
    Bearer(claims): Bearer,
    fields: Fields,
) -> Result<Response> {
    fields.finish(Some(()))?;
    let (id, now) = (Uuid::now_v7(), app.clock.now());
    admit(&app, &claims, now).await?;
    let secret = TotpSecret::generate().map_err(|error| Problem::internal(&error))?;
    let sealed = vault.seal(&secret, claims.sub, id);
    let sealed = sealed.map_err(|error| Problem::internal(&error))?;
    let begun = totp::begin(app.db.pool(), &claims, (id, &sealed), since(&app, now), now);
    let username = made(app.db.run(begun).await?, Code::FactorExists)?;
    let uri = secret.uri(&app.settings.factors.service_name, &username);
    let secret = secret.base32();
    let body = Begun { id, secret: secret.expose_secret(), uri: uri.expose_secret() };
    Ok(secretly(StatusCode::CREATED, body))
}

/// `POST /me/factors/totp/confirm {"code"}` → 200 `{id, recovery_codes}`: from now on a password alone
/// does not sign in, and whoever else was signed in is signed out.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `recent_sign_in_required`, `not_found`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/me/factors/totp/confirm",
    tag = "profile",
    operation_id = "confirm_totp",
    summary = "Lets the app count, gives recovery codes",
    security(("access_token" = [])),
    request_body = bodies::TotpCode,
    responses((
        status = 200,
        description = "The recovery codes, shown once",
        body = Confirmed<'_>,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn confirm(
    State(Factors { app, vault }): State<Factors>,
    Bearer(claims): Bearer,
    caller: Caller,
    mut fields: Fields,
) -> Result<Response> {
    let code = fields.text("code", second_factor::Code::parse);
    let code = fields.finish(code)?;
    let (db, now) = (&app.db, app.clock.now());
    let none = || Problem::new(Code::NotFound).detail("No app waits for its confirmation.");
    let pending = totp::find_pending(db.pool(), &claims, since(&app, now), now);
    let (id, sealed) = match db.run(pending).await? {
        Change::Refused => return Err(none()),
        pending => made(pending, Code::NotFound)?,
    };
    let secret = vault.open(&sealed, claims.sub, id).map_err(|error| Problem::internal(&error))?;
    let step = secret.find_step(&code, None, now).ok_or_else(|| {
        let wrong = "This is not the code of now: check the clock of the device with the app.";
        Problem::validation(vec![Invalid::new("wrong_code", wrong).at("/code")])
    })?;
    let (codes, macs) = new_codes(&vault, &claims)?;
    let confirmed = totp::confirm(db.pool(), &claims, (id, step), &macs, &caller, now);
    match db.run(confirmed).await? {
        Change::Made(()) => {
            Ok(secretly(StatusCode::OK, Confirmed { id, recovery_codes: shown(&codes) }))
        }
        _ => Err(none()),
    }
}

/// `POST /me/factors/recovery-codes {}` → 200 `{recovery_codes}`: the old ones are no longer good.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `token_invalid`, `session_revoked`, `recent_sign_in_required`, `not_found`,
/// `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/me/factors/recovery-codes",
    tag = "profile",
    operation_id = "renew_recovery_codes",
    summary = "Makes new recovery codes",
    security(("access_token" = [])),
    request_body = bodies::Nothing,
    responses((
        status = 200,
        description = "The new codes, shown once",
        body = Renewed<'_>,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn renew_recovery_codes(
    State(Factors { app, vault }): State<Factors>,
    Bearer(claims): Bearer,
    caller: Caller,
    fields: Fields,
) -> Result<Response> {
    fields.finish(Some(()))?;
    let (db, now) = (&app.db, app.clock.now());
    admit(&app, &claims, now).await?;
    let (codes, macs) = new_codes(&vault, &claims)?;
    let since = since(&app, now);
    let renewed = totp::renew_recovery_codes(db.pool(), &claims, &macs, since, &caller, now);
    made(db.run(renewed).await?, Code::NotFound)?;
    Ok(secretly(StatusCode::OK, Renewed { recovery_codes: shown(&codes) }))
}

/// Recovery codes, and what is kept of them.
fn new_codes(vault: &Vault, claims: &Claims) -> Result<(Vec<SecretString>, Vec<Vec<u8>>)> {
    let codes = (0..RECOVERY_CODES).map(|_| {
        let code = RecoveryCode::generate().map_err(|error| Problem::internal(&error))?;
        Ok((code.shown(), vault.recovery_mac(&code, claims.sub)))
    });
    codes.collect()
}

fn shown(codes: &[SecretString]) -> Vec<&str> {
    codes.iter().map(ExposeSecret::expose_secret).collect()
}
