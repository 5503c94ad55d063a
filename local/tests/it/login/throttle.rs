//! Limits, locks and stops: all before any hashing.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;

use crate::app::{Answer, TestApp, credentials};

const HERE: [u8; 4] = [127, 0, 0, 1];
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];

async fn from(app: &TestApp, source: [u8; 4], name: &str, password: &str) -> Answer {
    app.post_from(source, "/login", credentials(name, password)).await
}

/// An app that stops an identifier after three failures, and whose user's network is known.
async fn known_here() -> TestApp {
    let app = TestApp::with(&[("LOCK_STOP", "3"), ("LOCK_AFTER", "off")]).await;
    app.user("ann").await;
    assert_eq!(from(&app, HERE, "ann", "password123").await.status, StatusCode::OK);
    app
}

/// Asserts a 429 and returns its Retry-After.
#[track_caller]
fn refused(answer: &Answer) -> u64 {
    answer.assert_problem(429, "rate_limited");
    assert!(answer.headers.contains_key("ratelimit"));
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// Everything that a refusal must not touch.
async fn written(app: &TestApp) -> String {
    let rows = "SELECT coalesce(string_agg(line, ';' ORDER BY line), '') FROM (
        SELECT concat('b', ctid, xmin, xmax) FROM buckets UNION ALL
        SELECT concat('f', ctid, xmin, xmax, count, locked_until) FROM failures UNION ALL
        SELECT concat('a', ctid, xmin) FROM audit UNION ALL
        SELECT concat('s', ctid, xmin) FROM sessions) AS all_rows (line)";
    sqlx::query_scalar(rows).fetch_one(&app.owner).await.unwrap()
}

/// Gives an account a verified address, as its owner will.
async fn set_address(app: &TestApp, name: &str, address: &str) {
    let set = sqlx::query("UPDATE users SET email = $2, email_key = $2 WHERE username_key = $1");
    set.bind(name).bind(address).execute(&app.owner).await.unwrap();
}

#[tokio::test]
async fn five_failures_lock_for_a_second_then_twice_as_long() {
    let app = TestApp::start().await;
    app.user("ann").await;
    for (name, known) in [("ann", true), ("nobody", false)] {
        for _ in 0..5 {
            app.login(name, "wrong password").await.assert_problem(401, "invalid_credentials");
        }
        let mut waits = Vec::new();
        for _ in 0..4 {
            let rounds = app.passwords.rounds();
            let before = written(&app).await;
            let wait = refused(&app.login(name, "password123").await);
            refused(&app.login(name, "password123").await);
            assert_eq!(app.passwords.rounds(), rounds, "no hashing while locked");
            assert_eq!(written(&app).await, before, "a refusal writes nothing");
            waits.push(wait);
            app.clock.advance(Duration::from_secs(wait));
            app.login(name, "wrong password").await.assert_problem(401, "invalid_credentials");
        }
        assert_eq!(waits, [1, 2, 4, 8], "{name}");
        app.clock.advance(Duration::from_secs(16));
        let right = app.login(name, "password123").await;
        assert_eq!(right.status == StatusCode::OK, known, "the lock ends by itself");
    }
}

#[tokio::test]
async fn a_lock_never_lasts_longer_than_the_longest() {
    let app =
        TestApp::with(&[("LOCK_AFTER", "1"), ("LOCK_MAX", "3s"), ("LIMIT_LOGIN_ADDRESS", "off")])
            .await;
    let mut waits = Vec::new();
    for _ in 0..4 {
        app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
        waits.push(refused(&app.login("ann", "wrong password").await));
        app.clock.advance(Duration::from_secs(3));
    }
    assert_eq!(waits, [1, 2, 3, 3]);
}

