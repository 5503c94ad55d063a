//! What changes while a password is hashed holds for the attempt that waits for its hash.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::app::{Answer, SignedIn, TestApp, credentials};
use crate::enrolled::TotpApp;
use crate::login::disable;
use crate::parked::{held, queue, until_waiting};

/// Nothing but the lock or stop that a test imposes, and time for it.
const SETTINGS: [(&str, &str); 2] = [("DATABASE_TIMEOUT", "60s"), ("LOCK_STOP", "3")];

/// What follows a hash waits at this, before its statement has a snapshot.
const BEFORE_A_SNAPSHOT: &str = "LOCK TABLE audit IN EXCLUSIVE MODE";

/// Writes a row of `failures` for the user's name.
async fn fail(app: &TestApp, by: &mut Transaction<'_, Postgres>, place: (&[u8], i32, i64)) {
    let (network, count, locked_seconds) = place;
    let now = app.clock.now();
    sqlx::query(
        "INSERT INTO failures (subject, network, count, last_at, locked_until)
         VALUES ($1, $2, $3, $4, CASE WHEN $5 > 0 THEN $4 + $5 * interval '1 second' END)
         ON CONFLICT (subject, network) DO UPDATE
         SET count = excluded.count, locked_until = excluded.locked_until",
    )
    .bind(app.passwords.identifier_mac("ann"))
    .bind(network)
    .bind(count)
    .bind(now)
    .bind(locked_seconds)
    .execute(&mut **by)
    .await
    .unwrap();
}

/// The network of the tests' usual client.
const NETWORK: &[u8] = &[127, 0, 0, 1];

/// Asserts a 429 and returns its Retry-After.
#[track_caller]
fn refused(answer: &Answer) -> u64 {
    answer.assert_problem(429, "rate_limited");
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// What an attempt is answered when a row of `failures` is written while it hashes.
async fn attempt(app: &TestApp, password: &str, place: (&[u8], i32, i64)) -> Answer {
    app.user("ann").await;
    let mut transaction = held(app, BEFORE_A_SNAPSHOT).await;
    if password == "disabled" {
        disable(app, "ann").await;
    }
    let typed = if password == "disabled" { "password123" } else { password };
    let imposed = async {
        until_waiting(app, 1).await;
        fail(app, &mut transaction, place).await;
        transaction.commit().await.unwrap();
    };
    tokio::join!(app.login("ann", typed), imposed).0
}

#[tokio::test]
async fn a_stop_imposed_meanwhile_refuses_a_right_password() {
    let app = TestApp::with(&SETTINGS).await;
    assert_eq!(refused(&attempt(&app, "password123", (b"", 3, 0)).await), 3_600);
    assert_eq!(app.audit().await, ["user_created"]);
}

#[tokio::test]
async fn a_lock_or_stop_imposed_meanwhile_tells_nothing_of_a_disabled_account() {
    let app = TestApp::with(&SETTINGS).await;
    assert_eq!(refused(&attempt(&app, "disabled", (b"", 3, 0)).await), 3_600);
    let app = TestApp::with(&SETTINGS).await;
    let wait = refused(&attempt(&app, "disabled", (NETWORK, 9, 900)).await);
    assert!((800..=1_000).contains(&wait), "{wait}");
    assert_eq!(app.audit().await, ["user_created"]);
}

#[tokio::test]
async fn a_lock_imposed_meanwhile_is_told_with_its_whole_length() {
    let app = TestApp::with(&SETTINGS).await;
    app.user("ann").await;
    // Another attempt has locked the row and is about to commit a lock of 900 s.
    let mut transaction = app.owner.begin().await.unwrap();
    fail(&app, &mut transaction, (NETWORK, 4, 0)).await;
    transaction.commit().await.unwrap();
    let mut transaction = app.owner.begin().await.unwrap();
    fail(&app, &mut transaction, (NETWORK, 14, 900)).await;
    let imposed = async {
        until_waiting(&app, 1).await;
        transaction.commit().await.unwrap();
    };
    let answer = tokio::join!(app.login("ann", "wrong password"), imposed).0;
    let wait = refused(&answer);
    assert!((800..=1_000).contains(&wait), "{wait}");
    assert_eq!(app.audit().await, ["user_created"], "nothing was judged");
}

#[tokio::test]
async fn guesses_sent_at_once_from_many_networks_learn_no_more_than_the_stop_allows() {
    let app = TestApp::with(&[("LOCK_STOP", "3"), ("BCRYPT_COST", "6")]).await;
    app.user("ann").await;
    let body = || credentials("ann", "wrong password");
    let guesses = (2..14).map(|network| app.post_from([127, 0, 0, network], "/login", body()));
    let answers = join_all(guesses).await;
    let judged = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(judged, 3, "as many as one by one");
    for answer in answers.iter().filter(|answer| answer.status != 401) {
        assert_eq!(refused(answer), 3_600);
    }
    let log = app.audit().await;
    let locks = log.iter().filter(|event| *event == "authn_login_lock").count();
    assert_eq!((log.len(), locks), (4, 1), "{log:?}");
}

/// As a sign-in leaves it before it commits: the account is shared, its session is there.
async fn sign_in_under_way(app: &TestApp, session: Uuid) -> Transaction<'static, Postgres> {
    let mut sign_in = held(app, "SELECT FROM users WHERE username = 'ann' FOR SHARE").await;
    sqlx::query(
        "INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at, idle_until,
                               absolute_until, address)
         SELECT $1, id, '', $2, $2, $2, $2 + interval '1 day', $2 + interval '1 day', '127.0.0.1'
         FROM users WHERE username = 'ann'",
    )
    .bind(session)
    .bind(app.clock.now())
    .execute(&mut *sign_in)
    .await
    .unwrap();
    sign_in
}

