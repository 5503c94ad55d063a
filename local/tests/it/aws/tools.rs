//! The AWS tools that `cargo dev test` installed, and how they are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The directory of the tools.
pub(crate) fn dir() -> PathBuf {
    given("TEST_AWS_TOOLS")
}

/// Lambda's Runtime Interface Emulator.
pub(crate) fn emulator() -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    dir().join("samcli/local/rapid").join(format!("aws-lambda-rie-{machine}"))
}

/// A binary of `functions`, or its example `panic`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let dir = given("TEST_FUNCTIONS");
    if name == "panic" { dir.join("examples").join(name) } else { dir.join(name) }
}

#[expect(clippy::disallowed_methods, reason = "given by `cargo dev test`")]
fn given(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.unwrap_or_else(|| panic!("{variable} is not set: run these tests by `cargo dev test aws`"))
}

/// Python with the tools, in the workspace's root, told neither to report its use nor to read a
/// user's AWS configuration.
pub(crate) fn python() -> Command {
    let mut python = Command::new("python3");
    python
        .current_dir(root())
        .stdin(Stdio::null())
        .env("PYTHONPATH", dir())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_DEFAULT_REGION", "eu-central-1");
    python
}

/// Runs to the end and returns what was written; both streams are shown if it failed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
