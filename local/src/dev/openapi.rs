//! `cargo dev openapi`: the committed OpenAPI document, written anew from the code.

use std::process::ExitCode;

use anyhow::Context as _;

use super::say;
use crate::settings;

/// Writes docs/openapi.json.
///
/// # Errors
/// If it cannot be written.
pub(super) fn openapi() -> anyhow::Result<ExitCode> {
    let file = settings::checkout().join("docs/openapi.json");
    std::fs::write(&file, functions::openapi::text())
        .with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("Wrote {}.", file.display()));
    Ok(ExitCode::SUCCESS)
}
