//! A real mail server, started by a test.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mail/server.py");

/// aiosmtpd, killed with this.
pub(crate) struct MailServer {
    /// `127.0.0.1:` and its port.
    pub(crate) address: String,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

/// A mail that it took.
#[derive(Debug, Deserialize)]
pub(crate) struct Taken {
    pub(crate) to: Vec<String>,
    pub(crate) from: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
    pub(crate) html: String,
    /// Who signed in.
    pub(crate) user: Option<String>,
}

impl MailServer {
    /// Without sign-in.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// For user `user` with password `p@ss` only.
    pub(crate) async fn with_sign_in() -> Self {
        Self::with(&["auth"]).await
    }

    #[expect(clippy::disallowed_methods, reason = "given by `cargo dev test`")]
    async fn with(arguments: &[&str]) -> Self {
        let packages = std::env::var_os("TEST_SMTP").expect("run `cargo dev test`");
        let mut python = Command::new("python3");
        python.arg(PROGRAM).args(arguments).env("PYTHONPATH", packages);
        python.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self { address: format!("127.0.0.1:{port}"), lines, _child: child }
    }

    /// The next mail.
    pub(crate) async fn next(&mut self) -> Taken {
        let line = timeout(LONG, self.lines.next_line()).await.expect("no mail").unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
