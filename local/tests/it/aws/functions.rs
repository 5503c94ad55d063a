//! The Lambda binaries under Lambda's own emulator: API Gateway's events in, its responses out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use sqlx::Row as _;

use super::emulator::Emulator;
use super::events::{at, credentials, event, from, with_base64, with_body};
use super::stack::Stack;

/// Registers the user that `login.json` signs in.
async fn register_example(stack: &Stack) {
    let register = stack.start("register").await;
    assert_eq!(register.request(&event("register")).await.status, 201);
}

/// Asserts that the answer to an event is this problem.
async fn refuses(function: &Emulator, event: &Value, status: u16, code: &str) {
    let answer = function.request(event).await;
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["code"], code, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
}

#[tokio::test]
async fn register_answers_201_and_the_name_is_then_taken() {
    let stack = Stack::new().await;
    let register = stack.start("register").await;
    let answer = register.request(&event("register")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["user"]["username"], "example");
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    refuses(&register, &event("register"), 409, "username_taken").await;
}

#[tokio::test]
async fn a_token_of_login_verifies_against_the_keys_of_discovery() {
    let stack = Stack::new().await;
    register_example(&stack).await;
    let login = stack.start("login").await;
    let answer = login.request(&event("login")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    let signed_in = answer.json();
    assert_eq!(signed_in["expires_in"], 3600);
    let token = signed_in["access_token"].as_str().unwrap();

    let discovery = stack.start("discovery").await;
    let answer = discovery.request(&event("jwks")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys: JwkSet = serde_json::from_value(answer.json()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).expect("the key is published");
    let mut validation = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&["keywire"]);
    validation.set_issuer(&["keywire"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], signed_in["user"]["id"]);
}

#[tokio::test]
async fn login_with_a_wrong_password_or_name_answers_401() {
    let stack = Stack::new().await;
    register_example(&stack).await;
    let login = stack.start("login").await;
    for (name, password) in [("example", "wrong password"), ("nobody", "password123")] {
        let event = credentials("login", name, password);
        refuses(&login, &event, 401, "invalid_credentials").await;
    }
}

#[tokio::test]
async fn health_answers_without_a_database() {
    let stack = Stack::new().await;
    let gone = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"), ("DATABASE_TIMEOUT", "1s")];
    let discovery = stack.start_with("discovery", &gone).await;
    let answer = discovery.request(&event("health")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
    refuses(&discovery, &event("jwks"), 503, "unavailable").await;
}

#[tokio::test]
async fn malformed_bodies_get_their_problem_and_the_sandbox_goes_on() {
    let stack = Stack::new().await;
    let register = stack.start("register").await;
    let mut form = event("register");
    form["headers"]["content-type"] = "application/x-www-form-urlencoded".into();
    let mut empty = event("register");
    empty.as_object_mut().unwrap().remove("body");
    let large = format!(r#"{{"username":"example","password":"{}"}}"#, "x".repeat(20_000));
    for (event, status, code) in [
        (with_body("register", "{"), 400, "malformed_json"),
        (with_body("register", "[]"), 422, "validation_failed"),
        (with_body("register", r#"{"username":"example"}"#), 422, "validation_failed"),
        (with_body("register", &large), 413, "body_too_large"),
        (with_base64("register", &STANDARD.encode([0xff, 0xfe])), 400, "malformed_json"),
        (form, 415, "unsupported_media_type"),
        (empty, 400, "malformed_json"),
    ] {
        refuses(&register, &event, status, code).await;
    }
    let sandbox = register.sandbox();
    assert_eq!(register.request(&event("register")).await.status, 201);
    assert_eq!(register.sandbox(), sandbox);
}

#[tokio::test]
async fn a_base64_body_is_read_and_a_broken_one_costs_no_sandbox() {
    let stack = Stack::new().await;
    let register = stack.start("register").await;
    let body = STANDARD.encode(r#"{"username":"example","password":"password123"}"#);
    assert_eq!(register.request(&with_base64("register", &body)).await.status, 201);
    let sandbox = register.sandbox();
    // The events crate panics here, outside of our front: the gateway makes a 500 of the error.
    let error = register.invoke(&with_base64("register", "not base64!")).await;
    assert!(error["errorMessage"].as_str().unwrap().contains("panicked"), "{error}");
    refuses(&register, &event("register"), 409, "username_taken").await;
    assert_eq!(register.sandbox(), sandbox, "the process was lost");
}

#[tokio::test]
async fn events_that_are_no_requests_are_errors_and_cost_no_sandbox() {
    let stack = Stack::new().await;
    let login = stack.start("login").await;
    refuses(&login, &event("login"), 401, "invalid_credentials").await;
    let sandbox = login.sandbox();
    for name in ["warm-up", "rest-api"] {
        let error = login.invoke(&event(name)).await;
        assert!(error["errorType"].as_str().unwrap().contains("Deserialize"), "{name}: {error}");
    }
    refuses(&login, &event("login"), 401, "invalid_credentials").await;
    assert_eq!(login.sandbox(), sandbox, "the process was lost");
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_problem_and_costs_no_sandbox() {
    let stack = Stack::new().await;
    let panic = stack.start("panic").await;
    assert_eq!(panic.request(&event("health")).await.status, 200);
    let sandbox = panic.sandbox();
    let event = at("health", "$default", "/panic");
    refuses(&panic, &event, 500, "internal").await;
    refuses(&panic, &event, 500, "internal").await;
    assert_eq!(panic.sandbox(), sandbox, "the process was lost");
    assert!(panic.log().contains("as it was told to"), "{}", panic.log());
}

#[tokio::test]
async fn the_stage_and_one_api_are_no_part_of_the_path() {
    let stack = Stack::new().await;
    let discovery = stack.start("discovery").await;
    for (stage, path, status) in [
        ("$default", "/health", 200),
        ("$default", "/api/health", 200),
        ("prod", "/prod/health", 200),
        ("prod", "/prod/api/health", 200),
        ("$default", "/api/api/health", 404),
        ("$default", "/prod/health", 404),
        ("$default", "/healthy", 404),
    ] {
        let answer = discovery.request(&at("health", stage, path)).await;
        assert_eq!(answer.status, status, "{stage} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn the_gateways_address_is_counted_and_a_forged_header_is_not() {
    let stack = Stack::new().await;
    let login = stack.start_with("login", &[("LIMIT_LOGIN_ADDRESS", "1/h burst 2")]).await;
    let attempt = |n: usize, address: &str| {
        let mut event = from(credentials("login", &format!("nobody{n}"), "password123"), address);
        event["headers"]["x-forwarded-for"] = format!("198.51.100.{n}").into();
        event
    };
    for n in 0..2 {
        refuses(&login, &attempt(n, "203.0.113.7"), 401, "invalid_credentials").await;
    }
    for n in 2..4 {
        refuses(&login, &attempt(n, "203.0.113.7"), 429, "rate_limited").await;
    }
    refuses(&login, &attempt(4, "203.0.113.8"), 401, "invalid_credentials").await;
}

#[tokio::test]
async fn a_session_remembers_the_gateways_address() {
    let stack = Stack::new().await;
    register_example(&stack).await;
    let login = stack.start("login").await;
    assert_eq!(login.request(&event("login")).await.status, 200);
    let row = sqlx::raw_sql("SELECT host(address) AS address FROM sessions");
    let rows = sqlx::Executor::fetch_all(&mut stack.owner().await, row).await.unwrap();
    let addresses: Vec<String> = rows.iter().map(|row| row.get("address")).collect();
    assert_eq!(addresses, ["203.0.113.7"]);
}

#[tokio::test]
async fn the_log_is_json_and_names_lambdas_request_but_no_password() {
    let stack = Stack::new().await;
    let register = stack.start("register").await;
    let answer = register.request(&event("register")).await;
    let id = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let line = register.lines().into_iter().find(|line| line["message"] == "request");
    let line = line.unwrap_or_else(|| panic!("no request in the log:\n{}", register.log()));
    assert_eq!(line["request.id"], id);
    assert_eq!(line["status"], 201);
    assert!(!register.log().contains("password123"));
}
