//! `GET /health/live`, `/health/ready`, `/metrics`: for orchestrators and operators.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde::Serialize;
use shared::problem::{Problem, Result};

use crate::Node;
use crate::broker;
use crate::drain::Phase;

/// `{"status":"ready","broker":"up"}`
#[derive(Serialize)]
struct Ready {
    /// `ready`, or `degraded` while other nodes are not reached.
    status: &'static str,
    /// `memory`, `up` or `down`.
    broker: &'static str,
}

/// Liveness and readiness.
pub(crate) fn health_router(node: Node) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(node)
}

/// Liveness, readiness and metrics.
pub(crate) fn admin_router(node: Node) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(node.clone());
    health_router(node).merge(metrics)
}

/// 200 as long as the process answers and none of its shards has ended by a fault; then 503
/// `unavailable`, so that an orchestrator starts it anew.
///
/// Problems: `unavailable`.
async fn live(State(node): State<Node>) -> Result<Response> {
    whole(&node)?;
    Ok(no_store(Json(serde_json::json!({ "status": "live" }))))
}

fn whole(node: &Node) -> Result<()> {
    if node.hub().is_whole() {
        Ok(())
    } else {
        Err(Problem::unavailable().detail("A part of the node has failed."))
    }
}

/// 200 while connections are taken, 503 `unavailable` when the node goes away or a part of it has
/// failed.
///
/// Without Redis it stays 200 and says `degraded`: every node loses it at the same time, and a load
/// balancer that took them all out would end what still works.
///
/// Problems: `unavailable`.
async fn ready(State(node): State<Node>) -> Result<Response> {
    if node.phase().now() != Phase::Serving {
        return Err(Problem::unavailable().detail("The node is going away."));
    }
    whole(&node)?;
    let state = node.broker().state();
    let status = if state == broker::State::Down { "degraded" } else { "ready" };
    Ok(no_store(Json(Ready { status, broker: state.word() })))
}

/// The counters as Prometheus text.
async fn metrics(State(node): State<Node>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, node.render_metrics()).into_response()
}

fn no_store(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}
