//! The keys file of the private database: made with it, kept beside it, never made again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use shared::clock::Clock;
use shared::secrets::Keys;

/// The keys in `file`, which belong to the private cluster in `data`; a new set if that cluster is not
/// there yet.
///
/// # Errors
/// If the file is missing although the cluster is there: its passwords could never be checked again.
pub(crate) fn of_cluster(file: &Path, data: &Path) -> anyhow::Result<Keys> {
    if file.exists() {
        return Ok(Keys::read(file)?);
    }
    if data.exists() {
        bail!(
            "{} is missing, but its database is there ({}): put the file back, or move the database \
             away to begin anew",
            file.display(),
            data.display()
        );
    }
    create(file)
}

/// Makes a new set and writes it to `file`, for this user alone. Never replaces a file.
///
/// # Errors
/// If the file is there or cannot be written.
pub(crate) fn create(file: &Path) -> anyhow::Result<Keys> {
    let keys = Keys::generate(Clock::System.now())?;
    let write = || -> std::io::Result<()> {
        // Whole or not at all: written beside, then linked to its name, which fails if that is taken.
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut unnamed = tempfile::Builder::new()
            .prefix(".keys-")
            .make_in(dir.unwrap_or(Path::new(".")), |path| {
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
            })?;
        let text = keys.to_json().map_err(std::io::Error::other)?;
        unnamed.write_all(text.as_bytes())?;
        unnamed.as_file().sync_all()?;
        unnamed.persist_noclobber(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_new_cluster_gets_keys_that_only_this_user_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let made = of_cluster(&file, &dir.path().join("17")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let read = of_cluster(&file, dir.path()).unwrap();
        let public = |keys: &Keys| keys.signing.current.public_key().unwrap();
        assert_eq!(public(&made), public(&read));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "a file was left beside it");
    }

    #[test]
    fn a_cluster_without_its_keys_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = of_cluster(&dir.path().join("keys.json"), dir.path()).unwrap_err().to_string();
        assert!(error.contains("put the file back"), "{error}");
        assert!(error.contains(&format!("({})", dir.path().display())), "{error}");
    }

    #[test]
    fn keys_are_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        fs::write(&file, "kept").unwrap();
        assert!(create(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    }
}
