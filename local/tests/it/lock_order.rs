//! Whatever changes an account locks its row first, and failures in one order: of two at once one waits,
//! and both succeed. Each test holds a row that the first of the two comes to late.

use http::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;
use shared::db::users;
use shared::role::Role;
use shared::secret_token::{self, Purpose, Row};
use uuid::Uuid;

use crate::app::{Answer, TestApp, credentials};
use crate::enrolled::TotpApp;
use crate::parked::queue;
use crate::users::id;

/// The address of every test's user.
const EMAIL: &str = "ann@example.org";
/// The network of the tests' usual client.
const NETWORK: &[u8] = &[127, 0, 0, 1];
/// Time for whoever waits.
const PATIENT: (&str, &str) = ("DATABASE_TIMEOUT", "60s");

/// An app with the user `ann`, who owns [`EMAIL`] and is signed in; her token.
async fn with_ann() -> (TestApp, String) {
    let app = TestApp::with(&[PATIENT]).await;
    app.user("ann").await;
    app.own("ann", EMAIL).await;
    let token = app.sign_in("ann").await.access;
    (app, token)
}

/// That, and her authenticator app, of which a code may be brought.
async fn with_an_app() -> (TestApp, String, TotpApp) {
    let (app, token) = with_ann().await;
    let totp = TotpApp::enrol(&app, &token).await;
    app.clock.advance(std::time::Duration::from_secs(30));
    (app, token, totp)
}

/// A link's token of hers, as a mail would bring it.
async fn link(app: &TestApp, purpose: Purpose, target: &str) -> String {
    let id = secret_token::new_id().unwrap();
    let user: Uuid = sqlx::query_scalar(
        "INSERT INTO one_time_tokens (id, kind, user_id, target, created_at, expires_at)
         SELECT $1, $2, id, $3, $4, $4 + interval '10 min' FROM users WHERE username = 'ann'
         RETURNING user_id",
    )
    .bind(id)
    .bind(purpose.as_str())
    .bind(target)
    .bind(app.clock.now())
    .fetch_one(&app.owner)
    .await
    .unwrap();
    let token = secret_token::issue(&app.keys.links, Row { id, purpose, user, target });
    token.expose_secret().to_owned()
}

async fn verify(app: &TestApp, token: &str) -> Answer {
    app.post("/email/verify", json!({ "token": token })).await
}

/// Writes rows of `failures` in this order: each an identifier and a network, with one failure.
async fn fail(app: &TestApp, places: &[(&str, &[u8])]) {
    for (identifier, network) in places {
        let insert =
            "INSERT INTO failures (subject, network, count, last_at) VALUES ($1, $2, 1, $3)";
        let subject = app.passwords.identifier_mac(identifier);
        let insert = sqlx::query(insert).bind(subject).bind(network).bind(app.clock.now());
        insert.execute(&app.owner).await.unwrap();
    }
}

