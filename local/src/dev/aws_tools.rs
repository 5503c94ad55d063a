//! The AWS tools that the tests use, from pip by hash: SAM (with cfn-lint and Lambda's Runtime
//! Interface Emulator inside), moto's Secrets Manager, cargo-lambda.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::tools::{pip_install, run};

/// Every package and its hashes. cargo-lambda is listed without its dependency `ziglang` (450 MB),
/// which only cross-compiling needs.
const REQUIREMENTS: &str =
    concat!(include_str!("../../tools/aws.txt"), include_str!("../../tools/cargo-lambda.txt"));
/// The file that `pip_install` leaves beside what it installed.
const LIST: &str = "requirements.txt";

/// Installs the tools under `cache` unless they are there, and returns the variables that tell the
/// tests where: `TEST_AWS_TOOLS`, a directory to put into `PYTHONPATH`.
///
/// # Errors
/// If there is no Python 3.10 with pip, or what it fetches does not match the hashes.
pub fn provide(cache: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let tools = cache.join("aws-tools");
    if !is_current(&tools) {
        install(cache, &tools)?;
    }
    let tools = tools.to_str().context("the cache's path is not UTF-8")?;
    Ok(vec![("TEST_AWS_TOOLS".to_owned(), tools.to_owned())])
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
        let variables = provide(cache.path()).unwrap();
        assert_eq!(variables, [("TEST_AWS_TOOLS".to_owned(), tools.to_str().unwrap().to_owned())]);
        assert!(tools.join("marker").exists());
    }

    #[test]
    fn a_changed_list_makes_installed_tools_stale() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LIST), "aws-sam-cli==1.0.0").unwrap();
        assert!(!is_current(dir.path()));
    }

    #[test]
    fn every_package_is_pinned_by_hash_and_names_no_address() {
        let names = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
        let hashes = REQUIREMENTS.matches("--hash=sha256:").count();
        assert!(names > 50 && hashes >= names, "{names} packages, {hashes} hashes");
        assert!(!REQUIREMENTS.contains("://"));
    }
}
