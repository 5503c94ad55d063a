//! The connections of this node and the one order in which they get what is published.
//!
//! A publication is given to the broker and to every member's queue under one lock, so that all
//! members of a node see one order and other nodes see each sender's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::broker::Broker;
use crate::close::CloseCode;
use crate::metrics::Metrics;
use crate::publication::Publication;
use crate::queue::{Full, Pool, Queue};
use crate::settings::Queues;

/// What the node wants to tell one connection: publications, and in the end a close code.
#[derive(Debug)]
pub struct Outbox {
    /// Names the connection in logs; unique on a node.
    pub id: u64,
    /// What waits to be written.
    pub queue: Queue<Publication>,
    /// The close code, 0 while there is none. The first one stays.
    ending: AtomicU16,
}

impl Outbox {
    /// Asks the connection to close.
    pub fn end(&self, code: CloseCode) {
        let first =
            self.ending.compare_exchange(0, code.number(), Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.queue.wake();
        }
    }

    /// The code it is asked to close with.
    pub fn ending(&self) -> Option<CloseCode> {
        CloseCode::from_number(self.ending.load(Ordering::Acquire))
    }

    /// Names the task to wake when there is something to do.
    pub fn register(&self, waker: &Waker) {
        self.queue.register(waker);
    }
}

/// The connections of this node.
#[derive(Debug)]
pub struct Hub {
    members: Mutex<Members>,
    next_id: AtomicU64,
    settings: Queues,
    /// What all queues share.
    pub pool: Arc<Pool>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Members {
    outboxes: HashMap<u64, Arc<Outbox>>,
    /// Those that were over half their cap when something was last pushed.
    pressing: HashMap<u64, Arc<Outbox>>,
}

/// One connection's place among the members; leaves when dropped.
#[derive(Debug)]
pub struct Member {
    hub: Arc<Hub>,
    /// What the node wants to tell it.
    pub outbox: Arc<Outbox>,
}

/// The publication was not taken: a reader or the relay needs time. Try again then, or when the
/// pool's `relief` rings.
#[derive(Debug)]
pub struct Busy {
    /// What was not taken.
    pub publication: Publication,
    /// When to try again at the latest.
    pub until: Instant,
}

impl Hub {
    /// A hub without members.
    pub fn new(settings: Queues, pool: Arc<Pool>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::default(),
            next_id: AtomicU64::new(1),
            settings,
            pool,
            metrics,
        })
    }

    /// Takes a connection in; from now on it gets everything published.
    pub fn join(self: &Arc<Self>) -> Member {
        let outbox = Arc::new(Outbox {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            queue: Queue::new(self.settings.connection.0, Arc::clone(&self.pool)),
            ending: AtomicU16::new(0),
        });
        self.lock().outboxes.insert(outbox.id, Arc::clone(&outbox));
        Member { hub: Arc::clone(self), outbox }
    }

    /// Broadcasts a client's message: to this node's members and, by the broker, to the others'.
    ///
    /// # Errors
    /// [`Busy`] while a reader that still takes bytes, or the relay, is over half its cap.
    pub fn publish(&self, publication: Publication, broker: &dyn Broker) -> Result<(), Busy> {
        let now = Instant::now();
        let mut members = self.lock();
        if let Some(until) = members.pauses_until(now).max(broker.pauses_until(now)) {
            return Err(Busy { publication, until });
        }
        broker.publish(&publication);
        self.deliver(&mut members, &publication);
        Ok(())
    }

    /// Broadcasts what another node relayed, to this node's members.
    ///
    /// # Errors
    /// [`Busy`] while a reader that still takes bytes is over half its cap.
    pub fn publish_here(&self, publication: Publication) -> Result<(), Busy> {
        let mut members = self.lock();
        if let Some(until) = members.pauses_until(Instant::now()) {
            return Err(Busy { publication, until });
        }
        self.deliver(&mut members, &publication);
        Ok(())
    }

    fn deliver(&self, members: &mut Members, publication: &Publication) {
        let Members { outboxes, pressing } = members;
        let mut delivered = 0;
        // Nothing follows what a member missed: it would see a hole before its Close.
        for outbox in outboxes.values().filter(|outbox| outbox.ending().is_none()) {
            match outbox.queue.push(publication.clone()) {
                Ok(is_pressing) => {
                    delivered += 1;
                    if is_pressing {
                        pressing.entry(outbox.id).or_insert_with(|| Arc::clone(outbox));
                    }
                }
                Err(Full) => outbox.end(CloseCode::Slow),
            }
        }
        self.metrics.deliveries.increment(delivered);
        if self.pool.bytes() > self.settings.total.0 {
            shed(outboxes, &self.pool, self.settings.total.0);
        }
    }

    /// Every member, as of now.
    pub fn members(&self) -> Vec<Arc<Outbox>> {
        self.lock().outboxes.values().cloned().collect()
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.lock().outboxes.len()
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing panics while it is held; a poisoned table is still a whole one.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn pauses_until(&mut self, now: Instant) -> Option<Instant> {
        self.pressing.retain(|_, outbox| outbox.ending().is_none() && outbox.queue.is_pressing());
        self.pressing.values().filter_map(|outbox| outbox.queue.pauses_until(now)).max()
    }
}

/// Closes the longest queues until nine tenths of the total remain: it looks at every queue, so it
/// must not be due again at the next message.
fn shed(outboxes: &HashMap<u64, Arc<Outbox>>, pool: &Pool, total: usize) {
    let mut longest: Vec<_> =
        outboxes.values().map(|outbox| (outbox.queue.bytes(), outbox)).collect();
    longest.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (_, outbox) in longest {
        if pool.bytes() <= total / 10 * 9 {
            break;
        }
        outbox.end(CloseCode::Slow);
        outbox.queue.clear();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.hub.lock();
        members.outboxes.remove(&self.outbox.id);
        members.pressing.remove(&self.outbox.id);
        drop(members);
        // Whoever waited for this reader need not wait any longer.
        self.hub.pool.relief.notify_waiters();
    }
}
