//! Installers that machines have anyway: npm, pip, apt-get.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::places;

/// Installs what `requirements` lists, each file by its hash, into the directory `target`.
///
/// # Errors
/// If pip is missing or a file does not match.
pub(crate) fn pip_install(requirements: &str, target: &Path) -> anyhow::Result<()> {
    let list = target.join("requirements.txt");
    fs::write(&list, requirements)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--target"])
        .arg(target)
        .arg("-r")
        .arg(&list);
    run(&mut pip)
}

/// Installs into a directory of its own inside `dir` and gives it its name when whole, so that an
/// interrupted download is simply made again. Any account may enter the result: root's servers run as one.
///
/// # Errors
/// If it cannot be installed.
pub(crate) fn install_once(
    dir: &Path,
    done: &Path,
    install: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    places::create_open(dir)?;
    let work = tempfile::Builder::new().prefix("new-").tempdir_in(dir)?;
    install(work.path())?;
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
    let work = work.keep();
    match fs::rename(&work, done) {
        // Another process fetched the same at the same time; its copy is as good.
        Err(_) if done.is_dir() => fs::remove_dir_all(&work).context("cannot remove a second copy"),
        other => other.with_context(|| format!("cannot rename to {}", done.display())),
    }
}

/// Whether the program is there at all.
pub(crate) fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs an installer and shows what it said only if it failed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed ({}):\n{}", output.status, said.trim());
    Ok(())
}
