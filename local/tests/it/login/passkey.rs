//! `POST /login/passkey`: a passkey signs in alone.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::authenticator::{Authenticator, PRESENT_AND_VERIFIED};
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp};
use crate::login::disable;

/// An app with one user, who has a passkey.
async fn enrolled(pairs: &[(&str, &str)]) -> (TestApp, Passkey) {
    let app = TestApp::with(&[&[PUBLIC_URL], pairs].concat()).await;
    app.user("ann").await;
    let token = app.sign_in("ann").await.access;
    let passkey = Passkey::enrol(&app, &token, Authenticator::es256(ORIGIN, PARTY)).await;
    (app, passkey)
}

/// What a test makes wrong.
type Change = fn(&mut Authenticator);

/// What the audit log says of the last failure.
async fn why(app: &TestApp) -> String {
    let detail = "SELECT detail->>'why' FROM audit WHERE event = 'authn_login_fail'
                  ORDER BY id DESC LIMIT 1";
    sqlx::query_scalar(detail).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn a_passkey_signs_in_with_either_algorithm_and_counts_as_both_factors() {
    let (app, mut es256) = enrolled(&[]).await;
    let token = app.sign_in("ann").await.access;
    let mut eddsa = Passkey::enrol(&app, &token, Authenticator::eddsa(ORIGIN, PARTY)).await;
    TotpApp::enrol(&app, &token).await;
    for passkey in [&mut es256, &mut eddsa] {
        let answer = passkey.sign_in(&app).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.body["user"]["username"], "ann");
        let token = answer.body["access_token"].as_str().unwrap();
        assert_eq!(app.call(Method::GET, "/me", token, None).await.status, StatusCode::OK);
    }
    let detail: Value = sqlx::query_scalar("SELECT detail FROM audit ORDER BY id DESC LIMIT 1")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(detail, json!({ "factor": "passkey" }));
}

#[tokio::test]
async fn a_challenge_is_answered_once_however_many_answer_at_once() {
    let (app, mut passkey) = enrolled(&[]).await;
    let challenge = app.passkey_challenge().await;
    let bodies: Vec<_> =
        (0..6).map(|_| json!({ "credential": passkey.assertion(&challenge) })).collect();
    let sent = bodies.iter().map(|body| app.post("/login/passkey", body.clone()));
    let answers = join_all(sent).await;
    let signed_in = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(signed_in, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        answer.assert_problem(409, "challenge_invalid");
    }
    let replayed = app.post("/login/passkey", bodies[0].clone()).await;
    replayed.assert_problem(409, "challenge_invalid");
}

#[tokio::test]
async fn a_challenge_of_nobodys_or_of_long_ago_is_refused() {
    let (app, mut passkey) = enrolled(&[]).await;
    let challenge = app.passkey_challenge().await;
    app.clock.advance(Duration::from_mins(5));
    for challenge in [challenge.as_slice(), &[0; 32]] {
        let body = json!({ "credential": passkey.assertion(challenge) });
        app.post("/login/passkey", body).await.assert_problem(409, "challenge_invalid");
    }
}

