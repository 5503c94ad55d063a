//! What is secret never reaches the log, whatever level is asked for.

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::Method;
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{TestApp, credentials, request};

/// Keeps every line in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

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

#[tokio::test]
async fn passwords_and_tokens_are_never_logged() {
    let kept = Kept::default();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let _logging = tracing::subscriber::set_default(lines.with_writer(kept.clone()).finish());
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
    let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
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
