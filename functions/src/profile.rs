//! `GET /me`: what users see and change of themselves.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use shared::db::profile;
use shared::problem::Result;

use crate::App;
use crate::bearer::Bearer;
use crate::user::Profile;

/// The routes of this endpoint.
pub fn router(app: App) -> Router {
    Router::new().route("/me", get(show)).with_state(app)
}

/// The caller's account.
#[derive(Debug, Serialize)]
struct Shown {
    user: Profile,
}

/// `GET /me` → 200 `{user}`.
///
/// Problems: `token_invalid`, `session_revoked`, `unavailable`.
async fn show(State(app): State<App>, Bearer(claims): Bearer) -> Result<Json<Shown>> {
    let found = profile::get(app.db.pool(), &claims, app.clock.now());
    Ok(Json(Shown { user: app.db.run(found).await?.into() }))
}
