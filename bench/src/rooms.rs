//! `rooms`: durable rooms over `keywire.v1`: publishing, delivering, resuming, and what an idle
//! subscription costs.
//!
//! Each starts a `keywire` with a database of its own (fsync on). All sockets are one user's, who owns the
//! rooms.

mod deliver;
mod idle;
mod publish;
mod resume;
mod site;
mod speak;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::report::Outcome;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    run: Run,
    #[command(flatten)]
    server: Server,
}

/// How the server is started, and where the load runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// A setting for Keywire, such as `SHARDS=1`. May be given more than once.
    #[arg(long, global = true)]
    set: Vec<String>,
    /// The core of the load. Linux only.
    #[arg(long, global = true)]
    load_core: Option<usize>,
}

#[derive(Debug, Clone, Subcommand)]
enum Run {
    /// Acknowledged messages a second, and how long the acknowledgement of a lone one takes.
    Publish(publish::Options),
    /// Deliveries a second in one room, beside plain mode with the same clients.
    Deliver(deliver::Options),
    /// Clients that are cut, miss messages, and all resume at once.
    Resume(resume::Options),
    /// Many silent clients that are subscribed to one room: the memory of each.
    Idle(idle::Options),
}

/// Runs it.
///
/// # Errors
/// If Keywire does not start, refuses a command, or cuts a client.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let run = options.run.clone();
    site::run(program, &options.server, move |site| match run {
        Run::Publish(options) => options.measure(&site),
        Run::Deliver(options) => options.measure(&site),
        Run::Resume(options) => options.measure(&site),
        Run::Idle(options) => options.measure(&site),
    })
    .await
}