#[track_caller]
fn assert_both((first, second): (Answer, Answer), expected: [StatusCode; 2]) {
    assert_eq!([first.status, second.status], expected, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_code_and_the_removal_of_its_app_at_once_both_succeed() {
    let (app, token, totp) = with_an_app().await;
    let (challenge, code) = (app.challenge("ann").await, totp.code(app.clock.now()));
    let path = format!("/me/factors/{}", totp.id);
    let answers = queue(
        &app,
        "SELECT FROM totp FOR UPDATE",
        app.prove(&challenge, &code),
        app.call(Method::DELETE, &path, &token, None),
    );
    assert_both(answers.await, [StatusCode::OK, StatusCode::NO_CONTENT]);
}

#[tokio::test]
async fn a_code_and_the_end_of_its_account_at_once_both_succeed() {
    let (app, token, totp) = with_an_app().await;
    let (challenge, code) = (app.challenge("ann").await, totp.code(app.clock.now()));
    let password = json!({ "password": "password123" });
    let answers = queue(
        &app,
        "SELECT FROM totp FOR UPDATE",
        app.prove(&challenge, &code),
        app.call(Method::DELETE, "/me", &token, Some(password)),
    );
    assert_both(answers.await, [StatusCode::OK, StatusCode::NO_CONTENT]);
}

#[tokio::test]
async fn a_recovery_code_and_new_ones_at_once_both_succeed() {
    let (app, token, totp) = with_an_app().await;
    let challenge = app.challenge("ann").await;
    let answers = queue(
        &app,
        "SELECT FROM recovery_codes FOR UPDATE",
        app.prove(&challenge, &totp.recovery_codes[9]),
        app.call(Method::POST, "/me/factors/recovery-codes", &token, Some(json!({}))),
    );
    assert_both(answers.await, [StatusCode::OK, StatusCode::OK]);
}

#[tokio::test]
async fn a_link_to_verify_and_a_new_password_at_once_both_succeed() {
    let (app, token) = with_ann().await;
    let link = link(&app, Purpose::Verify, "new@example.org").await;
    let change = json!({ "current_password": "password123", "new_password": "password456" });
    let answers = queue(
        &app,
        "SELECT FROM one_time_tokens FOR UPDATE",
        verify(&app, &link),
        app.call(Method::POST, "/me/password", &token, Some(change)),
    );
    assert_both(answers.await, [StatusCode::NO_CONTENT, StatusCode::NO_CONTENT]);
}

#[tokio::test]
async fn a_forgotten_password_and_a_link_to_verify_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    link(&app, Purpose::Reset, EMAIL).await;
    let link = link(&app, Purpose::Verify, "new@example.org").await;
    let answers = queue(
        &app,
        "SELECT FROM one_time_tokens WHERE kind = 'reset' FOR UPDATE",
        app.post("/password/forgot", json!({ "email": EMAIL })),
        verify(&app, &link),
    );
    assert_both(answers.await, [StatusCode::ACCEPTED, StatusCode::NO_CONTENT]);
    assert_eq!(live_links(&app).await, 0, "a link to the address of before is void");
}

/// Links that may be used.
async fn live_links(app: &TestApp) -> i64 {
    let live = "SELECT count(*) FROM one_time_tokens WHERE used_at IS NULL";
    sqlx::query_scalar(live).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn a_forgotten_password_waits_for_what_changes_and_then_knows_it() {
    let (app, token) = with_ann().await;
    let forgot = || app.post("/password/forgot", json!({ "email": EMAIL }));
    let change = json!({ "current_password": "password123", "new_password": "password456" });
    let answers = queue(
        &app,
        "SELECT FROM passwords FOR UPDATE",
        app.call(Method::POST, "/me/password", &token, Some(change)),
        forgot(),
    );
    assert_both(answers.await, [StatusCode::NO_CONTENT, StatusCode::ACCEPTED]);
    assert_eq!(live_links(&app).await, 1, "asked for after the change");
    let link = link(&app, Purpose::Verify, "new@example.org").await;
    let answers = queue(
        &app,
        "SELECT FROM one_time_tokens WHERE kind = 'verify' FOR UPDATE",
        verify(&app, &link),
        forgot(),
    );
    assert_both(answers.await, [StatusCode::NO_CONTENT, StatusCode::ACCEPTED]);
    assert_eq!(live_links(&app).await, 0, "the address is nobody's by now");
}

#[tokio::test]
async fn a_link_sent_by_an_administrator_and_one_to_verify_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    app.user("root1").await;
    app.make_admin("root1").await;
    let admin = app.sign_in("root1").await.access;
    link(&app, Purpose::Reset, EMAIL).await;
    let link = link(&app, Purpose::Verify, "new@example.org").await;
    let id = id(&app, "ann").await;
    let path = format!("/users/{id}/send-reset");
    let answers = queue(
        &app,
        "SELECT FROM one_time_tokens WHERE kind = 'reset' FOR UPDATE",
        app.call(Method::POST, &path, &admin, None),
        verify(&app, &link),
    );
    assert_both(answers.await, [StatusCode::ACCEPTED, StatusCode::NO_CONTENT]);
}

#[tokio::test]
async fn an_administrators_link_to_themselves_and_a_forgotten_password_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    app.make_admin("ann").await;
    let admin = app.sign_in("ann").await.access;
    let forgot = || app.post("/password/forgot", json!({ "email": EMAIL }));
    // The address's bucket, which is held below.
    assert_eq!(forgot().await.status, StatusCode::ACCEPTED);
    let id = id(&app, "ann").await;
    let path = format!("/users/{id}/send-reset");
    let answers = queue(
        &app,
        "SELECT FROM buckets WHERE substring(key FOR 4) = 'mail' FOR UPDATE",
        forgot(),
        app.call(Method::POST, &path, &admin, None),
    );
    assert_both(answers.await, [StatusCode::ACCEPTED, StatusCode::ACCEPTED]);
}

