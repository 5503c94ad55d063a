//! Bad input of every kind gets its own 4xx.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{TestApp, credentials, request};
use crate::enrolled::PUBLIC_URL;

/// Longer than any answer takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);
const JSON: &str = "application/json";
const PATHS: [&str; 5] =
    ["/register", "/login", "/password/forgot", "/password/reset", "/email/verify"];
/// Further ones that anybody may send anything to.
const OTHERS: [&str; 6] = [
    "/login/second-factor",
    "/login/passkey",
    "/login/passkey/options",
    "/health",
    "/.well-known/jwks.json",
    "/ws",
];

#[tokio::test]
async fn a_body_that_is_not_json_is_400() {
    let app = TestApp::start().await;
    let deep = "[".repeat(10_000);
    for path in PATHS {
        for body in ["", "{", "username=ann", "\"\\ud800\"", "{\"a\":1}x", "\u{feff}{}", &deep] {
            let answer = app.send(request(Method::POST, path, JSON, body.to_owned())).await;
            answer.assert_problem(400, "malformed_json");
        }
        let answer = app.send(request(Method::POST, path, JSON, vec![b'"', 0xff, b'"'])).await;
        answer.assert_problem(400, "malformed_json");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let app = TestApp::start().await;
    let body = || credentials("ann", "password123").to_string();
    for path in PATHS {
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "x", ""]
        {
            let answer = app.send(request(Method::POST, path, kind, body())).await;
            answer.assert_problem(415, "unsupported_media_type");
        }
        let bare = Request::post(path).body(Bytes::from(body())).unwrap();
        app.send(bare).await.assert_problem(415, "unsupported_media_type");
    }
    let mut encoded = request(Method::POST, "/register", JSON, body());
    encoded.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let answer = app.send(encoded).await;
    answer.assert_problem(415, "unsupported_media_type");
    assert_eq!(answer.headers["accept-encoding"], "identity");
    let upper = request(Method::POST, "/register", "Application/JSON; charset=UTF-8", body());
    assert_eq!(app.send(upper).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_even_when_it_is_large() {
    let app = TestApp::start().await;
    for path in PATHS {
        for size in [16 * 1_024 + 1, 200_000] {
            let answer = app.send(request(Method::POST, path, JSON, vec![b' '; size])).await;
            answer.assert_problem(413, "body_too_large");
        }
        let full = [vec![b' '; 16 * 1_024 - 2], b"{}".to_vec()].concat();
        let answer = app.send(request(Method::POST, path, JSON, full)).await;
        answer.assert_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn other_paths_and_methods_are_404_and_405() {
    let app = TestApp::start().await;
    for path in ["/", "/Register", "/register/", "/login/x", "/%00", "/..%2flogin", "/user"] {
        app.get(path).await.assert_problem(404, "not_found");
    }
    for path in PATHS {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = app.send(request(method, path, JSON, "{}")).await;
            answer.assert_problem(405, "method_not_allowed");
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
}

#[tokio::test]
async fn a_foreign_host_is_421() {
    let app = TestApp::start().await;
    for path in ["/login", "/health", "/.well-known/jwks.json", "/ws", "/nothing"] {
        let foreign = Request::get(path).header("host", "evil.example").body(Bytes::new());
        app.send(foreign.unwrap()).await.assert_problem(421, "host_refused");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_408() {
    let app = TestApp::with(&[("BODY_TIMEOUT", "200ms")]).await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 50\r\nConnection: close\r\n\r\n{\"username\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
}

#[tokio::test]
async fn a_badly_framed_body_is_400() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.address).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nnot a chunk\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn many_unknown_fields_make_a_short_answer() {
    let app = TestApp::start().await;
    let fields: serde_json::Map<_, _> = (0..1_000).map(|n| (n.to_string(), 1.into())).collect();
    let answer = app.post("/register", fields.into()).await;
    answer.assert_problem(422, "validation_failed");
    assert_eq!(answer.field_errors().len(), 22, "the two that are missing and twenty more");
}

#[tokio::test]
async fn forged_addresses_change_nothing() {
    let limit = ("LIMIT_REGISTER_ADDRESS", "1/h burst 1");
    let secret = ("ORIGIN_VERIFY", "a-generated-secret");
    let peer = TestApp::with(&[limit]).await;
    let front = TestApp::with(&[limit, secret, ("CLIENT_ADDRESS", "cloudfront")]).await;
    let register = async |app: &TestApp, name: &str, verify: &str, viewer: &str| {
        let body = credentials(name, "password123").to_string();
        let mut request = request(Method::POST, "/register", JSON, body);
        for (header, value) in [
            ("x-forwarded-for", viewer),
            ("x-real-ip", viewer),
            ("forwarded", viewer),
            ("cloudfront-viewer-address", viewer),
            ("x-origin-verify", verify),
        ] {
            request.headers_mut().insert(header, value.parse().unwrap());
        }
        app.send(request).await.status.as_u16()
    };
    for app in [&peer, &front] {
        assert_eq!(register(app, "ann", "guess", "192.0.2.1:1").await, 201);
        assert_eq!(register(app, "bob", "guess", "192.0.2.2:1").await, 429);
    }
    assert_eq!(register(&peer, "cid", secret.1, "192.0.2.3:1").await, 429);
    assert_eq!(register(&front, "cid", secret.1, "192.0.2.3:1").await, 201);
    assert_eq!(register(&front, "dan", secret.1, "192.0.2.3:9").await, 429);
}

/// Bodies between noise and nearly right.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![any::<String>(), "\\PC{0,40}", "[a-z0-9._-]{3,32}"];
    let fields = prop::collection::hash_map("(username|password|role|\\PC{0,8})", text, 0..4);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        fields.prop_map(|map| serde_json::to_vec(&map).unwrap()),
        ("[\\[{\"]{0,200}", any::<String>()).prop_map(|(a, b)| format!("{a}{b}").into_bytes()),
    ]
}

/// No limits, so that every request comes as far as it can.
const OFF: [(&str, &str); 7] = [
    ("LIMIT_MAIL_ADDRESS", "off"),
    ("LIMIT_RECOVERY_ADDRESS", "off"),
    ("LIMIT_LOGIN_ADDRESS", "off"),
    ("LIMIT_PASSKEY_ADDRESS", "off"),
    ("LIMIT_REGISTER_ADDRESS", "off"),
    ("LOCK_AFTER", "off"),
    ("LOCK_STOP", "off"),
];

/// Cases from a fixed seed.
fn runner() -> TestRunner {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    TestRunner::new_with_rng(Config::default(), seed)
}

/// Bodies that hold both fields, the name mostly a right one, so that what follows is reached.
fn credentials_of_all_kinds() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-z0-9][a-z0-9._-]{2,31}", "\\PC{1,40}"];
    let password = prop_oneof!["[ -~]{8,72}", "\\PC{8,64}", any::<String>()];
    (name, password).prop_map(|(name, password)| credentials(&name, &password).to_string())
}

/// Values of headers: whatever HTTP lets through.
fn header_values() -> impl Strategy<Value = HeaderValue> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let text = "[0-9a-f:.%\\[\\]]{0,50}".prop_map(String::into_bytes);
    prop_oneof![bytes, text]
        .prop_filter_map("no header", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

#[tokio::test]
async fn odd_headers_and_judged_passwords_never_make_a_5xx() {
    let secret = "a-generated-secret";
    let strict = [
        ("PASSWORD_POLICY", "strict"),
        ("CLIENT_ADDRESS", "cloudfront"),
        ("ORIGIN_VERIFY", secret),
    ];
    let app = TestApp::with(&[&OFF[..], &strict].concat()).await;
    let mut runner = runner();
    let mut statuses = BTreeSet::new();
    for round in 0..120 {
        let body = credentials_of_all_kinds().new_tree(&mut runner).unwrap().current();
        let mut value = || header_values().new_tree(&mut runner).unwrap().current();
        let mut request = request(Method::POST, PATHS[round % 2], JSON, body.clone());
        for name in ["user-agent", "cloudfront-viewer-address", "x-forwarded-for"] {
            request.headers_mut().insert(name, value());
        }
        let verify = if round % 4 < 2 { secret.parse().unwrap() } else { value() };
        request.headers_mut().insert("x-origin-verify", verify);
        if round % 10 > 7 {
            request.headers_mut().insert("content-type", value());
        }
        let answer = tokio::time::timeout(LONG, app.send(request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("hangs on {body:?}"));
        assert!(!answer.status.is_server_error(), "{body:?}: {answer:?}");
        statuses.insert(answer.status.as_u16());
    }
    for reached in [201, 401, 415, 422] {
        assert!(statuses.contains(&reached), "{reached} was never answered: {statuses:?}");
    }
}

#[tokio::test]
async fn arbitrary_bytes_never_make_a_5xx() {
    let app = TestApp::with(&[&OFF[..], &[PUBLIC_URL]].concat()).await;
    let mut runner = runner();
    for round in 0..150 {
        let body = bodies().new_tree(&mut runner).unwrap().current();
        for path in PATHS.iter().chain(&OTHERS) {
            let method = if round % 5 == 0 { Method::GET } else { Method::POST };
            let sent = app.send(request(method, path, JSON, body.clone()));
            let answer = tokio::time::timeout(LONG, sent).await;
            let answer = answer.unwrap_or_else(|_| panic!("{path} hangs on {body:?}"));
            assert!(!answer.status.is_server_error(), "{path} {body:?}: {answer:?}");
        }
    }
}
