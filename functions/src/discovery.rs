//! `GET /.well-known/jwks.json`, `GET /.well-known/change-password`, `GET /openapi.json` and
//! `GET /health`: what others need to know of this service.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION};
use serde_json::json;
use shared::db::signing_keys::{self, PublicKey};
use shared::problem::{Problem, Result};
use tokio::sync::Mutex;

use crate::App;
use crate::openapi::{COMMITTED, bodies};

/// The page of the web UI where people change their password.
const CHANGE_PASSWORD_PAGE: &str = "/account/password";

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(jwks, change_password, openapi, health))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/change-password", get(change_password))
        .route("/openapi.json", get(openapi))
        .route("/health", get(health))
        .with_state(Discovery { app, kept: Arc::default() })
}

#[derive(Debug, Clone)]
struct Discovery {
    app: App,
    kept: Arc<Mutex<Kept>>,
}

/// The keys as they were last read.
#[derive(Debug, Default)]
struct Kept {
    /// `None` before the first reading that worked.
    keys: Option<Arc<Vec<PublicKey>>>,
    /// When they are read again; `None` before the first try.
    due: Option<Instant>,
}

/// `GET /.well-known/jwks.json` → 200 `{keys}` (RFC 7517 §5): every key whose tokens may still be
/// valid, the next one included, so that it is known before it signs.
///
/// Problems: `unavailable`.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "discovery",
    summary = "Shows the keys that verify access tokens",
    responses((status = 200, description = "The key set", body = bodies::KeySet,
               headers(("Cache-Control", description = "How long to keep it, `JWKS_MAX_AGE`"))))
)]
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
    /// The keys as read at most `KEYS_MAX_AGE` ago, or longer while the database is away: a loop of
    /// requests costs it nothing, and others go on verifying. Before the first reading that worked, it
    /// is tried every `KEYS_RETRY_PAUSE`.
    async fn published(&self) -> Result<Arc<Vec<PublicKey>>> {
        // Held while they are read, so that one statement serves all who wait, its failure too: else
        // each of them would wait for a silent database in turn.
        let mut kept = self.kept.lock().await;
        if kept.due.is_none_or(|due| due <= Instant::now()) {
            self.read(&mut kept).await?;
        }
        kept.keys.clone().ok_or_else(Problem::unavailable)
    }

    async fn read(&self, kept: &mut Kept) -> Result<()> {
        let tokens = &self.app.settings.tokens;
        let read = self.app.db.run(signing_keys::list(self.app.db.pool())).await;
        let known = kept.keys.is_some() || read.is_ok();
        kept.due = Instant::now().checked_add(if known {
            tokens.keys_max_age
        } else {
            tokens.keys_retry_pause
        });
        match read {
            Ok(keys) => kept.keys = Some(Arc::new(keys)),
            Err(error) if known => {
                tracing::warn!(%error, "the published keys could not be read again");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// `GET /.well-known/change-password` → 303 to the page where people change their password (W3C, A
/// Well-Known URL for Changing Passwords): password managers send them here.
#[utoipa::path(
    get,
    path = "/.well-known/change-password",
    tag = "discovery",
    operation_id = "find_change_password_page",
    summary = "Leads to the page to change one's password",
    responses((status = 303, description = "The page is there",
               headers(("Location", description = "`/account/password` below `PUBLIC_URL`"))))
)]
async fn change_password(State(Discovery { app, .. }): State<Discovery>) -> impl IntoResponse {
    let page = match &app.settings.http.public_url {
        Some(public) => {
            let mut page = public.clone();
            let below = public.path().trim_end_matches('/');
            page.set_path(&format!("{below}{CHANGE_PASSWORD_PAGE}"));
            page.set_query(None);
            String::from(page)
        }
        None => CHANGE_PASSWORD_PAGE.to_owned(),
    };
    (StatusCode::SEE_OTHER, AppendHeaders([(LOCATION, page)]))
}

/// `GET /openapi.json` → 200 the OpenAPI document of every function's routes, as it is committed.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "discovery",
    summary = "Describes every function's routes",
    responses((status = 200, description = "This document", body = Object,
               example = json!({ "openapi": "3.1.0", "info": {}, "paths": {} })))
)]
async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], COMMITTED)
}

/// `GET /health` → 200 `{"status": "ok"}`: this process answers. It asks no store.
#[utoipa::path(
    get,
    path = "/health",
    tag = "discovery",
    summary = "Tells whether a function answers",
    responses((status = 200, description = "It does", body = bodies::Health,
               headers(("Cache-Control", description = "`no-store`"))))
)]
async fn health() -> impl IntoResponse {
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    (no_store, Json(json!({ "status": "ok" })))
}
