//! Runs one command of the tests, hands signals on to it, and leaves nothing of it behind.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::signals::Signals;
use crate::{child, settings};

/// The longest a command may take to end after a signal.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Runs the command in the checkout's environment without anybody's servers, plus `variables`.
///
/// # Errors
/// If it cannot be run.
pub(super) async fn run(
    words: &[OsString],
    variables: &[(String, String)],
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let (program, arguments) = words.split_first().context("no command given")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null());
    for name in settings::not_for_tests() {
        command.env_remove(name);
    }
    // A `.env` cannot send the compiler's query check to a database: the environment comes first.
    command.env("SQLX_OFFLINE", "true");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    child::tie(&mut command, None, Signal::TERM);
    let command = Command::from(command).kill_on_drop(true).spawn();
    let mut child = command.with_context(|| format!("cannot run {}", program.display()))?;
    // A process group of its own (see `child::tie`), named by its first process.
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let ended = wait(&mut child, group, signals).await;
    if let Some(group) = group {
        // What it left running in its group; usually there is nothing any more.
        kill_process_group(group, Signal::KILL).ok();
    }
    ended
}

async fn wait(
    child: &mut Child,
    group: Option<Pid>,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let signal = tokio::select! {
        status = child.wait() => return Ok(code(status?)),
        signal = signals.next() => signal,
    };
    if let Some(group) = group {
        kill_process_group(group, signal).context("cannot hand the signal on")?;
    }
    if timeout(END_LIMIT, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(signalled(signal))
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The exit code that shells use for a process ended by a signal.
pub(super) fn signalled(signal: Signal) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(1))
}
