//! Child processes that end with this one, however it ends.
//!
//! The one file that may use `unsafe`: what runs between `fork` and `exec` cannot be checked by the compiler.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::Signal;

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
