//! What a refresh token is worth that is not the newest: lost answers, stolen copies, restored backups.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::{counter, log_out, me, refresh, refreshed};
use crate::app::{SignedIn, TestApp};

/// Longer than the grace.
const LATER: Duration = Duration::from_secs(31);

/// Asserts that the session is dead, and returns the events after the sign-in.
async fn dead(app: &TestApp, tokens: &[&SignedIn]) -> Vec<String> {
    for token in tokens {
        me(app, &token.access).await.assert_problem(401, "session_revoked");
        refresh(app, &token.refresh).await.assert_problem(401, "session_revoked");
    }
    app.audit().await.split_off(2)
}

#[tokio::test]
async fn a_lost_answer_is_given_again_within_the_grace_and_later_while_nobody_used_it() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    let second = refreshed(&app, &first.refresh).await;
    assert_eq!(refreshed(&app, &first.refresh).await.refresh, second.refresh);
    app.clock.advance(Duration::from_hours(1));
    assert_eq!(refreshed(&app, &first.refresh).await.refresh, second.refresh, "never seen");
    let third = refreshed(&app, &second.refresh).await;
    assert_eq!(counter(&third.refresh), 2);
    assert_eq!(me(&app, &third.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn within_the_grace_the_predecessor_is_good_although_the_successor_was_seen() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    let second = refreshed(&app, &first.refresh).await;
    assert_eq!(me(&app, &second.access).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(30));
    assert_eq!(refreshed(&app, &first.refresh).await.refresh, second.refresh);
}

#[tokio::test]
async fn the_predecessor_of_a_token_in_use_ends_the_session() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    let second = refreshed(&app, &first.refresh).await;
    assert_eq!(me(&app, &second.access).await.status, StatusCode::OK);
    app.clock.advance(LATER);
    refresh(&app, &first.refresh).await.assert_problem(401, "session_revoked");
    assert_eq!(dead(&app, &[&first, &second]).await, ["authn_token_revoked"]);
}

#[tokio::test]
async fn a_token_two_steps_back_ends_the_session_and_is_audited_as_reuse() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let first = app.sign_in("ann").await;
    let second = refreshed(&app, &first.refresh).await;
    let third = refreshed(&app, &second.refresh).await;
    refresh(&app, &first.refresh).await.assert_problem(401, "session_revoked");
    assert_eq!(dead(&app, &[&first, &second, &third]).await, ["authn_token_reuse"]);
    let row: Value =
        sqlx::query_scalar("SELECT to_jsonb(audit) FROM audit WHERE event = 'authn_token_reuse'")
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!(row["detail"]["presented"], 0);
    assert!(row["session"].is_string() && row["subject"].is_string(), "{row}");
}

#[tokio::test]
async fn a_thief_who_refreshes_first_is_found_out_by_the_owner_and_the_other_way_round() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let stolen = app.sign_in("ann").await;
    let thief = refreshed(&app, &stolen.refresh).await;
    let thief = refreshed(&app, &thief.refresh).await;
    refresh(&app, &stolen.refresh).await.assert_problem(401, "session_revoked");
    me(&app, &thief.access).await.assert_problem(401, "session_revoked");

    let stolen = app.sign_in("ann").await;
    let owner = refreshed(&app, &stolen.refresh).await;
    assert_eq!(me(&app, &owner.access).await.status, StatusCode::OK);
    app.clock.advance(LATER);
    refresh(&app, &stolen.refresh).await.assert_problem(401, "session_revoked");
    me(&app, &owner.access).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn a_restored_database_signs_nobody_out() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let backed_up = app.sign_in("ann").await;
    let mut newest = refreshed(&app, &backed_up.refresh).await;
    for _ in 0..3 {
        assert_eq!(me(&app, &newest.access).await.status, StatusCode::OK);
        app.clock.advance(LATER);
        newest = refreshed(&app, &newest.refresh).await;
    }
    // As the backup has it.
    sqlx::query("UPDATE sessions SET counter = 0, seen_counter = 0")
        .execute(&app.owner)
        .await
        .unwrap();
    assert_eq!(me(&app, &newest.access).await.status, StatusCode::OK);
    let next = refreshed(&app, &newest.refresh).await;
    assert_eq!(counter(&next.refresh), counter(&newest.refresh) + 1);
    assert_eq!(refreshed(&app, &newest.refresh).await.refresh, next.refresh, "once");
    assert_eq!(app.audit().await.split_off(2), ["authn_token_created"]);
    app.clock.advance(LATER);
    let last = refreshed(&app, &next.refresh).await;
    assert_eq!(log_out(&app, &last.access, "local").await.status, StatusCode::NO_CONTENT);
}
