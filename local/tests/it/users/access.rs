//! Every route by every role. A route that is not in the table fails, and so does one that lets in whom
//! the table does not name: nothing is allowed by default.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::authenticator::Authenticator;
use crate::docs::routes::functions_route_names;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, credential};

/// Whom a route lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Anybody,
    /// Whoever has a session.
    Session,
    /// Whoever has a role with the permission: administrators alone.
    Admin,
}
use Access::{Admin, Anybody, Session};

/// Each route with whom it lets in and a body that is right but for what it names, so that nothing but who
/// calls is a reason to refuse. What begins with `$` is put in by [`call`].
pub(crate) const TABLE: &[(&str, Access, &str)] = &[
    ("GET /.well-known/change-password", Anybody, ""),
    ("GET /.well-known/jwks.json", Anybody, ""),
    ("GET /health", Anybody, ""),
    ("GET /openapi.json", Anybody, ""),
    ("POST /register", Anybody, r#"{"username":"somebody","password":"$PASSWORD"}"#),
    ("POST /login", Anybody, r#"{"username":"a-member","password":"$PASSWORD"}"#),
    ("POST /login/second-factor", Anybody, r#"{"challenge":"$CHALLENGE","code":"123456"}"#),
    ("POST /login/passkey/options", Anybody, "{}"),
    ("POST /login/passkey", Anybody, r#"{"credential":"$ASSERTION"}"#),
    ("POST /token/refresh", Anybody, r#"{"refresh_token":"none of ours"}"#),
    ("POST /logout", Session, r#"{"scope":"local"}"#),
    ("GET /me", Session, ""),
    ("PATCH /me", Session, r#"{"display_name":"Ann Example"}"#),
    ("DELETE /me", Session, r#"{"password":"$PASSWORD"}"#),
    ("GET /me/export", Session, ""),
    (
        "POST /me/password",
        Session,
        r#"{"current_password":"$PASSWORD","new_password":"correct horse"}"#,
    ),
    ("GET /me/factors", Session, ""),
    ("POST /me/factors/totp", Session, "{}"),
    ("POST /me/factors/totp/confirm", Session, r#"{"code":"123456"}"#),
    ("POST /me/factors/recovery-codes", Session, "{}"),
    ("POST /me/factors/passkey/options", Session, "{}"),
    ("POST /me/factors/passkey", Session, r#"{"name":"Phone","credential":"$CREDENTIAL"}"#),
    ("DELETE /me/factors/{id}", Session, ""),
    ("GET /me/sessions", Session, ""),
    ("DELETE /me/sessions/{id}", Session, ""),
    ("GET /users", Admin, ""),
    ("GET /users/{id}", Admin, ""),
    ("PATCH /users/{id}", Admin, r#"{"roles":["moderator"],"status":"active"}"#),
    ("POST /users/{id}/revoke", Admin, ""),
    ("POST /users/{id}/unlock", Admin, ""),
    ("POST /users/{id}/reset-factors", Admin, ""),
    ("POST /users/{id}/send-reset", Admin, ""),
    ("GET /audit", Admin, ""),
    ("POST /me/email", Session, r#"{"email":"ann@example.org","password":"$PASSWORD"}"#),
    ("POST /password/forgot", Anybody, r#"{"email":"ann@example.org"}"#),
    ("POST /password/reset", Anybody, r#"{"token":"$TOKEN","password":"correct horse"}"#),
    ("POST /email/verify", Anybody, r#"{"token":"$TOKEN"}"#),
    ("POST /email/verification", Session, ""),
];

/// The callers, and the roles that each has beside `member`.
const CALLERS: [(&str, Option<&str>); 4] = [
    ("anonymous", None),
    ("member", None),
    ("moderator", Some("moderator")),
    ("admin", Some("admin")),
];

/// The code that refuses this caller, if anything does for want of who they are.
fn refusal(access: Access, caller: &str) -> Option<&'static str> {
    match (access, caller) {
        (Anybody, _) | (Session, "member" | "moderator" | "admin") | (Admin, "admin") => None,
        (_, "anonymous") => Some("token_invalid"),
        (Session | Admin, _) => Some("forbidden"),
    }
}

/// Calls a route of the table with its body, which brings this password, and an id that nobody has.
pub(crate) async fn call(
    app: &TestApp,
    (route, body): (&str, &str),
    token: Option<&str>,
    password: &str,
) -> Answer {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path.replace("{id}", "019ab5a0-7f3c-7cc1-9c55-1f3f5e4f7a10");
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    app.send(request.body(filled(body, password).into()).unwrap()).await
}

/// A body of the table with what it names.
fn filled(body: &str, password: &str) -> String {
    let authenticator = Authenticator::es256(ORIGIN, PARTY);
    let credential = credential(&authenticator, &[7; 32]);
    let mut passkey = Passkey { authenticator, user: vec![7; 16], id: String::new() };
    let body = body.replace("\"$CREDENTIAL\"", &credential.to_string());
    let body = body.replace("\"$ASSERTION\"", &passkey.assertion(&[7; 32]).to_string());
    let body = body.replace("$CHALLENGE", &"A".repeat(43)).replace("$TOKEN", &"A".repeat(64));
    body.replace("$PASSWORD", password)
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let table: BTreeMap<&str, Access> =
        TABLE.iter().map(|(route, access, _)| (*route, *access)).collect();
    assert_eq!(table.len(), TABLE.len(), "a route stands twice");
    let routes = functions_route_names();
    assert_eq!(
        routes.iter().map(String::as_str).collect::<Vec<_>>(),
        table.keys().copied().collect::<Vec<_>>()
    );
    let off = [PUBLIC_URL, ("LIMIT_LOGIN_ADDRESS", "off"), ("LOCK_AFTER", "off")];
    let app = TestApp::with(&off).await;
    for (name, role) in CALLERS {
        app.user(&format!("a-{name}")).await;
        if let Some(role) = role {
            sqlx::query(
                "INSERT INTO user_roles SELECT id, $2, NULL, now() FROM users WHERE username = $1",
            )
            .bind(format!("a-{name}"))
            .bind(role)
            .execute(&app.owner)
            .await
            .unwrap();
        }
    }
    for (route, access, body) in TABLE {
        for (name, _) in CALLERS {
            let signed_in = match name {
                "anonymous" => None,
                // A session of its own: the call may end it.
                _ => Some(app.sign_in(&format!("a-{name}")).await),
            };
            let token = signed_in.as_ref().map(|tokens| tokens.access.as_str());
            // A wrong one, or the account would be gone for the routes that follow.
            let answer = call(&app, (route, body), token, "not the password").await;
            // But for a code of now, which the table cannot know.
            let wrong = answer.code() == "validation_failed"
                && answer.field_errors()[0] != ("/code".to_owned(), "wrong_code".to_owned());
            assert!(!wrong, "{route} by {name}: {answer:?}");
            let refused = ["token_invalid", "session_revoked", "forbidden"];
            let refused = refused.into_iter().find(|code| *code == answer.code());
            assert_eq!(refused, refusal(*access, name), "{route} by {name}: {answer:?}");
            assert!(!answer.status.is_server_error(), "{route} by {name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn whoever_may_not_manage_accounts_does_not_queue_with_those_who_may() {
    let app = TestApp::start().await;
    for name in ["boss", "ann", "gone"] {
        app.user(name).await;
    }
    for name in ["boss", "gone"] {
        app.make_admin(name).await;
    }
    let [boss, ann, gone] =
        [app.sign_in("boss").await, app.sign_in("ann").await, app.sign_in("gone").await];
    let own = app.call(Method::GET, "/me", &boss.access, None).await.body["user"]["id"].clone();
    let gone_too = app.call(Method::POST, "/logout", &gone.access, None).await;
    assert_eq!(gone_too.status, StatusCode::NO_CONTENT);
    // The lock of `shared/src/db/admins.rs`, held by somebody who takes long.
    let mut slow = app.owner.begin().await.unwrap();
    let hold = "SELECT pg_advisory_xact_lock(x'6b7761646d696e73'::bigint)";
    sqlx::query(hold).execute(&mut *slow).await.unwrap();
    let path = format!("/users/{}/revoke", own.as_str().unwrap());
    let others = async {
        // The administrator waits, and so it is the right lock.
        app.until_one_waits().await;
        for (route, _, body) in TABLE.iter().filter(|(_, access, _)| *access == Admin) {
            let refused = call(&app, (route, body), Some(&ann.access), "").await;
            assert_eq!(refused.code(), "forbidden", "{route}: {refused:?}");
            let refused = call(&app, (route, body), Some(&gone.access), "").await;
            assert_eq!(refused.code(), "session_revoked", "{route}: {refused:?}");
        }
        slow.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(app.call(Method::POST, &path, &boss.access, None), others);
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

/// Values between noise and nearly right.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "\\PC{0,80}", "[a-z0-9._:-]{0,40}"];
    prop_oneof![
        text.prop_map(Value::from),
        Just(json!(null)),
        any::<i64>().prop_map(Value::from),
        Just(json!(["admin", "member", 1])),
        Just(json!(["moderator"])),
        Just(json!({ "a": [] })),
    ]
}

/// Bodies with the fields of some route.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let name = "(display_name|bio|password|current_password|new_password|scope|roles|status|refresh_token)";
    let fields = prop::collection::hash_map(name, values(), 0..3);
    prop_oneof![
        4 => fields.prop_map(|fields| serde_json::to_vec(&fields).unwrap()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// What follows a path's `?`.
fn queries() -> impl Strategy<Value = String> {
    let name = "(search|status|role|limit|cursor|event|actor|since|until|session|x)";
    let pair = (name, "[ -~]{0,20}").prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&"))
}

#[tokio::test]
async fn arbitrary_bodies_parameters_and_ids_with_a_token_are_no_server_error() {
    let off = [
        ("LIMIT_LOGIN_ADDRESS", "off"),
        ("LIMIT_PROFILE_ACCOUNT", "off"),
        ("LIMIT_EXPORT_ACCOUNT", "off"),
        ("LOCK_AFTER", "off"),
        ("LOCK_STOP", "off"),
    ];
    let app = TestApp::with(&off).await;
    for name in ["one", "two"] {
        app.user(name).await;
        app.make_admin(name).await;
    }
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let mut tokens = app.sign_in("one").await;
    for round in 0..25 {
        for route in functions_route_names() {
            let body = bodies().new_tree(&mut runner).unwrap().current();
            let query = queries().new_tree(&mut runner).unwrap().current();
            let id =
                if round % 2 == 0 { "019ab5a0-7f3c-7cc1-9c55-1f3f5e4f7a10" } else { "%ff%00'x" };
            let (method, path) = route.split_once(' ').unwrap();
            let Ok(uri) = format!("{}?{query}", path.replace("{id}", id)).parse::<Uri>() else {
                continue;
            };
            let request = Request::builder()
                .method(method)
                .uri(uri)
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {}", tokens.access));
            let answer = app.send(request.body(Bytes::from(body.clone())).unwrap()).await;
            let shown = String::from_utf8_lossy(&body);
            assert!(!answer.status.is_server_error(), "{route}?{query} {shown}: {answer:?}");
            if answer.code() == "session_revoked" {
                tokens = app.sign_in("one").await;
            }
        }
    }
}
