//! The keys file: made with the private database, kept beside it, never made again, rotated.

pub(crate) mod rotate;
pub(crate) mod watch;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use shared::clock::Clock;
use shared::secrets::Keys;

/// The keys in `file`, which belong to the private cluster in `data`; a new set if that cluster is not
/// there yet. A key that a newer Keywire needs is added: the caller holds the cluster's lock.
///
/// # Errors
/// If the file is missing although the cluster is there: its passwords could never be checked again.
pub(crate) fn of_cluster(file: &Path, data: &Path) -> anyhow::Result<Keys> {
    if file.exists() {
        return Ok(complete(file)?.0);
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
    let write = || {
        // Written beside, then linked to its name, which fails if that is taken.
        unnamed(file, &keys)?.persist_noclobber(file)?;
        Ok::<_, io::Error>(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    Ok(keys)
}

/// The set in `file`, and whether it was made before second factors and got their key now. Nothing
/// that was in the file changes.
///
/// # Errors
/// If the file cannot be read, does not hold, or cannot be written.
pub(crate) fn complete(file: &Path) -> anyhow::Result<(Keys, bool)> {
    let (keys, added) = Keys::read_older(file)?;
    if added {
        replace(file, &keys)?;
    }
    Ok((keys, added))
}

/// Writes the set in the place of the one in `file`: whoever reads it, also after a crash, finds the
/// old one or the new one, whole. It stays its owner's, and for the owner alone.
///
/// # Errors
/// If it cannot be written; the old set is there then.
fn replace(file: &Path, keys: &Keys) -> anyhow::Result<()> {
    let write = || {
        // A link stays one, and leads to the new set.
        let file = fs::canonicalize(file)?;
        let owner = fs::metadata(&file)?;
        let written = unnamed(&file, keys)?;
        std::os::unix::fs::fchown(written.as_file(), Some(owner.uid()), Some(owner.gid()))?;
        written.persist(&file)?;
        // The name is on the disk before the database speaks of these keys.
        File::open(directory(&file))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}

/// The set in a file beside `file`, on the disk, without that name yet; removed if it never gets it.
fn unnamed(file: &Path, keys: &Keys) -> io::Result<tempfile::NamedTempFile<File>> {
    let mut unnamed =
        tempfile::Builder::new().prefix(".keys-").make_in(directory(file), |path| {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })?;
    let text = keys.to_json().map_err(io::Error::other)?;
    unnamed.write_all(text.as_bytes())?;
    unnamed.as_file().sync_all()?;
    Ok(unnamed)
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
    fn a_set_made_before_second_factors_gets_their_key_and_keeps_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        let made = create(&file).unwrap();
        let mut older: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        older["pepper"].as_object_mut().unwrap().remove("factors").unwrap();
        fs::write(&file, older.to_string()).unwrap();
        let keys = of_cluster(&file, dir.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let (again, added) = complete(&file).unwrap();
        assert!(!added, "it was added twice");
        assert_eq!(again.pepper.factors.bytes(), keys.pepper.factors.bytes());
        assert_eq!(again.pepper.identifiers.bytes(), made.pepper.identifiers.bytes());
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
    fn a_replaced_set_is_whole_for_its_user_alone_and_behind_the_same_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("keys.json"), dir.path().join("link"));
        create(&file).unwrap();
        std::os::unix::fs::symlink("keys.json", &link).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let other = Keys::generate(Clock::System.now()).unwrap();
        replace(&link, &other).unwrap();
        let public = |keys: &Keys| keys.signing.current.public_key().unwrap();
        assert_eq!(public(&Keys::read(&file).unwrap()), public(&other));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a file was left beside it");
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
