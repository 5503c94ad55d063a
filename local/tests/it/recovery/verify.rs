//! Making an address one's own, at registration.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use super::{EMAIL, forgot, forgotten, register, reset, token_of, with_ann};
use crate::app::{Answer, TestApp, credentials};
use crate::statements::Statements;

/// Uses a link.
async fn verify(app: &TestApp, token: &str) -> Answer {
    app.post("/email/verify", json!({ "token": token })).await
}

/// The verified address of a user.
async fn email_of(app: &TestApp, name: &str) -> Option<String> {
    let email = sqlx::query_scalar("SELECT email FROM users WHERE username = $1");
    email.bind(name).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn an_address_is_ones_own_once_its_link_was_used() {
    let app = TestApp::start().await;
    assert_eq!(register(&app, "ann", "Ann@Example.org").await.status, StatusCode::CREATED);
    assert_eq!(email_of(&app, "ann").await, None);
    app.login("ann@example.org", "password123").await.assert_problem(401, "invalid_credentials");
    let mail = app.mails().await.remove(0);
    assert_eq!(
        (mail.to.as_str(), mail.subject.as_str()),
        ("Ann@Example.org", "Confirm your address")
    );
    let token = token_of(&mail);
    assert_eq!(verify(&app, &token).await.status, StatusCode::NO_CONTENT);
    assert_eq!(email_of(&app, "ann").await.as_deref(), Some("Ann@Example.org"));
    assert_eq!(app.login("ann@example.org", "password123").await.status, StatusCode::OK);
    verify(&app, &token).await.assert_problem(400, "link_invalid");
    assert_eq!(app.audit().await[..2], ["user_created", "authn_login_fail"]);
    assert_eq!(app.audit().await[2], "user_updated");
}

#[tokio::test]
async fn registering_with_an_owned_address_is_answered_alike_and_tells_its_owner() {
    let (statements, _counting) = Statements::count();
    let app = with_ann(&[]).await;
    let mut seen = Vec::new();
    for (name, email) in [("bob", "free@example.org"), ("eve", "ANN@example.org")] {
        statements.take();
        let mut answer = register(&app, name, email).await;
        for member in ["id", "username", "created_at"] {
            answer.body["user"][member] = "its own".into();
        }
        answer.headers.remove("x-request-id");
        answer.headers.remove("date");
        answer.headers.remove("content-length");
        seen.push((answer.status, answer.body, answer.headers, statements.take()));
    }
    assert_eq!(seen[0], seen[1]);
    let mails = app.mails().await;
    let mut sent: Vec<_> =
        mails.iter().map(|mail| (mail.to.as_str(), mail.subject.as_str())).collect();
    sent.sort_unstable();
    let expected =
        [(EMAIL, "Your address is in use already"), ("free@example.org", "Confirm your address")];
    assert_eq!(sent, expected);
    let notice = mails.iter().find(|mail| mail.to == EMAIL).unwrap();
    assert!(
        notice.text.contains("Hello ann,") && !notice.text.contains("#token="),
        "{}",
        notice.text
    );
    assert!(!notice.text.contains("eve"), "who asked is not told");
}

#[tokio::test]
async fn the_first_to_use_a_link_owns_the_address() {
    let app = TestApp::start().await;
    let names = ["ann", "bob", "eve"];
    for name in names {
        assert_eq!(register(&app, name, EMAIL).await.status, StatusCode::CREATED);
    }
    let tokens: Vec<String> = app.mails().await.iter().map(token_of).collect();
    let answers = join_all(tokens.iter().map(|token| verify(&app, token))).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
    assert_eq!(won, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::NO_CONTENT) {
        answer.assert_problem(400, "link_invalid");
    }
    let owners: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE email IS NOT NULL")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn of_ten_uses_at_once_of_a_link_to_verify_one_succeeds() {
    let app = TestApp::start().await;
    register(&app, "ann", EMAIL).await;
    let token = token_of(&app.mails().await[0]);
    let answers = join_all((0..10).map(|_| verify(&app, &token))).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
    assert_eq!(won, 1, "{answers:?}");
}

#[tokio::test]
async fn a_link_to_verify_works_for_a_day_and_not_for_anything_else() {
    let app = with_ann(&[]).await;
    let other = forgotten(&app).await;
    verify(&app, &other).await.assert_problem(400, "link_invalid");
    register(&app, "bob", "bob@example.org").await;
    let token = token_of(app.mails().await.last().unwrap());
    app.clock.advance(Duration::from_hours(24));
    verify(&app, &token).await.assert_problem(400, "link_invalid");
    for body in [json!({}), json!({ "token": "" }), json!({ "token": 1 })] {
        app.post("/email/verify", body).await.assert_problem(422, "validation_failed");
    }
}

#[tokio::test]
async fn another_address_voids_links_to_the_old_one_and_tells_it() {
    let app = with_ann(&[]).await;
    let old = forgotten(&app).await;
    // As changing the address asks for it.
    let wish = "INSERT INTO one_time_tokens (id, kind, user_id, target, created_at, expires_at)
                SELECT $1, 'verify', id, 'new@example.org', $2, $2 + interval '1 h' FROM users";
    let id = shared::secret_token::new_id().unwrap();
    sqlx::query(wish).bind(id).bind(app.clock.now()).execute(&app.owner).await.unwrap();
    let user: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM users").fetch_one(&app.owner).await.unwrap();
    let purpose = shared::secret_token::Purpose::Verify;
    let row = shared::secret_token::Row { id, purpose, user, target: "new@example.org" };
    let token = shared::secret_token::issue(&app.keys.links, row);
    assert_eq!(
        verify(&app, secrecy::ExposeSecret::expose_secret(&token)).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(email_of(&app, "ann").await.as_deref(), Some("new@example.org"));
    reset(&app, &old, "a new password").await.assert_problem(400, "link_invalid");
    let notice = app.mails().await.pop().unwrap();
    assert_eq!(
        (notice.to.as_str(), notice.subject.as_str()),
        (EMAIL, "Your account has another address now")
    );
    assert!(!notice.text.contains("new@example.org"));
    forgot(&app, EMAIL).await;
    assert_eq!(app.mails().await.len(), 2, "it is nobody's now");
}

#[tokio::test]
async fn a_wrong_address_at_registration_is_told_with_the_other_fields() {
    let app = TestApp::with(&[("PASSWORD_POLICY", "strict")]).await;
    let body = json!({ "username": "x", "password": "password123", "email": "nobody" });
    let answer = app.post("/register", body).await;
    answer.assert_problem(422, "validation_failed");
    let expected = [("/username", "too_short"), ("/email", "invalid_address")];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned()));
    assert_eq!(answer.field_errors(), expected);
    let body =
        json!({ "username": "ann", "password": "marguerite!", "email": "marguerite@example.org" });
    let answer = app.post("/register", body).await;
    assert_eq!(answer.field_errors(), [("/password".to_owned(), "too_similar".to_owned())]);
}

