//! `POST /token/refresh`, `POST /logout`, `GET /me/sessions`, `DELETE /me/sessions/{id}`.

mod cookie;
mod ended;
mod reuse;
mod together;

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use shared::db::notices;
use shared::refresh_token::RefreshToken;
use sqlx::postgres::PgListener;

use crate::app::{Answer, SignedIn, TestApp};
use crate::login::disable;
use crate::statements::Statements;

const DAY: Duration = Duration::from_hours(24);
const ALMOST_A_DAY: Duration = Duration::from_secs(24 * 3_600 - 1);

/// Refreshes in the body.
async fn refresh(app: &TestApp, token: &str) -> Answer {
    app.post("/token/refresh", json!({ "refresh_token": token })).await
}

/// Refreshes, which must succeed.
async fn refreshed(app: &TestApp, token: &str) -> SignedIn {
    let answer = refresh(app, token).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
    SignedIn { access: text("access_token"), refresh: text("refresh_token") }
}

/// Calls a route that only wants a session.
async fn me(app: &TestApp, access: &str) -> Answer {
    app.call(Method::GET, "/me", access, None).await
}

async fn log_out(app: &TestApp, access: &str, scope: &str) -> Answer {
    app.call(Method::POST, "/logout", access, Some(json!({ "scope": scope }))).await
}

fn counter(token: &str) -> u64 {
    RefreshToken::parse(token).unwrap().counter
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_of_the_same_session() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::start().await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    statements.take();
    let answer = refresh(&app, &first.refresh).await;
    assert_eq!(statements.take().len(), 2);
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let mut members: Vec<_> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "token_type"]);
    let now = app.clock.now();
    let old = app.verifier.verify(&first.access, now).await.unwrap();
    let new = answer.body["access_token"].as_str().unwrap();
    let new = app.verifier.verify(new, now).await.unwrap();
    assert_eq!((old.sub, old.sid, old.auth_time), (new.sub, new.sid, new.auth_time));
    assert_eq!((old.ctr, new.ctr), (0, 1));
    assert_eq!(me(&app, &first.access).await.status, StatusCode::OK, "until its exp");
}

#[tokio::test]
async fn fifty_parallel_refreshes_of_one_token_get_one_successor_by_one_rotation() {
    let app = TestApp::start().await;
    let other = app.another(&[]).await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    let at_once = (0..50).map(|n| refresh(if n % 2 == 0 { &app } else { &other }, &first.refresh));
    let answers = join_all(at_once).await;
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["refresh_token"], answers[0].body["refresh_token"]);
    }
    let rotations: i64 =
        sqlx::query_scalar("SELECT counter FROM sessions").fetch_one(&app.owner).await.unwrap();
    assert_eq!(rotations, 1);
    assert_eq!(app.audit().await, ["user_created", "authn_login_success"]);
}

#[tokio::test]
async fn a_session_is_over_after_seven_idle_days_and_after_thirty_in_any_case() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let idle = app.sign_in("ann").await;
    let mut kept = app.sign_in("ann").await;
    app.clock.advance(6 * DAY + ALMOST_A_DAY);
    kept = refreshed(&app, &kept.refresh).await;
    app.clock.advance(Duration::from_secs(1));
    refresh(&app, &idle.refresh).await.assert_problem(401, "session_revoked");
    for _ in 0..3 {
        app.clock.advance(6 * DAY);
        kept = refreshed(&app, &kept.refresh).await;
    }
    app.clock.advance(4 * DAY + ALMOST_A_DAY);
    kept = refreshed(&app, &kept.refresh).await;
    assert_eq!(me(&app, &kept.access).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(1));
    me(&app, &kept.access).await.assert_problem(401, "session_revoked");
    refresh(&app, &kept.refresh).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_ends_nothing() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    // Another character of the MAC.
    let (before, rest) = ann.refresh.split_at(ann.refresh.len() - 20);
    let other = if rest.starts_with('A') { "B" } else { "A" };
    let forged = format!("{before}{other}{}", &rest[1..]);
    for bad in ["", "x", &ann.access, &forged] {
        refresh(&app, bad).await.assert_problem(401, "refresh_token_invalid");
    }
    let wrong = app.post("/token/refresh", json!({})).await;
    wrong.assert_problem(422, "validation_failed");
    refreshed(&app, &ann.refresh).await;
    app.call(Method::GET, "/me", &ann.refresh, None).await.assert_problem(401, "token_invalid");
}

