//! Finds a PostgreSQL server on this machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::child::Account;
use crate::places;

/// The oldest major version that the migrations and statements are written for.
pub const OLDEST: u32 = 14;

/// Directories that hold one directory a version, each with the path from there to its programs.
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"), // Red Hat's: /usr/pgsql-17/bin
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

/// A PostgreSQL whose `initdb` and `postgres` were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// The directory that holds `initdb` and `postgres`.
    pub bin: PathBuf,
    /// The major version, such as 17.
    pub major: u32,
    /// The version in full, such as `17.6`.
    pub version: String,
}

impl Installation {
    /// Asks the server program in `bin` for its version.
    ///
    /// # Errors
    /// If `initdb` or `postgres` is missing there or does not run, or the version is too old.
    pub fn at(bin: &Path) -> anyhow::Result<Self> {
        for program in ["initdb", "postgres"] {
            ensure!(bin.join(program).is_file(), "{} has no `{program}`", bin.display());
        }
        let postgres = bin.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", postgres.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version_in(&text)
            .with_context(|| format!("{} --version said {text:?}", postgres.display()))?;
        let major =
            version.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
        let major = major.with_context(|| format!("no major version in {version:?}"))?;
        ensure!(
            major >= OLDEST,
            "{} is PostgreSQL {version}; {OLDEST} or newer is needed",
            bin.display()
        );
        Ok(Self { bin: bin.to_owned(), major, version: version.to_owned() })
    }
}

/// The version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version_in(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "(PostgreSQL)");
    words.nth(1)
}

/// Every PostgreSQL here that `account` can run, best first: the one on `PATH`, then the usual
/// directories, newest first.
pub(super) fn installed(path: Option<&OsStr>, account: Option<&Account>) -> Vec<Installation> {
    let on_path = path.into_iter().flat_map(std::env::split_paths).filter(|dir| has_server(dir));
    let on_path = on_path.map(|dir| resolved(&dir));
    let mut found: Vec<_> = on_path.filter_map(|dir| Installation::at(&dir).ok()).collect();
    let roots = VERSIONED.iter().map(|(root, bin)| (Path::new(root), *bin));
    let mut usual: Vec<_> = roots.flat_map(|(root, bin)| in_versioned(root, bin)).collect();
    usual.sort_by_key(|installation| std::cmp::Reverse(installation.major));
    found.extend(usual);
    let mut seen = std::collections::HashSet::new();
    found.retain(|installation| seen.insert(installation.bin.clone()));
    // One under root's home, say, which the account of root's servers may not enter.
    found.retain(|one| account.is_none_or(|a| places::enterable(&one.bin.join("postgres"), a)));
    found
}

/// Where [`installed`] looks, for the message when there is none.
pub(super) fn places() -> String {
    let usual = VERSIONED.iter().filter(|(root, _)| *root != "/usr");
    let usual: Vec<_> = usual.map(|(root, bin)| format!("{root}/*/{bin}")).collect();
    format!("PATH, /usr/pgsql-*/bin, {}", usual.join(", "))
}

fn in_versioned(root: &Path, bin: &str) -> Vec<Installation> {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Version directories (`17`), Homebrew's (`postgresql@17`) and Red Hat's (`pgsql-17`).
        name.starts_with(|c: char| c.is_ascii_digit())
            || name.starts_with("postgresql")
            || name.starts_with("pgsql-")
    });
    let bins = named.map(|entry| entry.path().join(bin)).filter(|dir| has_server(dir));
    bins.filter_map(|dir| Installation::at(&dir).ok()).collect()
}

fn has_server(dir: &Path) -> bool {
    dir.join("initdb").is_file() && dir.join("postgres").is_file()
}

/// Follows a link such as `/usr/local/bin/postgres` to the directory that has the other programs too:
/// `initdb` looks for `postgres`, and both for their shared files, beside their real place.
fn resolved(dir: &Path) -> PathBuf {
    let real = fs::canonicalize(dir.join("postgres")).ok();
    let real = real.and_then(|program| program.parent().map(Path::to_owned));
    real.filter(|dir| has_server(dir)).unwrap_or_else(|| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory with programs that only tell a version.
    fn fake(version: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for program in ["initdb", "postgres"] {
            let path = dir.path().join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[test]
    fn the_version_is_read_in_full_and_as_a_major() {
        let dir = fake("17.6 (Debian 17.6-1)");
        let found = Installation::at(dir.path()).unwrap();
        assert_eq!((found.major, found.version.as_str()), (17, "17.6"));
        let beta = fake("18beta2");
        assert_eq!(Installation::at(beta.path()).unwrap().major, 18);
    }

    #[test]
    fn a_version_below_the_floor_is_refused() {
        let dir = fake("13.9");
        let error = Installation::at(dir.path()).unwrap_err().to_string();
        assert!(error.contains("14 or newer"), "{error}");
    }

    #[test]
    fn a_directory_without_a_server_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = Installation::at(dir.path()).unwrap_err().to_string();
        assert!(error.contains("has no `initdb`"), "{error}");
    }

    #[test]
    fn what_is_on_path_comes_first_and_once() {
        let dir = fake("14.2");
        let path = std::env::join_paths([dir.path(), dir.path()]).unwrap();
        let found = installed(Some(&path), None);
        assert_eq!(found[0].bin, fs::canonicalize(dir.path()).unwrap());
        assert_eq!(found.iter().filter(|i| i.bin == found[0].bin).count(), 1);
    }

    #[test]
    fn one_that_the_servers_account_cannot_reach_is_not_taken() {
        let closed = fake("14.2");
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { name: "stranger".into(), uid: 54_321, gid: 54_321 };
        let taken = |account| {
            let found = installed(Some(closed.path().as_os_str()), account);
            found.iter().any(|one| one.bin == fs::canonicalize(closed.path()).unwrap())
        };
        assert!(taken(None) && !taken(Some(&stranger)));
    }
}
