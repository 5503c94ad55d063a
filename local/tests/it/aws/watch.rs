//! `cargo lambda watch`: the functions on a laptop, each endpoint at its own path.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use local::child;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::http::{Answer, free_address, listens, send};
use super::stack::Stack;
use super::template::routes;
use super::tools::{dir, root, succeed};

/// The development server; it and the functions it started end with this.
struct Watch {
    child: Child,
    address: SocketAddr,
    log: NamedTempFile,
    /// Read by the server while it starts.
    _environment: NamedTempFile,
}

impl Watch {
    /// Starts it as `cargo dev db` says, with the environment in a file.
    async fn start(environment: &[(&str, String)]) -> Self {
        // Another process may take a free port before this one does; then it ends.
        let mut said = String::new();
        for _ in 0..5 {
            let mut watch = Self::spawn(environment);
            let Self { child, address, .. } = &mut watch;
            if listens(*address, || child.try_wait().unwrap().is_none()).await {
                return watch;
            }
            said = watch.said();
        }
        panic!("{said}");
    }

    fn spawn(environment: &[(&str, String)]) -> Self {
        let file = NamedTempFile::new().unwrap();
        let lines = environment.iter().map(|(name, value)| format!("{name}='{value}'"));
        std::fs::write(file.path(), lines.collect::<Vec<_>>().join("\n")).unwrap();
        let (address, log) = (free_address(), NamedTempFile::new().unwrap());
        let output = || Stdio::from(File::options().append(true).open(log.path()).unwrap());
        let mut command = Command::new(dir().join("bin/cargo-lambda"));
        command
            .args(["lambda", "watch", "--ignore-changes", "-p", "functions", "-A", "127.0.0.1"])
            .args(["-P", &address.port().to_string(), "--env-file"])
            .arg(file.path())
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output());
        child::tie(&mut command, None, Signal::INT);
        Self { child: command.spawn().unwrap(), address, log, _environment: file }
    }

    async fn send(&self, line: &str, body: &str) -> Answer {
        let answer = send(self.address, &[line, "Content-Type: application/json"], body).await;
        assert_ne!(answer.status, 500, "{answer:?}\n{}", self.said());
        answer
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn watch_answers_each_endpoint_at_its_plain_path() {
    let stack = Stack::new().await;
    let watch = Watch::start(&stack.environment()).await;
    let example = r#"{"username":"example","password":"password123"}"#;
    assert_eq!(watch.send("POST /register", example).await.status, 201);
    let answer = watch.send("POST /login", example).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["access_token"].is_string());
    assert_eq!(watch.send("POST /api/login", "{}").await.status, 422);
    let keys = watch.send("GET /.well-known/jwks.json", "").await;
    assert_eq!(keys.json()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(watch.send("GET /health", "").await.status, 200);
    assert_eq!(watch.send("GET /login", "").await.status, 404, "a route of its own method only");
}

#[test]
fn watch_routes_what_the_template_routes() {
    let args = ["metadata", "--no-deps", "--offline", "--format-version=1"];
    let metadata = succeed(Command::new("cargo").args(args).current_dir(root()));
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let entries = metadata["metadata"]["lambda"]["watch"]["router"].as_array().unwrap();
    let routed: BTreeSet<_> = entries
        .iter()
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let key = format!("{} {}", text(&entry["methods"][0]), text(&entry["path"]));
            (key, text(&entry["function"]))
        })
        .collect();
    assert_eq!(routed, routes());
}
