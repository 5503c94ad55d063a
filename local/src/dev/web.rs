//! What the tests in a real browser need: Node, its packages, Chromium, and the built program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::child;
use crate::places::short_hash;
use crate::progress::Progress;
use crate::settings::{self, System};
use crate::tools::{apt_install, find_on_path, run, runs};

/// The packages' versions and integrity hashes.
const PACKAGE_LOCK: &str = include_str!("../../../web/e2e/package-lock.json");
/// The files of tests. Node 20 takes no patterns.
const TESTS: [&str; 1] = ["passkey.test.js"];
/// What runs them.
const RUN: [&str; 2] = ["node", "--test"];
/// How many words of the command come before the files.
pub(super) const BEFORE_FILES: usize = RUN.len();
/// The oldest Node that runs them.
const NODE: u32 = 20;
/// The browsers that do, in order of preference.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Says of which lock file the installed packages are.
const STAMP: &str = "node_modules/.keywire-lock";

/// Installs what is missing and builds the program; returns the command that runs the tests, and the
/// variables that tell them where things are: `TEST_CHROMIUM`, `TEST_KEYWIRE`.
///
/// # Errors
/// If there is no Node, or something can be neither found nor installed.
pub(super) async fn provide(
    browser: Option<PathBuf>,
) -> anyhow::Result<(Vec<OsString>, Vec<(String, String)>)> {
    check_node().await?;
    let dir = settings::checkout().join("web/e2e");
    let progress = Progress::new();
    install_packages(&dir, &progress).await?;
    let browser = browser.map_or_else(|| find_browser(&progress), Ok)?;
    drop(progress);
    let program = build().await?;
    let text = |path: PathBuf| path.into_os_string().into_string();
    let text = |path| text(path).map_err(|path| anyhow::anyhow!("not UTF-8: {}", path.display()));
    let variables = [("TEST_CHROMIUM", text(browser)?), ("TEST_KEYWIRE", text(program)?)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
    let command = RUN.into_iter().map(OsString::from);
    let command = command.chain(TESTS.iter().map(|test| dir.join(test).into_os_string()));
    Ok((command.collect(), variables))
}

async fn check_node() -> anyhow::Result<()> {
    let needed = "the browser tests need Node 20 or newer with npm (apt-get install nodejs npm, brew \
                  install node)";
    let mut node = Command::new("node");
    node.args(["-p", "process.versions.node"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = child::output(node, None).await.context(needed)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    ensure!(major.is_some_and(|major| major >= NODE), "{needed}; this one is {version:?}");
    ensure!(runs("npm"), "{needed}; there is no npm");
    Ok(())
}

/// Installs them exactly as the lock file says, once.
async fn install_packages(dir: &Path, progress: &Progress) -> anyhow::Result<()> {
    let (stamp, expected) = (dir.join(STAMP), short_hash(PACKAGE_LOCK));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == expected) {
        return Ok(());
    }
    progress.fetching("Fetching the packages of the browser tests from npm (checked by hash)");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
    run(npm).await?;
    // Last, so that what was interrupted is done again.
    fs::write(&stamp, expected).with_context(|| format!("cannot write {}", stamp.display()))
}

fn find_browser(progress: &Progress) -> anyhow::Result<PathBuf> {
    let path = System::read().path;
    let found = || find_on_path(path.as_deref(), &BROWSERS);
    if let Some(found) = found() {
        return Ok(found);
    }
    let wanted = "the browser tests need Chromium: install it (apt-get install chromium), or name the \
                  program in CHROMIUM_BIN";
    ensure!(rustix::process::geteuid().is_root() && runs("apt-get"), "{wanted}");
    progress.fetching("No Chromium here: installing Debian's with apt-get (135 MB)");
    apt_install("chromium").context(wanted)?;
    found().context("chromium is installed but not on PATH")
}

/// Builds the program as the tests run it.
async fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--package=local", "--bin=keywire"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(settings::checkout())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = child::output(cargo, None).await.context("cannot run cargo")?;
    ensure!(output.status.success(), "keywire does not build ({})", output.status);
    let built = String::from_utf8(output.stdout)?;
    let built = built.lines().find_map(built_keywire);
    built.context("cargo did not say where it put keywire")
}

/// Where a line of cargo's says that it put the program.
fn built_keywire(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_ours = message["target"]["name"] == "keywire";
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_browser_test_is_run() {
        let files = fs::read_dir(settings::checkout().join("web/e2e")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut tests: Vec<_> = names.filter(|name| name.ends_with(".test.js")).collect();
        tests.sort();
        assert_eq!(tests, TESTS);
    }

    #[test]
    fn every_package_is_pinned_by_hash_and_names_no_address() {
        let lock: serde_json::Value = serde_json::from_str(PACKAGE_LOCK).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        let fetched = packages.iter().filter(|(path, _)| !path.is_empty());
        for (path, package) in fetched {
            assert!(package["integrity"].as_str().unwrap().starts_with("sha512-"), "{path}");
        }
        assert!(packages.len() > 1 && !PACKAGE_LOCK.contains("://"));
    }

    #[test]
    fn the_program_is_read_from_cargos_messages() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"local"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"keywire"},"executable":"/t/keywire"}"#,
            "not JSON",
        ];
        let found: Vec<_> = lines.into_iter().filter_map(built_keywire).collect();
        assert_eq!(found, [PathBuf::from("/t/keywire")]);
    }
}
