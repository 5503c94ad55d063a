//! `GET /audit`.

use std::time::Duration;

use http::StatusCode;
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
