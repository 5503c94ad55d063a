//! Between nodes: what a client publishes here reaches the clients of every other node.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use crate::hub::{Hub, Room};
use crate::metrics::Metrics;
use crate::pressure::{Patience, Rules};
use crate::publication::{Kind, Publication};

mod frame;
pub mod memory;
pub mod queue;
pub mod redis;

use queue::{Cost, Full, Queue};

/// Whether other nodes are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// This node is meant to be alone, or its peers are in this process.
    Memory,
    /// The link stands.
    Up,
    /// The link is broken and being built anew; clients of this node still reach each other.
    Down,
}

impl State {
    /// The word in `/health/ready`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Carries publications to the other nodes, each sender's in order, at most once.
pub trait Broker: Debug + Send + Sync {
    /// Takes a client's message; never waits. What cannot be carried is dropped and counted.
    fn publish(&self, kind: Kind, payload: &[u8]);

    /// Until when publishers should wait because the way out is filling up.
    fn pauses_until(&self, now: Instant) -> Option<Instant>;

    /// Whether other nodes are reached.
    fn state(&self) -> State;
}

/// What other nodes sent and this node has not yet delivered.
#[derive(Debug)]
pub struct Inbound {
    queue: Queue<Publication>,
    /// Rung while more than half its cap waits.
    crowded: Notify,
    metrics: Arc<Metrics>,
}

impl Inbound {
    /// An empty way in that takes `cap` bytes.
    pub fn new(cap: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let rules = Rules { cap, patience: Patience::default() };
        Arc::new(Self { queue: Queue::new(rules), crowded: Notify::new(), metrics })
    }

    /// Takes what another node sent; never waits. Over the cap it is dropped and counted.
    pub fn push(&self, publication: Publication) {
        match self.queue.push(publication) {
            Ok(()) => {
                self.metrics.relay_received.increment(1);
                if self.queue.share() > 0.5 {
                    self.crowded.notify_one();
                }
            }
            Err(Full) => self.metrics.relay_dropped_in.increment(1),
        }
    }

    fn pauses_until(&self, now: Instant) -> Option<Instant> {
        self.queue.pauses_until(now)
    }

    /// Gives what comes in to a room, in order, for as long as the node runs.
    pub async fn deliver_to(self: Arc<Self>, hub: Weak<Hub>, room: Arc<Room>) {
        loop {
            let next = std::future::poll_fn(|cx| self.queue.poll_pop(cx)).await;
            // Not held while it waits for the next: the shards end with the node.
            let Some(hub) = hub.upgrade() else { return };
            // One order for all is kept by this being the only task that delivers.
            let mut publishing = pin!(hub.publish(&room, next));
            let published = loop {
                tokio::select! {
                    biased;
                    published = &mut publishing => break published,
                    () = self.crowded.notified() => hub.hurry(true),
                }
            };
            if let Err(error) = published {
                tracing::debug!(%error, "a relayed message was not delivered");
            }
            if self.queue.share() < 0.25 {
                hub.hurry(false);
            }
            tokio::task::consume_budget().await;
        }
    }
}

impl Cost for Publication {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}
