//! Directories: which ones, who owns them, and whether the account of a server can reach them.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::Mode;
use rustix::fs::{Access, access};

use crate::child::Account;

/// Where root keeps the data that a server's account must reach but cannot reach in the checkout.
pub(crate) const SYSTEM_DATA: &str = "/var/lib/keywire";

/// As [`SYSTEM_DATA`], for what can be fetched again.
pub(crate) const SYSTEM_CACHE: &str = "/var/cache/keywire";

/// The longest path of a unix socket on every system: macOS allows 104 bytes with the closing zero.
const SOCKET_PATH_MAX: usize = 103;

/// Takes back a mask (`umask 077`) under which root's servers could not enter what this process makes
/// for them. What is secret is made so by itself.
pub fn let_servers_in() {
    if rustix::process::geteuid().is_root() {
        rustix::process::umask(Mode::from_raw_mode(0o022));
    }
}

/// The directory to use for `preferred`: itself, or, when `account` cannot enter it or one of its
/// parents (a checkout under root's home), one under `system` that is named after it.
pub(crate) fn reachable(preferred: &Path, account: Option<&Account>, system: &str) -> PathBuf {
    match account {
        Some(account) if !enterable(&preferred.join("inside"), account) => {
            Path::new(system).join(flat_name(preferred))
        }
        _ => preferred.to_owned(),
    }
}

/// Whether this process may make the directory, or files in it. Its nearest parent decides if it is
/// not there yet.
pub(crate) fn writable(dir: &Path) -> bool {
    let there = dir.ancestors().find(|parent| parent.exists());
    there.is_some_and(|dir| dir.is_dir() && access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}

/// Whether a socket of that name can be in the directory: its path is not cut, and Postgres, which
/// takes a list of directories, takes it as one.
pub(crate) fn holds_socket(dir: &Path, name: &str) -> bool {
    let fits = dir.join(name).as_os_str().len() <= SOCKET_PATH_MAX;
    fits && dir.to_str().is_some_and(|text| !text.contains([',', '"']))
}

/// Sixteen hexadecimal digits that differ for different texts. Another release of Rust may choose
/// others: only for what can be made anew.
pub(crate) fn short_hash(text: impl AsRef<[u8]>) -> String {
    let mut hasher = DefaultHasher::new();
    text.as_ref().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Whether every existing parent lets the account through. Access lists are not asked.
pub(crate) fn enterable(path: &Path, account: &Account) -> bool {
    path.ancestors().skip(1).filter_map(|parent| fs::metadata(parent).ok()).all(|parent| {
        let bit = if parent.uid() == account.uid {
            0o100
        } else if parent.gid() == account.gid {
            0o010
        } else {
            0o001
        };
        parent.mode() & bit != 0
    })
}

/// One readable name for a path: `/home/ann/app` → `home-ann-app`. A `-` in the path is doubled, so
/// that no two paths share a name.
fn flat_name(path: &Path) -> String {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().replace('-', "--")),
        _ => None,
    });
    names.collect::<Vec<_>>().join("-")
}

/// Creates the directory and its parents, for everybody to enter but only this user to change.
///
/// # Errors
/// If one cannot be created.
pub fn create_open(path: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Creates the directory for `account` alone (this user without one), or takes an existing one that is
/// a real directory of that account.
///
/// # Errors
/// If it is a symbolic link or belongs to somebody else: whoever made it first could otherwise choose
/// where the data goes, or read it.
pub fn create_private(path: &Path, account: Option<&Account>) -> anyhow::Result<()> {
    let owner = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Some(account) = account {
                std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create {}", path.display()));
        }
    }
    let found = fs::symlink_metadata(path)?;
    ensure!(
        found.is_dir(),
        "{} is not a directory (a symbolic link is refused too)",
        path.display()
    );
    ensure!(
        found.uid() == owner,
        "{} belongs to user id {}, not {owner}: run as that user, or move it away",
        path.display(),
        found.uid()
    );
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> Account {
        Account { name: "stranger".into(), uid: 54_321, gid: 54_321 }
    }

    #[test]
    fn a_place_behind_a_closed_parent_moves_to_the_system_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let inside = dir.path().join("a-b").join(".local");
        let moved = reachable(&inside, Some(&stranger()), SYSTEM_DATA);
        assert!(moved.starts_with(SYSTEM_DATA), "{moved:?}");
        assert!(moved.to_string_lossy().ends_with("-a--b-.local"), "{moved:?}");
        assert_eq!(reachable(&inside, None, SYSTEM_DATA), inside);
    }

    #[test]
    fn a_place_that_anybody_may_enter_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let inside = dir.path().join(".local");
        assert_eq!(reachable(&inside, Some(&stranger()), SYSTEM_DATA), inside);
    }

    #[test]
    fn a_place_that_is_closed_itself_moves_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let moved = reachable(dir.path(), Some(&stranger()), SYSTEM_DATA);
        assert!(moved.starts_with(SYSTEM_DATA), "{moved:?}");
    }

    #[test]
    fn a_place_below_a_file_cannot_be_written_and_one_to_be_made_can() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("new/cache")));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!writable(&dir.path().join("file/cache")));
    }

    #[test]
    fn a_socket_needs_a_short_path_without_a_comma_or_quote() {
        assert!(holds_socket(Path::new("/srv/my app/.local/postgres/socket"), "name"));
        let long = format!("/{}/socket", "a".repeat(100));
        for dir in [long.as_str(), "/srv/a,b/socket", "/srv/a\"b/socket"] {
            assert!(!holds_socket(Path::new(dir), "name"), "{dir}");
        }
    }

    #[test]
    fn a_symbolic_link_in_place_of_a_private_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let error = create_private(&link, None).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        let error = create_private_for(&theirs, 54_321).unwrap_err();
        assert!(error.to_string().contains("belongs to user id"), "{error}");
    }

    /// As [`create_private`], for an account that need not exist.
    fn create_private_for(path: &Path, uid: u32) -> anyhow::Result<()> {
        create_private(path, Some(&Account { name: "other".into(), uid, gid: uid }))
    }
}
