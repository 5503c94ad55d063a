//! `churn`: clients connect and leave again, as fast as the server lets them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;

use crate::load::crowd::{Crowd, State};
use crate::load::target::Target;
use crate::load::{self, Bench};
use crate::report::{Outcome, progress, rounded};

/// Connections between two lines of progress.
const PROGRESS_EVERY: u32 = 20_000;

/// The longest wait for one more connection.
const LIMIT: Duration = Duration::from_secs(30);

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections in all.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// Clients that do so at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Hang up without a close handshake.
    #[arg(long)]
    abrupt: bool,
}

/// Runs it.
///
/// # Errors
/// If the server refuses or answers no more.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let scenario = options.clone();
    load::run(&options.target, move |bench| scenario.measure(bench)).await
}

impl Options {
    fn measure(&self, Bench { endpoint, meter }: Bench) -> anyhow::Result<Outcome> {
        let clients = self.clients as usize;
        let mut crowd = Crowd::new(endpoint, clients, 1)?;
        let memory = meter.memory()?;
        let before = meter.read()?;
        let start = Instant::now();
        churn(&mut crowd, (0..clients).collect(), self.connections, self.abrupt)?;
        let seconds = start.elapsed().as_secs_f64();
        let cost = meter.read()?.since(&before).json(self.connections.into(), crowd.writes);
        let figures = json!({
            "connections": self.connections, "seconds": rounded(seconds),
            "connections_per_second": rounded(f64::from(self.connections) / seconds),
            "connecting_ms": crowd.connecting.json(),
            "server_us_per_connection": cost["server_us_per_delivery"],
            "server_core": cost["server_core"], "load_core": cost["load_core"],
            "rss_before": memory.map(|memory| memory.rss), "rss_after": meter.rss()?,
            "load": {"clients": self.clients, "abrupt": self.abrupt},
        });
        Ok(Outcome { run: "churn", met: true, figures })
    }
}

/// Connects and disconnects so often in all, by these clients at once; they must be away. The rest of
/// the crowd goes on meanwhile.
///
/// # Errors
/// If a connection is refused or cut, or none gets on for [`LIMIT`].
pub(crate) fn churn(
    crowd: &mut Crowd,
    mut away: VecDeque<usize>,
    connections: u32,
    abrupt: bool,
) -> anyhow::Result<()> {
    let (mut dialed, mut done) = (0, 0);
    let mut last = Instant::now();
    while done < connections {
        while dialed < connections
            && let Some(client) = away.pop_front()
        {
            crowd.dial(client)?;
            dialed += 1;
        }
        crowd.turn(Duration::from_secs(1))?;
        for client in std::mem::take(&mut crowd.opened) {
            if abrupt { crowd.hang_up(client) } else { crowd.close(client) }
        }
        for (client, state) in std::mem::take(&mut crowd.ended) {
            if state != State::Closing {
                let reason = crowd.reason.as_deref().unwrap_or("without a word");
                bail!("a connection ended {reason}, after {done} others");
            }
            away.push_back(client);
            done += 1;
            last = Instant::now();
            if done.is_multiple_of(PROGRESS_EVERY) {
                progress(&format!("{done} of {connections} connections"));
            }
        }
        ensure!(last.elapsed() < LIMIT, "{done} connections were made, and no more get on");
    }
    Ok(())
}
