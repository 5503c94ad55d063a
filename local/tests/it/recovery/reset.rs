//! Setting a new password by a link.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use shared::secret_token::{self, Purpose, Row};
use uuid::Uuid;

use super::{EMAIL, forgot, forgotten, register, reset, token_of, with_ann};
use crate::app::{TestApp, request};
use crate::login::disable;

const NEW: &str = "a new password";

/// Sessions that were not revoked.
async fn sessions(app: &TestApp) -> i64 {
    let live = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL";
    sqlx::query_scalar(live).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn a_link_sets_a_new_password_once_and_signs_nobody_in() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    let answer = reset(&app, &token, NEW).await;
    assert_eq!((answer.status, answer.body), (StatusCode::NO_CONTENT, serde_json::Value::Null));
    assert!(!answer.headers.contains_key("set-cookie"));
    assert_eq!(sessions(&app).await, 0);
    app.login("ann", "password123").await.assert_problem(401, "invalid_credentials");
    assert_eq!(app.login(EMAIL, NEW).await.status, StatusCode::OK);
    reset(&app, &token, "another password").await.assert_problem(400, "link_invalid");
    assert_eq!(app.login("ann", NEW).await.status, StatusCode::OK);
    let log = app.audit().await;
    assert_eq!(log[1..3], ["authn_token_created", "authn_password_change"], "{log:?}");
}

#[tokio::test]
async fn of_ten_uses_at_once_one_succeeds() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    let passwords: Vec<String> = (0..10).map(|n| format!("a new password {n}")).collect();
    let uses = passwords.iter().map(|password| reset(&app, &token, password));
    let answers = join_all(uses).await;
    let won: Vec<usize> =
        (0..10).filter(|n| answers[*n].status == StatusCode::NO_CONTENT).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for (n, answer) in answers.iter().enumerate() {
        if n != won[0] {
            answer.assert_problem(400, "link_invalid");
        }
    }
    assert_eq!(app.login("ann", &passwords[won[0]]).await.status, StatusCode::OK);
    let changes =
        app.audit().await.iter().filter(|event| *event == "authn_password_change").count();
    assert_eq!(changes, 1);
}

