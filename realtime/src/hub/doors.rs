//! What all shards share, and the way to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::{Ended, LOG_BYTES, RELAY_BYTES, Rooms};
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::pressure::Rules;
use crate::settings::Settings;
use crate::shard::link::{Envelope, Links, Sender};
use crate::store::Store;

/// Most bytes of entries at once, also where queues are long. No setting: more would only be held longer.
const PAGE_BYTES: usize = 64 * 1024;

/// What all shards share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The node's settings.
    pub(crate) settings: Settings,
    /// What holds for the queue of each connection.
    pub(crate) rules: Rules,
    /// What the node counts.
    pub(crate) metrics: Arc<Metrics>,
    /// The way to the other nodes.
    pub(crate) broker: Arc<dyn Broker>,
    /// The ways to each shard.
    pub(crate) shards: Box<[Door]>,
    /// Bytes under way from each sender to each shard.
    pub(crate) links: Links,
    /// Rung when the relay may send again.
    pub(crate) relay_relief: Notify,
    /// What holds for them while other nodes send faster than readers here let them.
    pub(crate) hurried_rules: Rules,
    /// Whether they do.
    pub(crate) hurried: AtomicBool,
    /// Rung when a shard has ended.
    pub(crate) ended: Notify,
    /// The rooms that are open.
    pub(crate) rooms: Rooms,
    /// Postgres, as `keywire.v1` uses it; a node without one speaks plain alone.
    pub(crate) store: Option<Store>,
}

/// The way to one shard.
#[derive(Debug)]
pub(crate) struct Door {
    /// What it is told, in order for each sender.
    pub(crate) inbox: UnboundedSender<Envelope>,
    /// Connections it has or is about to get.
    pub(crate) load: AtomicUsize,
    /// Whether something on it waits for relief that another shard may bring.
    pub(crate) waiting: AtomicBool,
    /// Bytes its connections make the node hold.
    pub(crate) held_bytes: Arc<AtomicUsize>,
}

impl Door {
    pub(super) fn new(inbox: UnboundedSender<Envelope>) -> Self {
        Self {
            inbox,
            load: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            held_bytes: Arc::default(),
        }
    }
}

impl Shared {
    /// What holds for the queue of each connection now.
    pub(crate) fn rules(&self) -> &Rules {
        if self.hurried.load(Ordering::Relaxed) { &self.hurried_rules } else { &self.rules }
    }

    /// Bytes of entries that a member gets at once while it catches up: a quarter of its queue at most, which
    /// has room for them when they come.
    pub(crate) fn page_bytes(&self) -> usize {
        PAGE_BYTES.min(self.rules().cap / 4)
    }

    /// Sends something of which `bytes` are accounted until [`Self::arrived`].
    ///
    /// # Errors
    /// [`Ended`] if that shard has ended.
    pub(crate) fn send_bytes(
        &self,
        from: Sender,
        to: usize,
        bytes: usize,
        envelope: impl FnOnce(Sender) -> Envelope,
    ) -> Result<(), Ended> {
        self.links.add(from, to, bytes);
        self.shards[to].inbox.send(envelope(from)).map_err(|_| {
            self.arrived(from, to, bytes);
            Ended
        })
    }

    /// Something sent by [`Self::send_bytes`] is carried out.
    pub(crate) fn arrived(&self, from: Sender, to: usize, bytes: usize) {
        let limit = match from {
            Sender::Relay => RELAY_BYTES,
            Sender::Log => LOG_BYTES,
            Sender::Shard(_) => self.settings.shards.bytes.0,
        };
        if self.links.take(from, to, bytes, limit) {
            match from {
                Sender::Relay => self.relay_relief.notify_waiters(),
                // Whoever publishes there waits on any shard.
                Sender::Log => self.relieve_all(),
                Sender::Shard(shard) => self.relieve(shard),
            }
        }
    }

    /// Tells every shard. One that has ended needs no telling.
    pub(crate) fn tell_all(&self, mut news: impl FnMut() -> Envelope) {
        for door in &self.shards {
            if door.inbox.send(news()).is_err() {
                tracing::debug!("a shard that is to be told something has ended");
            }
        }
    }

    /// Publishers of a room may go on: wakes the shards on which any waits.
    pub(crate) fn relieve_all(&self) {
        for shard in 0..self.shards.len() {
            self.relieve(shard);
        }
    }

    fn relieve(&self, shard: usize) {
        let door = &self.shards[shard];
        // A shard that has ended waits for nothing.
        if door.waiting.swap(false, Ordering::SeqCst) && door.inbox.send(Envelope::Relief).is_err()
        {
            tracing::debug!("no shard to relieve");
        }
    }
}
