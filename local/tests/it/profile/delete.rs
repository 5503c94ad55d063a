//! `DELETE /me`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::app::{Answer, TestApp, credentials};

pub(super) async fn delete(app: &TestApp, token: &str, password: &str) -> Answer {
    app.call(Method::DELETE, "/me", token, Some(json!({ "password": password }))).await
}

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
