//! Load tools. Progress goes to standard error; the last line on standard output is the result as
//! JSON. RESULTS.md keeps what they gave.
//!
//! `login-equal`, `login-split`, `calls`, `rooms` and `cold-start` start the built `keywire` with a
//! database of its own, measure it over loopback and end it again. `fanout`, `chat`, `idle`, `stall` and
//! `churn` load any WebSocket server that relays each message to all its clients.

mod accounts;
mod bare;
mod calls;
mod chat;
mod churn;
mod client;
mod cold_start;
mod fanout;
mod idle;
mod keywire;
mod load;
mod login_equal;
mod login_split;
mod machine;
mod report;
mod results;
mod rooms;
mod samples;
mod stall;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::report::Outcome;

/// Measures Keywire.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    run: Run,
    /// The `keywire` that login and start-up are measured on; without it the one built beside this program.
    #[arg(long, global = true)]
    keywire: Option<PathBuf>,
}

/// The runs.
#[derive(Debug, Subcommand)]
enum Run {
    /// Whether every failed login takes the same time and gets the same answer.
    LoginEqual(login_equal::Options),
    /// What a login costs beside its hash: one at a time, and at saturation.
    LoginSplit(login_split::Options),
    /// `GET /me` and refreshes a second, beside the statements of a lone call under pgbench.
    Calls(calls::Options),
    /// Durable rooms over `keywire.v1`: publishing, delivering, resuming, and idle subscriptions.
    Rooms(rooms::Options),
    /// What a Lambda function takes from its start to its first answer.
    ColdStart(cold_start::Options),
    /// A few clients send, all receive: deliveries a second, latency, and what each costs.
    Fanout(fanout::Options),
    /// Every client sends bursts to all.
    Chat(chat::Options),
    /// Many silent clients: the memory of each, also after a burst and after many came and went.
    Idle(idle::Options),
    /// Clients that stop reading, and what the others notice of it.
    Stall(stall::Options),
    /// How many clients can connect and leave in a second.
    Churn(churn::Options),
    /// Makes a table or a chart of the lines that other runs printed.
    Results(results::Options),
}

/// The exit code of a run that missed a bar; that of one that failed is 2.
const MISSED: u8 = 1;

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            // Not anyhow's own way, which adds a backtrace.
            report::progress(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for and prints what it gave; whether every bar was met.
async fn measure(arguments: Arguments) -> anyhow::Result<bool> {
    raise_file_limit()?;
    // Before the run puts a load of its own on it.
    let machine = machine::describe();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Dropping the run ends what it started.
    let outcome = tokio::select! {
        outcome = run(arguments) => outcome?,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    };
    let Some(outcome) = outcome else { return Ok(true) };
    report::print(&outcome, &machine)?;
    Ok(outcome.met)
}

/// The outcome, where something is measured.
async fn run(Arguments { run, keywire }: Arguments) -> anyhow::Result<Option<Outcome>> {
    let program = || keywire::program(keywire);
    let outcome = match run {
        Run::LoginEqual(options) => login_equal::run(&program()?, &options).await,
        Run::LoginSplit(options) => login_split::run(&program()?, &options).await,
        Run::Calls(options) => calls::run(&program()?, &options).await,
        Run::Rooms(options) => rooms::run(&program()?, &options).await,
        Run::ColdStart(options) => cold_start::run(&program()?, &options).await,
        Run::Fanout(options) => fanout::run(&options).await,
        Run::Chat(options) => chat::run(&options).await,
        Run::Idle(options) => idle::run(&options).await,
        Run::Stall(options) => stall::run(&options).await,
        Run::Churn(options) => churn::run(&options).await,
        Run::Results(options) => return results::print(&options).map(|()| None),
    };
    outcome.map(Some)
}

/// A load needs a file for each client.
fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of open files cannot be raised")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }
}
