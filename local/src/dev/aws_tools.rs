//! The AWS tools that the tests use, from pip by hash: SAM (with cfn-lint and Lambda's Runtime
//! Interface Emulator inside), moto's Secrets Manager, cargo-lambda.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::say;
use crate::settings;
use crate::tools::{pip_install, run};

/// Every package and its hashes. cargo-lambda is listed without its dependency `ziglang` (450 MB),
/// which only cross-compiling needs.
const REQUIREMENTS: &str =
    concat!(include_str!("../../tools/aws.txt"), include_str!("../../tools/cargo-lambda.txt"));
/// The file that `pip_install` leaves beside what it installed.
const LIST: &str = "requirements.txt";

/// Installs the tools under `cache` unless they are there, builds the Lambda binaries, and returns the
/// variables that tell the tests where: `TEST_AWS_TOOLS`, a directory to put into `PYTHONPATH`, and
/// `TEST_FUNCTIONS`, the directory of the binaries.
///
/// # Errors
/// If there is no Python 3.10 with pip, what it fetches does not match the hashes, or the functions
/// do not build.
pub fn provide(cache: &Path) -> anyhow::Result<Vec<(String, String)>> {
    [("TEST_AWS_TOOLS", provide_tools(cache)?), ("TEST_FUNCTIONS", build()?)]
        .into_iter()
        .map(|(name, path)| {
            let path = path.to_str().context("a path is not UTF-8")?;
            Ok((name.to_owned(), path.to_owned()))
        })
        .collect()
}

fn provide_tools(cache: &Path) -> anyhow::Result<PathBuf> {
    let tools = cache.join("aws-tools");
    if !is_current(&tools) {
        say("Fetching the AWS tools with pip (100 MB, checked by hash); this takes a minute");
        install(cache, &tools)?;
    }
    Ok(tools)
}

/// Builds the Lambda binaries and the example that panics as the tests run them, and returns their
/// directory.
fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--package=functions", "--bins", "--example=panic"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(settings::checkout())
        .stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the functions do not build ({})", output.status);
    let login = String::from_utf8(output.stdout)?.lines().find_map(built_login);
    let dir = login.as_deref().and_then(Path::parent).map(Path::to_owned);
    dir.context("cargo did not say where it put the functions")
}

/// Where a line of cargo's says that it put `login`.
fn built_login(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_login = message["target"]["name"] == "login";
    message["executable"].as_str().filter(|_| is_login).map(PathBuf::from)
}

fn is_current(tools: &Path) -> bool {
    fs::read_to_string(tools.join(LIST)).is_ok_and(|list| list == REQUIREMENTS)
}

/// Installs beside the final place and renames, so that an interrupted download is made again.
fn install(cache: &Path, tools: &Path) -> anyhow::Result<()> {
    let mut python = Command::new("python3");
    run(python.args(["-c", "import sys, pip; sys.exit(sys.version_info < (3, 10))"])).context(
        "the AWS tools need Python 3.10 or newer with pip (apt-get install python3-pip)",
    )?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let work = tempfile::Builder::new().prefix("aws-tools-").tempdir_in(cache)?;
    pip_install(REQUIREMENTS, work.path()).context("cannot fetch the AWS tools (about 100 MB)")?;
    if tools.exists() {
        fs::remove_dir_all(tools).with_context(|| format!("cannot remove {}", tools.display()))?;
    }
    let work = work.keep();
    match fs::rename(&work, tools) {
        // Another process fetched the same at the same time; its copy is as good.
        Err(_) if is_current(tools) => fs::remove_dir_all(&work).context("cannot remove a copy"),
        other => other.with_context(|| format!("cannot rename to {}", tools.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_already_installed_are_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let tools = cache.path().join("aws-tools");
        fs::create_dir(&tools).unwrap();
        fs::write(tools.join(LIST), REQUIREMENTS).unwrap();
        fs::write(tools.join("marker"), "").unwrap();
        provide_tools(cache.path()).unwrap();
        assert!(tools.join("marker").exists());
    }

    #[test]
    fn a_changed_list_makes_installed_tools_stale() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LIST), "aws-sam-cli==1.0.0").unwrap();
        assert!(!is_current(dir.path()));
    }

    #[test]
    fn the_directory_of_the_functions_is_read_from_cargos_messages() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"functions"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"login"},"executable":"/t/debug/login"}"#,
            "not JSON",
        ];
        let found: Vec<_> = lines.into_iter().filter_map(built_login).collect();
        assert_eq!(found, [PathBuf::from("/t/debug/login")]);
    }

    #[test]
    fn every_package_is_pinned_by_hash_and_names_no_address() {
        let names = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
        let hashes = REQUIREMENTS.matches("--hash=sha256:").count();
        assert!(names > 50 && hashes >= names, "{names} packages, {hashes} hashes");
        assert!(!REQUIREMENTS.contains("://"));
    }
}