#[tokio::test]
async fn whatever_is_wrong_gets_one_answer_and_the_audit_log_says_what() {
    let (app, mut passkey) = enrolled(&[]).await;
    let good = (passkey.authenticator.origin.clone(), passkey.authenticator.party.clone());
    let wrong: [(&str, Change); 5] = [
        ("origin", |authenticator| authenticator.origin = "https://evil.example".to_owned()),
        ("relying party", |authenticator| authenticator.party = "evil.example".to_owned()),
        ("user presence", |authenticator| authenticator.flags = 0),
        ("user verification", |authenticator| authenticator.flags = 1),
        ("counter", |authenticator| authenticator.count = 0),
    ];
    for (expected, change) in wrong {
        change(&mut passkey.authenticator);
        passkey.sign_in(&app).await.assert_problem(401, "passkey_invalid");
        assert_eq!(why(&app).await, expected);
        (passkey.authenticator.origin, passkey.authenticator.party) = good.clone();
        passkey.authenticator.flags = PRESENT_AND_VERIFIED;
        passkey.authenticator.count = 10;
    }
    // Of somebody who never registered it, and signed with another key.
    let id = passkey.authenticator.id.clone();
    let user = passkey.user.clone();
    let authenticator = Authenticator::es256(ORIGIN, PARTY);
    let mut foreign = Passkey { authenticator, user, id: String::new() };
    foreign.sign_in(&app).await.assert_problem(401, "passkey_invalid");
    assert_eq!(why(&app).await, "user");
    foreign.authenticator.id = id;
    foreign.authenticator.count = 20;
    foreign.sign_in(&app).await.assert_problem(401, "passkey_invalid");
    assert_eq!(why(&app).await, "signature");
    passkey.user = vec![0; 16];
    passkey.sign_in(&app).await.assert_problem(401, "passkey_invalid");
    assert_eq!(why(&app).await, "user");
    let sessions: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&app.owner).await.unwrap();
    assert_eq!(sessions, 1);
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_the_higher_one_kept() {
    let (app, mut passkey) = enrolled(&[]).await;
    passkey.authenticator.count = 9;
    assert_eq!(passkey.sign_in(&app).await.status, StatusCode::OK);
    passkey.authenticator.count = 5;
    passkey.sign_in(&app).await.assert_problem(401, "passkey_invalid");
    let count: i64 =
        sqlx::query_scalar("SELECT sign_count FROM passkeys").fetch_one(&app.owner).await.unwrap();
    assert_eq!(count, 10);
    passkey.authenticator.count = 10;
    assert_eq!(passkey.sign_in(&app).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_with_its_passkey() {
    let (app, mut passkey) = enrolled(&[]).await;
    disable(&app, "ann").await;
    passkey.sign_in(&app).await.assert_problem(403, "account_disabled");
    passkey.authenticator.flags = 1;
    passkey.sign_in(&app).await.assert_problem(401, "passkey_invalid");
}

#[tokio::test]
async fn locks_and_stops_of_the_password_hold_no_passkey_back_and_are_not_ended_by_one() {
    let (app, mut passkey) = enrolled(&[("LOCK_AFTER", "1"), ("LOCK_MAX", "900s")]).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login("ann", "password123").await.assert_problem(429, "rate_limited");
    assert_eq!(passkey.sign_in(&app).await.status, StatusCode::OK);
    app.login("ann", "password123").await.assert_problem(429, "rate_limited");
}

#[tokio::test]
async fn passkeys_of_one_network_are_limited_apart_from_passwords() {
    let (app, _) = enrolled(&[("LIMIT_PASSKEY_ADDRESS", "60/h burst 2")]).await;
    for _ in 0..2 {
        app.passkey_challenge().await;
    }
    let refused = app.post("/login/passkey/options", json!({})).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.headers["ratelimit"].to_str().unwrap().starts_with("\"passkey\""));
    app.sign_in("ann").await;
    let off = [("LIMIT_LOGIN_ADDRESS", "60/h burst 1"), PUBLIC_URL];
    let (other, network) = (app.another(&off).await, [127, 0, 0, 9]);
    other.post_from(network, "/login", json!({ "username": "x", "password": "y" })).await;
    let barred = other.post_from(network, "/login", json!({ "username": "x", "password": "y" }));
    barred.await.assert_problem(429, "rate_limited");
    let options = other.post_from(network, "/login/passkey/options", json!({})).await;
    assert_eq!(options.status, StatusCode::OK);
}

#[tokio::test]
async fn without_an_address_of_a_name_there_are_no_passkeys() {
    for pairs in [&[][..], &[("PUBLIC_URL", "http://127.0.0.1:8080")]] {
        let app = TestApp::with(pairs).await;
        app.post("/login/passkey/options", json!({})).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn what_has_not_the_shape_of_a_credential_is_422() {
    let (app, mut passkey) = enrolled(&[]).await;
    let mut cut = passkey.assertion(&[0; 32]);
    cut["response"].as_object_mut().unwrap().remove("signature");
    let mut padded = passkey.assertion(&[0; 32]);
    padded["rawId"] = "AAA=".into();
    for credential in [json!({}), json!({ "rawId": "AA", "response": null }), cut, padded] {
        let answer = app.post("/login/passkey", json!({ "credential": credential })).await;
        answer.assert_problem(422, "validation_failed");
        let expected = ("/credential".to_owned(), "wrong_format".to_owned());
        assert_eq!(answer.field_errors(), [expected]);
    }
}
