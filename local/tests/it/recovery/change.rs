//! `POST /me/email`, `POST /email/verification`: asking for an address when signed in.

use http::{Method, StatusCode};
use serde_json::json;

use super::{EMAIL, forgotten, register, reset, token_of, with_ann};
use crate::app::{Answer, TestApp};
use crate::statements::Statements;

/// Asks for an address.
async fn ask(app: &TestApp, access: &str, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    app.call(Method::POST, "/me/email", access, Some(body)).await
}

/// Asks for its link again.
async fn again(app: &TestApp, access: &str) -> Answer {
    app.call(Method::POST, "/email/verification", access, None).await
}

/// The caller's verified address.
async fn email(app: &TestApp, access: &str) -> serde_json::Value {
    app.call(Method::GET, "/me", access, None).await.body["user"]["email"].clone()
}

#[tokio::test]
async fn another_address_needs_the_password_and_a_link_to_it() {
    let app = with_ann(&[]).await;
    let access = app.sign_in("ann").await.access;
    let wrong = ask(&app, &access, "new@example.org", "wrong password").await;
    wrong.assert_problem(403, "wrong_password");
    assert!(app.mails().await.is_empty());
    let asked = ask(&app, &access, "New@example.org", "password123").await;
    assert_eq!((asked.status, asked.body), (StatusCode::ACCEPTED, json!(null)));
    assert_eq!(email(&app, &access).await, EMAIL, "not before the link is used");
    let mail = app.mails().await.remove(0);
    assert_eq!(mail.to, "New@example.org");
    let body = json!({ "token": token_of(&mail) });
    assert_eq!(app.post("/email/verify", body).await.status, StatusCode::NO_CONTENT);
    assert_eq!(email(&app, &access).await, "New@example.org");
    let told = app.mails().await.pop().unwrap();
    assert_eq!(
        (told.to.as_str(), told.subject.as_str()),
        (EMAIL, "Your account has another address now")
    );
    let log = app.audit().await;
    let created = log.iter().filter(|event| *event == "authn_token_created").count();
    assert_eq!((created, log.last().unwrap().as_str()), (1, "user_updated"), "{log:?}");
}

#[tokio::test]
async fn asking_for_an_owned_address_is_answered_alike_and_tells_its_owner() {
    let (statements, _counting) = Statements::count();
    let app = with_ann(&[]).await;
    app.user("bob").await;
    let access = app.sign_in("bob").await.access;
    // The public keys are read once, by whichever call is first.
    assert_eq!(email(&app, &access).await, json!(null));
    let mut seen = Vec::new();
    for wish in ["free@example.org", "ANN@example.org"] {
        statements.take();
        let mut answer = ask(&app, &access, wish, "password123").await;
        answer.headers.remove("x-request-id");
        answer.headers.remove("date");
        seen.push((answer.status, answer.body, answer.headers, statements.take()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0, StatusCode::ACCEPTED);
    let mails = app.mails().await;
    assert_eq!(mails.len(), 1, "the first was replaced before it was sent");
    assert_eq!(
        (mails[0].to.as_str(), mails[0].subject.as_str()),
        (EMAIL, "Your address is in use already")
    );
    assert_eq!(again(&app, &access).await.status, StatusCode::ACCEPTED, "this tells nothing, too");
}

#[tokio::test]
async fn a_link_is_mailed_again_and_the_older_one_is_void() {
    let app = TestApp::start().await;
    assert_eq!(register(&app, "ann", EMAIL).await.status, StatusCode::CREATED);
    let older = token_of(&app.mails().await[0]);
    let access = app.sign_in("ann").await.access;
    assert_eq!(again(&app, &access).await.status, StatusCode::ACCEPTED);
    let newer = token_of(&app.mails().await[1]);
    let verify = async |token: &str| app.post("/email/verify", json!({ "token": token })).await;
    verify(&older).await.assert_problem(400, "link_invalid");
    assert_eq!(again(&app, &access).await.status, StatusCode::ACCEPTED);
    again(&app, &access).await.assert_problem(429, "rate_limited");
    verify(&newer).await.assert_problem(400, "link_invalid");
    let newest = token_of(&app.mails().await[2]);
    assert_eq!(verify(&newest).await.status, StatusCode::NO_CONTENT);
    again(&app, &access).await.assert_problem(409, "no_pending_email");
    again(&app, "no token").await.assert_problem(401, "token_invalid");
}

#[tokio::test]
async fn a_new_password_voids_every_link() {
    let app = with_ann(&[]).await;
    let link = forgotten(&app).await;
    let access = app.sign_in("ann").await.access;
    assert_eq!(
        ask(&app, &access, "new@example.org", "password123").await.status,
        StatusCode::ACCEPTED
    );
    let verify = token_of(app.mails().await.last().unwrap());
    let body = json!({ "current_password": "password123", "new_password": "another password" });
    let changed = app.call(Method::POST, "/me/password", &access, Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    reset(&app, &link, "a new password").await.assert_problem(400, "link_invalid");
    let body = json!({ "token": verify });
    app.post("/email/verify", body).await.assert_problem(400, "link_invalid");
    assert_eq!(app.mails().await.last().unwrap().subject, "Your password was changed");
}
