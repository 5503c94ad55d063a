//! The account of what connections make the node hold: what waits for them, and what was read from
//! them but cannot be carried out yet.
//!
//! Each shard has an equal share of `QUEUE_TOTAL` and keeps within it alone, so no reader is closed for
//! what those of another shard hold. Frames count once however many queues share them: a large room
//! that is behind as a whole costs hardly more than one reader.

use std::cell::Cell;
use std::cmp::Reverse;
use std::ops::{Deref, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::Shard;
use super::connection::Connection;
use crate::close::CloseCode;

/// How many bytes a shard holds.
#[derive(Debug, Default)]
pub(super) struct Account {
    held: Cell<usize>,
    /// The same, for the metrics.
    told: Arc<AtomicUsize>,
}

/// Frames on the shard's account for as long as any queue holds them.
#[derive(Debug, Clone)]
pub(super) struct Frames(Rc<Accounted>);

#[derive(Debug)]
struct Accounted {
    bytes: Bytes,
    account: Rc<Account>,
}

impl Account {
    /// An empty account, which tells `told` how it stands.
    pub(super) fn new(told: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self { held: Cell::new(0), told })
    }

    /// What was `before` bytes is now `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        if after != before {
            self.held.update(|held| held + after - before);
            self.told.store(self.held.get(), Ordering::Relaxed);
        }
    }
}

impl Frames {
    /// Puts them on the account.
    pub(super) fn new(bytes: Bytes, account: &Rc<Account>) -> Self {
        account.change(0, bytes.len());
        Self(Rc::new(Accounted { bytes, account: Rc::clone(account) }))
    }

    /// The bytes, for another shard.
    pub(super) fn bytes(&self) -> Bytes {
        self.0.bytes.clone()
    }

    /// A copy of a part, so that the whole need not be held.
    pub(super) fn copy(&self, part: Range<usize>) -> Self {
        Self::new(Bytes::copy_from_slice(&self[part]), &self.0.account)
    }
}

impl Deref for Frames {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        self.account.change(self.bytes.len(), 0);
    }
}

impl Shard {
    /// Whether so many bytes more may be held. If not, the connections that hold most are closed
    /// first, until nine tenths are left: so it is not due again at the next message.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let share = self.shared.settings.queues.total.0 / self.shared.shards.len();
        if self.memory.held.get() + bytes > share {
            self.shed(share / 10 * 9);
        }
        self.memory.held.get() + bytes <= share
    }

    fn shed(&self, goal: usize) {
        let connections = self.connections.borrow();
        let mut holders: Vec<_> =
            connections.iter().filter(|holder| holder.held_bytes() > 0).collect();
        holders.sort_unstable_by_key(|holder| Reverse(holder.held_bytes()));
        for holder in holders {
            if self.memory.held.get() <= goal {
                break;
            }
            holder.end(CloseCode::Slow);
            holder.clear(self);
        }
    }

    /// What was read from a connection and is kept has changed to so many bytes.
    pub(super) fn keep_unread(&self, connection: &Rc<Connection>, bytes: usize) {
        let before = connection.unread.replace(bytes);
        self.memory.change(before, bytes);
        if bytes > before && !self.has_room_for(0) {
            connection.end(CloseCode::Slow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_count_once_for_as_long_as_anybody_holds_them() {
        let account = Rc::<Account>::default();
        let frames = Frames::new(Bytes::from_static(b"frames"), &account);
        let held: Vec<_> = (0..1_000).map(|_| frames.clone()).collect();
        assert_eq!(account.held.get(), 6);
        drop(frames);
        assert_eq!(account.held.get(), 6);
        let copy = held[0].copy(2..5);
        assert_eq!(&copy[..], b"ame");
        assert_eq!(account.held.get(), 6 + 3);
        drop(held);
        assert_eq!(account.held.get(), 3);
        drop(copy);
        assert_eq!((account.held.get(), account.told.load(Ordering::Relaxed)), (0, 0));
    }
}
