//! `PATCH /me`, `POST /me/password`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::delete::delete;
use crate::app::{Answer, TestApp, credentials};

async fn patch(app: &TestApp, token: &str, body: Value) -> Answer {
    app.call(Method::PATCH, "/me", token, Some(body)).await
}

async fn change_password(app: &TestApp, token: &str, current: &str, new: &str) -> Answer {
    let body = json!({ "current_password": current, "new_password": new });
    app.call(Method::POST, "/me/password", token, Some(body)).await
}

async fn me(app: &TestApp, token: &str) -> Answer {
    app.call(Method::GET, "/me", token, None).await
}

#[tokio::test]
async fn a_profile_is_unicode_and_each_field_changes_alone() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    let name = "  A\u{308}nn \u{1f469}\u{200d}\u{1f680} \u{5d0}\u{5d1}  ";
    let answer = patch(&app, &ann.access, json!({ "display_name": name })).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let shown = "\u{c4}nn \u{1f469}\u{200d}\u{1f680} \u{5d0}\u{5d1}";
    assert_eq!(answer.body["user"]["display_name"], shown, "NFC, without the space around it");
    let bio = "First line\nsecond \u{2764}";
    let answer = patch(&app, &ann.access, json!({ "bio": bio })).await;
    assert_eq!(
        (&answer.body["user"]["display_name"], &answer.body["user"]["bio"]),
        (&json!(shown), &json!(bio))
    );
    patch(&app, &ann.access, json!({ "display_name": null })).await;
    let answer = me(&app, &ann.access).await;
    assert_eq!(
        (&answer.body["user"]["display_name"], &answer.body["user"]["bio"]),
        (&Value::Null, &json!(bio))
    );
    assert_eq!(app.audit().await[2..], ["user_updated", "user_updated", "user_updated"]);
}

#[tokio::test]
async fn a_change_of_nothing_is_not_written_down() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    assert_eq!(patch(&app, &ann.access, json!({ "bio": "hello" })).await.status, StatusCode::OK);
    let row = "SELECT xmin::text FROM users";
    let row = async || -> String { sqlx::query_scalar(row).fetch_one(&app.owner).await.unwrap() };
    let (log, before) = (app.audit().await, row().await);
    for body in [json!({}), json!({ "bio": " hello " }), json!({ "display_name": null })] {
        let answer = patch(&app, &ann.access, body).await;
        assert_eq!((answer.status, &answer.body["user"]["bio"]), (StatusCode::OK, &json!("hello")));
    }
    assert_eq!((app.audit().await, row().await), (log, before));
}

#[tokio::test]
async fn an_account_changes_its_profile_so_often_and_writes_no_more_rows() {
    let app = TestApp::with(&[("LIMIT_PROFILE_ACCOUNT", "2/h burst 2")]).await;
    for name in ["ann", "bob"] {
        app.user(name).await;
    }
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    for bio in ["first", "second"] {
        assert_eq!(patch(&app, &here.access, json!({ "bio": bio })).await.status, StatusCode::OK);
    }
    let log = app.audit().await;
    for token in [&here.access, &there.access] {
        let refused = patch(&app, token, json!({ "bio": "third" })).await;
        refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.headers["ratelimit-policy"], "\"profile\";q=2;w=3600");
        assert_eq!(refused.headers["retry-after"], "1800");
    }
    let same = patch(&app, &here.access, json!({ "bio": "second" })).await;
    assert_eq!((same.status, &same.body["user"]["bio"]), (StatusCode::OK, &json!("second")));
    assert_eq!(app.audit().await, log);
    let bob = app.sign_in("bob").await;
    assert_eq!(patch(&app, &bob.access, json!({ "bio": "mine" })).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_mins(30));
    let later = patch(&app, &here.access, json!({ "bio": "third" })).await;
    assert_eq!(later.status, StatusCode::OK, "{later:?}");
}

