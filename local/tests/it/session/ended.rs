//! Every route with a token, by every way to end a session.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::{SignedIn, TestApp};
use crate::docs::routes;
use crate::enrolled::PUBLIC_URL;
use crate::users::access::{Access, TABLE, call};

/// No limits, so that each route is called as often as there are ways.
const OFF: [(&str, &str); 3] = [
    ("LIMIT_LOGIN_ADDRESS", "off"),
    ("LIMIT_REGISTER_ADDRESS", "off"),
    ("LIMIT_RECOVERY_ADDRESS", "off"),
];

/// A way to end a session.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Its own logout.
    Logout,
    /// An administrator disables the account.
    Disable,
    /// Another session deletes the account.
    Delete,
    /// Another session changes the password.
    Password,
}

/// Ends the first of two sessions of an account; the password that the account has then.
async fn end(
    app: &TestApp,
    way: Way,
    sessions: &[SignedIn; 2],
    (account, admin): (&str, &str),
) -> &'static str {
    let [ended, other] = sessions;
    let managed = format!("/users/{account}");
    let (method, path, token, body) = match way {
        Way::Logout => (Method::POST, "/logout", ended.access.as_str(), json!({})),
        Way::Disable => (Method::PATCH, managed.as_str(), admin, json!({ "status": "disabled" })),
        Way::Delete => {
            (Method::DELETE, "/me", other.access.as_str(), json!({ "password": "password123" }))
        }
        Way::Password => {
            let body = json!({ "current_password": "password123", "new_password": "another one" });
            (Method::POST, "/me/password", other.access.as_str(), body)
        }
    };
    let answer = app.call(method, path, token, Some(body)).await;
    assert!(answer.status.is_success(), "{way:?}: {answer:?}");
    if matches!(way, Way::Password) { "another one" } else { "password123" }
}

#[test]
fn every_route_that_wants_a_token_is_in_the_table_as_such() {
    let routes = routes::of_functions().into_iter();
    let wanting = routes.filter(|route| route.problems.contains("token_invalid"));
    let wanting: BTreeSet<String> = wanting.map(|route| route.name).collect();
    let rows = TABLE.iter().filter(|(_, access, _)| *access != Access::Anybody);
    assert_eq!(wanting, rows.map(|(route, ..)| (*route).to_owned()).collect());
}

#[tokio::test]
async fn every_route_refuses_a_session_that_ended_at_its_very_next_call() {
    let app = TestApp::with(&[&OFF[..], &[PUBLIC_URL]].concat()).await;
    app.user("boss").await;
    app.make_admin("boss").await;
    let admin = app.sign_in("boss").await.access;
    let rows = TABLE.iter().filter(|(_, access, _)| *access != Access::Anybody);
    let mut accounts = 0;
    for (route, _, body) in rows {
        for way in [Way::Logout, Way::Disable, Way::Delete, Way::Password] {
            accounts += 1;
            let name = format!("user{accounts}");
            let made = app.user(&name).await;
            // An administrator, so that nothing but the session refuses.
            app.make_admin(&name).await;
            let sessions = [app.sign_in(&name).await, app.sign_in(&name).await];
            let before = app.call(Method::GET, "/me", &sessions[0].access, None).await;
            assert_eq!(before.status, StatusCode::OK, "{before:?}");
            let account = made.body["user"]["id"].as_str().unwrap();
            let password = end(&app, way, &sessions, (account, &admin)).await;
            let answer = call(&app, (route, body), Some(&sessions[0].access), password).await;
            assert_eq!(answer.code(), "session_revoked", "{route} after {way:?}: {answer:?}");
            answer.assert_problem(401, "session_revoked");
        }
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_not_looked_at_before_the_session() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await.access;
    app.call(Method::POST, "/logout", &ann, None).await;
    let rows = TABLE.iter().filter(|(route, ..)| route.contains("{id}"));
    for (route, _, body) in rows {
        let route = route.replace("{id}", "no-id");
        let answer = call(&app, (&route, body), Some(&ann), "password123").await;
        assert_eq!(answer.code(), "session_revoked", "{route}: {answer:?}");
    }
}
