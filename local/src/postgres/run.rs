//! Runs a cluster's server: prepares the data, starts it, watches it, restarts it, stops it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Cluster, Durability, OWNER};
use crate::child;

/// Between two looks at `postmaster.pid`.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The longest start: a cluster that was killed under load first replays its log.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The longest fast shutdown before the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Failed attempts in a row after which a server that ran is given up; with the pauses about 25 s.
const RESTARTS: u32 = 10;

/// Failed attempts after which a first start is given up: whoever waits wants to know why.
const FIRST_ATTEMPTS: u32 = 3;

/// A server that ran so long counts as healthy: its end starts a new row of attempts.
const HEALTHY: Duration = Duration::from_mins(1);

/// The pause after the first failed attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A log that has grown beyond this is emptied at the next start.
const LOG_BYTES: u64 = 1024 * 1024;

/// How much of the log's end is shown when the server fails.
const TAIL_BYTES: u64 = 4 * 1024;

/// What the supervisor last saw.
#[derive(Debug, Clone)]
enum State {
    /// Preparing, starting or restarting.
    Starting,
    /// The server, by its process id, takes connections.
    Ready(u32),
    /// Given up; the sentence says why, with the log's tail.
    Failed(String),
}

/// A running server. Dropping it stops it too, and blocks until it has ended.
#[derive(Debug)]
pub struct Postgres {
    /// Tells the supervisor to stop the server; dropping it tells so too.
    stop: Option<oneshot::Sender<()>>,
    /// The supervisor's thread. It starts the server, so it lives as long (see [`child::tie`]).
    thread: Option<JoinHandle<()>>,
    /// What the supervisor last saw; closed when it has ended.
    state: watch::Receiver<State>,
}

impl Postgres {
    /// Prepares the cluster if it is new, starts its server and waits until it takes connections.
    ///
    /// # Errors
    /// If it cannot be prepared or started, with what the program said.
    pub async fn start(cluster: Cluster) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (tell, state) = watch::channel(State::Starting);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || runtime.block_on(supervise(&cluster, stopped, &tell)))?;
        // Whole before the wait, so that giving up the wait stops the server like any drop.
        let mut running = Self { stop: Some(stop), thread: Some(thread), state };
        let seen = running.state.wait_for(|state| !matches!(state, State::Starting)).await;
        let failed = match seen.as_deref() {
            Ok(State::Failed(why)) => Some(why.clone()),
            Ok(_) => None,
            Err(_) => Some("the thread that starts Postgres ended".to_owned()),
        };
        drop(seen);
        failed.map_or(Ok(running), |why| Err(anyhow!(why)))
    }

    /// Waits until the server has ended and could not be restarted, and says why.
    pub async fn given_up(&mut self) -> String {
        match self.state.wait_for(|state| matches!(state, State::Failed(_))).await.as_deref() {
            Ok(State::Failed(why)) => why.clone(),
            _ => "Postgres is no longer watched".to_owned(),
        }
    }

    /// The server's process id while it takes connections.
    pub fn pid(&self) -> Option<u32> {
        match &*self.state.borrow() {
            State::Ready(pid) => Some(*pid),
            State::Starting | State::Failed(_) => None,
        }
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(mut self) {
        self.stop = None;
        // The channel closes when the supervisor has ended, so that dropping `self` does not block.
        while self.state.changed().await.is_ok() {}
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watched Postgres panicked");
        }
    }
}

/// Keeps the server running until told to stop, or until it cannot be restarted.
async fn supervise(
    cluster: &Cluster,
    mut stop: oneshot::Receiver<()>,
    tell: &watch::Sender<State>,
) {
    let mut failures = 0;
    let mut limit = FIRST_ATTEMPTS;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = prepare(cluster) => ended,
            _ = &mut stop => return,
        };
        let ended = match ended {
            Ok(()) => run_once(cluster, &mut stop, tell).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        if matches!(&*tell.borrow(), State::Ready(_)) {
            limit = RESTARTS;
            tell.send_replace(State::Starting);
        }
        failures = if began.elapsed() > HEALTHY { 1 } else { failures + 1 };
        if failures >= limit {
            tell.send_replace(State::Failed(format!("{error:#}")));
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        tracing::warn!(attempt = failures, "Postgres ended, starting it again: {error:#}");
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut stop => return,
        }
    }
}

/// Makes the data directory unless it exists: in a temporary place first, renamed when whole, so that
/// an interrupted attempt is never taken for a cluster. Before, ends a server that outlived its process.
async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.exists() {
        return end_stale(&cluster.data).await;
    }
    let unfinished = cluster.data.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let mut initdb = command(cluster, "initdb");
    initdb.arg("--pgdata").arg(&unfinished).args(["--username", OWNER, "--auth", "trust"]);
    // The same order and case rules on every machine, whatever its language.
    initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-instructions"]);
    if cluster.durability == Durability::Disposable {
        initdb.arg("--no-sync");
    }
    initdb.stdout(Stdio::null()).stderr(Stdio::piped());
    child::tie(&mut initdb, cluster.account.as_ref(), Signal::KILL);
    let initdb = Command::from(initdb).kill_on_drop(true).spawn().context("cannot run initdb")?;
    let output = initdb.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb failed ({}):\n{}", output.status, said.trim());
    fs::rename(&unfinished, &cluster.data)
        .with_context(|| format!("cannot make {}", cluster.data.display()))
}

