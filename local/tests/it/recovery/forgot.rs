//! Asking for a new password.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{EMAIL, forgot, forgotten, reset, token_of, with_ann};
use crate::app::{Answer, TestApp};
use crate::login::disable;
use crate::statements::Statements;

/// An answer but for what differs by nature.
fn look(answer: &Answer) -> (u16, Value, Vec<(String, String)>) {
    let mut body = answer.body.clone();
    if body.is_object() {
        body["instance"] = "its id".into();
    }
    let headers =
        answer.headers.iter().filter(|(name, _)| *name != "x-request-id" && *name != "date");
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status.as_u16(), body, headers.collect())
}

#[tokio::test]
async fn a_known_and_an_unknown_address_are_answered_alike() {
    let (statements, _counting) = Statements::count();
    let app = with_ann(&[]).await;
    app.user("bob").await;
    app.own("bob", "bob@example.org").await;
    disable(&app, "bob").await;
    let mut seen = Vec::new();
    for email in ["nobody@example.org", EMAIL, "bob@example.org"] {
        for _ in 0..4 {
            statements.take();
            let answer = forgot(&app, email).await;
            seen.push((look(&answer), statements.take()));
        }
    }
    let (unknown, others) = seen.split_at(4);
    let statuses: Vec<u16> = unknown.iter().map(|(answer, _)| answer.0).collect();
    assert_eq!(statuses, [202, 202, 202, 429]);
    assert_eq!(unknown[0].0.1, Value::Null);
    let counts: Vec<usize> = unknown.iter().map(|(_, statements)| statements.len()).collect();
    assert_eq!(counts, [2, 2, 2, 2]);
    for other in others.chunks(4) {
        assert_eq!(other, unknown);
    }
    let mails = app.mails().await;
    assert_eq!(mails.len(), 1, "three asked for, two replaced");
    assert_eq!(mails[0].to, EMAIL);
}

#[tokio::test]
async fn both_write_an_audit_row_that_holds_no_address() {
    let app = with_ann(&[]).await;
    forgot(&app, EMAIL).await;
    forgot(&app, "nobody@example.org").await;
    assert_eq!(
        app.audit().await,
        ["user_created", "authn_token_created", "authn_token_create_fail"]
    );
    let rows: String = sqlx::query_scalar("SELECT string_agg(a::text, ' ') FROM audit a")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert!(!rows.contains("example.org") && !rows.contains("nobody"), "{rows}");
}

#[tokio::test]
async fn an_address_gets_three_mails_an_hour_from_whatever_network() {
    let app = with_ann(&[]).await;
    let ask = |network, email: &'static str| {
        let body = json!({ "email": email });
        let app = &app;
        async move { app.post_from([127, 0, 0, network], "/password/forgot", body).await }
    };
    for network in 1..=3 {
        assert_eq!(ask(network, "ANN@example.org").await.status, StatusCode::ACCEPTED);
    }
    let refused = ask(4, EMAIL).await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.headers["ratelimit-policy"], "\"mail\";q=3;w=3600");
    assert_eq!(refused.headers["retry-after"], "1200");
    assert_eq!(ask(4, "other@example.org").await.status, StatusCode::ACCEPTED);
    app.clock.advance(Duration::from_mins(20));
    assert_eq!(ask(4, EMAIL).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_network_may_not_ask_without_end() {
    let app = TestApp::with(&[("LIMIT_RECOVERY_ADDRESS", "60/h burst 2")]).await;
    for n in 0..2 {
        assert_eq!(forgot(&app, &format!("x{n}@example.org")).await.status, StatusCode::ACCEPTED);
    }
    forgot(&app, "x@example.org").await.assert_problem(429, "rate_limited");
    reset(&app, "x", "a new password").await.assert_problem(429, "rate_limited");
    app.post("/email/verify", json!({ "token": "x" })).await.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_newer_request_voids_the_older_link() {
    let app = with_ann(&[]).await;
    let older = forgotten(&app).await;
    let newer = forgotten(&app).await;
    reset(&app, &older, "a new password").await.assert_problem(400, "link_invalid");
    assert_eq!(reset(&app, &newer, "a new password").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_requests_at_once_one_link_works() {
    let app = with_ann(&[("LIMIT_MAIL_ADDRESS", "off")]).await;
    let asked = join_all((0..8).map(|_| forgot(&app, EMAIL))).await;
    assert!(asked.iter().all(|answer| answer.status == StatusCode::ACCEPTED), "{asked:?}");
    let live: i64 = sqlx::query_scalar("SELECT count(*) FROM one_time_tokens")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(live, 1);
    assert_eq!(app.mails().await.len(), 1, "the others were replaced before they were sent");
}

#[tokio::test]
async fn links_are_built_from_the_public_url_and_never_from_the_host() {
    let app = with_ann(&[("HOST_CHECK", "off")]).await;
    let request = Request::post("/password/forgot")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("content-type", "application/json");
    let body = json!({ "email": EMAIL }).to_string();
    let answer = app.send(request.body(body.into()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let mail = app.mails().await.remove(0);
    assert!(
        mail.text.contains("\nhttps://links.example/account/new-password#token="),
        "{}",
        mail.text
    );
    assert!(!mail.html.contains("evil.example"));
    assert_eq!(token_of(&mail).len(), 64);
}

#[tokio::test]
async fn what_is_no_address_is_told() {
    let app = TestApp::start().await;
    for (body, code) in [
        (json!({}), "required"),
        (json!({ "email": "" }), "required"),
        (json!({ "email": "ann" }), "invalid_address"),
        (json!({ "email": "ann@example.org\r\nBcc: eve@example.org" }), "invalid_address"),
        (json!({ "email": 1 }), "wrong_type"),
    ] {
        let answer = app.post("/password/forgot", body).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [("/email".to_owned(), code.to_owned())]);
    }
}
