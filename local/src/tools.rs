//! Installers that machines have anyway: npm, pip, apt-get.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::scratch::Scratch;
use crate::{child, places};

/// Something fetched once and kept, in a directory named after the exact list of what is in it: a
/// changed list is a new directory, so that what is kept is never older than the list.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The directory of everything that is kept.
    dir: PathBuf,
    /// Where this is, or will be.
    pub(crate) path: PathBuf,
}

impl Kept {
    /// What `list` names, kept in `dir` under `name`.
    pub(crate) fn new(dir: &Path, name: &str, list: &str) -> Self {
        let path = dir.join(format!("{name}-{}", places::short_hash(list)));
        Self { dir: dir.to_owned(), path }
    }

    /// Fetches it, in a directory of its own that gets its name when `check` finds it whole: neither
    /// an interrupted download nor one that does not work here is ever taken for it. Any account may
    /// enter the result: root's servers run as one.
    ///
    /// # Errors
    /// If it cannot be installed, or `check` does not find what it should.
    pub(crate) async fn install<T>(
        &self,
        install: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
        check: impl Fn(&Path) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        places::create_open(&self.dir)?;
        let scratch = Scratch::new(&self.dir, "new-")?;
        let work = scratch.path().join("new");
        fs::create_dir(&work)?;
        install(&work).await?;
        check(&work)?;
        fs::set_permissions(&work, fs::Permissions::from_mode(0o755))?;
        if self.path.exists() && check(&self.path).is_err() {
            fs::remove_dir_all(&self.path)
                .with_context(|| format!("cannot remove the broken {}", self.path.display()))?;
        }
        match fs::rename(&work, &self.path) {
            // Another process fetched the same at the same time; its copy is as good.
            Err(_) if self.path.is_dir() => {}
            other => {
                other.with_context(|| format!("cannot rename to {}", self.path.display()))?;
            }
        }
        check(&self.path)
    }
}

/// Installs what `requirements` lists, each file by its hash, into the directory `target`.
///
/// # Errors
/// If pip is missing or a file does not match.
pub(crate) async fn pip_install(requirements: &str, target: &Path) -> anyhow::Result<()> {
    let list = target.join("requirements.txt");
    fs::write(&list, requirements)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--target"])
        .arg(target)
        .arg("-r")
        .arg(&list);
    // A user's configuration may ask for these; neither goes with a directory of our own.
    pip.envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0")]);
    run(pip).await
}

/// Installs a package of Debian's, as root. Not given up half-way, as a download is: that would leave the
/// package system in need of repair.
///
/// # Errors
/// If apt-get cannot be run or failed.
pub(crate) fn apt_install(package: &str) -> anyhow::Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // At this "run level" Debian's scripts install a server without starting it.
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        let output = command.stdin(Stdio::null()).output().context("cannot run apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "apt-get failed ({}):\n{}", output.status, said.trim());
        Ok(())
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // The list of packages may be missing or old; then it is fetched.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// The first of these programs that is in a directory of `path`.
pub(crate) fn find_on_path(path: Option<&OsStr>, programs: &[&str]) -> Option<PathBuf> {
    let dirs: Vec<_> = std::env::split_paths(path?).collect();
    let candidates = programs.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    candidates.into_iter().find(|candidate| {
        candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
    })
}

/// Whether the program is there at all.
pub(crate) fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs an installer and shows what it said only if it failed. Dropping the future kills it.
///
/// # Errors
/// If it cannot be run or failed.
pub(crate) async fn run(mut command: Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output =
        child::output(command, None).await.with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed ({}):\n{}", output.status, said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the program is there.
    fn whole(path: &Path) -> anyhow::Result<String> {
        fs::read_to_string(path.join("program")).context("no program")
    }

    async fn install(kept: &Kept, file: &'static str) -> anyhow::Result<String> {
        kept.install(async |work| Ok(fs::write(work.join(file), file)?), whole).await
    }

    fn names(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn what_does_not_work_is_never_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path(), "tool", "tool 1");
        assert!(install(&kept, "something else").await.is_err());
        assert_eq!(names(dir.path()), [] as [&Path; 0]);
    }

    #[tokio::test]
    async fn a_broken_copy_is_replaced_and_a_changed_list_is_another_copy() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path(), "tool", "tool 1");
        fs::create_dir(&kept.path).unwrap();
        assert_eq!(install(&kept, "program").await.unwrap(), "program");
        assert_eq!(names(dir.path()), [kept.path]);
        assert!(whole(&Kept::new(dir.path(), "tool", "tool 2").path).is_err());
    }

    #[tokio::test]
    async fn what_a_killed_download_left_is_removed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("new-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        install(&Kept::new(dir.path(), "tool", "tool 1"), "program").await.unwrap();
        assert!(!left.exists());
    }
}
