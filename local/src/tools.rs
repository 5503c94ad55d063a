//! Installers that machines have anyway: npm, pip, apt-get.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

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
