//! `cargo dev check-rooms`: the checker of rooms, for as long as one likes.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::test;
use crate::settings::Machine;

/// Its test alone, which tells what it does; cargo's own runner ends nothing that takes long.
const CHECKER: [&str; 9] = [
    "cargo",
    "test",
    "--workspace",
    "--test=it",
    "--",
    "--exact",
    "--nocapture",
    "--test-threads=1",
    "checker::rooms_keep_what_they_promise_whatever_breaks",
];

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How long things break.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The choices of another run, as it told them.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs it with a Postgres of its own.
///
/// # Errors
/// If what it needs cannot be had; that it finds something is an exit code.
pub(super) async fn check_rooms(
    machine: &Machine,
    Arguments { seconds, seed }: Arguments,
) -> anyhow::Result<ExitCode> {
    let mut variables = vec![("CHECK_TIME".to_owned(), format!("{seconds}s"))];
    variables.extend(seed.map(|seed| ("CHECK_SEED".to_owned(), seed.to_string())));
    let words: Vec<OsString> = CHECKER.map(Into::into).into();
    test::with_variables(machine, words, variables).await
}
