//! What the courier removes, and what it leaves.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use shared::db::cleanup::Step;
use sqlx::Connection as _;

use crate::app::TestApp;

const DAY: Duration = Duration::from_hours(24);

/// Rows of each table that grows.
async fn rows(app: &TestApp) -> [i64; 5] {
    let counts = "SELECT ARRAY[(SELECT count(*) FROM buckets), (SELECT count(*) FROM failures),
                               (SELECT count(*) FROM sessions), (SELECT count(*) FROM one_time_tokens),
                               (SELECT count(*) FROM outbox)]";
    let counts: Vec<i64> = sqlx::query_scalar(counts).fetch_one(&app.owner).await.unwrap();
    counts.try_into().unwrap()
}

/// Lets the courier clean up this much later.
async fn clean_up(app: &TestApp, after: Duration) {
    app.clock.advance(after);
    app.courier.round().await.unwrap();
}

#[tokio::test]
async fn what_is_cleaned_up_no_longer_decides_anything() {
    let app = TestApp::with(&[("LOCK_AFTER", "1")]).await;
    app.user("ann").await;
    app.own("ann", "ann@example.org").await;
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login("bob", "wrong password").await.assert_problem(401, "invalid_credentials");
    let forgot = app.post("/password/forgot", json!({ "email": "ann@example.org" })).await;
    assert_eq!(forgot.status, StatusCode::ACCEPTED);
    let before = rows(&app).await;
    assert_eq!(before[2..], [1, 1, 1]);
    clean_up(&app, Duration::ZERO).await;
    assert_eq!(rows(&app).await, before, "all of it is still needed");
    clean_up(&app, DAY + Duration::from_hours(1)).await;
    let [buckets, failures, sessions, tokens, outbox] = rows(&app).await;
    assert_eq!(
        [buckets, failures, sessions, tokens, outbox],
        [0, 2, 1, 0, 1],
        "networks, the session"
    );
    clean_up(&app, 7 * DAY).await;
    assert_eq!(rows(&app).await, [0, 2, 1, 0, 0]);
    clean_up(&app, 31 * DAY).await;
    assert_eq!(rows(&app).await, [0; 5]);
}

#[tokio::test]
async fn a_session_goes_a_day_after_it_was_revoked() {
    let app = TestApp::start().await;
    app.user("ann").await;
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    let revoke = "UPDATE sessions SET revoked_at = $1, revoked_reason = 'test'";
    sqlx::query(revoke).bind(app.clock.now()).execute(&app.owner).await.unwrap();
    clean_up(&app, DAY).await;
    assert_eq!(rows(&app).await[2], 1);
    clean_up(&app, Duration::from_mins(10)).await;
    assert_eq!(rows(&app).await[2], 0);
}

#[tokio::test]
async fn what_somebody_is_writing_is_passed_over_and_found_later() {
    let app = TestApp::start().await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login("bob", "wrong password").await.assert_problem(401, "invalid_credentials");
    assert_eq!(rows(&app).await[1], 4);
    let mut other = app.owner.begin().await.unwrap();
    let one = "SELECT FROM failures WHERE network = '' LIMIT 1 FOR UPDATE";
    sqlx::query(one).execute(&mut *other).await.unwrap();
    clean_up(&app, 2 * DAY).await;
    assert_eq!(rows(&app).await[1], 1);
    other.rollback().await.unwrap();
    clean_up(&app, DAY).await;
    assert_eq!(rows(&app).await[1], 0);
}

#[tokio::test]
async fn old_rows_of_the_audit_log_go_in_steps_and_no_others() {
    let app = TestApp::start().await;
    let rows = "INSERT INTO audit (at, event, address, user_agent)
                SELECT now() - n * interval '1 day', 'test', '127.0.0.1', 'x'
                FROM unnest(ARRAY[0, 29, 31, 89, 91, 399, 401, 402, 403]) AS n";
    sqlx::query(rows).execute(&app.owner).await.unwrap();
    let serving = app.serving().await;
    let take = |keep: u64| Step::Audit { keep: u32::try_from(keep).unwrap() * DAY };
    let now = app.clock.now();
    assert_eq!(take(400).take(&serving, 2, now).await.unwrap(), 4, "two forgotten, two removed");
    assert_eq!(take(400).take(&serving, 100, now).await.unwrap(), 3);
    assert_eq!(take(400).take(&serving, 100, now).await.unwrap(), 0);
    let ages = "SELECT array_agg(extract(day FROM now() - at)::integer ORDER BY id) FROM audit";
    let left: Vec<i32> = sqlx::query_scalar(ages).fetch_one(&app.owner).await.unwrap();
    assert_eq!(left, [0, 29, 31, 89, 91, 399]);
    let personal = "SELECT count(*) FROM audit WHERE address IS NOT NULL OR user_agent IS NOT NULL";
    let personal: i64 = sqlx::query_scalar(personal).fetch_one(&app.owner).await.unwrap();
    assert_eq!(personal, 2, "of the last 30 days");
    // Whatever is asked for, the last 90 days stay.
    assert_eq!(take(0).take(&serving, 100, now).await.unwrap(), 2);
    let left: Vec<i32> = sqlx::query_scalar(ages).fetch_one(&app.owner).await.unwrap();
    assert_eq!(left, [0, 29, 31, 89]);
    let mut stranger = app.owner.acquire().await.unwrap();
    let mut transaction = stranger.begin().await.unwrap();
    sqlx::raw_sql("SET LOCAL ROLE pg_monitor").execute(&mut *transaction).await.unwrap();
    let refused =
        sqlx::query("SELECT audit_prune(1, interval '400 days')").execute(&mut *transaction).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
}

#[tokio::test]
async fn every_foreign_key_has_an_index() {
    let app = TestApp::start().await;
    let without = "SELECT c.conname::text FROM pg_constraint c
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE c.contype = 'f' AND (cardinality(c.conkey) > 1 OR NOT EXISTS (
             SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = a.attnum
                 AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid)
                                           = format('(%I IS NOT NULL)', a.attname))))";
    let without: Vec<String> = sqlx::query_scalar(without).fetch_all(&app.owner).await.unwrap();
    assert!(without.is_empty(), "deleting an account reads a whole table for each of {without:?}");
}