#[tokio::test]
async fn fields_that_are_not_a_profiles_and_wrong_values_are_422() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    for (body, field, code) in [
        (json!({ "role": "admin" }), "/role", "unknown_field"),
        (json!({ "roles": ["admin"] }), "/roles", "unknown_field"),
        (json!({ "id": "x" }), "/id", "unknown_field"),
        (json!({ "email_verified": true }), "/email_verified", "unknown_field"),
        (json!({ "username": "bob" }), "/username", "unknown_field"),
        (json!({ "status": "active" }), "/status", "unknown_field"),
        (json!({ "display_name": 1 }), "/display_name", "wrong_type"),
        (json!({ "display_name": "  " }), "/display_name", "required"),
        (json!({ "display_name": "x".repeat(65) }), "/display_name", "too_long"),
        (json!({ "display_name": "a\u{202e}b" }), "/display_name", "invalid_characters"),
        (json!({ "display_name": "a\nb" }), "/display_name", "invalid_characters"),
        (json!({ "bio": "x".repeat(501) }), "/bio", "too_long"),
        (json!({ "bio": "a\0b" }), "/bio", "invalid_characters"),
    ] {
        let answer = patch(&app, &ann.access, body.clone()).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [(field.to_owned(), code.to_owned())], "{body}");
    }
    assert_eq!(app.audit().await.len(), 2, "nothing was changed");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_keeps_this_one() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let answer = change_password(&app, &here.access, "password123", "correct horse").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    me(&app, &there.access).await.assert_problem(401, "session_revoked");
    let refresh = json!({ "refresh_token": there.refresh });
    app.post("/token/refresh", refresh).await.assert_problem(401, "session_revoked");
    assert_eq!(me(&app, &here.access).await.status, StatusCode::OK);
    app.login("ann", "password123").await.assert_problem(401, "invalid_credentials");
    assert_eq!(app.login("ann", "correct horse").await.status, StatusCode::OK);
    assert!(app.audit().await.contains(&"authn_password_change".to_owned()));
}

#[tokio::test]
async fn a_new_password_follows_the_rules_of_registration() {
    let app = TestApp::with(&[("PASSWORD_POLICY", "strict")]).await;
    app.post("/register", credentials("marguerite", "correct horse battery")).await;
    let answer = app.login("marguerite", "correct horse battery").await;
    let token = answer.body["access_token"].as_str().unwrap();
    for (new, code) in
        [("short", "too_short"), ("password123", "too_common"), ("marguerite1", "too_similar")]
    {
        let answer = change_password(&app, token, "correct horse battery", new).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [("/new_password".to_owned(), code.to_owned())]);
    }
}

#[tokio::test]
async fn wrong_passwords_of_a_session_are_counted_and_lock_as_at_sign_in() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    for _ in 0..3 {
        change_password(&app, &ann.access, "a guess", "correct horse")
            .await
            .assert_problem(403, "wrong_password");
    }
    delete(&app, &ann.access, "a guess").await.assert_problem(403, "wrong_password");
    app.login("ann", "a guess").await.assert_problem(401, "invalid_credentials");
    let rounds = app.passwords.rounds();
    change_password(&app, &ann.access, "password123", "correct horse")
        .await
        .assert_problem(429, "rate_limited");
    delete(&app, &ann.access, "password123").await.assert_problem(429, "rate_limited");
    assert_eq!(app.passwords.rounds(), rounds, "nothing was hashed");
    app.login("ann", "password123").await.assert_problem(429, "rate_limited");
    assert_eq!(me(&app, &ann.access).await.status, StatusCode::OK, "the session goes on");
    app.clock.advance(Duration::from_secs(10));
    let answer = change_password(&app, &ann.access, "password123", "correct horse").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

#[tokio::test]
async fn an_imported_name_that_is_an_address_types_its_password_once_more() {
    let app = TestApp::start().await;
    for name in ["ann", "bob"] {
        app.user(name).await;
    }
    let ann = app.sign_in("ann").await;
    let rename = "UPDATE users SET username = 'Ann@old.example', username_key = 'ann@old.example'
                  WHERE username = 'ann'";
    sqlx::query(rename).execute(&app.owner).await.unwrap();
    app.own("Ann@old.example", "ann@new.example").await;
    // By now the old address is somebody else's.
    app.own("bob", "ann@old.example").await;
    let guess = change_password(&app, &ann.access, "a guess", "correct horse").await;
    guess.assert_problem(403, "wrong_password");
    let answer = change_password(&app, &ann.access, "password123", "correct horse").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(app.login("ann@new.example", "correct horse").await.status, StatusCode::OK);
    assert_eq!(delete(&app, &ann.access, "correct horse").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_two_changes_of_a_password_at_once_one_is_made() {
    let app = TestApp::with(&[("BCRYPT_COST", "6")]).await;
    app.user("ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let (first, second) = tokio::join!(
        change_password(&app, &here.access, "password123", "the first one"),
        change_password(&app, &there.access, "password123", "the second one"),
    );
    let made =
        [&first, &second].into_iter().filter(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!(made.count(), 1, "{first:?} {second:?}");
}
