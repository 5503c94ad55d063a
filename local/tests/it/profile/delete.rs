//! `DELETE /me`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::{Answer, TestApp, credentials};
use crate::parked::{held, queue, until_waiting};

pub(super) async fn delete(app: &TestApp, token: &str, password: &str) -> Answer {
    app.call(Method::DELETE, "/me", token, Some(json!({ "password": password }))).await
}

/// The lock of `shared/src/db/admins.rs`, taken.
const ADMINS: &str = "SELECT pg_advisory_xact_lock(x'6b7761646d696e73'::bigint)";

async fn me(app: &TestApp, token: &str) -> Answer {
    app.call(Method::GET, "/me", token, None).await
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_name_is_kept_for_thirty_days() {
    let app = TestApp::start().await;
    app.user("Ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    delete(&app, &here.access, "wrong password").await.assert_problem(403, "wrong_password");
    assert_eq!(delete(&app, &here.access, "password123").await.status, StatusCode::NO_CONTENT);
    for token in [&here.access, &there.access] {
        me(&app, token).await.assert_problem(401, "session_revoked");
    }
    app.login("ann", "password123").await.assert_problem(401, "invalid_credentials");
    let left = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM passwords)
                     + (SELECT count(*) FROM sessions) + (SELECT count(*) FROM user_roles)";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&app.owner).await.unwrap();
    assert_eq!(left, 0);
    assert!(app.audit().await.contains(&"user_deleted".to_owned()));
    let again = app.post("/register", credentials("ANN", "password123")).await;
    again.assert_problem(409, "username_taken");
    app.clock.advance(Duration::from_hours(30 * 24));
    app.user("ann").await;
}

#[tokio::test]
async fn a_name_that_is_taken_while_its_account_is_deleted_stays_reserved() {
    let app = TestApp::with(&[("DATABASE_POOL", "10")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    // The deletion has happened and is not yet committed.
    let mut deleting = app.owner.begin().await.unwrap();
    for statement in [
        "DELETE FROM users",
        "INSERT INTO reserved_names VALUES ('ann', now() + interval '40 days')",
    ] {
        sqlx::query(statement).execute(&mut *deleting).await.unwrap();
    }
    let committed = async {
        let asked = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                                    WHERE NOT granted AND datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(asked).fetch_one(&app.owner).await.unwrap() {
            tokio::task::yield_now().await;
        }
        deleting.commit().await.unwrap();
    };
    let wish = app.post("/register", credentials("ann", "password123"));
    let (answer, ()) = tokio::join!(wish, committed);
    answer.assert_problem(409, "username_taken");
    me(&app, &ann.access).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn the_last_administrator_cannot_delete_themselves() {
    let app = TestApp::start().await;
    app.user("ann").await;
    app.user("bob").await;
    app.make_admin("ann").await;
    let ann = app.sign_in("ann").await;
    delete(&app, &ann.access, "password123").await.assert_problem(409, "last_admin");
    assert_eq!(me(&app, &ann.access).await.status, StatusCode::OK);
    app.make_admin("bob").await;
    assert_eq!(delete(&app, &ann.access, "password123").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_the_last_two_administrators_who_delete_themselves_at_once_one_stays() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "60s")]).await;
    for name in ["ann", "bob"] {
        app.user(name).await;
        app.make_admin(name).await;
    }
    let [ann, bob] = [app.sign_in("ann").await.access, app.sign_in("bob").await.access];
    // Both have seen that there are two of them, and wait for who acts first.
    let (first, second) =
        queue(&app, ADMINS, delete(&app, &ann, "password123"), delete(&app, &bob, "password123"))
            .await;
    assert_eq!(first.status, StatusCode::NO_CONTENT, "{first:?}");
    second.assert_problem(409, "last_admin");
    assert_eq!(me(&app, &bob).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_role_given_meanwhile_is_seen_by_a_deletion() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "60s")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await.access;
    let given = held(
        &app,
        "SELECT FROM users FOR NO KEY UPDATE;
         INSERT INTO user_roles SELECT id, 'admin', NULL, now() FROM users",
    )
    .await;
    let committed = async {
        until_waiting(&app, 1).await;
        given.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(delete(&app, &ann, "password123"), committed);
    answer.assert_problem(409, "last_admin");
}

#[tokio::test]
async fn who_manages_nobody_is_deleted_without_waiting_for_who_does() {
    let app = TestApp::start().await;
    for name in ["ann", "boss", "was"] {
        app.user(name).await;
    }
    app.make_admin("boss").await;
    let [ann, boss] = [app.sign_in("ann").await.access, app.sign_in("boss").await.access];
    let slow = held(&app, ADMINS).await;
    assert_eq!(delete(&app, &ann, "password123").await.status, StatusCode::NO_CONTENT);
    // Roles that somebody has given are rows of other accounts, which administrators may hold.
    let was = app.sign_in("was").await.access;
    let gave = "UPDATE user_roles SET granted_by = (SELECT id FROM users WHERE username = 'was')
                WHERE user_id = (SELECT id FROM users WHERE username = 'boss')";
    sqlx::query(gave).execute(&app.owner).await.unwrap();
    let released = async {
        until_waiting(&app, 1).await;
        slow.rollback().await.unwrap();
    };
    let (answer, ()) = tokio::join!(delete(&app, &was, "password123"), released);
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(me(&app, &boss).await.status, StatusCode::OK);
}

/// What a call is answered that has checked the password and then waits for a change of it under way.
async fn while_the_password_changes(app: &TestApp, call: impl Future<Output = Answer>) -> Answer {
    let changed = held(
        app,
        "SELECT FROM users FOR NO KEY UPDATE;
         UPDATE passwords SET changed_at = changed_at + interval '1 second'",
    )
    .await;
    let committed = async {
        until_waiting(app, 1).await;
        changed.commit().await.unwrap();
    };
    tokio::join!(call, committed).0
}

#[tokio::test]
async fn a_password_changed_meanwhile_neither_ends_the_account_nor_moves_its_address() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "60s")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await.access;
    let log = app.audit().await;
    let deleted = while_the_password_changes(&app, delete(&app, &ann, "password123")).await;
    deleted.assert_problem(403, "wrong_password");
    let body = json!({ "email": "new@example.org", "password": "password123" });
    let asked = app.call(Method::POST, "/me/email", &ann, Some(body));
    let asked = while_the_password_changes(&app, asked).await;
    asked.assert_problem(403, "wrong_password");
    assert_eq!(me(&app, &ann).await.status, StatusCode::OK);
    assert!(app.mails().await.is_empty());
    assert_eq!(app.audit().await, log);
}
