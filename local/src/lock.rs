//! One process at a time on a directory of data.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// Held as long as the process lives: the system lets it go however the process ends.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of `dir`.
    ///
    /// # Errors
    /// If another process holds it, with what that one said of itself.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("lock");
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let said = fs::read_to_string(&path).unwrap_or_default();
            match said.trim() {
                "" => bail!("another copy is starting (it holds {})", path.display()),
                said => bail!("another copy is running {said} (it holds {})", path.display()),
            }
        }
        file.set_len(0)?;
        Ok(Self(file))
    }

    /// Says to other copies what this one does, such as `on http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn say(&mut self, what: &str) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(what.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_copy_is_told_where_the_first_one_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("another copy is starting"), "{error}");
        first.say("on http://127.0.0.1:8080").unwrap();
        let error = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("another copy is running on http://127.0.0.1:8080"), "{error}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }
}
