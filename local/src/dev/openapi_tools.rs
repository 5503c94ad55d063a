//! What reads the OpenAPI document in the tests: a validator, and a fuzzer of the service, from pip by
//! hash.

use std::path::Path;

use anyhow::Context as _;

use super::pip_tools::PipTools;

/// The tools.
pub(super) const TOOLS: PipTools = PipTools {
    name: "openapi-tools",
    requirements: include_str!("../../tools/openapi.txt"),
    programs: &["bin/openapi-spec-validator", "bin/schemathesis"],
    fetching: "Fetching the OpenAPI tools with pip (20 MB, checked by hash)",
};

/// Installs the tools under `cache` unless they are there, and returns the variable that tells the
/// tests where: `TEST_OPENAPI_TOOLS`, a directory to put into `PYTHONPATH`.
///
/// # Errors
/// If they cannot be fetched.
pub(super) async fn provide(cache: &Path) -> anyhow::Result<(String, String)> {
    let tools = TOOLS.provide(cache).await?;
    let path = tools.to_str().context("a path is not UTF-8")?;
    Ok(("TEST_OPENAPI_TOOLS".to_owned(), path.to_owned()))
}
