//! Runs one command of the tests, hands signals on to it, and leaves nothing of it behind.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::child::{self, Group};
use crate::settings;
use crate::signals::Signals;

/// The longest a command may take to end after a signal. No setting: nobody waits longer for Ctrl-C.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What the command reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// Nothing.
    Closed,
    /// What this process would. At a terminal the command has that too, as if it were run alone.
    Ours,
}

/// Runs the command in the checkout's environment without anybody's servers, plus `variables`.
///
/// # Errors
/// If it cannot be run.
pub(super) async fn run(
    words: &[OsString],
    variables: &[(String, String)],
    stdin: Stdin,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let (program, arguments) = words.split_first().context("no command given")?;
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    for name in settings::not_for_tests() {
        command.env_remove(name);
    }
    // A `.env` cannot send the compiler's query check to a database: the environment comes first.
    command.env("SQLX_OFFLINE", "true");
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let terminal = stdin == Stdin::Ours && io::stdin().is_terminal();
    if stdin == Stdin::Closed {
        command.stdin(Stdio::null());
    }
    child::tie(&mut command, None, Signal::TERM);
    if terminal {
        // In this process's group: only a terminal's foreground group may read from it.
        command.process_group(getpgrp().as_raw_pid());
    }
    let child = Command::from(command).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("cannot run {}", program.display()))?;
    if terminal {
        return at_terminal(&mut child, signals).await;
    }
    let group = Group::of(&child);
    wait(&mut child, group.as_ref(), signals).await
}

/// Waits for a command that shares this process's terminal, which sends both its Ctrl-C: the command
/// decides what that means to it.
async fn at_terminal(child: &mut Child, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    loop {
        let signal = tokio::select! {
            status = child.wait() => return Ok(code(status?)),
            signal = signals.next() => signal,
        };
        if signal != Signal::INT {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                kill_process(pid, signal).context("cannot hand the signal on")?;
            }
            return gone(child, signal).await;
        }
    }
}

async fn wait(
    child: &mut Child,
    group: Option<&Group>,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let signal = tokio::select! {
        status = child.wait() => return Ok(code(status?)),
        signal = signals.next() => signal,
    };
    if let Some(group) = group {
        group.send(signal).context("cannot hand the signal on")?;
    }
    gone(child, signal).await
}

/// Waits until the command has ended after the signal, a while, and kills it then.
async fn gone(child: &mut Child, signal: Signal) -> anyhow::Result<ExitCode> {
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
