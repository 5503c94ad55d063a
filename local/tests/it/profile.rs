//! `GET /me`, and the session check that every route with a token makes.

mod change;
mod delete;
pub(crate) mod export;
mod factors;
mod owners;
mod rooms;

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::TestApp;
use crate::login::disable;
use crate::statements::Statements;

#[tokio::test]
async fn me_is_the_account_that_signed_in() {
    let app = TestApp::start().await;
    let user = app.user("Ann").await.body["user"].clone();
    let ann = app.sign_in("ann").await;
    let answer = app.call(Method::GET, "/me", &ann.access, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let expected = json!({
        "id": user["id"], "username": "Ann", "display_name": null, "bio": null, "email": null,
        "roles": ["member"], "created_at": user["created_at"],
    });
    assert_eq!(answer.body, json!({ "user": expected }));
}

#[tokio::test]
async fn me_costs_one_statement_and_writes_only_what_is_due() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    app.call(Method::GET, "/me", &ann.access, None).await;
    let version = "SELECT xmin::text || ' ' || last_seen_at FROM sessions";
    let row =
        async || -> String { sqlx::query_scalar(version).fetch_one(&app.owner).await.unwrap() };
    let first = row().await;
    statements.take();
    assert_eq!(app.call(Method::GET, "/me", &ann.access, None).await.status, StatusCode::OK);
    assert_eq!(statements.take().len(), 1);
    assert_eq!(row().await, first, "nothing was due");
    app.clock.advance(Duration::from_secs(61));
    statements.take();
    assert_eq!(app.call(Method::GET, "/me", &ann.access, None).await.status, StatusCode::OK);
    assert_eq!(statements.take().len(), 1);
    assert_ne!(row().await, first, "last seen a minute ago");
}

#[tokio::test]
async fn no_token_a_bad_one_and_one_of_another_kind_are_401() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    let (start, end) = ann.access.split_at(ann.access.len() - 10);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{start}{other}{}", &end[1..]);
    app.get("/me").await.assert_problem(401, "token_invalid");
    for bad in ["", "a.b.c", &forged, &ann.refresh] {
        let answer = app.call(Method::GET, "/me", bad, None).await;
        answer.assert_problem(401, "token_invalid");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"keywire\"");
    }
    app.clock.advance(Duration::from_secs(3_606));
    let late = app.call(Method::GET, "/me", &ann.access, None).await;
    late.assert_problem(401, "token_invalid");
}

#[tokio::test]
async fn a_session_that_ended_and_a_user_who_was_disabled_or_deleted_fail_on_the_next_call() {
    for ended in [
        "UPDATE sessions SET revoked_at = now()",
        "UPDATE sessions SET idle_until = now() - interval '1 hour'",
        "UPDATE sessions SET absolute_until = now() - interval '1 hour'",
        "DELETE FROM users",
        "",
    ] {
        let app = TestApp::start().await;
        app.user("ann").await;
        let ann = app.sign_in("ann").await;
        assert_eq!(app.call(Method::GET, "/me", &ann.access, None).await.status, StatusCode::OK);
        if ended.is_empty() {
            disable(&app, "ann").await;
        } else {
            sqlx::query(ended).execute(&app.owner).await.unwrap();
        }
        let answer = app.call(Method::GET, "/me", &ann.access, None).await;
        answer.assert_problem(401, "session_revoked");
    }
}

#[tokio::test]
async fn roles_are_those_of_now_and_not_of_the_token() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    sqlx::query("INSERT INTO user_roles SELECT id, 'admin', NULL, now() FROM users")
        .execute(&app.owner)
        .await
        .unwrap();
    let answer = app.call(Method::GET, "/me", &ann.access, None).await;
    assert_eq!(answer.body["user"]["roles"], json!(["admin", "member"]));
}
