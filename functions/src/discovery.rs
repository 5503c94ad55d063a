//! `GET /.well-known/jwks.json` and `GET /health`: what others need to know of this service.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, HeaderName};
use serde_json::json;
use shared::db::signing_keys;
use shared::problem::Result;

use crate::App;

/// The routes of this endpoint.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/health", get(health))
        .with_state(app)
}

/// `GET /.well-known/jwks.json` → 200 `{keys}` (RFC 7517 §5): every key whose tokens may still be
/// valid, the next one included, so that it is known before it signs.
///
/// Problems: `unavailable`.
async fn jwks(State(app): State<App>) -> Result<impl IntoResponse> {
    let now = app.clock.now();
    let keys = app.db.run(signing_keys::list(app.db.pool())).await?;
    let held = keys.into_iter().filter(|key| key.retire_at.is_none_or(|at| now < at));
    let keys: Vec<_> = held.map(|key| key.public_jwk).collect();
    let five_minutes: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "public, max-age=300")]);
    Ok((five_minutes, Json(json!({ "keys": keys }))))
}

/// `GET /health` → 200 `{"status": "ok"}`: this process answers. It asks no store.
async fn health() -> impl IntoResponse {
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    (no_store, Json(json!({ "status": "ok" })))
}