/// Starts the server, waits until it ends. `Ok` means that it was told to.
async fn run_once(
    cluster: &Cluster,
    stop: &mut oneshot::Receiver<()>,
    tell: &watch::Sender<State>,
) -> anyhow::Result<()> {
    let mut server = spawn(cluster)?;
    let pid = server.id().context("Postgres has no process id")?;
    let started = tokio::select! {
        started = timeout(START_LIMIT, until_ready(&cluster.data, pid)) => Some(started),
        status = server.wait() => bail!("Postgres did not start ({})\n{}", status?, tail(&cluster.log)),
        _ = &mut *stop => None,
    };
    match started {
        Some(Ok(())) => {
            tell.send_replace(State::Ready(pid));
            tokio::select! {
                status = server.wait() => bail!("Postgres ended ({})\n{}", status?, tail(&cluster.log)),
                _ = stop => {}
            }
        }
        Some(Err(_)) => {
            end(&mut server).await?;
            bail!(
                "Postgres did not get ready in {} s\n{}",
                START_LIMIT.as_secs(),
                tail(&cluster.log)
            );
        }
        None => {}
    }
    let status = end(&mut server).await?;
    tracing::debug!(%status, "Postgres stopped");
    Ok(())
}

fn spawn(cluster: &Cluster) -> anyhow::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&cluster.log);
    let log = log.with_context(|| format!("cannot write {}", cluster.log.display()))?;
    if log.metadata()?.len() > LOG_BYTES {
        log.set_len(0)?;
    }
    let mut postgres = command(cluster, "postgres");
    postgres.arg("-D").arg(&cluster.data);
    let socket = cluster.socket.to_string_lossy();
    for (name, value) in [
        // No TCP at all: nobody but this account (and root) can even try to connect.
        ("listen_addresses", ""),
        ("port", "5432"),
        ("unix_socket_directories", &socket),
        ("unix_socket_permissions", "0700"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("log_timezone", "UTC"),
        ("timezone", "UTC"),
    ] {
        postgres.arg("-c").arg(format!("{name}={value}"));
    }
    if cluster.durability == Durability::Disposable {
        for setting in
            ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"]
        {
            postgres.args(["-c", setting]);
        }
    }
    postgres.stdout(log.try_clone()?).stderr(log);
    // SIGINT is Postgres's fast shutdown: it ends every session and writes everything out.
    child::tie(&mut postgres, cluster.account.as_ref(), Signal::INT);
    Command::from(postgres).spawn().context("cannot run postgres")
}

/// One of the server's programs, with nothing of this process's environment: a `PGDATA` or `PGOPTIONS`
/// for another server has no effect on this one.
fn command(cluster: &Cluster, program: &str) -> std::process::Command {
    let mut command = std::process::Command::new(cluster.installation.bin.join(program));
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    // Its account may not be able to enter this process's directory.
    command.current_dir(cluster.data.parent().unwrap_or(Path::new("/")));
    command
}

/// Waits until `postmaster.pid` says that the server with this id is ready. The id matters: after a kill
/// the file of the previous server is still there and says "ready" too.
async fn until_ready(data: &Path, pid: u32) {
    let file = data.join("postmaster.pid");
    loop {
        if let Ok(text) = fs::read_to_string(&file) {
            let mut lines = text.lines();
            let ours = lines.next().and_then(|line| line.trim().parse().ok()) == Some(pid);
            if ours && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
                return;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Stops the server: fast shutdown, then, if that takes too long, kills it.
async fn end(server: &mut Child) -> io::Result<ExitStatus> {
    if let Some(pid) = server.id().and_then(process) {
        // It may have ended by itself meanwhile; `wait` says so.
        kill_process(pid, Signal::INT).ok();
    }
    if let Ok(status) = timeout(STOP_LIMIT, server.wait()).await {
        return status;
    }
    server.kill().await?;
    server.wait().await
}

/// Ends a server on this data directory whose process was killed before it: on Linux it is already
/// shutting down (see [`child::tie`]), elsewhere it does not know yet.
async fn end_stale(data: &Path) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return Ok(());
    };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()) else {
        return Ok(());
    };
    for (signal, limit) in [(Signal::INT, STOP_LIMIT), (Signal::KILL, Duration::from_secs(2))] {
        let Some(process) = process(pid).filter(|_| serves(pid, data)) else {
            return Ok(());
        };
        tracing::info!(pid, "ending the Postgres that a killed process left");
        kill_process(process, signal).ok();
        let gone = async {
            while serves(pid, data) {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(limit, gone).await.is_ok() {
            return Ok(());
        }
    }
    bail!("process {pid} still runs Postgres on {}", data.display())
}

/// Whether that process is a Postgres on this data directory, and not one that took the id since.
fn serves(pid: u32, data: &Path) -> bool {
    let command = command_line(pid).unwrap_or_default();
    command.contains("postgres") && command.contains(&*data.to_string_lossy())
}

#[cfg(target_os = "linux")]
fn command_line(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[cfg(not(target_os = "linux"))]
fn command_line(pid: u32) -> Option<String> {
    let output =
        std::process::Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    Some(String::from_utf8_lossy(&output.ok()?.stdout).into_owned())
}

fn process(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The end of the log, for people.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<_> = text.lines().rev().take(15).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("The end of {}:\n{}", log.display(), lines.join("\n"))
        }
        Err(error) => format!("Its log {} cannot be read: {error}", log.display()),
    }
}
