//! The front before a small router.

use axum::body::Body;
use axum::routing::get;
use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::client_address::Peer;
use crate::settings::Reader;

fn front(pairs: &[(&str, &str)]) -> Arc<Front> {
    let mut reader = Reader::from_pairs(pairs.iter().copied());
    let http = Http::read(&mut reader, "on");
    reader.finish().unwrap();
    Front::new(http)
}

async fn panics() -> &'static str {
    panic!("secret words")
}

async fn ask(front: &Arc<Front>, request: http::request::Builder) -> Response {
    let router = Router::new().route("/", get(|| async { "hello" })).route("/panic", get(panics));
    let request = request.extension(Peer([127, 0, 0, 1].into())).body(Body::empty()).unwrap();
    front.layer(router).oneshot(request).await.unwrap()
}

fn get_request(path: &str) -> http::request::Builder {
    Request::builder().uri(path).header("host", "localhost:8080")
}

async fn problem(response: Response) -> serde_json::Value {
    let kind = response.headers()["content-type"].clone();
    assert_eq!(kind, "application/problem+json");
    let id = response.headers()["x-request-id"].clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["instance"], id.to_str().unwrap());
    body
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let front = front(&[]);
    let response = ask(&front, get_request("/nothing")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(problem(response).await["code"], "not_found");
    let response = ask(&front, get_request("/").method("POST")).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(problem(response).await["code"], "method_not_allowed");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let response = ask(&front(&[]), get_request("/panic")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = problem(response).await;
    assert_eq!(body["code"], "internal");
    assert!(!body.to_string().contains("secret"));
}

#[tokio::test]
async fn only_known_host_names_are_answered() {
    let front = front(&[("PUBLIC_URL", "https://app.example.com")]);
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "app.example.com"] {
        let response = ask(&front, Request::builder().uri("/").header("host", host)).await;
        assert_eq!(response.status(), StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8080", ""] {
        let response = ask(&front, Request::builder().uri("/").header("host", host)).await;
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert_eq!(problem(response).await["code"], "host_refused");
    }
    let response = ask(&front, Request::builder().uri("/")).await;
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "no Host at all");
}

#[tokio::test]
async fn only_allowed_origins_get_cors_headers_and_none_gets_credentials() {
    let front = front(&[
        ("PUBLIC_URL", "https://app.example.com"),
        ("ALLOWED_ORIGINS", "https://other.example.com"),
    ]);
    for (origin, allowed) in [
        ("http://localhost:8080", true),
        ("https://app.example.com", true),
        ("https://other.example.com", true),
        ("http://localhost:3000", false),
        ("https://app.example.com.evil.example", false),
        ("null", false),
    ] {
        let preflight = get_request("/")
            .method("OPTIONS")
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let response = ask(&front, preflight).await;
        let granted = response.headers().get("access-control-allow-origin");
        assert_eq!(granted.is_some_and(|value| value == origin), allowed, "{origin}");
        assert!(!response.headers().contains_key("access-control-allow-credentials"));
    }
}

#[tokio::test]
async fn a_browser_may_remember_a_preflight_as_long_as_is_set() {
    for (set, told) in [(&[][..], "600"), (&[("PREFLIGHT_MAX_AGE", "1min")][..], "60")] {
        let preflight = get_request("/")
            .method("OPTIONS")
            .header("origin", "http://localhost:8080")
            .header("access-control-request-method", "POST");
        let response = ask(&front(set), preflight).await;
        assert_eq!(response.headers()["access-control-max-age"], told);
    }
}

#[tokio::test]
async fn the_requests_own_origin_counts_only_when_its_host_is_checked() {
    let unchecked = front(&[("HOST_CHECK", "off")]);
    let rebound = Request::builder()
        .uri("/")
        .header("host", "evil.example")
        .header("origin", "http://evil.example");
    let response = ask(&unchecked, rebound).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("access-control-allow-origin"));
}

#[test]
fn plain_loopback_is_http_at_an_address_of_this_machine() {
    for (public, host, plain) in [
        ("http://localhost:8080", "localhost:8080", true),
        ("http://127.0.0.1:8080", "localhost:8080", true),
        ("https://localhost", "localhost", false),
        ("https://app.example.com", "localhost:8080", false),
        ("http://app.example.com", "app.example.com", false),
        ("", "localhost:8080", true),
        ("", "127.0.0.1:8080", true),
        ("", "[::1]:8080", true),
        ("", "api.example.com", false),
    ] {
        let front = front(&[("PUBLIC_URL", public)]);
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let uri = Uri::from_static("/");
        assert_eq!(front.is_plain_loopback(&headers, &uri), plain, "{public} {host}");
    }
}
