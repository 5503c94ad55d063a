//! The broker without Redis: nodes in one process, or one alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::{Broker, Inbound, State};
use crate::publication::{Kind, Publication};

/// Joins the nodes of one process.
#[derive(Debug, Clone, Default)]
pub struct Bus(Arc<Nodes>);

#[derive(Debug, Default)]
struct Nodes {
    list: Mutex<Vec<Weak<Inbound>>>,
    /// How many ever joined: a node alone, the usual case, need not take the lock at each message.
    joined: AtomicUsize,
}

/// One node's end of a [`Bus`].
#[derive(Debug)]
pub struct Memory {
    bus: Bus,
    own: Arc<Inbound>,
}

impl Bus {
    /// Takes a node in: what others publish comes into `inbound`.
    pub fn join(&self, inbound: &Arc<Inbound>) -> Arc<Memory> {
        let mut nodes = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.joined.fetch_add(1, Ordering::SeqCst);
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(inbound));
        Arc::new(Memory { bus: self.clone(), own: Arc::clone(inbound) })
    }
}

impl Memory {
    fn others(&self) -> Vec<Arc<Inbound>> {
        if self.bus.0.joined.load(Ordering::SeqCst) == 1 {
            return Vec::new();
        }
        let nodes = self.bus.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        let living = nodes.iter().filter_map(Weak::upgrade);
        living.filter(|node| !Arc::ptr_eq(node, &self.own)).collect()
    }
}

impl Broker for Memory {
    fn publish(&self, kind: Kind, payload: &[u8]) {
        let others = self.others();
        if others.is_empty() {
            return;
        }
        let publication = Publication { kind, payload: Bytes::copy_from_slice(payload) };
        for node in others {
            node.push(publication.clone());
        }
    }

    fn pauses_until(&self, now: Instant) -> Option<Instant> {
        self.others().iter().filter_map(|node| node.pauses_until(now)).max()
    }

    fn state(&self) -> State {
        State::Memory
    }
}
