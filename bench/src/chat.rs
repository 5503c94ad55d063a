//! `chat`: every client sends a burst to all, again and again; the next round begins when everything
//! came. So a server has thousands of short messages from many senders at once.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::load::crowd::{Crowd, all_there};
use crate::load::senders::Senders;
use crate::load::target::Target;
use crate::load::{self, Bench};
use crate::report::{Outcome, progress, rounded};

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Clients; all send and receive.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// Messages of a client in a round.
    #[arg(long, default_value_t = 1600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    burst: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    bytes: u32,
    /// How long it is measured, to the end of the round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// Runs it.
///
/// # Errors
/// If a client cannot connect, or the server breaks off.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let scenario = options.clone();
    load::run(&options.target, move |bench| scenario.measure(bench)).await
}

impl Options {
    fn measure(&self, Bench { endpoint, meter }: Bench) -> anyhow::Result<Outcome> {
        let clients = self.clients as usize;
        let mut crowd = Crowd::new(endpoint, clients, clients)?;
        let mut senders = Senders::new(clients, clients, self.bytes as usize);
        crowd.connect(0..clients)?;
        self.round(&mut crowd, &mut senders)?;
        crowd.intake.latency.clear();
        let (verdict, writes) = (crowd.intake.check.verdict(), crowd.writes);
        let before = meter.read()?;
        let start = Instant::now();
        let (mut rounds, mut active, mut line) = (0_u32, Duration::ZERO, start);
        while start.elapsed() < Duration::from_secs(self.seconds.into()) {
            active += self.round(&mut crowd, &mut senders)?;
            rounds += 1;
            if line.elapsed() >= PROGRESS_EVERY {
                line = Instant::now();
                progress(&format!("{rounds} rounds"));
            }
        }
        let cost = meter.read()?.since(&before);
        all_there(&crowd)?;
        let verdict = crowd.intake.check.verdict().since(verdict);
        let lost = crowd.lost(&senders.sent);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let a_second = verdict.delivered as f64 / active.as_secs_f64();
        let figures = json!({
            "seconds": rounded(active.as_secs_f64()), "rounds": rounds,
            "deliveries": verdict.json(), "lost": lost, "deliveries_per_second": rounded(a_second),
            "latency_ms": crowd.intake.latency.json(),
            "cost": cost.json(verdict.delivered, crowd.writes - writes),
            "load": {"clients": self.clients, "burst": self.burst, "bytes": self.bytes},
        });
        Ok(Outcome { run: "chat", met: lost == 0 && verdict.is_clean(), figures })
    }

    /// One burst of every client; from its beginning until the last delivery.
    fn round(&self, crowd: &mut Crowd, senders: &mut Senders) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let hearing = crowd.hearing().count();
        for sender in 0..senders.count() {
            senders.send(crowd, sender, self.burst.into(), start, hearing);
        }
        senders.drain(crowd)?;
        Ok(crowd.intake.last.saturating_duration_since(start))
    }
}
