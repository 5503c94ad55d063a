//! `POST /login/second-factor`: what is asked for after a right password.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{TestApp, credentials};
use crate::enrolled::TotpApp;
use crate::login::{disable, hash};
use crate::parked::{held, until_waiting};

/// A step of codes.
const STEP: Duration = Duration::from_secs(30);

/// An app with one user, who has an authenticator app and a fresh code of it.
async fn enrolled(pairs: &[(&str, &str)]) -> (TestApp, TotpApp) {
    let app = TestApp::with(pairs).await;
    app.user("ann").await;
    let totp = TotpApp::enrol(&app, &app.sign_in("ann").await.access).await;
    app.clock.advance(STEP);
    (app, totp)
}

async fn sessions(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn a_right_password_is_asked_for_a_code_and_the_code_signs_in() {
    let (app, totp) = enrolled(&[]).await;
    let before = sessions(&app).await;
    let challenge = app.challenge("ann").await;
    assert_eq!(sessions(&app).await, before, "no session yet");
    let answer = app.prove(&challenge, &totp.code(app.clock.now())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let contract: Value =
        serde_json::from_str(include_str!("../../../../shared/contracts/login.json")).unwrap();
    let members =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(members(&answer.body), members(&contract["response"]));
    let token = answer.body["access_token"].as_str().unwrap();
    assert_eq!(app.call(Method::GET, "/me", token, None).await.status, StatusCode::OK);
    let log = app.audit().await;
    assert_eq!(log[3..], ["authn_login_second_factor", "authn_login_success"], "{log:?}");
    let detail: Value = sqlx::query_scalar("SELECT detail FROM audit ORDER BY id DESC LIMIT 1")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(detail, json!({ "factor": "totp" }));
}

#[tokio::test]
async fn a_code_is_good_once_however_many_bring_it_at_once() {
    let (app, totp) = enrolled(&[("LOCK_AFTER", "off")]).await;
    let code = totp.code(app.clock.now());
    let challenges = join_all((0..8).map(|_| app.challenge("ann"))).await;
    let answers = join_all(challenges.iter().map(|challenge| app.prove(challenge, &code))).await;
    let signed_in = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(signed_in, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        answer.assert_problem(401, "code_invalid");
    }
    let challenge = app.challenge("ann").await;
    app.prove(&challenge, &code).await.assert_problem(401, "code_invalid");
    // Nor is one of a step before it.
    let earlier = totp.code(app.clock.now() - STEP);
    app.prove(&challenge, &earlier).await.assert_problem(401, "code_invalid");
    app.clock.advance(STEP);
    let next = app.prove(&challenge, &totp.code(app.clock.now())).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
}

#[tokio::test]
async fn a_recovery_code_signs_in_once_however_many_bring_it_at_once() {
    let (app, totp) = enrolled(&[("LOCK_AFTER", "off")]).await;
    let challenges = join_all((0..10).map(|_| app.challenge("ann"))).await;
    let code = &totp.recovery_codes[3];
    let answers = join_all(challenges.iter().map(|challenge| app.prove(challenge, code))).await;
    let signed_in = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(signed_in, 1, "{answers:?}");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM recovery_codes WHERE used_at IS NULL")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(left, 9);
    let typed = totp.recovery_codes[4].to_uppercase().replace('-', " ");
    let other = app.prove(&app.challenge("ann").await, &typed).await;
    assert_eq!(other.status, StatusCode::OK, "however it is typed: {other:?}");
}

#[tokio::test]
async fn a_challenge_signs_in_once() {
    let (app, totp) = enrolled(&[]).await;
    let challenge = app.challenge("ann").await;
    let answers =
        join_all(totp.recovery_codes[..5].iter().map(|code| app.prove(&challenge, code))).await;
    let signed_in = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(signed_in, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        answer.assert_problem(409, "challenge_invalid");
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM recovery_codes WHERE used_at IS NULL")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(left, 9, "what did not sign in was not used up");
}

#[tokio::test]
async fn a_challenge_ends_by_its_time_a_new_password_and_the_end_of_the_factor() {
    let (app, totp) = enrolled(&[]).await;
    for change in [
        "UPDATE passwords SET changed_at = changed_at + interval '1 second'",
        "UPDATE users SET status = 'disabled'",
        "DELETE FROM totp",
    ] {
        let challenge = app.challenge("ann").await;
        sqlx::query(change).execute(&app.owner).await.unwrap();
        let answer = app.prove(&challenge, &totp.recovery_codes[0]).await;
        answer.assert_problem(409, "challenge_invalid");
        sqlx::query("UPDATE users SET status = 'active'").execute(&app.owner).await.unwrap();
    }
    let (app, totp) = enrolled(&[]).await;
    let challenge = app.challenge("ann").await;
    app.clock.advance(Duration::from_mins(5));
    let late = app.prove(&challenge, &totp.code(app.clock.now())).await;
    late.assert_problem(409, "challenge_invalid");
    let unknown = app.prove(&"A".repeat(43), &totp.code(app.clock.now())).await;
    unknown.assert_problem(409, "challenge_invalid");
}

#[tokio::test]
async fn a_challenge_takes_five_codes_at_once_or_in_a_row() {
    let (app, totp) = enrolled(&[("LOCK_AFTER", "off")]).await;
    let now = app.clock.now();
    let (wrong, right) = (totp.wrong_code(now), totp.code(now));
    let challenge = app.challenge("ann").await;
    for _ in 0..5 {
        app.prove(&challenge, &wrong).await.assert_problem(401, "code_invalid");
    }
    app.prove(&challenge, &right).await.assert_problem(409, "challenge_invalid");
    let challenge = app.challenge("ann").await;
    let answers = join_all((0..15).map(|_| app.prove(&challenge, &wrong))).await;
    let judged = answers.iter().filter(|answer| answer.code() == "code_invalid").count();
    assert_eq!(judged, 5, "{answers:?}");
    let answer = app.prove(&app.challenge("ann").await, &right).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn wrong_codes_lock_the_codes_of_this_account_and_not_its_password() {
    let (app, totp) = enrolled(&[("LOCK_AFTER", "3")]).await;
    let wrong = totp.wrong_code(app.clock.now());
    let challenge = app.challenge("ann").await;
    for _ in 0..3 {
        app.prove(&challenge, &wrong).await.assert_problem(401, "code_invalid");
    }
    // The password is still asked for and right.
    let challenge = app.challenge("ann").await;
    let refused = app.prove(&challenge, &totp.code(app.clock.now())).await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.headers["retry-after"], "1");
    let log = app.audit().await;
    assert!(log.contains(&"authn_second_factor_fail".to_owned()), "{log:?}");
    assert!(log.contains(&"authn_second_factor_lock".to_owned()), "{log:?}");
    app.clock.advance(Duration::from_secs(2));
    let answer = app.prove(&challenge, &totp.code(app.clock.now())).await;
    assert_eq!(answer.status, StatusCode::OK, "the lock used up no try: {answer:?}");
}

#[tokio::test]
async fn wrong_codes_from_many_networks_stop_the_codes_of_the_account_for_a_day() {
    let (app, totp) = enrolled(&[("LOCK_STOP", "3")]).await;
    let wrong = totp.wrong_code(app.clock.now());
    for network in 2..5 {
        let from = [127, 0, 0, network];
        let asked = app.post_from(from, "/login", credentials("ann", "password123")).await;
        let body = json!({ "challenge": asked.body["challenge"], "code": wrong });
        let answer = app.post_from(from, "/login/second-factor", body).await;
        answer.assert_problem(401, "code_invalid");
    }
    let refused = app.prove(&app.challenge("ann").await, &totp.recovery_codes[0]).await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.headers["retry-after"], "3600");
    app.clock.advance(Duration::from_hours(25));
    let answer = app.prove(&app.challenge("ann").await, &totp.recovery_codes[0]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn codes_of_one_network_are_limited() {
    let (app, _) = enrolled(&[("LIMIT_LOGIN_ADDRESS", "60/h burst 3")]).await;
    let challenge = "A".repeat(43);
    for _ in 0..3 {
        app.prove(&challenge, "123456").await.assert_problem(409, "challenge_invalid");
    }
    let refused = app.prove(&challenge, "123456").await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.headers["ratelimit"].to_str().unwrap().starts_with("\"second-factor\""));
}

#[tokio::test]
async fn a_disabled_account_is_told_so_before_any_code() {
    let (app, _) = enrolled(&[]).await;
    disable(&app, "ann").await;
    app.login("ann", "password123").await.assert_problem(403, "account_disabled");
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn an_old_hash_is_made_anew_although_a_code_is_asked_for() {
    let (app, _) = enrolled(&[]).await;
    let today = app.another(&[("BCRYPT_COST", "5")]).await;
    today.challenge("ann").await;
    assert!(hash(&app).await.starts_with("$2b$05$"));
}

#[tokio::test]
async fn a_factor_confirmed_while_the_password_was_checked_is_asked_for() {
    let (app, _) = enrolled(&[]).await;
    sqlx::query("UPDATE totp SET confirmed_at = NULL").execute(&app.owner).await.unwrap();
    // What follows the hash waits here, before its statement has a snapshot.
    let mut transaction = held(&app, "LOCK TABLE audit IN EXCLUSIVE MODE").await;
    let confirmed = async {
        until_waiting(&app, 1).await;
        let confirm = "UPDATE totp SET confirmed_at = created_at";
        sqlx::query(confirm).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    };
    let answer = tokio::join!(app.login("ann", "password123"), confirmed).0;
    answer.assert_problem(401, "invalid_credentials");
    app.challenge("ann").await;
}

#[tokio::test]
async fn what_has_not_the_shape_of_a_proof_is_422() {
    let app = TestApp::start().await;
    let challenge = "A".repeat(43);
    for (body, pointer, code) in [
        (json!({ "challenge": challenge }), "/code", "required"),
        (json!({ "challenge": challenge, "code": 123_456 }), "/code", "wrong_type"),
        (json!({ "challenge": challenge, "code": "12345" }), "/code", "wrong_format"),
        (json!({ "challenge": "x", "code": "123456" }), "/challenge", "wrong_format"),
        (json!({ "challenge": challenge, "recovery_code": "x" }), "/recovery_code", "wrong_format"),
        (
            json!({ "challenge": challenge, "recovery_code": "abcd-efgh-ijkl-mnop", "code": "1" }),
            "/code",
            "unknown_field",
        ),
    ] {
        let answer = app.post("/login/second-factor", body).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [(pointer.to_owned(), code.to_owned())]);
    }
}

#[tokio::test]
async fn challenges_that_are_over_are_removed_as_others_are_made() {
    let (app, _) = enrolled(&[]).await;
    for _ in 0..4 {
        app.challenge("ann").await;
    }
    app.clock.advance(Duration::from_mins(6));
    app.challenge("ann").await;
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM challenges").fetch_one(&app.owner).await.unwrap();
    assert_eq!(left, 1);
}
