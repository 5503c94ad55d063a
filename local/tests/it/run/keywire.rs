//! The built program, started as a process of its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use local::child::Account;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LONG;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_keywire");

/// How to start a copy.
pub(crate) struct Start {
    command: std::process::Command,
    /// Where what it says on standard error is written, if that is not kept for [`Refused`].
    log: Option<PathBuf>,
}

/// A copy that said it is ready.
pub(crate) struct Keywire {
    /// The process.
    child: Child,
    /// What it said when it was ready.
    pub(crate) banner: String,
    /// The port it named.
    pub(crate) port: u16,
}

/// A copy that ended before it was ready.
#[derive(Debug)]
pub(crate) struct Refused {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it said on standard error.
    pub(crate) said: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Value,
}

impl Start {
    /// A copy with its data under `dir`, on any port, and nothing of this process's environment but
    /// `PATH`.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        let mut command = std::process::Command::new(PROGRAM);
        command.env_clear().env("LOCAL_DIR", dir.join("local")).env("HOME", dir);
        command.env("PATH", super::machine().postgres.path.unwrap());
        // The cheapest hash, and nothing on standard error but what is wrong.
        command
            .envs([
                ("PORT", "0"),
                ("BCRYPT_COST", "4"),
                ("LOG", "warn"),
                ("DATABASE_TIMEOUT", "20s"),
            ])
            .current_dir(dir);
        Self { command, log: None }
    }

    /// With its log at the end of a file: one that says much would wait for whoever reads it.
    pub(crate) fn log_to(self, file: &Path) -> Self {
        Self { log: Some(file.to_owned()), ..self }
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without this variable.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// From a shell that keeps what it makes to its user.
    pub(crate) fn under_closed_umask(self) -> Self {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 077; exec \"$0\"", PROGRAM]).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.command.get_current_dir().unwrap());
        Self { command, ..self }
    }

    /// As an ordinary user, from a copy of the program that this user can reach.
    pub(crate) fn run_by(self, account: &Account, dir: &Path) -> Self {
        let copy: PathBuf = dir.join("keywire");
        std::fs::copy(PROGRAM, &copy).unwrap();
        let mut command = std::process::Command::new(copy);
        let given = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(given).current_dir(dir).uid(account.uid).gid(account.gid);
        Self { command, ..self }
    }

    /// Starts it and waits for nothing.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(file) = &self.log {
            let file = File::options().create(true).append(true).open(file);
            self.command.stderr(file.unwrap());
        }
        Command::from(self.command).kill_on_drop(true).spawn().unwrap()
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(self) -> Keywire {
        self.tried().await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Starts it and waits until it is ready or has ended.
    pub(crate) async fn tried(self) -> Result<Keywire, Refused> {
        let mut child = self.spawn();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let read = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner += &line;
                banner.push('\n');
                if line == "Ctrl-C ends it." {
                    return true;
                }
            }
            false
        };
        if timeout(LONG, read).await.expect("it was neither ready nor ended") {
            let port = banner.split("http://127.0.0.1:").nth(1).unwrap();
            let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
            return Ok(Keywire { child, banner, port });
        }
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        Err(Refused { status: output.status, said })
    }
}

impl Keywire {
    /// Sends it a signal and waits until it has ended.
    pub(crate) async fn end(self, signal: Signal) -> ExitStatus {
        end(self.child, signal).await
    }

    /// Registers the user `example`.
    pub(crate) async fn register(&self) -> Answer {
        self.post("/register", &account()).await
    }

    /// Signs the user `example` in.
    pub(crate) async fn login(&self) -> Answer {
        self.post("/login", &account()).await
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        self.request(&format!("POST {path}"), &head, &body).await
    }

    /// Gets.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), "Accept: */*", "").await
    }

    /// Gets with an access token.
    pub(crate) async fn get_as(&self, path: &str, token: &str) -> Answer {
        self.request(&format!("GET {path}"), &format!("Authorization: Bearer {token}"), "").await
    }

    async fn request(&self, line: &str, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        Answer { status, body }
    }
}

/// Sends the process a signal and waits until it has ended.
pub(crate) async fn end(mut child: Child, signal: Signal) -> ExitStatus {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    timeout(LONG, child.wait()).await.expect("it did not end").unwrap()
}

/// The example of the documentation.
fn account() -> Value {
    json!({"username": "example", "password": "password123"})
}
