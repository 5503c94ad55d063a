//! Between nodes: what a client publishes here reaches the clients of every other node.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use crate::hub::{Busy, Hub};
use crate::metrics::Metrics;
use crate::publication::Publication;
use crate::queue::{Full, Pool, Queue};

mod frame;
pub mod memory;
pub mod redis;

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
    /// Takes a publication; never waits. What cannot be carried is dropped and counted.
    fn publish(&self, publication: &Publication);

    /// Until when publishers should wait because the way out is filling up.
    fn pauses_until(&self, now: Instant) -> Option<Instant>;

    /// Whether other nodes are reached.
    fn state(&self) -> State;
}

/// What other nodes sent and this node has not yet delivered.
#[derive(Debug)]
pub struct Inbound {
    queue: Queue<Publication>,
    metrics: Arc<Metrics>,
}

impl Inbound {
    /// An empty way in that takes `cap` bytes.
    pub fn new(cap: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        // A pool of its own: what waits here is no client's backlog.
        Arc::new(Self { queue: Queue::new(cap, Arc::default()), metrics })
    }

    /// Takes what another node sent; never waits. Over the cap it is dropped and counted.
    pub fn push(&self, publication: Publication) {
        match self.queue.push(publication) {
            Ok(_) => self.metrics.relay_received.increment(1),
            Err(Full) => self.metrics.relay_dropped_in.increment(1),
        }
    }

    fn pauses_until(&self, now: Instant) -> Option<Instant> {
        self.queue.pauses_until(now)
    }

    /// Delivers what comes in to the hub's members, in order, for as long as the node runs.
    pub async fn deliver_to(self: Arc<Self>, hub: Arc<Hub>, pool: Arc<Pool>) {
        loop {
            let mut next = std::future::poll_fn(|cx| self.queue.poll_pop(cx)).await;
            loop {
                // Made before trying, so that a ring in between is not missed.
                let relief = pool.relief.notified();
                let Err(Busy { publication, until }) = hub.publish_here(next) else { break };
                next = publication;
                if tokio::time::timeout_at(until.into(), relief).await.is_err() {
                    tracing::trace!("no relief; trying again");
                }
            }
            // One order for all is kept by this being the only task that delivers.
            tokio::task::consume_budget().await;
        }
    }
}
