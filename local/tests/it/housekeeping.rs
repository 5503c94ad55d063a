//! The statements of docs/operations.md that remove what no longer decides anything.

use std::time::Duration;

use http::StatusCode;
use sqlx::AssertSqlSafe;

use crate::app::TestApp;

/// Rows of each table that grows.
async fn rows(app: &TestApp) -> [i64; 4] {
    let counts = "SELECT ARRAY[(SELECT count(*) FROM buckets), (SELECT count(*) FROM failures),
                               (SELECT count(*) FROM sessions), (SELECT count(*) FROM audit)]";
    let counts: Vec<i64> = sqlx::query_scalar(counts).fetch_one(&app.owner).await.unwrap();
    counts.try_into().unwrap()
}

/// Runs the statements of the page as they would be run after this time.
async fn clean_up(app: &TestApp, after: Duration) {
    let page = include_str!("../../../docs/operations.md");
    let (_, growing) = page.split_once("\n## What grows\n").unwrap();
    let (_, sql) = growing.split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let later = format!("(now() + interval '{} seconds')", after.as_secs());
    let sql = AssertSqlSafe(sql.replace("now()", &later));
    sqlx::raw_sql(sql).execute(&app.owner).await.unwrap();
}

#[tokio::test]
async fn what_is_cleaned_up_no_longer_decides_anything() {
    let app = TestApp::with(&[("LOCK_AFTER", "1")]).await;
    app.user("ann").await;
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login("bob", "wrong password").await.assert_problem(401, "invalid_credentials");
    let [_, failures, sessions, audit] = rows(&app).await;
    assert_eq!([failures, sessions, audit], [3, 1, 4]);
    clean_up(&app, Duration::ZERO).await;
    assert_eq!(rows(&app).await[1..], [failures, sessions, audit], "all of it is still needed");
    let day = Duration::from_hours(24);
    clean_up(&app, day + Duration::from_hours(1)).await;
    assert_eq!(rows(&app).await, [0, 1, 1, 4], "the network that ann knows, her session, the log");
    let with_address = "SELECT count(address) + count(user_agent) FROM audit";
    clean_up(&app, 31 * day).await;
    assert_eq!(rows(&app).await, [0, 0, 0, 4]);
    let kept: i64 = sqlx::query_scalar(with_address).fetch_one(&app.owner).await.unwrap();
    assert_eq!(kept, 0);
    clean_up(&app, 401 * day).await;
    assert_eq!(rows(&app).await, [0; 4]);
}
