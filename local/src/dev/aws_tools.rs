//! The AWS tools that the tests use, from pip by hash: SAM (with cfn-lint and Lambda's Runtime
//! Interface Emulator inside), moto's Secrets Manager, cargo-lambda.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::progress::Progress;
use crate::tools::{Kept, pip_install, run};
use crate::{child, settings};

/// Every package and its hashes. cargo-lambda is listed without its dependency `ziglang` (450 MB),
/// which only cross-compiling needs.
const REQUIREMENTS: &str =
    concat!(include_str!("../../tools/aws.txt"), include_str!("../../tools/cargo-lambda.txt"));

/// The programs that the tests run, or whose packages they use, as pip leaves them.
const PROGRAMS: [&str; 4] = ["bin/sam", "bin/cfn-lint", "bin/moto_server", "bin/cargo-lambda"];

/// Installs the tools under `cache` unless they are there, builds the Lambda binaries, and returns the
/// variables that tell the tests where: `TEST_AWS_TOOLS`, a directory to put into `PYTHONPATH`, and
/// `TEST_FUNCTIONS`, the directory of the binaries.
///
/// # Errors
/// If there is no Python 3.10 with pip, what it fetches does not match the hashes, or the functions
/// do not build.
pub async fn provide(cache: &Path) -> anyhow::Result<Vec<(String, String)>> {
    [("TEST_AWS_TOOLS", provide_tools(cache).await?), ("TEST_FUNCTIONS", build().await?)]
        .into_iter()
        .map(|(name, path)| {
            let path = path.to_str().context("a path is not UTF-8")?;
            Ok((name.to_owned(), path.to_owned()))
        })
        .collect()
}

async fn provide_tools(cache: &Path) -> anyhow::Result<PathBuf> {
    let kept = Kept::new(cache, "aws-tools", REQUIREMENTS);
    if let Ok(tools) = whole(&kept.path) {
        return Ok(tools);
    }
    let progress = Progress::new();
    progress
        .fetching("Fetching the AWS tools with pip (100 MB, checked by hash); this takes a minute");
    kept.install(install, whole).await.context("cannot fetch the AWS tools")
}

/// The directory itself, if the tools are in it.
fn whole(tools: &Path) -> anyhow::Result<PathBuf> {
    for program in PROGRAMS {
        ensure!(tools.join(program).is_file(), "{} has no {program}", tools.display());
    }
    Ok(tools.to_owned())
}

async fn install(work: &Path) -> anyhow::Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", "import sys, pip; sys.exit(sys.version_info < (3, 10))"]);
    run(python).await.context(
        "the AWS tools need Python 3.10 or newer with pip (apt-get install python3-pip)",
    )?;
    pip_install(REQUIREMENTS, work).await
}

/// Builds the Lambda binaries and the example that panics as the tests run them, and returns their
/// directory.
async fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--package=functions", "--bins", "--example=panic"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(settings::checkout())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = child::output(cargo, None).await.context("cannot run cargo")?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn tools_already_installed_are_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let tools = Kept::new(cache.path(), "aws-tools", REQUIREMENTS).path;
        fs::create_dir_all(tools.join("bin")).unwrap();
        for program in PROGRAMS {
            fs::write(tools.join(program), "").unwrap();
        }
        assert_eq!(provide_tools(cache.path()).await.unwrap(), tools);
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
