//! `rooms publish`: acknowledged durable messages a second, and a lone one.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::site::Site;
use super::speak::{answered, complete, create, subscribe, talk};
use crate::load::crowd::{Crowd, all_there};
use crate::report::{Outcome, progress};

/// Acknowledgements a second, with each number of rooms.
const RATE_BAR: f64 = 10_000.0;

/// The median of a lone message's acknowledgement, in milliseconds.
const LONE_BAR: f64 = 5.0;

/// Load before counting begins, in each phase.
const RAMP: Duration = Duration::from_secs(1);

/// The longest turn without a look at the clock.
const TURN: Duration = Duration::from_millis(10);

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Numbers of rooms, a phase for each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    rooms: Vec<u16>,
    /// Connections that publish, each to its share of the rooms.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Messages of each that are not acknowledged.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=32))]
    in_flight: u64,
    /// Bytes of a text.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=65_000))]
    bytes: u32,
    /// Counted seconds of each phase.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
}

/// A closed loop: each client keeps so many messages unacknowledged.
#[derive(Debug)]
struct Load {
    crowd: Crowd,
    clients: Vec<Publisher>,
    window: u64,
    /// The last place of each room.
    last: Vec<u64>,
}

/// A client's part.
#[derive(Debug)]
struct Publisher {
    /// Its rooms, which it takes in turn.
    rooms: Vec<usize>,
    turn: usize,
}

impl Options {
    pub(super) fn measure(&self, site: &Site) -> anyhow::Result<Outcome> {
        let most = self.rooms.iter().copied().max().unwrap_or(1);
        let mut owner = site.crowd(1, usize::from(most), 0)?;
        owner.connect(0..1)?;
        create(&mut owner, 0, usize::from(most))?;
        drop(owner);
        let lone = self.phase(site, 1, 1, 1)?;
        let p50 = lone["acknowledged_ms"]["p50"].as_f64().unwrap_or(f64::MAX);
        let mut met = p50 < LONE_BAR && is_clean(&lone);
        let mut phases = Vec::new();
        for rooms in &self.rooms {
            let clients = usize::from(self.connections);
            let phase = self.phase(site, clients, usize::from(*rooms), self.in_flight)?;
            met &= phase["per_second"].as_f64() >= Some(RATE_BAR) && is_clean(&phase);
            phases.push(phase);
        }
        let figures = json!({
            "lone": lone, "phases": phases, "rate_bar": RATE_BAR, "lone_p50_bar_ms": LONE_BAR,
            "load": {
                "connections": self.connections, "in_flight": self.in_flight, "bytes": self.bytes,
            },
        });
        Ok(Outcome { run: "rooms publish", met, figures })
    }

    /// What so many clients get acknowledged in so many rooms.
    fn phase(
        &self,
        site: &Site,
        clients: usize,
        rooms: usize,
        window: u64,
    ) -> anyhow::Result<Value> {
        let crowd = site.crowd(clients, rooms, self.bytes as usize)?;
        let mut load = Load::new(crowd, clients, rooms, window)?;
        load.run(RAMP)?;
        let talk = talk(&mut load.crowd)?;
        let replies = talk.replies;
        talk.answers.clear();
        let before = site.read()?;
        load.run(Duration::from_secs(self.seconds))?;
        let replies = load.replies()? - replies;
        let mut figures = site.read()?.json(&before, replies);
        load.end(&mut figures)?;
        figures["rooms"] = rooms.into();
        progress(&format!(
            "{clients} connections, {rooms} rooms, {window} in flight: {}/s acknowledged, p50 {} ms",
            figures["per_second"], figures["acknowledged_ms"]["p50"],
        ));
        Ok(figures)
    }
}

impl Load {
    /// Connects and subscribes the clients; where there are fewer rooms than clients, several share one.
    fn new(crowd: Crowd, clients: usize, rooms: usize, window: u64) -> anyhow::Result<Self> {
        let part = |client: usize| Publisher {
            rooms: if rooms < clients {
                vec![client % rooms]
            } else {
                (client..rooms).step_by(clients).collect()
            },
            turn: 0,
        };
        let parts: Vec<_> = (0..clients).map(part).collect();
        let mut load = Self { crowd, clients: parts, window, last: vec![0; rooms] };
        load.crowd.connect(0..clients)?;
        for (client, part) in load.clients.iter().enumerate() {
            for room in &part.rooms {
                subscribe(&mut load.crowd, client..client + 1, *room, 1)?;
            }
        }
        answered(&mut load.crowd)?;
        for (client, part) in load.clients.iter().enumerate() {
            for room in &part.rooms {
                load.last[*room] = load.crowd.intake.check.next(client, *room) - 1;
            }
        }
        Ok(load)
    }

    fn replies(&mut self) -> anyhow::Result<u64> {
        Ok(talk(&mut self.crowd)?.replies)
    }

    /// Publishes for so long.
    fn run(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        let mut frames = Vec::new();
        while Instant::now() < end {
            let due = self.crowd.intake.nanoseconds(Instant::now());
            for (client, part) in self.clients.iter_mut().enumerate() {
                let talk = talk(&mut self.crowd)?;
                frames.clear();
                for _ in talk.unanswered(client)..self.window {
                    let room = part.rooms[part.turn % part.rooms.len()];
                    part.turn += 1;
                    talk.publish(&mut frames, client, room, due);
                    self.last[room] += 1;
                }
                if !frames.is_empty() {
                    self.crowd.send(client, &frames);
                }
            }
            self.crowd.turn(TURN)?;
        }
        all_there(&self.crowd)
    }

    /// Waits for what is under way, and adds what came of it to the figures.
    fn end(&mut self, figures: &mut Value) -> anyhow::Result<()> {
        figures["acknowledged_ms"] = talk(&mut self.crowd)?.answers.json();
        answered(&mut self.crowd)?;
        let mut lost = 0;
        for (client, part) in self.clients.iter().enumerate() {
            for room in &part.rooms {
                lost += complete(&mut self.crowd, client..client + 1, *room, self.last[*room])?;
            }
        }
        figures["lost"] = lost.into();
        figures["deliveries"] = self.crowd.intake.check.verdict().json();
        figures["altered"] = talk(&mut self.crowd)?.altered.into();
        figures["clean"] = (lost == 0 && self.crowd.intake.check.verdict().is_clean()).into();
        Ok(())
    }
}

/// Whether each acknowledged message came to each subscriber, once and in order.
fn is_clean(figures: &Value) -> bool {
    figures["clean"] == true && figures["altered"] == 0
}
