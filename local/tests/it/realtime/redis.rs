//! A Redis of a test's own, which it may stop, kill and start again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use shared::settings::Reader;

use super::test_node::until;

/// A Redis on a unix socket in a directory of its own.
pub(super) struct Redis {
    dir: tempfile::TempDir,
    child: Child,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = spawn(&dir);
        let redis = Self { dir, child };
        redis.answers().await;
        redis
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Kills it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(self.socket()).unwrap();
    }

    /// Starts it again at the same address.
    pub(super) async fn restart(&mut self) {
        self.child = spawn(&self.dir);
        self.answers().await;
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Its socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    async fn answers(&self) {
        let socket = self.socket();
        until("Redis", async || tokio::net::UnixStream::connect(&socket).await.is_ok()).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Also when it is frozen; a child that was killed and waited for before is no error.
        self.child.kill().and_then(|()| self.child.wait()).unwrap();
    }
}

fn spawn(dir: &tempfile::TempDir) -> Child {
    let mut reader = Reader::from_env();
    let program: PathBuf = reader.get("TEST_REDIS_BIN", "redis-server", "");
    let mut command = Command::new(&program);
    command
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(dir.path().join("redis.sock"))
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    local::child::tie(&mut command, None, Signal::KILL);
    let started = command.spawn();
    started.unwrap_or_else(|error| panic!("{} (TEST_REDIS_BIN): {error}", program.display()))
}
