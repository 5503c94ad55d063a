//! `rooms resume`: clients of one room are cut, messages are published meanwhile, and all resume at once.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::site::{Site, TOLD};
use super::speak::{answered, complete, create, missed, subscribe, talk};
use crate::idle::wait;
use crate::load::crowd::Crowd;
use crate::report::{Outcome, progress, rounded};

/// Subscribed at once, the first time.
const AT_ONCE: usize = 256;

/// Messages sent at once: fewer than may be under way on a connection.
const BURST: u32 = 16;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Clients that are cut.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    clients: u32,
    /// Messages that they miss.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    missed: u32,
    /// Messages that are published while they resume.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=1000))]
    meanwhile: u32,
    /// Bytes of a text.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=65_000))]
    bytes: u32,
}

/// The clients, and one more that publishes and is not cut.
struct Room {
    crowd: Crowd,
    clients: usize,
    /// Its last place.
    last: u64,
}

impl Options {
    pub(super) fn measure(&self, site: &Site) -> anyhow::Result<Outcome> {
        let mut room = Room::new(site, self.clients as usize, self.bytes as usize)?;
        room.publish(BURST)?;
        let clients = room.clients;
        complete(&mut room.crowd, 0..clients, 0, room.last)?;
        progress(&format!("{clients} clients are cut"));
        (0..clients).for_each(|client| room.crowd.hang_up(client));
        room.crowd.ended.clear();
        room.publish(self.missed)?;
        let missing = missed(&room.crowd, 0..clients, 0, room.last);
        let quiet = room.statements(site)?;
        // As much again, with nothing done: what Keywire asks by itself.
        let still = room.statements(site)? - quiet;
        let before = site.statements()?;
        let start = Instant::now();
        room.crowd.connect(0..clients)?;
        let connected = start.elapsed();
        let connecting = room.statements(site)? - before - still;
        talk(&mut room.crowd)?.answers.clear();
        let (before, used, start) = (site.statements()?, site.read()?, Instant::now());
        subscribe(&mut room.crowd, 0..clients, 0, clients)?;
        room.publish(self.meanwhile)?;
        answered(&mut room.crowd)?;
        let replied = start.elapsed();
        let lost = complete(&mut room.crowd, 0..clients, 0, room.last)?;
        let live = start.elapsed();
        let cost = site.read()?.json(&used, clients as u64);
        let resuming = room.statements(site)? - before - still;
        let verdict = room.crowd.intake.check.verdict();
        let talk = talk(&mut room.crowd)?;
        let milliseconds = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        let figures = json!({
            "connected_ms": milliseconds(connected), "replied_ms": milliseconds(replied),
            "live_ms": milliseconds(live), "answers_ms": talk.answers.json(),
            "statements": {
                "to_connect": connecting, "to_resume": resuming, "with_nothing_done": still,
            },
            "cost_a_client": {"core_us": cost["core_us"], "cores": cost["cores"]},
            "missed": missing, "lost": lost, "deliveries": verdict.json(),
            "resets": talk.resets, "altered": talk.altered,
            "load": {
                "clients": self.clients, "missed": self.missed, "meanwhile": self.meanwhile,
                "bytes": self.bytes,
            },
        });
        let met = lost == 0 && verdict.is_clean() && talk.resets == 0 && talk.altered == 0;
        Ok(Outcome { run: "rooms resume", met, figures })
    }
}

impl Room {
    fn new(site: &Site, clients: usize, bytes: usize) -> anyhow::Result<Self> {
        let mut crowd = site.crowd(clients + 1, 1, bytes)?;
        crowd.connect(clients..clients + 1)?;
        create(&mut crowd, clients, 1)?;
        crowd.connect(0..clients)?;
        subscribe(&mut crowd, 0..clients + 1, 0, AT_ONCE)?;
        answered(&mut crowd)?;
        let last = crowd.intake.check.next(clients, 0) - 1;
        Ok(Self { crowd, clients, last })
    }

    /// Publishes, and waits after each burst until all commands have their replies, also those of others.
    fn publish(&mut self, messages: u32) -> anyhow::Result<()> {
        let mut left = messages;
        while left > 0 {
            let some = left.min(BURST);
            let due = self.crowd.intake.nanoseconds(Instant::now());
            let mut frames = Vec::new();
            for _ in 0..some {
                talk(&mut self.crowd)?.publish(&mut frames, self.clients, 0, due);
            }
            self.crowd.send(self.clients, &frames);
            self.last += u64::from(some);
            left -= some;
            answered(&mut self.crowd)?;
        }
        Ok(())
    }

    /// Waits until Postgres has told its statistics; the statements that ended so far.
    fn statements(&mut self, site: &Site) -> anyhow::Result<i64> {
        wait(&mut self.crowd, TOLD)?;
        site.statements()
    }
}
