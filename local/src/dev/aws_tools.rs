//! The AWS tools that the tests use, from pip by hash: SAM (with cfn-lint and Lambda's Runtime
//! Interface Emulator inside), moto's Secrets Manager, cargo-lambda.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::pip_tools::PipTools;
use crate::{child, settings};

/// The tools. cargo-lambda is listed without its dependency `ziglang` (450 MB), which only
/// cross-compiling needs.
pub(super) const TOOLS: PipTools = PipTools {
    name: "aws-tools",
    requirements: concat!(
        include_str!("../../tools/aws.txt"),
        include_str!("../../tools/cargo-lambda.txt")
    ),
    programs: &["bin/sam", "bin/cfn-lint", "bin/moto_server", "bin/cargo-lambda"],
    fetching: "Fetching the AWS tools with pip (100 MB, checked by hash); this takes a minute",
};

/// Installs the tools under `cache` unless they are there, builds the Lambda binaries, and returns the
/// variables that tell the tests where: `TEST_AWS_TOOLS`, a directory to put into `PYTHONPATH`, and
/// `TEST_FUNCTIONS`, the directory of the binaries.
///
/// # Errors
/// If there is no Python 3.10 with pip, what it fetches does not match the hashes, or the functions
/// do not build.
pub async fn provide(cache: &Path) -> anyhow::Result<Vec<(String, String)>> {
    [("TEST_AWS_TOOLS", TOOLS.provide(cache).await?), ("TEST_FUNCTIONS", build().await?)]
        .into_iter()
        .map(|(name, path)| {
            let path = path.to_str().context("a path is not UTF-8")?;
            Ok((name.to_owned(), path.to_owned()))
        })
        .collect()
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
    use super::*;

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
}