#[tokio::test]
async fn of_two_renewals_of_recovery_codes_at_once_one_leaves_its_codes() {
    let (app, token, _) = with_an_app().await;
    let renew = || app.call(Method::POST, "/me/factors/recovery-codes", &token, Some(json!({})));
    let answers = queue(&app, "SELECT FROM users FOR UPDATE", renew(), renew());
    assert_both(answers.await, [StatusCode::OK, StatusCode::OK]);
    let left = app.call(Method::GET, "/me/factors", &token, None).await;
    assert_eq!(left.body["recovery_codes_left"], 10);
}

#[tokio::test]
async fn a_failed_sign_in_and_a_reset_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    let link = link(&app, Purpose::Reset, EMAIL).await;
    // Forgotten networks first, as whoever reads the table in its own order comes by them.
    sqlx::query("DELETE FROM failures").execute(&app.owner).await.unwrap();
    fail(&app, &[("ann", b""), ("ann", NETWORK)]).await;
    let reset = json!({ "token": link, "password": "a new password" });
    let answers = queue(
        &app,
        "SELECT FROM failures WHERE network <> '' FOR UPDATE",
        app.login("ann", "wrong password"),
        app.post("/password/reset", reset),
    );
    assert_both(answers.await, [StatusCode::UNAUTHORIZED, StatusCode::NO_CONTENT]);
    assert_eq!(app.login("ann", "a new password").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_failed_sign_in_elsewhere_and_a_sign_in_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    sqlx::query("DELETE FROM failures").execute(&app.owner).await.unwrap();
    fail(&app, &[("ann", b"")]).await;
    let answers = queue(
        &app,
        "SELECT FROM failures FOR UPDATE",
        app.post_from([127, 0, 0, 9], "/login", credentials("ann", "wrong password")),
        app.post("/login", credentials("ann", "password123")),
    );
    assert_both(answers.await, [StatusCode::UNAUTHORIZED, StatusCode::OK]);
    let count = "SELECT count FROM failures WHERE network = '' AND subject = $1";
    let count = sqlx::query_scalar(count).bind(app.passwords.identifier_mac("ann"));
    let count: i32 = count.fetch_one(&app.owner).await.unwrap();
    assert_eq!(count, 0, "this network's first sign-in begins the count anew");
}

#[tokio::test]
async fn a_sign_in_and_an_unlock_at_once_both_succeed() {
    let (app, _) = with_ann().await;
    app.user("root1").await;
    app.make_admin("root1").await;
    let admin = app.sign_in("root1").await.access;
    let id = id(&app, "ann").await;
    sqlx::query("DELETE FROM failures").execute(&app.owner).await.unwrap();
    let mut identifiers = ["ann", EMAIL];
    identifiers.sort_by_key(|identifier| app.passwords.identifier_mac(identifier));
    let [first, last] = identifiers;
    fail(&app, &[(first, b""), (last, NETWORK)]).await;
    let path = format!("/users/{id}/unlock");
    let answers = queue(
        &app,
        "SELECT FROM failures WHERE network <> '' FOR UPDATE",
        app.post("/login", credentials("ann", "password123")),
        app.call(Method::POST, &path, &admin, None),
    );
    assert_both(answers.await, [StatusCode::OK, StatusCode::NO_CONTENT]);
}

#[tokio::test]
async fn a_role_granted_on_the_command_line_and_by_an_administrator_at_once_is_granted() {
    let (app, _) = with_ann().await;
    app.user("root1").await;
    app.make_admin("root1").await;
    let admin = app.sign_in("root1").await.access;
    let id = id(&app, "ann").await;
    let command_line = app.another_owner().await;
    let path = format!("/users/{id}");
    let (granted, changed) = queue(
        &app,
        // Given up again: both then go on to write this row.
        "INSERT INTO user_roles (user_id, role, granted_at)
         SELECT id, 'admin', now() FROM users WHERE username = 'ann'",
        users::grant_role(&command_line, "ann", Role::Admin, app.clock.now()),
        app.call(Method::PATCH, &path, &admin, Some(json!({ "roles": ["admin"] }))),
    )
    .await;
    assert_eq!((granted.unwrap(), changed.status), (Some(true), StatusCode::OK), "{changed:?}");
}