#[tokio::test]
async fn a_reset_ends_every_session_and_mails_a_notice() {
    let app = with_ann(&[]).await;
    for _ in 0..3 {
        assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    }
    let token = forgotten(&app).await;
    assert_eq!(sessions(&app).await, 3, "asking changes nothing");
    assert_eq!(reset(&app, &token, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(sessions(&app).await, 0);
    let version: i64 =
        sqlx::query_scalar("SELECT version FROM users").fetch_one(&app.owner).await.unwrap();
    assert_eq!(version, 2, "sockets notice");
    let mails = app.mails().await;
    let last = mails.last().unwrap();
    assert_eq!((last.subject.as_str(), last.to.as_str()), ("Your password was changed", EMAIL));
    assert!(!last.text.contains("#token="));
}

#[tokio::test]
async fn a_reset_ends_locks_and_stops() {
    let app = with_ann(&[("LOCK_AFTER", "1"), ("LOCK_STOP", "2"), ("LOCK_REMEMBERED", "0")]).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.clock.advance(Duration::from_secs(2));
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login(EMAIL, "wrong password").await.assert_problem(401, "invalid_credentials");
    app.clock.advance(Duration::from_secs(10));
    app.login("ann", "password123").await.assert_problem(429, "rate_limited");
    let token = forgotten(&app).await;
    assert_eq!(reset(&app, &token, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(app.login("ann", NEW).await.status, StatusCode::OK);
    assert_eq!(app.login(EMAIL, NEW).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_link_works_for_fifteen_minutes() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    app.clock.advance(Duration::from_mins(15) - Duration::from_secs(1));
    reset(&app, &token, "short").await.assert_problem(422, "validation_failed");
    app.clock.advance(Duration::from_secs(1));
    reset(&app, &token, NEW).await.assert_problem(400, "link_invalid");
}

#[tokio::test]
async fn a_password_that_is_refused_does_not_use_the_link_up() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    let app = app.another(&[("PASSWORD_POLICY", "strict")]).await;
    for (password, code) in
        [("short", "too_short"), ("password123", "too_common"), ("ann@example.org!", "too_similar")]
    {
        let answer = reset(&app, &token, password).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [("/password".to_owned(), code.to_owned())]);
    }
    assert_eq!(reset(&app, &token, "correct horse battery").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn looking_at_a_link_does_not_use_it_up() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    for path in ["/password/reset", "/email/verify", "/password/forgot"] {
        for method in [Method::GET, Method::HEAD] {
            let path = format!("{path}?token={token}");
            let answer = app.send(request(method, &path, "application/json", "")).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
    }
    assert_eq!(reset(&app, &token, NEW).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn neither_the_row_nor_a_token_for_something_else_lets_anybody_in() {
    let app = with_ann(&[]).await;
    forgotten(&app).await;
    let (id, user): (Uuid, Uuid) = sqlx::query_as("SELECT id, user_id FROM one_time_tokens")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    let other = shared::secrets::Keys::generate(app.clock.now()).unwrap().links;
    let right = Row { id, purpose: Purpose::Reset, user, target: EMAIL };
    let links = &app.keys.links;
    let forged = [
        secret_token::issue(&other, right),
        secret_token::issue(links, Row { id: Uuid::new_v4(), ..right }),
        secret_token::issue(links, Row { purpose: Purpose::Verify, ..right }),
        secret_token::issue(links, Row { user: Uuid::new_v4(), ..right }),
        secret_token::issue(links, Row { target: "eve@example.org", ..right }),
        id.to_string().into(),
    ];
    for token in &forged {
        reset(&app, token.expose_secret(), NEW).await.assert_problem(400, "link_invalid");
    }
    assert_eq!(register(&app, "bob", "bob@example.org").await.status, StatusCode::CREATED);
    let verify = token_of(app.mails().await.last().unwrap());
    reset(&app, &verify, NEW).await.assert_problem(400, "link_invalid");
    let signed_in = app.login("ann", "password123").await;
    for name in ["access_token", "refresh_token"] {
        let token = signed_in.body[name].as_str().unwrap();
        reset(&app, token, NEW).await.assert_problem(400, "link_invalid");
    }
    assert_eq!(app.passwords.rounds(), 3 << 4, "two accounts and a sign-in");
}

#[tokio::test]
async fn a_disabled_account_gets_no_link_and_its_old_one_does_not_work() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    disable(&app, "ann").await;
    reset(&app, &token, NEW).await.assert_problem(400, "link_invalid");
    assert_eq!(forgot(&app, EMAIL).await.status, StatusCode::ACCEPTED);
    assert_eq!(app.mails().await.len(), 1);
}

#[tokio::test]
async fn a_link_to_an_address_that_the_account_no_longer_has_does_not_work() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    // As a change of the address leaves a link that was being made at that very moment.
    app.own("ann", "new@example.org").await;
    reset(&app, &token, NEW).await.assert_problem(400, "link_invalid");
    assert_eq!(app.passwords.rounds(), 1 << 4, "nothing was hashed");
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_link_from_before_the_last_password_does_not_work() {
    let app = with_ann(&[]).await;
    let token = forgotten(&app).await;
    let later = app.clock.now() + Duration::from_secs(1);
    let change = sqlx::query("UPDATE passwords SET changed_at = $1").bind(later);
    change.execute(&app.owner).await.unwrap();
    reset(&app, &token, NEW).await.assert_problem(400, "link_invalid");
}

#[tokio::test]
async fn an_address_or_password_that_changes_while_a_link_is_used_voids_it() {
    for change in [
        "UPDATE users SET email = 'new@example.org', email_key = 'new@example.org'",
        "UPDATE passwords SET changed_at = changed_at + interval '1 s'",
    ] {
        let app = with_ann(&[]).await;
        let token = forgotten(&app).await;
        let mut changing = app.owner.begin().await.unwrap();
        for statement in ["SELECT FROM users FOR UPDATE", change] {
            sqlx::query(statement).execute(&mut *changing).await.unwrap();
        }
        let committed = async {
            app.until_one_waits().await;
            changing.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(reset(&app, &token, NEW), committed);
        answer.assert_problem(400, "link_invalid");
        assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    }
}
