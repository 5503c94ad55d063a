//! `GET /audit`.

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::{app, get, id, me};
use crate::app::Answer;

/// The events of a page.
fn events(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let entries = answer.body["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_log_is_read_page_by_page_the_newest_first() {
    let (app, admin) = app(&["ann", "bob"]).await;
    let mut expected = app.audit().await;
    expected.reverse();
    let mut found = Vec::new();
    let mut path = "/audit?limit=2".to_owned();
    loop {
        let page = get(&app, &admin, &path).await;
        found.extend(events(&page));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/audit?limit=2&cursor={cursor}");
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_log_is_filtered_by_event_user_session_and_time() {
    let (app, admin) = app(&["ann", "bob"]).await;
    app.clock.advance(Duration::from_mins(10));
    let noon = app.clock.now().format(&Rfc3339).unwrap();
    let user = app.sign_in("ann").await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    let claims = app.verifier.verify(&user.access, app.clock.now()).await.unwrap();
    let ann = id(&app, "ann").await;
    for (query, expected) in [
        ("event=authn_login_fail".to_owned(), &["authn_login_fail"][..]),
        (format!("subject={ann}"), &["authn_login_fail", "authn_login_success", "user_created"]),
        (format!("actor={ann}"), &["authn_login_success", "user_created"]),
        (format!("session={}", claims.sid), &["authn_login_success"]),
        (format!("since={noon}"), &["authn_login_fail", "authn_login_success"]),
        (format!("subject={ann}&until={noon}"), &["user_created"]),
        ("event=nothing".to_owned(), &[]),
    ] {
        assert_eq!(
            events(&get(&app, &admin, &format!("/audit?{query}")).await),
            expected,
            "{query}"
        );
    }
    for wrong in [
        "actor=ann",
        "since=yesterday",
        "since=9999-12-31T23:59:59-01:00",
        "cursor=x",
        "limit=1000",
        "user=x",
    ] {
        let answer = get(&app, &admin, &format!("/audit?{wrong}")).await;
        answer.assert_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn who_is_refused_for_want_of_a_permission_is_in_the_log() {
    let (app, admin) = app(&["ann"]).await;
    let user = app.sign_in("ann").await;
    get(&app, &user, "/audit").await.assert_problem(403, "forbidden");
    assert_eq!(me(&app, &user).await.status, StatusCode::OK);
    let page = get(&app, &admin, "/audit?event=authz_fail").await;
    let entry = &page.body["entries"][0];
    assert_eq!(entry["actor"], Value::String(id(&app, "ann").await));
    assert_eq!(entry["detail"]["permission"], "audit:read");
}

#[tokio::test]
async fn who_is_refused_again_and_again_does_not_fill_the_log() {
    let (app, _) = app(&["ann", "bob"]).await;
    let (ann, bob) = (app.sign_in("ann").await, app.sign_in("bob").await);
    let refusals = async || {
        let log = app.audit().await;
        log.iter().filter(|event| *event == "authz_fail").count()
    };
    for path in ["/audit", "/users", "/users/x"].iter().cycle().take(45) {
        get(&app, &ann, path).await.assert_problem(403, "forbidden");
    }
    assert_eq!(refusals().await, 20);
    get(&app, &bob, "/audit").await.assert_problem(403, "forbidden");
    assert_eq!(refusals().await, 21, "each account has its own");
    app.clock.advance(Duration::from_mins(1));
    for _ in 0..3 {
        get(&app, &ann, "/audit").await.assert_problem(403, "forbidden");
    }
    assert_eq!(refusals().await, 22, "one a minute");
}

#[tokio::test]
async fn control_characters_of_a_user_agent_are_not_written_down() {
    let (app, admin) = app(&[]).await;
    // C1's control sequence introducer colours a terminal as ESC [ does, which HTTP lets nobody send.
    let agent = HeaderValue::from_bytes("odd\u{9b}31m\tagent".as_bytes()).unwrap();
    let body = r#"{"username":"root1","password":"wrong password"}"#;
    let request = Request::post("/login").header("content-type", "application/json");
    let request = request.header("user-agent", agent).body(body.into()).unwrap();
    app.send(request).await.assert_problem(401, "invalid_credentials");
    let page = get(&app, &admin, "/audit?event=authn_login_fail").await;
    assert_eq!(page.body["entries"][0]["user_agent"], "odd\u{fffd}31m\u{fffd}agent");
}
