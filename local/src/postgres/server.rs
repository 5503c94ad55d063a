//! One server process of a cluster: its data made, the process started, found ready, ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Cluster, Durability, OWNER};
use crate::child;

/// Between two looks at `postmaster.pid`.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The longest a killed server stays in the list of processes.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// A log that has grown beyond this is emptied at the next start.
const LOG_BYTES: u64 = 1024 * 1024;

/// How much of the log's end is shown when the server fails.
const TAIL_BYTES: u64 = 4 * 1024;

/// Makes the data directory unless it exists: in a temporary place first, renamed when whole, so that
/// an interrupted attempt is never taken for a cluster. Before, ends a server that outlived its process.
pub(super) async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.exists() {
        return end_stale(&cluster.data, cluster.waits.stop).await;
    }
    for unfinished in cluster.unfinished() {
        if let Err(error) = fs::remove_dir_all(&unfinished) {
            // Nothing depends on it: this attempt has a directory of its own.
            tracing::warn!(%error, "cannot remove {}", unfinished.display());
        }
    }
    // A new name for each attempt: what a killed one left running may still write.
    let unfinished = cluster.data.with_extension(format!("new-{}", Uuid::new_v4().simple()));
    let mut initdb = command(cluster, "initdb");
    initdb.arg("--pgdata").arg(&unfinished).args(["--username", OWNER, "--auth", "trust"]);
    // The same order and case rules on every machine, whatever its language.
    initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-instructions"]);
    if cluster.durability == Durability::Disposable {
        initdb.arg("--no-sync");
    }
    initdb.stdout(Stdio::null()).stderr(Stdio::piped());
    let output =
        child::output(initdb, cluster.account.as_ref()).await.context("cannot run initdb")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb failed ({}):\n{}", output.status, said.trim());
    fs::rename(&unfinished, &cluster.data)
        .with_context(|| format!("cannot make {}", cluster.data.display()))
}

pub(super) fn spawn(cluster: &Cluster) -> anyhow::Result<Child> {
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
pub(super) async fn until_ready(data: &Path, pid: u32) {
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
pub(super) async fn end(server: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    if let Some(pid) = server.id().and_then(process) {
        // It may have ended by itself meanwhile; `wait` says so.
        kill_process(pid, Signal::INT).ok();
    }
    if let Ok(status) = timeout(limit, server.wait()).await {
        return status;
    }
    server.kill().await?;
    server.wait().await
}

/// Ends a server on this data directory whose process was killed before it: on Linux it is already
/// shutting down (see [`child::tie`]), elsewhere it does not know yet.
async fn end_stale(data: &Path, limit: Duration) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return Ok(());
    };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()) else {
        return Ok(());
    };
    for (signal, limit) in [(Signal::INT, limit), (Signal::KILL, KILL_LIMIT)] {
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
pub(super) fn tail(log: &Path) -> String {
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
