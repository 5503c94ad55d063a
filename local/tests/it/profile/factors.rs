//! `/me/factors`: what users add, see and remove.

use std::time::Duration;

use data_encoding::HEXLOWER;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::db::notices;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use crate::app::{Answer, TestApp};
use crate::authenticator::Authenticator;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp, add, challenge_of, options};

/// An app that allows passkeys, with one user who is signed in.
async fn signed_in(pairs: &[(&str, &str)]) -> (TestApp, String) {
    let app = TestApp::with(&[&[PUBLIC_URL], pairs].concat()).await;
    app.user("ann").await;
    let token = app.sign_in("ann").await.access;
    (app, token)
}

fn es256() -> Authenticator {
    Authenticator::es256(ORIGIN, PARTY)
}

async fn post(app: &TestApp, token: &str, path: &str, body: Value) -> Answer {
    app.call(Method::POST, &format!("/me/factors/{path}"), token, Some(body)).await
}

async fn list(app: &TestApp, token: &str) -> Value {
    let answer = app.call(Method::GET, "/me/factors", token, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body
}

#[tokio::test]
async fn an_app_counts_only_once_it_is_confirmed() {
    let (app, token) = signed_in(&[]).await;
    let begun = post(&app, &token, "totp", json!({})).await;
    assert_eq!(
        (begun.status, &begun.headers["cache-control"]),
        (StatusCode::CREATED, &"no-store".parse().unwrap())
    );
    let (secret, uri) =
        (begun.body["secret"].as_str().unwrap(), begun.body["uri"].as_str().unwrap());
    assert!(uri.starts_with("otpauth://totp/Keywire:ann?") && uri.contains(secret), "{uri}");
    app.sign_in("ann").await;
    assert_eq!(list(&app, &token).await, json!({ "factors": [], "recovery_codes_left": 0 }));
    let totp = TotpApp::read(&begun);
    let wrong = json!({ "code": totp.wrong_code(app.clock.now()) });
    let wrong = post(&app, &token, "totp/confirm", wrong).await;
    wrong.assert_problem(422, "validation_failed");
    assert_eq!(wrong.field_errors(), [("/code".to_owned(), "wrong_code".to_owned())]);
    app.sign_in("ann").await;
    let right = json!({ "code": totp.code(app.clock.now()) });
    let done = post(&app, &token, "totp/confirm", right.clone()).await;
    assert_eq!(done.body["recovery_codes"].as_array().unwrap().len(), 10);
    app.challenge("ann").await;
    let shown = list(&app, &token).await;
    assert_eq!(
        (&shown["factors"][0]["kind"], &shown["recovery_codes_left"]),
        (&"totp".into(), &10.into())
    );
    assert_eq!(shown["factors"][0]["id"], begun.body["id"]);
    post(&app, &token, "totp/confirm", right).await.assert_problem(404, "not_found");
    let log = app.audit().await;
    assert!(log.contains(&"authn_factor_added".to_owned()), "{log:?}");
}

#[tokio::test]
async fn an_account_has_one_app_and_a_later_beginning_voids_an_earlier_one() {
    let (app, token) = signed_in(&[]).await;
    let first = TotpApp::read(&post(&app, &token, "totp", json!({})).await);
    let second = TotpApp::read(&post(&app, &token, "totp", json!({})).await);
    let code = json!({ "code": first.code(app.clock.now()) });
    post(&app, &token, "totp/confirm", code).await.assert_problem(422, "validation_failed");
    let code = json!({ "code": second.code(app.clock.now()) });
    assert_eq!(post(&app, &token, "totp/confirm", code).await.status, StatusCode::OK);
    post(&app, &token, "totp", json!({})).await.assert_problem(409, "factor_exists");
}

#[tokio::test]
async fn neither_a_secret_nor_a_recovery_code_is_kept_in_readable_form() {
    let (app, token) = signed_in(&[]).await;
    let totp = TotpApp::enrol(&app, &token).await;
    let kept: String = sqlx::query_scalar(
        "SELECT string_agg(to_jsonb(t)::text, ' ') FROM totp t
         UNION ALL SELECT string_agg(to_jsonb(r)::text, ' ') FROM recovery_codes r",
    )
    .fetch_all(&app.owner)
    .await
    .map(|rows: Vec<String>| rows.join(" "))
    .unwrap();
    for code in &totp.recovery_codes {
        let plain = code.replace('-', "");
        let hex = HEXLOWER.encode(plain.as_bytes());
        assert!(!kept.contains(&hex) && !kept.contains(&plain), "{code}");
    }
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM totp").fetch_one(&app.owner).await.unwrap();
    assert_eq!(sealed.len(), 1 + 12 + 20 + 16);
}

#[tokio::test]
async fn new_recovery_codes_void_the_old_ones() {
    let (app, token) = signed_in(&[]).await;
    post(&app, &token, "recovery-codes", json!({})).await.assert_problem(404, "not_found");
    let totp = TotpApp::enrol(&app, &token).await;
    let renewed = post(&app, &token, "recovery-codes", json!({})).await;
    assert_eq!(renewed.status, StatusCode::OK, "{renewed:?}");
    let challenge = app.challenge("ann").await;
    let old = app.prove(&challenge, &totp.recovery_codes[0]).await;
    old.assert_problem(401, "code_invalid");
    let new = renewed.body["recovery_codes"][9].as_str().unwrap();
    assert_eq!(app.prove(&challenge, new).await.status, StatusCode::OK);
    assert_eq!(list(&app, &token).await["recovery_codes_left"], 9);
    let renewed = "authn_recovery_codes_renewed";
    assert!(app.audit().await.iter().any(|event| event == renewed));
}

/// Signs in with the password and a code of the app.
async fn sign_in_with(app: &TestApp, totp: &TotpApp) -> String {
    app.clock.advance(Duration::from_secs(30));
    let answer = app.prove(&app.challenge("ann").await, &totp.code(app.clock.now())).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_its_app_an_account_signs_in_with_the_password_alone() {
    let (app, token) = signed_in(&[]).await;
    let totp = TotpApp::enrol(&app, &token).await;
    let token = sign_in_with(&app, &totp).await;
    let path = format!("/me/factors/{}", totp.id);
    let removed = app.call(Method::DELETE, &path, &token, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    app.sign_in("ann").await;
    assert_eq!(list(&app, &token).await, json!({ "factors": [], "recovery_codes_left": 0 }));
    app.call(Method::DELETE, &path, &token, None).await.assert_problem(404, "not_found");
    assert!(app.audit().await.contains(&"authn_factor_removed".to_owned()));
    TotpApp::enrol(&app, &token).await;
}

#[tokio::test]
async fn confirming_an_app_ends_the_other_sessions_and_tells_every_node() {
    let (app, token) = signed_in(&[]).await;
    let other = app.sign_in("ann").await;
    let mut node = PgListener::connect(app.database_url()).await.unwrap();
    node.listen(notices::REVOKED).await.unwrap();
    TotpApp::enrol(&app, &token).await;
    let (id, version): (Uuid, i64) =
        sqlx::query_as("SELECT id, version FROM users").fetch_one(&app.owner).await.unwrap();
    assert_eq!((node.recv().await.unwrap().payload(), version), (&*format!("user {id}"), 2));
    let refused = app.call(Method::GET, "/me", &other.access, None).await;
    refused.assert_problem(401, "session_revoked");
    let refresh = json!({ "refresh_token": other.refresh });
    app.post("/token/refresh", refresh).await.assert_problem(401, "session_revoked");
    list(&app, &token).await;
}

/// Tries every change of factors but a removal; the codes of what was refused.
async fn changes(app: &TestApp, token: &str) -> [String; 3] {
    let mut codes = [const { String::new() }; 3];
    for (code, path) in codes.iter_mut().zip(["totp", "recovery-codes", "passkey/options"]) {
        post(app, token, path, json!({})).await.code().clone_into(code);
    }
    codes
}

#[tokio::test]
async fn who_has_proven_an_app_changes_factors_and_the_password_alone_does_not() {
    let (app, token) = signed_in(&[]).await;
    let before = app.sign_in("ann").await.access;
    let totp = TotpApp::enrol(&app, &token).await;
    // Even if it were still there: as a sign-in of an older release, which confirming did not end.
    let revive = "UPDATE sessions SET revoked_at = NULL";
    sqlx::query(revive).execute(&app.owner).await.unwrap();
    let not_recent = "recent_sign_in_required";
    assert_eq!(changes(&app, &before).await, [not_recent; 3]);
    let path = format!("/me/factors/{}", totp.id);
    let refused = app.call(Method::DELETE, &path, &before, None).await;
    assert_eq!(refused.code(), not_recent);
    // The session that brought the app's first code, and one that was signed in with a later one.
    let mut passkey = Passkey::enrol(&app, &token, es256()).await;
    let by_code = sign_in_with(&app, &totp).await;
    let by_passkey = passkey.sign_in(&app).await;
    let by_passkey = by_passkey.body["access_token"].as_str().unwrap();
    for proven in [&token, by_code.as_str(), by_passkey] {
        assert_eq!(changes(&app, proven).await, ["factor_exists", "no code", "no code"]);
    }
    let removed = app.call(Method::DELETE, &path, &token, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
}

#[tokio::test]
async fn every_change_of_factors_is_mailed_to_the_owner() {
    let (app, token) = signed_in(&[]).await;
    // Without an address there is nobody to tell.
    let unheard = Passkey::enrol(&app, &token, es256()).await;
    assert!(app.mails().await.is_empty());
    app.own("ann", "ann@example.org").await;
    let totp = TotpApp::enrol(&app, &token).await;
    post(&app, &token, "recovery-codes", json!({})).await;
    Passkey::enrol(&app, &token, es256()).await;
    for id in [&unheard.id, &totp.id] {
        let removed = app.call(Method::DELETE, &format!("/me/factors/{id}"), &token, None).await;
        assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    }
    // What changes nothing says nothing.
    post(&app, &token, "recovery-codes", json!({})).await.assert_problem(404, "not_found");
    let mails = app.mails().await;
    let mut subjects: Vec<_> = mails.iter().map(|mail| mail.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(
        subjects,
        [
            "A passkey was added to your account",
            "A passkey was removed from your account",
            "An authenticator app was added to your account",
            "The authenticator app was removed from your account",
            "Your recovery codes were replaced",
        ]
    );
    for mail in mails {
        assert_eq!(mail.to, "ann@example.org");
        for form in [&mail.text, &mail.html] {
            assert!(form.contains("Hello ann,") && form.contains("If it was not you"), "{form}");
        }
    }
}

#[tokio::test]
async fn a_passkey_is_added_shown_and_removed() {
    let (app, token) = signed_in(&[]).await;
    let offered = options(&app, &token).await.body["publicKey"].clone();
    assert_eq!(offered["rp"], json!({ "id": PARTY, "name": "Keywire" }));
    assert_eq!(offered["attestation"], "none");
    assert_eq!(offered["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(offered["user"]["name"], "ann");
    let mut passkey = Passkey::enrol(&app, &token, es256()).await;
    let shown = list(&app, &token).await["factors"][0].clone();
    assert_eq!((&shown["kind"], &shown["name"]), (&"passkey".into(), &"Phone".into()));
    assert_eq!((&shown["id"], &shown["last_used_at"]), (&passkey.id.clone().into(), &Value::Null));
    let excluded = options(&app, &token).await.body["publicKey"]["excludeCredentials"].clone();
    assert_eq!(excluded.as_array().unwrap().len(), 1);
    assert_eq!(passkey.sign_in(&app).await.status, StatusCode::OK);
    assert!(list(&app, &token).await["factors"][0]["last_used_at"].is_string());
    let path = format!("/me/factors/{}", passkey.id);
    assert_eq!(app.call(Method::DELETE, &path, &token, None).await.status, StatusCode::NO_CONTENT);
    passkey.sign_in(&app).await.assert_problem(401, "passkey_invalid");
}

#[tokio::test]
async fn a_passkey_alone_leaves_signing_in_with_a_password_as_it_is() {
    let (app, token) = signed_in(&[]).await;
    Passkey::enrol(&app, &token, es256()).await;
    app.sign_in("ann").await;
}

#[tokio::test]
async fn a_passkey_is_registered_once_and_there_are_no_more_than_may_be() {
    let (app, token) = signed_in(&[("PASSKEYS_MAX", "2")]).await;
    let first = Passkey::enrol(&app, &token, es256()).await;
    let challenge = challenge_of(&options(&app, &token).await);
    let again = add(&app, &token, &first.authenticator, &challenge).await;
    again.assert_problem(409, "factor_exists");
    let early = challenge_of(&options(&app, &token).await);
    Passkey::enrol(&app, &token, es256()).await;
    options(&app, &token).await.assert_problem(409, "too_many_passkeys");
    add(&app, &token, &es256(), &early).await.assert_problem(409, "too_many_passkeys");
}

#[tokio::test]
async fn a_new_passkeys_challenge_is_its_users_is_good_once_and_ends() {
    let (app, token) = signed_in(&[]).await;
    app.user("bob").await;
    let bob = app.sign_in("bob").await.access;
    let challenge = challenge_of(&options(&app, &token).await);
    let stolen = add(&app, &bob, &es256(), &challenge).await;
    stolen.assert_problem(409, "challenge_invalid");
    assert_eq!(add(&app, &token, &es256(), &challenge).await.status, StatusCode::CREATED);
    add(&app, &token, &es256(), &challenge).await.assert_problem(409, "challenge_invalid");
    let for_signing_in = app.passkey_challenge().await;
    let other = add(&app, &token, &es256(), &for_signing_in).await;
    other.assert_problem(409, "challenge_invalid");
    let late = challenge_of(&options(&app, &token).await);
    app.clock.advance(Duration::from_mins(5));
    add(&app, &token, &es256(), &late).await.assert_problem(409, "challenge_invalid");
}

#[tokio::test]
async fn a_passkey_that_does_not_hold_is_told_why() {
    let (app, token) = signed_in(&[]).await;
    let mut unverified = es256();
    unverified.flags = 1;
    for (authenticator, why) in [
        (unverified, "user verification"),
        (Authenticator::es256("https://evil.example", PARTY), "origin"),
        (Authenticator::eddsa(ORIGIN, "evil.example"), "relying party"),
    ] {
        let challenge = challenge_of(&options(&app, &token).await);
        let answer = add(&app, &token, &authenticator, &challenge).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors()[0].1, "not_accepted");
        let message = answer.body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn factors_change_only_soon_after_a_sign_in() {
    let (app, token) = signed_in(&[]).await;
    let passkey = Passkey::enrol(&app, &token, es256()).await;
    // Begun in time: it waits for its code.
    assert_eq!(post(&app, &token, "totp", json!({})).await.status, StatusCode::CREATED);
    app.clock.advance(Duration::from_mins(10));
    for (path, body) in [
        ("totp", json!({})),
        ("totp/confirm", json!({ "code": "123456" })),
        ("recovery-codes", json!({})),
        ("passkey/options", json!({})),
    ] {
        let answer = post(&app, &token, path, body).await;
        answer.assert_problem(403, "recent_sign_in_required");
    }
    let path = format!("/me/factors/{}", passkey.id);
    let answer = app.call(Method::DELETE, &path, &token, None).await;
    answer.assert_problem(403, "recent_sign_in_required");
    list(&app, &token).await;
    let again = app.sign_in("ann").await.access;
    assert_eq!(app.call(Method::DELETE, &path, &again, None).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_account_begins_so_many_changes_of_its_factors_and_one_of_old_takes_nothing_from_them() {
    let (app, old) = signed_in(&[("LIMIT_PROFILE_ACCOUNT", "4/h burst 4")]).await;
    app.clock.advance(Duration::from_mins(10));
    for _ in 0..5 {
        let refused = post(&app, &old, "totp", json!({})).await;
        refused.assert_problem(403, "recent_sign_in_required");
    }
    let token = app.sign_in("ann").await.access;
    let id = Uuid::now_v7();
    let remove = format!("/me/factors/{id}");
    for path in ["totp", "recovery-codes", "passkey/options"] {
        assert_ne!(post(&app, &token, path, json!({})).await.code(), "rate_limited", "{path}");
    }
    let gone = app.call(Method::DELETE, &remove, &token, None).await;
    gone.assert_problem(404, "not_found");
    for path in ["totp", "recovery-codes", "passkey/options"] {
        let refused = post(&app, &token, path, json!({})).await;
        refused.assert_problem(429, "rate_limited");
        assert_eq!(refused.headers["ratelimit-policy"], "\"factors\";q=4;w=3600");
    }
    let refused = app.call(Method::DELETE, &remove, &token, None).await;
    refused.assert_problem(429, "rate_limited");
    let profile = json!({ "bio": "counted apart" });
    let changed = app.call(Method::PATCH, "/me", &token, Some(profile)).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
}

#[tokio::test]
async fn a_factor_of_another_user_is_not_found() {
    let (app, token) = signed_in(&[]).await;
    let totp = TotpApp::enrol(&app, &token).await;
    let passkey = Passkey::enrol(&app, &token, es256()).await;
    app.user("bob").await;
    let bob = app.sign_in("bob").await.access;
    for id in [totp.id.as_str(), &passkey.id, "no-id", "%00"] {
        let path = format!("/me/factors/{id}");
        app.call(Method::DELETE, &path, &bob, None).await.assert_problem(404, "not_found");
    }
    assert_eq!(list(&app, &token).await["factors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_route_of_factors_needs_a_session_that_holds() {
    let (app, token) = signed_in(&[]).await;
    let challenge = challenge_of(&options(&app, &token).await);
    post(&app, &token, "totp", json!({})).await;
    let revoke = "UPDATE sessions SET revoked_at = now()";
    sqlx::query(revoke).execute(&app.owner).await.unwrap();
    let id = Uuid::now_v7();
    for (method, path, body) in [
        (Method::GET, "/me/factors", None),
        (Method::POST, "/me/factors/totp", Some(json!({}))),
        (Method::POST, "/me/factors/totp/confirm", Some(json!({ "code": "123456" }))),
        (Method::POST, "/me/factors/recovery-codes", Some(json!({}))),
        (Method::POST, "/me/factors/passkey/options", Some(json!({}))),
        (Method::DELETE, &format!("/me/factors/{id}"), None),
    ] {
        let answer = app.call(method.clone(), path, &token, body.clone()).await;
        answer.assert_problem(401, "session_revoked");
        app.call(method, path, "no token", body).await.assert_problem(401, "token_invalid");
    }
    add(&app, &token, &es256(), &challenge).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn names_of_passkeys_are_short_and_without_control_characters() {
    let (app, token) = signed_in(&[]).await;
    for (name, code) in
        [("", "required"), (&"x".repeat(65), "too_long"), ("a\0b", "invalid_characters")]
    {
        let body = json!({ "name": name, "credential": {} });
        let answer = post(&app, &token, "passkey", body).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors()[0], ("/name".to_owned(), code.to_owned()));
    }
}
