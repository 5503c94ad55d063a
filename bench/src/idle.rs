//! `idle`: many clients that only answer Pings. What each costs in memory; whether a burst to all, and
//! many others that come and go, leave something behind.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::churn::churn;
use crate::load::crowd::{Crowd, all_there};
use crate::load::meter::{Memory, Meter};
use crate::load::senders::Senders;
use crate::load::target::Target;
use crate::load::{self, Bench};
use crate::report::{Outcome, progress, rounded};

/// Clients that connect and leave at once.
const CHURNING: usize = 256;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Clients that stay.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    /// How long they only answer Pings.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=3600))]
    seconds: u32,
    /// Seconds before each look at memory, which allocators give back late.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=60))]
    settle: u32,
    /// Messages sent to all at once afterwards.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    burst: u32,
    /// Bytes of each.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    bytes: u32,
    /// Connections that others make and leave after that.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    churn: u32,
}

/// Runs it.
///
/// # Errors
/// If the server refuses or cuts a client.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let scenario = options.clone();
    load::run(&options.target, move |bench| scenario.measure(bench)).await
}

/// The server's memory at one point after another.
struct Memories {
    meter: Meter,
    before: Option<Memory>,
    clients: usize,
}

impl Memories {
    fn now(&self, what: &str) -> anyhow::Result<Value> {
        let (Some(before), Some(now)) = (self.before, self.meter.memory()?) else {
            return Ok(Value::Null);
        };
        let json = now.json(before, self.clients);
        progress(&format!("{what}: {} bytes a connection", json["rss_per_connection"]));
        Ok(json)
    }
}

impl Options {
    fn measure(&self, Bench { endpoint, meter }: Bench) -> anyhow::Result<Outcome> {
        let clients = self.clients as usize;
        let mut crowd = Crowd::new(endpoint, clients + CHURNING, 1)?;
        let mut senders = Senders::new(1, clients, self.bytes as usize);
        // One connection before the first look: what a server sets up only once is no connection's.
        crowd.connect(clients..clients + 1)?;
        crowd.hang_up(clients);
        crowd.ended.clear();
        self.settle(&mut crowd)?;
        let memories = Memories { meter, before: meter.memory()?, clients };
        crowd.connect(0..clients)?;
        self.settle(&mut crowd)?;
        let connected = memories.now("connected")?;
        let used = meter.read()?;
        wait(&mut crowd, Duration::from_secs(self.seconds.into()))?;
        let used = meter.read()?.since(&used).json(1, 0);
        let idle = memories.now("idle")?;
        let burst = self.burst(&mut crowd, &mut senders)?;
        let after_burst = memories.now("after the burst")?;
        let start = Instant::now();
        churn(&mut crowd, (clients..clients + CHURNING).collect(), self.churn, false)?;
        let churned = rounded(start.elapsed().as_secs_f64());
        self.settle(&mut crowd)?;
        let after_churn = memories.now("after the churn")?;
        all_there(&crowd)?;
        let lost = crowd.lost(&senders.sent);
        let pings = crowd.intake.pings;
        (0..clients).for_each(|client| crowd.hang_up(client));
        self.settle(&mut crowd)?;
        let figures = json!({
            "rss_before": memories.before.map(|memory| memory.rss),
            "connected": connected, "idle": idle, "after_burst": after_burst,
            "after_churn": after_churn, "all_gone": memories.now("all gone")?,
            "idle_core": used["server_core"], "pings": pings, "lost": lost, "burst_ms": burst,
            "connecting_ms": crowd.connecting.json(), "churn_seconds": churned,
            "load": {
                "clients": self.clients, "seconds": self.seconds, "burst": self.burst,
                "bytes": self.bytes, "churn": self.churn,
            },
        });
        let met = lost == 0 && crowd.intake.check.verdict().is_clean();
        Ok(Outcome { run: "idle", met, figures })
    }

    fn settle(&self, crowd: &mut Crowd) -> anyhow::Result<()> {
        wait(crowd, Duration::from_secs(self.settle.into()))
    }

    /// Sends the burst and lets memory settle; the latency.
    fn burst(&self, crowd: &mut Crowd, senders: &mut Senders) -> anyhow::Result<Value> {
        let hearing = crowd.hearing().count();
        senders.send(crowd, 0, self.burst.into(), Instant::now(), hearing);
        senders.drain(crowd)?;
        self.settle(crowd)?;
        Ok(crowd.intake.latency.json())
    }
}

/// Only answers Pings, for so long.
///
/// # Errors
/// If a server breaks the protocol.
pub(crate) fn wait(crowd: &mut Crowd, time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // A millisecond at least: less is not waited for.
        crowd.turn(left.max(Duration::from_millis(1)))?;
    }
}
