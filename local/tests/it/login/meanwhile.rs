//! What changes while a password is hashed holds for the attempt that waits for its hash.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::app::{Answer, TestApp, credentials};
use crate::login::disable;

/// Longer than any statement takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);
/// Nothing but the lock or stop that a test imposes, and time for it.
const SETTINGS: [(&str, &str); 2] = [("DATABASE_TIMEOUT", "60s"), ("LOCK_STOP", "3")];

/// An app with one user, and its table `audit` locked: what follows a hash waits there, before its
/// statement has a snapshot.
async fn held(app: &TestApp) -> Transaction<'static, Postgres> {
    app.user("ann").await;
    let mut transaction = app.owner.begin().await.unwrap();
    let lock = sqlx::raw_sql("LOCK TABLE audit IN EXCLUSIVE MODE");
    lock.execute(&mut *transaction).await.unwrap();
    transaction
}

/// Waits until a statement waits for a lock.
async fn until_one_waits(app: &TestApp) {
    let asked = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                                WHERE NOT granted AND datname = current_database())";
    let deadline = Instant::now() + LONG;
    while !sqlx::query_scalar::<_, bool>(asked).fetch_one(&app.owner).await.unwrap() {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

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
    let mut transaction = held(app).await;
    if password == "disabled" {
        disable(app, "ann").await;
    }
    let typed = if password == "disabled" { "password123" } else { password };
    let imposed = async {
        until_one_waits(app).await;
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
        until_one_waits(&app).await;
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

#[tokio::test]
async fn a_sign_in_under_way_does_not_outlive_a_new_password_nor_a_disabled_account() {
    let app = TestApp::with(&SETTINGS).await;
    app.user("root1").await;
    app.make_admin("root1").await;
    app.user("ann").await;
    let (admin, ann) = (app.sign_in("root1").await, app.sign_in("ann").await);
    let id: Uuid = sqlx::query_scalar("SELECT id FROM users WHERE username_key = 'ann'")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    for what in ["password", "status"] {
        // As a sign-in leaves it before it commits: the account is shared, its session is there.
        let mut sign_in = app.owner.begin().await.unwrap();
        let session = Uuid::now_v7();
        sqlx::query("SELECT FROM users WHERE id = $1 FOR SHARE")
            .bind(id)
            .execute(&mut *sign_in)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at, idle_until,
                                   absolute_until, address)
             SELECT $1, $2, '', $3, $3, $3, $3 + interval '1 day', $3 + interval '1 day', '127.0.0.1'",
        )
        .bind(session)
        .bind(id)
        .bind(app.clock.now())
        .execute(&mut *sign_in)
        .await
        .unwrap();
        let change = async {
            if what == "password" {
                let body =
                    json!({ "current_password": "password123", "new_password": "password456" });
                app.call(Method::POST, "/me/password", &ann.access, Some(body)).await
            } else {
                let body = json!({ "status": "disabled" });
                app.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(body)).await
            }
        };
        let committed = async {
            until_one_waits(&app).await;
            sign_in.commit().await.unwrap();
        };
        let (answer, ()) = tokio::join!(change, committed);
        assert!(answer.status.is_success(), "{what}: {answer:?}");
        let revoked: bool =
            sqlx::query_scalar("SELECT revoked_at IS NOT NULL FROM sessions WHERE id = $1")
                .bind(session)
                .fetch_one(&app.owner)
                .await
                .unwrap();
        assert!(revoked, "{what}");
    }
}
