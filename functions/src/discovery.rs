//! `GET /.well-known/jwks.json` and `GET /health`: what others need to know of this service.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, HeaderName};
use serde_json::json;
use shared::db::signing_keys::{self, PublicKey};
use shared::problem::Result;
use tokio::sync::Mutex;

use crate::App;

/// The routes of this endpoint.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/health", get(health))
        .with_state(Discovery { app, kept: Arc::default() })
}

#[derive(Debug, Clone)]
struct Discovery {
    app: App,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// When the keys were last read, and what they were.
type Kept = (Instant, Arc<Vec<PublicKey>>);

/// `GET /.well-known/jwks.json` → 200 `{keys}` (RFC 7517 §5): every key whose tokens may still be
/// valid, the next one included, so that it is known before it signs.
///
/// Problems: `unavailable`.
async fn jwks(State(discovery): State<Discovery>) -> Result<impl IntoResponse> {
    let published = discovery.published().await?;
    let now = discovery.app.clock.now();
    let held = published.iter().filter(|key| key.retire_at.is_none_or(|at| now < at));
    let keys: Vec<_> = held.map(|key| &key.public_jwk).collect();
    let max_age = discovery.app.settings.jwks_max_age.as_secs();
    let cached = AppendHeaders([(CACHE_CONTROL, format!("public, max-age={max_age}"))]);
    Ok((cached, Json(json!({ "keys": keys }))))
}

impl Discovery {
    /// The keys as read at most `KEYS_MAX_AGE` ago, or longer while the database is away: a loop of requests
    /// costs it nothing, and others go on verifying.
    async fn published(&self) -> Result<Arc<Vec<PublicKey>>> {
        // Held while they are read, so that one statement serves all who wait.
        let mut kept = self.kept.lock().await;
        if let Some((read_at, keys)) = &*kept
            && read_at.elapsed() < self.app.settings.tokens.keys_max_age
        {
            return Ok(Arc::clone(keys));
        }
        match self.app.db.run(signing_keys::list(self.app.db.pool())).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *kept = Some((Instant::now(), Arc::clone(&keys)));
                Ok(keys)
            }
            Err(error) => match &mut *kept {
                Some((read_at, keys)) => {
                    tracing::warn!(%error, "the published keys could not be read again");
                    *read_at = Instant::now();
                    Ok(Arc::clone(keys))
                }
                None => Err(error.into()),
            },
        }
    }
}

/// `GET /health` → 200 `{"status": "ok"}`: this process answers. It asks no store.
async fn health() -> impl IntoResponse {
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    (no_store, Json(json!({ "status": "ok" })))
}
