//! The program under measurement: started with a data directory, a Postgres and a port of its own,
//! ended by its process id.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::report::progress;

/// The longest start, the first one prepares a database.
const START_LIMIT: Duration = Duration::from_mins(2);

/// The longest end, asked for politely.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Not inherited: they would point the program at somebody's database or Redis.
const NOT_INHERITED: [&str; 3] = ["DATABASE_URL", "KEYS_FILE", "REDIS_URL"];

/// What every run sets: any free port, and a quick end.
const SETTINGS: [(&str, &str); 2] = [("PORT", "0"), ("DRAIN_WINDOW", "1s")];

/// The file of its log, which is written as in service: a line for each request.
const LOG: &str = "log";

/// Throttles off: what is measured is the path of an attempt that is let through.
pub(crate) const UNTHROTTLED: [(&str, &str); 4] = [
    ("LIMIT_LOGIN_ADDRESS", "off"),
    ("LIMIT_REGISTER_ADDRESS", "off"),
    ("LOCK_AFTER", "off"),
    ("LOCK_STOP", "off"),
];

/// A running copy. Dropping it kills it, and its Postgres ends with it.
#[derive(Debug)]
pub(crate) struct Keywire {
    /// The process.
    child: Child,
    /// Kept open, so that the program may write to it.
    _stdout: BufReader<ChildStdout>,
    /// Its port.
    pub(crate) port: u16,
    /// The owner's address of its database.
    pub(crate) database_url: String,
    /// Its data. Last, so that it is removed after the process has ended.
    dir: TempDir,
}

/// The program named, or the one built beside this program.
///
/// # Errors
/// If there is none.
pub(crate) fn program(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("keywire"));
    let program = named.map_or_else(beside, Ok)?;
    let hint = "build it with `cargo build --release -p local`, or name one with --keywire";
    ensure!(program.is_file(), "there is no {}: {hint}", program.display());
    Ok(program)
}

impl Keywire {
    /// Starts it with these settings and waits until it is ready.
    ///
    /// # Errors
    /// If it ends before, or takes too long.
    pub(crate) async fn start(program: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let said: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        progress(&format!("starting {} with {}", program.display(), said.join(" ")));
        // In /tmp, whatever TMPDIR says: the path of the database's socket must be short.
        let dir = tempfile::Builder::new().prefix("keywire-bench-").tempdir_in("/tmp")?;
        // Postgres runs as an account of its own when this is root; what is inside stays private.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
        let mut command = Command::new(program);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command.env("LOCAL_DIR", dir.path()).envs(SETTINGS).envs(settings.iter().copied());
        let log = dir.path().join(LOG);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        command.kill_on_drop(true);
        let mut child = command.spawn().context("keywire cannot be started")?;
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output is piped"));
        let ready = timeout(START_LIMIT, ready(&mut stdout)).await.context("it takes too long");
        let port = ready.flatten().with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_else(|error| error.to_string());
            format!("keywire did not start; its log:\n{log}")
        })?;
        let socket = socket_in(dir.path());
        let database_url = format!(
            "postgres://keywire@localhost:5432/keywire?host={}&sslmode=disable",
            socket.display()
        );
        Ok(Self { child, _stdout: stdout, port, database_url, dir })
    }

    /// The file of its keys.
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.dir.path().join("keys.json")
    }

    /// The directory of its database's socket.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        socket_in(self.dir.path())
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("keywire has ended")
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it does not end well.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed()).context("a process id is positive")?;
        kill_process(pid, Signal::TERM)?;
        let status =
            timeout(END_LIMIT, self.child.wait()).await.context("keywire does not end")??;
        ensure!(status.success(), "keywire ended with {status}");
        Ok(())
    }
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("postgres").join("socket")
}

/// Reads what it says until it has said all, and finds the port.
async fn ready(stdout: &mut BufReader<ChildStdout>) -> anyhow::Result<u16> {
    let mut lines = stdout.lines();
    let mut port = None;
    while let Some(line) = lines.next_line().await? {
        if let Some((_, rest)) = line.split_once("ready: http://127.0.0.1:") {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            port = Some(digits.parse()?);
        }
        if line == "Ctrl-C ends it." {
            return port.context("keywire did not name its port");
        }
    }
    bail!("keywire ended before it was ready")
}
