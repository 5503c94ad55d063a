//! A server that this program starts and ends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::pin;
use crate::report::progress;

/// The longest start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Between two looks whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest end, asked for politely; then it is killed.
const END_LIMIT: Duration = Duration::from_secs(40);

/// Bytes of its log that an error shows.
const LAST_WORDS: usize = 2000;

/// The running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Holds its log, which is written as in service.
    dir: TempDir,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// If it ends before, or takes too long.
    pub(crate) async fn start(
        command: &str,
        core: Option<usize>,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        ensure!(
            TcpStream::connect(address).await.is_err(),
            "something listens on {address} already"
        );
        progress(&format!("starting {command}"));
        let dir = tempfile::Builder::new().prefix("keywire-bench-").tempdir()?;
        let child = spawn(command, core, &dir)?;
        let mut server = Self { child, dir };
        let limit = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).await.is_err() {
            let ended = server.child.try_wait()?;
            if ended.is_some() || Instant::now() > limit {
                bail!("the server does not listen on {address}; {}", server.last_words());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(server)
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LAST_WORDS)..];
        format!("the server's last words: {}", String::from_utf8_lossy(end))
    }

    /// Ends it. How it ends is not judged: some servers know no other end than being killed.
    ///
    /// # Errors
    /// If it has ended before.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed()).context("a process id is positive")?;
        kill_process(pid, Signal::TERM)?;
        match timeout(END_LIMIT, self.child.wait()).await {
            Ok(status) => drop(status?),
            Err(_) => self.child.kill().await?,
        }
        Ok(())
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }
}

/// Starts the command on its core, from a thread that is on it: a new process inherits that, and is
/// never seen elsewhere.
fn spawn(command: &str, core: Option<usize>, dir: &TempDir) -> anyhow::Result<Child> {
    let mut words = command.split_whitespace().peekable();
    let mut settings = Vec::new();
    while let Some(setting) = words.next_if(|word| word.contains('=')) {
        settings.extend(setting.split_once('='));
    }
    let program = words.next().context("--spawn names no program")?;
    let log = File::create(dir.path().join("log"))?;
    let mut command = Command::new(program);
    command.args(words).envs(settings).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let runtime = tokio::runtime::Handle::current();
    let start = || {
        let _entered = runtime.enter();
        core.map_or(Ok(()), pin::pin)?;
        command.spawn().with_context(|| format!("{program} cannot be started"))
    };
    std::thread::scope(|scope| scope.spawn(start).join()).expect("nothing in there panics")
}
