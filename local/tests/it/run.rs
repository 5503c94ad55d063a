//! The local process and the `cargo dev` commands, as processes: started, killed, restarted, refused.

pub(crate) mod cluster;
mod dev;
mod ends;
pub(crate) mod given;
mod import;
pub(crate) mod keywire;
mod machine;
mod roles;
mod rotate;
mod start;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use local::settings::Machine;
use shared::settings::Reader;

/// Longer than any wait takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A directory that also the account of a Postgres started by root may enter.
pub(crate) fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("kw-").tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// What `cargo run` would find on this machine: where downloads are kept between runs, and where to
/// look for a Postgres.
pub(crate) fn machine() -> Machine {
    Machine::read(&mut Reader::from_env())
}

/// Waits until the condition holds, at most [`LONG`].
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// The process id of the Postgres under a `LOCAL_DIR`, if its file is there.
pub(crate) fn postmaster(local_dir: &Path) -> Option<i32> {
    let entries = std::fs::read_dir(local_dir.join("postgres")).ok()?;
    let mut files = entries.map(|entry| entry.unwrap().path().join("postmaster.pid"));
    let text = files.find_map(|file| std::fs::read_to_string(file).ok())?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether a process with this id runs. One that has ended but was not yet asked how, by a parent that
/// takes its time, does not.
pub(crate) fn alive(pid: i32) -> bool {
    let state = if cfg!(target_os = "linux") {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().unwrap().to_owned()
    } else {
        let mut ps = std::process::Command::new("ps");
        let output = ps.args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    !state.is_empty() && !state.starts_with('Z')
}
