//! What is secret never reaches the log, whatever level is asked for.

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use shared::settings::{Log, LogFormat};
use shared::telemetry;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{TestApp, credentials, request};

/// Keeps every line in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// What writes lines here, as every process of Keywire writes them.
    fn lines(&self, filter: &str, format: LogFormat) -> impl Subscriber + Send + Sync + use<> {
        let log = Log { filter: filter.to_owned(), format };
        telemetry::subscriber(&log, false, self.clone()).unwrap()
    }

    /// All that was written.
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What a fault leaves in a log of this form, and the `instance` that its client was told.
async fn fault(format: LogFormat) -> (String, String) {
    let kept = Kept::default();
    // Nothing but errors: the span of the request must be there even so.
    let _logging = tracing::subscriber::set_default(kept.lines("error", format));
    let app = TestApp::start().await;
    sqlx::query("ALTER TABLE buckets RENAME TO gone").execute(&app.owner).await.unwrap();
    let answer = app.login("ann", "password123").await;
    answer.assert_problem(500, "internal");
    (kept.text(), answer.body["instance"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_cause_of_a_fault_is_logged_under_the_answers_instance() {
    let (log, instance) = fault(LogFormat::Json).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["span"]["request.id"] == instance.as_str());
    let line = line.unwrap_or_else(|| panic!("{instance}:\n{log}"));
    assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"statement failed".into()));
    assert!(line["error"].as_str().unwrap().contains("\"buckets\" does not exist"), "{line}");
    let (log, instance) = fault(LogFormat::Text).await;
    let line = log.lines().find(|line| line.contains(&instance));
    let line = line.unwrap_or_else(|| panic!("{instance}:\n{log}"));
    assert!(line.contains("\"buckets\" does not exist"), "{line}");
}

#[tokio::test]
async fn addresses_and_tokens_of_links_are_never_logged() {
    let kept = Kept::default();
    let _logging = tracing::subscriber::set_default(kept.lines("trace", LogFormat::Text));
    let app = TestApp::start().await;
    let address = "xq7-somebody@example.org";
    let body = json!({ "username": "ann", "password": "password123", "email": address });
    assert_eq!(app.post("/register", body).await.status, 201);
    let verify = app.mails().await.remove(0).text;
    let verify = verify.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(app.post("/email/verify", json!({ "token": verify })).await.status, 204);
    assert_eq!(app.post("/password/forgot", json!({ "email": address })).await.status, 202);
    let reset = app.mails().await.remove(1).text;
    let reset = reset.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let body = json!({ "token": reset, "password": "a new password" });
    assert_eq!(app.post("/password/reset", body).await.status, 204);
    assert_eq!(app.mails().await.len(), 3);
    let log = kept.text();
    assert!(log.contains("mail sent"), "nothing was logged");
    for hidden in ["xq7-somebody", verify, reset] {
        assert_eq!(log.lines().find(|line| line.contains(hidden)), None);
    }
}

#[tokio::test]
async fn passwords_and_tokens_are_never_logged() {
    let kept = Kept::default();
    let _logging = tracing::subscriber::set_default(kept.lines("trace", LogFormat::Text));
    let app = TestApp::start().await;
    let secret = "xq7-plain-secret";
    app.post("/register", credentials("ann", secret)).await;
    let answer = app.login("ann", secret).await;
    app.login("ann", &format!("{secret}-wrong")).await;
    app.login(&format!("{secret}@example.com"), "x").await;
    app.post("/register", credentials(secret, "short")).await;
    let broken = format!("{{\"password\":\"{secret}\"");
    app.send(request(Method::POST, "/login", "application/json", broken)).await;
    app.get(&format!("/nothing?token={secret}")).await;
    let log = kept.text();
    assert!(log.contains("path=\"/login\"") || log.contains("/login"), "nothing was logged");
    let tokens = ["access_token", "refresh_token"].map(|name| answer.body[name].as_str().unwrap());
    for hidden in [secret, tokens[0], tokens[1]] {
        let line = log.lines().find(|line| line.contains(hidden));
        assert_eq!(line, None);
    }
    let pepper = &app.keys.pepper;
    for key in [&pepper.keys[&pepper.current], &app.keys.signing.current.private_key] {
        let text = serde_json::to_string(key).unwrap();
        assert!(!log.contains(text.trim_matches('"')), "a key was logged");
    }
}
