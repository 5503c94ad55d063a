//! Every wrong sign-in costs the same and gets the same answer.

use crate::app::{Answer, TestApp};
use crate::enrolled::TotpApp;
use crate::login::disable;
use crate::statements::Statements;

/// What an attempt cost and what it was answered, but for what differs by nature.
#[derive(Debug, PartialEq)]
struct Seen {
    rounds: u64,
    statements: Vec<String>,
    body: String,
    headers: Vec<(String, String)>,
}

#[tokio::test]
async fn unknown_wrong_passwordless_and_disabled_are_alike() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::with(&[("BCRYPT_COST", "6"), ("LOCK_AFTER", "off")]).await;
    let old = app.another(&[("BCRYPT_COST", "4")]).await;
    for name in ["wrong", "without", "disabled", "factored"] {
        app.user(name).await;
    }
    TotpApp::enrol(&app, &app.sign_in("factored").await.access).await;
    old.user("cheap").await;
    disable(&app, "disabled").await;
    sqlx::query("DELETE FROM passwords USING users WHERE id = user_id AND username = 'without'")
        .execute(&app.owner)
        .await
        .unwrap();
    sqlx::query("UPDATE users SET email = $1, email_key = $1 WHERE username = 'wrong'")
        .bind("wrong@example.com")
        .execute(&app.owner)
        .await
        .unwrap();
    let mut seen = Vec::new();
    for name in [
        "unknown",
        "nobody@example.com",
        "wrong@example.com",
        "wrong",
        "without",
        "disabled",
        "cheap",
        "factored",
    ] {
        statements.take();
        let before = app.passwords.rounds();
        let answer = app.login(name, "a wrong password").await;
        answer.assert_problem(401, "invalid_credentials");
        let rounds = app.passwords.rounds() - before;
        seen.push((name, look(&answer, rounds, statements.take())));
    }
    assert_eq!(seen[0].1.rounds, 1 << 6);
    assert_eq!(seen[0].1.statements.len(), 2, "{:?}", seen[0].1.statements);
    for (name, other) in &seen[1..] {
        assert_eq!(other, &seen[0].1, "{name}");
    }
}

#[tokio::test]
async fn a_lock_a_stop_and_an_empty_bucket_are_answered_alike() {
    let app = TestApp::with(&[("LOCK_AFTER", "1")]).await;
    let stopped = app.another(&[("LOCK_AFTER", "off"), ("LOCK_STOP", "1")]).await;
    let empty =
        app.another(&[("LIMIT_LOGIN_ADDRESS", "60/min burst 1"), ("LOCK_AFTER", "off")]).await;
    app.user("known").await;
    let mut seen = Vec::new();
    for name in ["known", "unknown"] {
        app.login(name, "a wrong password").await.assert_problem(401, "invalid_credentials");
        seen.push(look(&app.login(name, "a wrong password").await, 0, Vec::new()));
        seen.push(look(&stopped.login(name, "a wrong password").await, 0, Vec::new()));
        seen.push(look(&empty.login(name, "a wrong password").await, 0, Vec::new()));
    }
    for other in &mut seen {
        assert!(other.body.contains("rate_limited"), "{other:?}");
        // How long to wait is all that differs.
        other.headers.retain(|(name, _)| name != "retry-after" && name != "ratelimit");
    }
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_refusal_that_is_remembered_costs_no_statement() {
    let (statements, _counting) = Statements::count();
    let app = TestApp::with(&[("LOCK_AFTER", "1"), ("LOCK_MAX", "900s")]).await;
    let limited = app.another(&[("LIMIT_LOGIN_ADDRESS", "1/h burst 1")]).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    let mut asked = Vec::new();
    for app in [&app, &limited] {
        for _ in 0..3 {
            statements.take();
            app.login("ann", "wrong password").await.assert_problem(429, "rate_limited");
            asked.push(statements.take().len());
        }
    }
    assert_eq!(asked, [1, 0, 0, 1, 0, 0]);
}

fn look(answer: &Answer, rounds: u64, statements: Vec<String>) -> Seen {
    let mut body = answer.body.clone();
    body["instance"] = "its id".into();
    let headers =
        answer.headers.iter().filter(|(name, _)| *name != "x-request-id" && *name != "date");
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Seen { rounds, statements, body: body.to_string(), headers: headers.collect() }
}
