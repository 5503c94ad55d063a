//! `cargo dev prepare`: the committed descriptions of the queries in `.sqlx/`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::runner::{self, Stdin};
use super::services::Services;
use crate::settings::Machine;
use crate::signals::Signals;

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write nothing; fail if something would change.
    #[arg(long)]
    check: bool,
}

/// Describes every query against a database that has just been migrated.
///
/// # Errors
/// If the database or `cargo sqlx` cannot be run.
pub(super) async fn prepare(machine: &Machine, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let services = tokio::select! {
        services = Services::start(machine) => services?,
        signal = signals.next() => return Ok(runner::signalled(signal)),
    };
    let mut words: Vec<OsString> =
        ["cargo", "sqlx", "prepare", "--workspace"].map(Into::into).into();
    if arguments.check {
        words.push("--check".into());
    }
    let variables = [("DATABASE_URL".to_owned(), services.database_url().to_owned())];
    let code = runner::run(&words, &variables, Stdin::Closed, &mut signals).await;
    services.stop().await?;
    code
}
