//! A directory that is gone with the process that uses it, even if that was killed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

use crate::progress::say;

/// The file whose lock says that the process goes on.
const LOCK: &str = "lock";

/// A directory that only this process uses. Removed when dropped, or by the next process that makes
/// one of its kind.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Its path.
    path: PathBuf,
    /// Held as long as the process goes on.
    _lock: File,
}

impl Scratch {
    /// Makes one in `base` whose name begins with `prefix`, after removing those whose processes were
    /// killed.
    ///
    /// # Errors
    /// If `base` cannot be written.
    pub(crate) fn new(base: &Path, prefix: &str) -> anyhow::Result<Self> {
        sweep(base, prefix);
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(base);
        let path = made.with_context(|| format!("cannot write in {}", base.display()))?.keep();
        // The account of a server started by root must pass; what is inside is private by itself.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        // Locked before it gets its name, so that no other process ever finds it unlocked.
        let unnamed = path.join("lock.new");
        let lock = File::create(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(unnamed, path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Removes this user's directories that nobody holds. One that cannot be removed is left for later.
fn sweep(base: &Path, prefix: &str) {
    let me = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(base).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    for entry in named.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == me)) {
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the names begin with here.
    const PREFIX: &str = "scratch-";

    #[test]
    fn a_directory_is_gone_with_its_process() {
        let base = tempfile::tempdir().unwrap();
        let path = Scratch::new(base.path(), PREFIX).unwrap().path().to_owned();
        assert!(!path.exists());
    }

    #[test]
    fn a_killed_processes_directory_is_swept_and_a_living_ones_is_not() {
        let base = tempfile::tempdir().unwrap();
        let living = Scratch::new(base.path(), PREFIX).unwrap();
        let dead = base.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let starting = base.path().join(format!("{PREFIX}starting"));
        fs::create_dir(&starting).unwrap();
        let _next = Scratch::new(base.path(), PREFIX).unwrap();
        assert!(!dead.exists() && living.path().exists() && starting.exists());
    }
}
