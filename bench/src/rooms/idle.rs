//! `rooms idle`: what a silent client costs that is signed in and subscribed to a room.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::site::Site;
use super::speak::{answered, complete, create, subscribe, talk};
use crate::idle::wait;
use crate::load::crowd::{Crowd, all_there};
use crate::load::meter::{Memory, Meter};
use crate::report::{Outcome, progress};

/// Bytes of the process's memory, of each connection.
const BAR: i64 = 2500;

/// Subscribed at once.
const AT_ONCE: usize = 256;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Clients.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    clients: u32,
    /// How long they only answer Pings.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3600))]
    seconds: u32,
    /// Seconds before each look at memory, which allocators give back late.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=60))]
    settle: u32,
}

/// The server's memory at one point after another.
struct Memories {
    meter: Meter,
    before: Option<Memory>,
    clients: usize,
    settle: Duration,
}

impl Memories {
    fn now(&self, crowd: &mut Crowd, what: &str) -> anyhow::Result<Value> {
        wait(crowd, self.settle)?;
        all_there(crowd)?;
        let (Some(before), Some(now)) = (self.before, self.meter.memory()?) else {
            return Ok(Value::Null);
        };
        let json = now.json(before, self.clients);
        progress(&format!("{what}: {} bytes a connection", json["rss_per_connection"]));
        Ok(json)
    }
}

impl Options {
    pub(super) fn measure(&self, site: &Site) -> anyhow::Result<Outcome> {
        let clients = self.clients as usize;
        let mut crowd = site.crowd(clients + 1, 1, 0)?;
        // One client before the first look: what a server sets up only once is no connection's.
        crowd.connect(clients..clients + 1)?;
        create(&mut crowd, clients, 1)?;
        subscribe(&mut crowd, clients..clients + 1, 0, 1)?;
        answered(&mut crowd)?;
        let settle = Duration::from_secs(self.settle.into());
        wait(&mut crowd, settle)?;
        let meter = site.meter();
        let memories = Memories { meter, before: meter.memory()?, clients, settle };
        crowd.connect(0..clients)?;
        let connected = memories.now(&mut crowd, "connected")?;
        subscribe(&mut crowd, 0..clients, 0, AT_ONCE)?;
        answered(&mut crowd)?;
        let subscribed = memories.now(&mut crowd, "subscribed")?;
        let used = meter.read()?;
        wait(&mut crowd, Duration::from_secs(self.seconds.into()))?;
        let used = meter.read()?.since(&used).json(1, 0);
        let idle = memories.now(&mut crowd, "idle")?;
        let lost = said(&mut crowd, clients)?;
        let after = memories.now(&mut crowd, "after a message")?;
        let each = idle["rss_per_connection"].as_i64().unwrap_or(i64::MAX);
        let clean = lost == 0 && crowd.intake.check.verdict().is_clean();
        let figures = json!({
            "rss_before": memories.before.map(|memory| memory.rss), "connected": connected,
            "subscribed": subscribed, "idle": idle, "after_message": after,
            "bar": BAR, "idle_core": used["server_core"], "pings": crowd.intake.pings,
            "connecting_ms": crowd.connecting.json(), "message_ms": crowd.intake.latency.json(),
            "lost": lost, "load": {"clients": self.clients, "seconds": self.seconds},
        });
        Ok(Outcome { run: "rooms idle", met: clean && each < BAR, figures })
    }
}

/// Sends everybody a message; how many did not get it.
fn said(crowd: &mut Crowd, clients: usize) -> anyhow::Result<u64> {
    let last = crowd.intake.check.next(clients, 0);
    let due = crowd.intake.nanoseconds(std::time::Instant::now());
    let mut frame = Vec::new();
    talk(crowd)?.publish(&mut frame, clients, 0, due);
    crowd.send(clients, &frame);
    answered(crowd)?;
    complete(crowd, 0..clients, 0, last)
}
