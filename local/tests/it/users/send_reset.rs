//! `POST /users/{id}/send-reset`.

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::TestApp;
use crate::login::disable;

#[tokio::test]
async fn an_administrator_sends_a_link_and_never_sees_it() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await.body["user"]["id"].as_str().unwrap().to_owned();
    app.user("boss").await;
    let grant =
        "INSERT INTO user_roles SELECT id, 'admin', NULL, now() FROM users WHERE username = 'boss'";
    sqlx::query(grant).execute(&app.owner).await.unwrap();
    let access = app.sign_in("boss").await.access;
    let send = async |id: &str| {
        app.call(Method::POST, &format!("/users/{id}/send-reset"), &access, None).await
    };
    send(&ann).await.assert_problem(409, "no_email");
    app.own("ann", "ann@example.org").await;
    let answer = send(&ann).await;
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, json!(null)));
    let mail = app.mails().await.remove(0);
    assert_eq!(
        (mail.to.as_str(), mail.subject.as_str()),
        ("ann@example.org", "Set a new password")
    );
    let token = mail.text.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let body = json!({ "token": token, "password": "a new password" });
    assert_eq!(app.post("/password/reset", body).await.status, StatusCode::NO_CONTENT);
    send("019ab5a0-7f3c-7cc1-9c55-1f3f5e4f7a10").await.assert_problem(404, "not_found");
    disable(&app, "ann").await;
    send(&ann).await.assert_problem(409, "no_email");
    let log = app.audit().await;
    assert_eq!(log.iter().filter(|event| *event == "authn_token_created").count(), 1, "{log:?}");
}

#[tokio::test]
async fn links_that_administrators_send_count_as_mails_to_the_address() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await.body["user"]["id"].as_str().unwrap().to_owned();
    app.own("ann", "Ann@example.org").await;
    app.user("boss").await;
    app.make_admin("boss").await;
    let access = app.sign_in("boss").await.access;
    let path = format!("/users/{ann}/send-reset");
    for _ in 0..3 {
        let sent = app.call(Method::POST, &path, &access, None).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{sent:?}");
    }
    let log = app.audit().await;
    // What one process remembers, another reads.
    for app in [&app, &app.another(&[]).await] {
        let refused = app.call(Method::POST, &path, &access, None).await;
        refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.headers["ratelimit-policy"], "\"mail\";q=3;w=3600");
    }
    assert_eq!(app.audit().await, log);
    let forgot = app.post("/password/forgot", json!({ "email": "ann@example.org" })).await;
    forgot.assert_problem(429, "rate_limited");
}
