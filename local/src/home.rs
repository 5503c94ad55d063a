//! The page at `/` until there is a web UI.

use axum::Router;
use axum::response::{AppendHeaders, Html, IntoResponse};
use axum::routing::get;

/// The page, which needs no script and loads nothing.
const PAGE: &str = include_str!("home.html");

/// Nothing but the page's own style may be used.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// The route `/`.
pub(crate) fn router() -> Router {
    Router::new().route("/", get(page))
}

/// `GET /` → 200, the page.
async fn page() -> impl IntoResponse {
    let headers = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
    ];
    (AppendHeaders(headers), Html(PAGE))
}