/// Asserts that the change waits for a sign-in under way, and then ends its session.
async fn assert_ended(app: &TestApp, change: impl Future<Output = Answer>) {
    let session = Uuid::now_v7();
    let sign_in = sign_in_under_way(app, session).await;
    let committed = async {
        until_waiting(app, 1).await;
        sign_in.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(change, committed);
    assert!(answer.status.is_success(), "{answer:?}");
    let revoked = sqlx::query_scalar("SELECT revoked_at IS NOT NULL FROM sessions WHERE id = $1");
    let revoked: bool = revoked.bind(session).fetch_one(&app.owner).await.unwrap();
    assert!(revoked, "the session has outlived the change");
}

/// An app with the user `ann`, who is signed in.
async fn signed_in() -> (TestApp, SignedIn) {
    let app = TestApp::with(&SETTINGS).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    (app, ann)
}

#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_a_new_password() {
    let (app, ann) = signed_in().await;
    let body = json!({ "current_password": "password123", "new_password": "password456" });
    assert_ended(&app, app.call(Method::POST, "/me/password", &ann.access, Some(body))).await;
}

#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_a_password_reset() {
    let (app, _) = signed_in().await;
    app.own("ann", "ann@example.org").await;
    app.post("/password/forgot", json!({ "email": "ann@example.org" })).await;
    let text = app.mails().await.remove(0).text;
    let token = text.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let body = json!({ "token": token, "password": "password456" });
    assert_ended(&app, app.post("/password/reset", body)).await;
}

#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_a_disabled_account() {
    let (app, _) = signed_in().await;
    app.user("root1").await;
    app.make_admin("root1").await;
    let admin = app.sign_in("root1").await;
    let id: Uuid = sqlx::query_scalar("SELECT id FROM users WHERE username_key = 'ann'")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    let (path, body) = (format!("/users/{id}"), json!({ "status": "disabled" }));
    assert_ended(&app, app.call(Method::PATCH, &path, &admin.access, Some(body))).await;
}

/// Begins to add an authenticator app; the body that confirms it.
async fn begun(app: &TestApp, ann: &SignedIn) -> Value {
    let begun = app.call(Method::POST, "/me/factors/totp", &ann.access, Some(json!({}))).await;
    json!({ "code": TotpApp::read(&begun).code(app.clock.now()) })
}

#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_the_confirmation_of_an_app() {
    let (app, ann) = signed_in().await;
    let (path, body) = ("/me/factors/totp/confirm", begun(&app, &ann).await);
    assert_ended(&app, app.call(Method::POST, path, &ann.access, Some(body))).await;
}

#[tokio::test]
async fn a_password_that_waits_for_a_confirmation_under_way_does_not_sign_in_alone() {
    let (app, ann) = signed_in().await;
    let (path, body) = ("/me/factors/totp/confirm", begun(&app, &ann).await);
    let before = app.audit().await.len();
    // The confirmation holds the account and waits for the app; the sign-in, whose statement has its
    // snapshot, waits for the account.
    let (confirmed, answer) = queue(
        &app,
        "SELECT FROM totp FOR UPDATE",
        app.call(Method::POST, path, &ann.access, Some(body)),
        app.login("ann", "password123"),
    )
    .await;
    assert_eq!(confirmed.status, StatusCode::OK, "{confirmed:?}");
    answer.assert_problem(401, "invalid_credentials");
    assert_eq!(app.audit().await[before..], ["authn_factor_added", "authn_login_fail"]);
    app.challenge("ann").await;
}
