//! Everything in one process on a laptop, and the `cargo dev` commands.

mod banner;
pub mod child;
mod database;
pub mod dev;
pub mod dev_mail;
mod home;
mod keys;
mod listen;
mod lock;
pub mod places;
pub mod postgres;
pub mod process;
mod progress;
mod scratch;
pub mod settings;
pub mod signals;
mod store;
mod tools;

use std::process::ExitCode;

/// The exit code of a program's end; an error is printed as one readable line with its causes, never
/// as a backtrace, which `anyhow` would add when `RUST_BACKTRACE` is set.
#[expect(clippy::print_stderr, reason = "the last words of a command line program")]
pub fn exit_code(end: anyhow::Result<ExitCode>) -> ExitCode {
    end.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
