//! The broker without Redis: nodes in one process, or one alone.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::{Broker, Inbound, State};
use crate::publication::Publication;

/// Joins the nodes of one process.
#[derive(Debug, Clone, Default)]
pub struct Bus(Arc<Mutex<Vec<Weak<Inbound>>>>);

/// One node's end of a [`Bus`].
#[derive(Debug)]
pub struct Memory {
    bus: Bus,
    own: Arc<Inbound>,
}

impl Bus {
    /// Takes a node in: what others publish comes into `inbound`.
    pub fn join(&self, inbound: &Arc<Inbound>) -> Arc<Memory> {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(inbound));
        Arc::new(Memory { bus: self.clone(), own: Arc::clone(inbound) })
    }
}

impl Memory {
    fn others(&self) -> Vec<Arc<Inbound>> {
        let nodes = self.bus.0.lock().unwrap_or_else(PoisonError::into_inner);
        let living = nodes.iter().filter_map(Weak::upgrade);
        living.filter(|node| !Arc::ptr_eq(node, &self.own)).collect()
    }
}

impl Broker for Memory {
    fn publish(&self, publication: &Publication) {
        for node in self.others() {
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