#[tokio::test]
async fn registrations_with_one_address_are_limited_like_all_mail_to_it() {
    let app = TestApp::start().await;
    for n in 0..3 {
        assert_eq!(register(&app, &format!("user{n}"), EMAIL).await.status, StatusCode::CREATED);
    }
    register(&app, "user3", EMAIL).await.assert_problem(429, "rate_limited");
    forgot(&app, EMAIL).await.assert_problem(429, "rate_limited");
    let without = app.post("/register", credentials("user3", "password123")).await;
    assert_eq!(without.status, StatusCode::CREATED);
}

#[tokio::test]
async fn registrations_that_fail_take_nothing_from_the_limit_of_an_address() {
    let app = TestApp::with(&[("PASSWORD_POLICY", "strict")]).await;
    let strong = "correct horse battery";
    let wish = async |name: &str, password: &str| {
        let body = json!({ "username": name, "password": password, "email": EMAIL });
        app.post("/register", body).await
    };
    assert_eq!(wish("taken", strong).await.status, StatusCode::CREATED);
    for _ in 0..4 {
        wish("taken", strong).await.assert_problem(409, "username_taken");
        wish("another", "password123").await.assert_problem(422, "validation_failed");
    }
    for name in ["second", "third"] {
        assert_eq!(wish(name, strong).await.status, StatusCode::CREATED);
    }
    let rounds = app.passwords.rounds();
    wish("fourth", strong).await.assert_problem(429, "rate_limited");
    assert_eq!(app.passwords.rounds(), rounds, "nothing was hashed");
}

#[tokio::test]
async fn of_registrations_at_once_an_address_gets_three_mails() {
    let app = TestApp::with(&[("DATABASE_POOL", "8")]).await;
    let names: Vec<String> = (0..8).map(|n| format!("user{n}")).collect();
    let answers = join_all(names.iter().map(|name| register(&app, name, EMAIL))).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 3, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        answer.assert_problem(429, "rate_limited");
    }
    let accounts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&app.owner).await.unwrap();
    assert_eq!((accounts, app.mails().await.len()), (3, 3));
}
