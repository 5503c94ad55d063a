//! Every route by every role. A route that is not in the table fails, and so does one that lets in whom
//! the table does not name: nothing is allowed by default.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};

use crate::app::{Answer, TestApp};
use crate::docs::routes::functions_route_names;

/// Whom a route lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anybody.
    Anybody,
    /// Whoever has a session.
    Session,
    /// Whoever has a role with the permission: administrators alone.
    Admin,
}
use Access::{Admin, Anybody, Session};

const TABLE: &[(&str, Access)] = &[
    ("GET /.well-known/jwks.json", Anybody),
    ("GET /health", Anybody),
    ("POST /register", Anybody),
    ("POST /login", Anybody),
    ("POST /login/second-factor", Anybody),
    ("POST /login/passkey/options", Anybody),
    ("POST /login/passkey", Anybody),
    ("POST /token/refresh", Anybody),
    ("POST /logout", Session),
    ("GET /me", Session),
    ("PATCH /me", Session),
    ("DELETE /me", Session),
    ("GET /me/export", Session),
    ("POST /me/password", Session),
    ("GET /me/factors", Session),
    ("POST /me/factors/totp", Session),
    ("POST /me/factors/totp/confirm", Session),
    ("POST /me/factors/recovery-codes", Session),
    ("POST /me/factors/passkey/options", Session),
    ("POST /me/factors/passkey", Session),
    ("DELETE /me/factors/{id}", Session),
    ("GET /me/sessions", Session),
    ("DELETE /me/sessions/{id}", Session),
    ("GET /users", Admin),
    ("GET /users/{id}", Admin),
    ("PATCH /users/{id}", Admin),
    ("POST /users/{id}/revoke", Admin),
    ("POST /users/{id}/unlock", Admin),
    ("GET /audit", Admin),
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

/// Calls a route with an empty JSON object where a body may be, and an id that nobody has.
async fn call(app: &TestApp, route: &str, token: Option<&str>) -> Answer {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path.replace("{id}", "019ab5a0-7f3c-7cc1-9c55-1f3f5e4f7a10");
    let method: Method = method.parse().unwrap();
    let body = if method == Method::GET { "" } else { "{}" };
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    app.send(request.body(Bytes::from(body)).unwrap()).await
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let table: BTreeMap<&str, Access> = TABLE.iter().copied().collect();
    assert_eq!(table.len(), TABLE.len(), "a route stands twice");
    let routes = functions_route_names();
    assert_eq!(
        routes.iter().map(String::as_str).collect::<Vec<_>>(),
        table.keys().copied().collect::<Vec<_>>()
    );
    let app = TestApp::with(&[("LIMIT_LOGIN_ADDRESS", "off"), ("LOCK_AFTER", "off")]).await;
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
    for (route, access) in TABLE {
        for (name, _) in CALLERS {
            let signed_in = match name {
                "anonymous" => None,
                // A session of its own: the call may end it.
                _ => Some(app.sign_in(&format!("a-{name}")).await),
            };
            let token = signed_in.as_ref().map(|tokens| tokens.access.as_str());
            let answer = call(&app, route, token).await;
            let refused = ["token_invalid", "session_revoked", "forbidden"];
            let refused = refused.into_iter().find(|code| *code == answer.code());
            assert_eq!(refused, refusal(*access, name), "{route} by {name}: {answer:?}");
            assert!(!answer.status.is_server_error(), "{route} by {name}: {answer:?}");
        }
    }
}
