//! Every wrong sign-in costs the same and gets the same answer.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use crate::app::{Answer, TestApp};
use crate::login::disable;

/// Remembers the statements that sqlx logs on this thread, on which the whole test runs.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

struct Summary<'a>(&'a mut Vec<String>);

impl Visit for Summary<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            self.0.push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Summary(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

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
    let statements = Statements::default();
    // While there is one subscriber, tracing asks the thread that first meets a statement, which under
    // `cargo test` may be another test's and without one, and never asks again. With two it asks both.
    let _second = tracing::Dispatch::new(statements.clone());
    let _logging = tracing::subscriber::set_default(statements.clone());
    let app = TestApp::with(&[("BCRYPT_COST", "6"), ("LOCK_AFTER", "off")]).await;
    let old = app.another(&[("BCRYPT_COST", "4")]).await;
    for name in ["wrong", "without", "disabled"] {
        app.user(name).await;
    }
    old.user("cheap").await;
    disable(&app, "disabled").await;
    sqlx::query("DELETE FROM passwords USING users WHERE id = user_id AND username = 'without'")
        .execute(&app.owner)
        .await
        .unwrap();
    let mut seen = Vec::new();
    for name in ["unknown", "nobody@example.com", "wrong", "without", "disabled", "cheap"] {
        statements.0.lock().unwrap().clear();
        let before = app.passwords.rounds();
        let answer = app.login(name, "a wrong password").await;
        answer.assert_problem(401, "invalid_credentials");
        let rounds = app.passwords.rounds() - before;
        seen.push((name, look(&answer, rounds, statements.0.lock().unwrap().clone())));
    }
    assert_eq!(seen[0].1.rounds, 1 << 6);
    assert_eq!(seen[0].1.statements.len(), 2, "{:?}", seen[0].1.statements);
    for (name, other) in &seen[1..] {
        assert_eq!(other, &seen[0].1, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_that_is_remembered_costs_no_statement() {
    let statements = Statements::default();
    // While there is one subscriber, tracing asks the thread that first meets a statement, which under
    // `cargo test` may be another test's and without one, and never asks again. With two it asks both.
    let _second = tracing::Dispatch::new(statements.clone());
    let _logging = tracing::subscriber::set_default(statements.clone());
    let app = TestApp::with(&[("LOCK_AFTER", "1"), ("LOCK_MAX", "900s")]).await;
    let limited = app.another(&[("LIMIT_LOGIN_ADDRESS", "1/h burst 1")]).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    let mut asked = Vec::new();
    for app in [&app, &limited] {
        for _ in 0..3 {
            statements.0.lock().unwrap().clear();
            app.login("ann", "wrong password").await.assert_problem(429, "rate_limited");
            asked.push(statements.0.lock().unwrap().len());
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
