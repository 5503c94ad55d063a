//! Child processes that end with this one, however it ends.
//!
//! The one file that may use `unsafe`: what runs between `fork` and `exec` cannot be checked by the compiler.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// An account of this machine that a server may run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, such as `postgres`.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its main group's id.
    pub gid: u32,
}

impl Account {
    /// The account for a Postgres started by root, which Postgres refuses to run as: `postgres`, else
    /// `nobody`. `None` when this process is not root and children simply run as it does.
    ///
    /// # Errors
    /// If root finds neither; initdb also refuses a user id without an entry, so none can be made up.
    pub fn for_server() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let found = ["postgres", "nobody"].into_iter().find_map(Self::named);
        found.map(Some).ok_or_else(|| {
            anyhow::anyhow!("Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody`")
        })
    }

    /// Looks an account up by `id`, which asks every source of accounts that the machine has.
    pub fn named(name: &str) -> Option<Self> {
        let id = |flag| {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some(Self { name: name.to_owned(), uid: id("-u")?, gid: id("-g")? })
    }
}

/// Makes the command run as `account`, in a process group of its own, and get `signal` when the thread
/// that starts it ends.
///
/// Its own group keeps a terminal's Ctrl-C away from it: this process decides how it ends. On Linux the
/// signal follows the starting *thread*, so start it from one that lives as long as the process; other
/// systems have no such signal and leave the child to the next start.
pub fn tie(command: &mut Command, account: Option<&Account>, signal: Signal) {
    command.process_group(0);
    if let Some(account) = account {
        // std drops the supplementary groups too, because this process is root.
        command.uid(account.uid).gid(account.gid);
    }
    end_with_this_thread(command, signal);
}

/// The process group of a child that was started by way of [`tie`]. Dropping it kills whatever is left
/// in it: killing its first process alone would leave that one's children, which still write files.
#[derive(Debug)]
pub(crate) struct Group(Pid);

impl Group {
    /// The group of `child`, which is named by its first process; `None` if that was waited for.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        child.id().and_then(|id| Pid::from_raw(id.cast_signed())).map(Self)
    }

    /// Sends every process of the group a signal.
    ///
    /// # Errors
    /// If none is left.
    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process_group(self.0, signal)?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // An error means that nobody is left, which is the usual case.
        self.send(Signal::KILL).ok();
    }
}

/// Runs the command as [`tie`] says to its end and returns what it said on the streams it was given
/// pipes for. Dropping the future kills it and everything it started.
///
/// # Errors
/// If it cannot be run.
pub(crate) async fn output(mut command: Command, account: Option<&Account>) -> io::Result<Output> {
    tie(&mut command, account, Signal::KILL);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let _group = Group::of(&child);
    child.wait_with_output().await
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the signal must be set in the child, between fork and exec")]
fn end_with_this_thread(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let set_up = move || {
        // After the change of user, which clears it: std runs this last.
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // The parent may have ended between fork and the line above; then nobody would end the child.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    // SAFETY: after fork only async-signal-safe calls are allowed. `set_up` makes two system calls
    // (prctl, getppid) and builds an error from a number: no allocation, no lock, no drop of shared state.
    unsafe { command.pre_exec(set_up) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_thread(_command: &mut Command, _signal: Signal) {}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use rustix::process::test_kill_process;

    use super::*;

    #[tokio::test]
    async fn giving_a_command_up_ends_what_it_started_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $! >\"$0\"; wait"]).arg(&file);
        command.stdin(Stdio::null());
        let mut running = Box::pin(output(command, None));
        let grandchild = loop {
            let wait = tokio::time::sleep(Duration::from_millis(5));
            tokio::select! {
                ended = &mut running => panic!("it ended: {ended:?}"),
                () = wait => {}
            }
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n') {
                break Pid::from_raw(pid.parse().unwrap()).unwrap();
            }
        };
        assert!(test_kill_process(grandchild).is_ok());
        drop(running);
        let gone = async {
            while runs(grandchild) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.expect("it runs on");
    }

    /// Whether it runs, and is not only waiting for somebody to ask how it ended.
    fn runs(pid: Pid) -> bool {
        let mut ps = Command::new("ps");
        let output =
            ps.args(["-o", "stat=", "-p", &pid.as_raw_pid().to_string()]).output().unwrap();
        let state = String::from_utf8(output.stdout).unwrap();
        !state.trim().is_empty() && !state.trim().starts_with('Z')
    }
}