#[tokio::test]
async fn refreshes_from_one_network_are_limited_and_the_session_is_kept() {
    let app = TestApp::with(&[("LIMIT_REFRESH_ADDRESS", "1/h burst 2")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    let next = refreshed(&app, &ann.refresh).await;
    let last = refreshed(&app, &next.refresh).await;
    let answer = refresh(&app, &last.refresh).await;
    answer.assert_problem(429, "rate_limited");
    assert_eq!(answer.headers["ratelimit-policy"], "\"refresh\";q=1;w=3600");
    let wait = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    app.clock.advance(Duration::from_secs(wait));
    refreshed(&app, &last.refresh).await;
}

#[tokio::test]
async fn a_user_who_was_disabled_cannot_refresh() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    disable(&app, "ann").await;
    refresh(&app, &ann.refresh).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn after_logout_the_tokens_fail_on_their_very_next_use() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let bare = Request::post("/logout").header("authorization", format!("Bearer {}", here.access));
    let answer = app.send(bare.body(bytes::Bytes::new()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "without a body: {answer:?}");
    me(&app, &here.access).await.assert_problem(401, "session_revoked");
    refresh(&app, &here.refresh).await.assert_problem(401, "session_revoked");
    log_out(&app, &here.access, "all").await.assert_problem(401, "session_revoked");
    assert_eq!(me(&app, &there.access).await.status, StatusCode::OK);
    assert_eq!(app.audit().await.last().unwrap(), "authn_token_revoked");
}

#[tokio::test]
async fn logout_ends_the_others_or_all_and_nobody_elses() {
    let app = TestApp::start().await;
    app.user("ann").await;
    app.user("bob").await;
    let bob = app.sign_in("bob").await;
    let [first, second, third] =
        [app.sign_in("ann").await, app.sign_in("ann").await, app.sign_in("ann").await];
    assert_eq!(log_out(&app, &first.access, "others").await.status, StatusCode::NO_CONTENT);
    for other in [&second, &third] {
        me(&app, &other.access).await.assert_problem(401, "session_revoked");
    }
    assert_eq!(me(&app, &first.access).await.status, StatusCode::OK);
    let fourth = app.sign_in("ann").await;
    assert_eq!(log_out(&app, &fourth.access, "all").await.status, StatusCode::NO_CONTENT);
    for ended in [&first, &fourth] {
        me(&app, &ended.access).await.assert_problem(401, "session_revoked");
    }
    assert_eq!(me(&app, &bob.access).await.status, StatusCode::OK);
    let answer = log_out(&app, &bob.access, "everything").await;
    assert_eq!(answer.field_errors(), [("/scope".to_owned(), "unknown_value".to_owned())]);
}

#[tokio::test]
async fn sessions_at_once_that_end_each_other_wait_for_no_deadlock() {
    let app = TestApp::with(&[("DATABASE_POOL", "10")]).await;
    app.user("ann").await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(app.sign_in("ann").await);
    }
    let answers =
        join_all(sessions.iter().map(|session| log_out(&app, &session.access, "others"))).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!(won.len(), 1, "{answers:?}");
    for answer in lost {
        answer.assert_problem(401, "session_revoked");
    }
}

#[tokio::test]
async fn users_see_their_sessions_and_end_one() {
    let app = TestApp::start().await;
    app.user("ann").await;
    app.user("bob").await;
    let bob = app.sign_in("bob").await;
    let first = app.sign_in("ann").await;
    app.clock.advance(Duration::from_secs(90));
    let second = app.sign_in("ann").await;
    let list = app.call(Method::GET, "/me/sessions", &first.access, None).await;
    assert_eq!(list.status, StatusCode::OK, "{list:?}");
    let shown = list.body["sessions"].as_array().unwrap().clone();
    let current: Vec<_> = shown.iter().map(|session| session["current"].clone()).collect();
    assert_eq!(current, [json!(true), json!(false)]);
    let mut members: Vec<_> = shown[0].as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected =
        ["address", "created_at", "current", "id", "idle_until", "last_seen_at", "user_agent"];
    assert_eq!((members, &shown[0]["address"]), (expected.to_vec(), &json!("127.0.0.1")));
    let path = |session: &Value| format!("/me/sessions/{}", session["id"].as_str().unwrap());
    let other = path(&shown[1]);
    let delete = async |path: &str, token: &str| app.call(Method::DELETE, path, token, None).await;
    delete(&other, &bob.access).await.assert_problem(404, "not_found");
    delete("/me/sessions/x", &first.access).await.assert_problem(404, "not_found");
    assert_eq!(delete(&other, &first.access).await.status, StatusCode::NO_CONTENT);
    delete(&other, &first.access).await.assert_problem(404, "not_found");
    me(&app, &second.access).await.assert_problem(401, "session_revoked");
    let own = path(&shown[0]);
    assert_eq!(delete(&own, &first.access).await.status, StatusCode::NO_CONTENT);
    me(&app, &first.access).await.assert_problem(401, "session_revoked");
    assert_eq!(me(&app, &bob.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_node_is_told_when_a_session_ends() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let mut node = PgListener::connect(app.database_url()).await.unwrap();
    node.listen(notices::REVOKED).await.unwrap();
    let [first, second, third] =
        [app.sign_in("ann").await, app.sign_in("ann").await, app.sign_in("ann").await];
    let claims = app.verifier.verify(&first.access, app.clock.now()).await.unwrap();
    let session = format!("session {}", claims.sid);
    log_out(&app, &first.access, "local").await;
    assert_eq!(node.recv().await.unwrap().payload(), session);
    log_out(&app, &second.access, "others").await;
    assert_eq!(node.recv().await.unwrap().payload(), format!("user {}", claims.sub));
    me(&app, &third.access).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn a_logout_of_others_where_there_are_none_writes_nothing() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let [there, here] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let mut log = app.audit().await;
    for _ in 0..3 {
        let answer = log_out(&app, &here.access, "others").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    }
    me(&app, &there.access).await.assert_problem(401, "session_revoked");
    log.push("authn_token_revoked".to_owned());
    assert_eq!(app.audit().await, log, "one row");
}
