use axum::body::to_bytes;
use axum::extract::Request;
use axum::routing::{any, get};
use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use shared::client_address::ClientAddress;
use shared::front::Front;
use shared::settings::{Http, Reader};

use super::*;

/// A captured event with some of it changed.
fn event(name: &str, change: impl FnOnce(&mut Value)) -> lambda_http::Request {
    let file = format!("{}/../shared/contracts/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let mut event: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    change(&mut event);
    let context = lambda_http::Context::default();
    lambda_http::request::from_str(&event.to_string()).unwrap().with_lambda_context(context)
}

/// What the router behind the gateway saw, and its status.
async fn answer(router: Router, event: lambda_http::Request) -> (StatusCode, Value) {
    let mut reader = Reader::from_pairs([("CLIENT_ADDRESS", "gateway")]);
    let router = Front::new(Http::read(&mut reader, "off")).layer(router);
    let response = service(router).oneshot(event).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Says back what it got.
fn echo() -> Router {
    let handler = async |request: Request| {
        let uri = request.uri().clone();
        let address = request.extensions().get::<ClientAddress>().unwrap().0.to_string();
        let Prefix(prefix) = request.extensions().get().cloned().unwrap();
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        axum::Json(json!({
            "prefix": prefix, "path": uri.path(), "query": uri.query(), "address": address, "body": body,
        }))
    };
    Router::new().route("/", any(handler)).route("/{*path}", any(handler))
}

#[tokio::test]
async fn the_path_loses_the_stage_and_one_api() {
    for (stage, raw, seen) in [
        ("$default", "/login", "/login"),
        ("$default", "/api/login", "/login"),
        ("$default", "/api/api/login", "/api/login"),
        ("$default", "/apiary", "/apiary"),
        ("$default", "/api", "/"),
        ("prod", "/prod/login", "/login"),
        ("prod", "/prod/api/login", "/login"),
        ("prod", "/login", "/login"),
        ("api", "/api/login", "/login"),
    ] {
        let event = event("login", |event| {
            event["rawPath"] = raw.into();
            event["requestContext"]["stage"] = stage.into();
        });
        let (_, seen_by_router) = answer(echo(), event).await;
        assert_eq!(seen_by_router["path"], seen, "{stage} {raw}");
    }
}

#[tokio::test]
async fn what_the_path_lost_is_the_prefix() {
    for (stage, raw, prefix) in [
        ("$default", "/login", ""),
        ("$default", "/api/login", "/api"),
        ("$default", "/api/api/login", "/api"),
        ("prod", "/prod/login", "/prod"),
        ("prod", "/prod/api/login", "/prod/api"),
    ] {
        let event = event("login", |event| {
            event["rawPath"] = raw.into();
            event["requestContext"]["stage"] = stage.into();
        });
        let (_, seen_by_router) = answer(echo(), event).await;
        assert_eq!(seen_by_router["prefix"], prefix, "{stage} {raw}");
    }
}

#[tokio::test]
async fn the_query_stays() {
    let event = event("login", |event| {
        event["rawPath"] = "/api/login".into();
        event["rawQueryString"] = "a=1&a=%2F".into();
    });
    assert_eq!(answer(echo(), event).await.1["query"], "a=1&a=%2F");
}

#[tokio::test]
async fn the_address_is_the_gateways_and_never_a_header() {
    let event = event("login", |event| {
        for header in ["x-forwarded-for", "forwarded", "cloudfront-viewer-address"] {
            event["headers"][header] = "198.51.100.77".into();
        }
    });
    assert_eq!(answer(echo(), event).await.1["address"], "203.0.113.7");
}

#[tokio::test]
async fn an_event_without_an_address_has_none() {
    let event = event("login", |event| {
        event["requestContext"]["http"]["sourceIp"] = "not an address".into();
    });
    assert_eq!(answer(echo(), event).await.1["address"], "::");
}

#[tokio::test]
async fn a_base64_body_is_decoded() {
    let event = event("login", |event| {
        event["body"] = "eyJhIjoxfQ==".into();
        event["isBase64Encoded"] = true.into();
    });
    assert_eq!(answer(echo(), event).await.1["body"], r#"{"a":1}"#);
}

#[tokio::test]
async fn a_panic_is_a_problem() {
    let router = Router::new().route("/health", get(async || -> () { panic!("a bug") }));
    let (status, problem) = answer(router, event("health", |_| ())).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(problem["code"], "internal");
    assert!(!problem.to_string().contains("a bug"));
}

#[tokio::test]
async fn the_requests_id_is_lambdas() {
    let mut context = lambda_http::Context::default();
    context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned();
    let event = event("health", |_| ()).with_lambda_context(context);
    let (_, problem) = answer(Router::new(), event).await;
    let instance = problem["instance"].as_str().unwrap();
    assert!(instance.contains("8476a536-e9f4-11e8-9739-2dfe598c3fcd"), "{instance}");
}