#[tokio::test]
async fn a_success_forgets_the_failures() {
    let app = TestApp::start().await;
    app.user("ann").await;
    for _ in 0..3 {
        for _ in 0..4 {
            app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
        }
        assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_locked_network_does_not_lock_the_owner_elsewhere() {
    let app = TestApp::start().await;
    app.user("ann").await;
    for _ in 0..5 {
        from(&app, ELSEWHERE, "ann", "wrong password")
            .await
            .assert_problem(401, "invalid_credentials");
    }
    refused(&from(&app, ELSEWHERE, "ann", "password123").await);
    assert_eq!(from(&app, HERE, "ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stopped_identifier_still_opens_for_networks_it_knows() {
    let app = known_here().await;
    for network in 2..5 {
        from(&app, [127, 0, 0, network], "ann", "wrong password")
            .await
            .assert_problem(401, "invalid_credentials");
    }
    let rounds = app.passwords.rounds();
    for _ in 0..2 {
        assert_eq!(refused(&from(&app, [127, 0, 0, 9], "ann", "password123").await), 3_600);
    }
    assert_eq!(app.passwords.rounds(), rounds);
    // Failures from a known network are counted apart, and do not stop the account.
    from(&app, HERE, "ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.clock.advance(Duration::from_hours(24));
    assert_eq!(from(&app, [127, 0, 0, 9], "ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_sign_in_at_home_does_not_let_guessers_elsewhere_begin_anew() {
    let app = known_here().await;
    for network in 2..5 {
        from(&app, [127, 0, 0, network], "ann", "wrong password")
            .await
            .assert_problem(401, "invalid_credentials");
        assert_eq!(from(&app, HERE, "ann", "password123").await.status, StatusCode::OK);
    }
    assert_eq!(refused(&from(&app, ELSEWHERE, "ann", "password123").await), 3_600);
    // Not even by an identifier of the account that is not stopped itself.
    set_address(&app, "ann", "a@example.com").await;
    assert_eq!(from(&app, [127, 0, 0, 9], "a@example.com", "password123").await.status, 200);
    assert_eq!(refused(&from(&app, [127, 0, 0, 10], "ann", "password123").await), 3_600);
}

#[tokio::test]
async fn a_first_sign_in_from_a_network_forgets_the_failures_elsewhere() {
    let app = TestApp::with(&[("LOCK_STOP", "3"), ("LOCK_AFTER", "off")]).await;
    app.user("ann").await;
    for round in 0..3 {
        for network in 2..4 {
            from(&app, [127, 0, round, network], "ann", "wrong password")
                .await
                .assert_problem(401, "invalid_credentials");
        }
        let new = from(&app, [127, 0, round, 9], "ann", "password123").await;
        assert_eq!(new.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_a_stopped_identifier_is_told_and_how_long_that_is_believed_is_set() {
    let set = [("LOCK_STOP", "1"), ("LOCK_AFTER", "off"), ("LOCK_STOP_RETRY", "2min")];
    let app = TestApp::with(&[&set[..], &[("LOCK_REMEMBERED", "0")]].concat()).await;
    app.user("ann").await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    assert_eq!(refused(&app.login("ann", "password123").await), 120);
    // As an administrator's unlock would; nothing is remembered, so it holds at once.
    sqlx::query("DELETE FROM failures").execute(&app.owner).await.unwrap();
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_lock_on_a_name_tells_nothing_of_its_address() {
    let app = TestApp::start().await;
    app.user("ann").await;
    set_address(&app, "ann", "a@example.com").await;
    for _ in 0..5 {
        app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    }
    refused(&app.login("ann", "password123").await);
    for address in ["a@example.com", "nobody@example.com"] {
        app.login(address, "wrong password").await.assert_problem(401, "invalid_credentials");
    }
    // The right password forgets the failures of both.
    assert_eq!(app.login("A@example.com", "password123").await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(5));
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn guesses_sent_at_once_learn_no_more_than_guesses_in_a_row() {
    let app = TestApp::with(&[("BCRYPT_THREADS", "1"), ("LIMIT_LOGIN_ADDRESS", "off")]).await;
    app.user("ann").await;
    let guesses = (0..24).map(|n| app.login("ann", if n == 23 { "password123" } else { "wrong" }));
    let answers = join_all(guesses).await;
    let judged = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count();
    assert_eq!(judged, 5, "as many as one by one");
    assert!(answers.iter().all(|answer| answer.status != StatusCode::OK));
    let failures: i32 = sqlx::query_scalar("SELECT max(count) FROM failures WHERE network <> ''")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(failures, 5);
    assert_eq!(app.audit().await.last().unwrap(), "authn_login_lock");
}

#[tokio::test]
async fn a_network_gets_exactly_its_burst_from_many_instances() {
    let limits =
        [("LIMIT_LOGIN_ADDRESS", "1/h burst 30"), ("LOCK_AFTER", "off"), ("LOCK_STOP", "off")];
    let app = TestApp::with(&limits).await;
    app.user("ann").await;
    let instances = join_all((0..10).map(|_| app.another(&limits))).await;
    let attempts = instances.iter().flat_map(|instance| {
        std::iter::repeat_with(|| instance.login("ann", "password123")).take(10)
    });
    let answers = join_all(attempts).await;
    let through = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(through, 30);
    let refusals = answers.iter().filter(|answer| answer.status != StatusCode::OK);
    for answer in refusals {
        assert!(refused(answer) > 0);
    }
    // Instances without a memory of it ask the database, and still write nothing.
    let fresh = join_all((0..3).map(|_| app.another(&limits))).await;
    let before = written(&app).await;
    for answer in join_all(fresh.iter().map(|instance| instance.login("bob", "x"))).await {
        assert!(refused(&answer) > 1_000);
    }
    assert_eq!(written(&app).await, before, "a refusal writes nothing");
}
