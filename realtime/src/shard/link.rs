//! What shards are told, and by how much each sender is ahead of each shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::home::{Asking, News};
use super::part::Entries;
use super::presence::Word;
use crate::auth::Verdict;
use crate::hub::{Arrival, Guest, Room, Speech};
use crate::publication::Kind;
use crate::revocation::{Open, Which};
use crate::room::{MuteChange, RoleChange};

/// One thing a shard is told. Each sender's come in the order they were sent.
#[derive(Debug)]
pub(crate) enum Envelope {
    /// A member joins.
    Join(Box<Joining>),
    /// A message for a room whose home the shard is.
    Publish {
        /// The room.
        room: Arc<Room>,
        /// How the message is to be read.
        kind: Kind,
        /// The message.
        payload: Bytes,
        /// Who accounted its bytes; the relay's have been on the other nodes already.
        from: Sender,
    },
    /// What is known of the log of a durable room whose home the shard is.
    Log {
        /// The room.
        room: Arc<Room>,
        /// What.
        news: News,
        /// Bytes accounted to [`Sender::Log`].
        bytes: usize,
    },
    /// A member asks what comes after what it has, in a durable room whose home the shard is.
    Ask {
        /// The room.
        room: Arc<Room>,
        /// Who asks.
        asking: Asking,
    },
    /// Frames that the home shard has ordered, for the members here.
    Deliver {
        /// The room.
        room: Arc<Room>,
        /// The frames, encoded.
        frames: Bytes,
        /// What they are.
        entries: Entries,
        /// Who accounted their bytes.
        from: Sender,
    },
    /// A room's log is another one than it was.
    Renew {
        /// The room.
        room: Arc<Room>,
    },
    /// Entries of a room's log are gone that this node has not had.
    Gap {
        /// The room.
        room: Arc<Room>,
        /// The last of them.
        up_to: u64,
    },
    /// Somebody is a member of a room from now on, or no longer.
    Member {
        /// The room.
        room: Arc<Room>,
        /// Who, and what.
        change: RoleChange,
    },
    /// Somebody may say nothing in a room until then, or may speak.
    Muted {
        /// The room.
        room: Arc<Room>,
        /// Who, and until when.
        change: MuteChange,
        /// Dropped when it holds here.
        done: oneshot::Sender<()>,
    },
    /// Something of who is in a room.
    Presence(Word),
    /// On which sessions sockets here rest is asked.
    Sessions {
        /// Which sockets.
        which: Which,
        /// Gets the answer.
        answer: oneshot::Sender<Open>,
    },
    /// Sessions were looked at again.
    Judged(Arc<[Verdict]>),
    /// What waits for another shard may be tried again.
    Relief,
    /// For whom publishers wait is to be looked at anew.
    Review,
    /// Every client is sent away.
    SendAway {
        /// The time over which.
        window: Duration,
        /// Told when all are.
        done: oneshot::Sender<()>,
    },
    /// The node is gone.
    Stop,
}

/// A member whose socket follows.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Names the connection in logs; unique on a node.
    pub(crate) id: u64,
    /// What it speaks, and where.
    pub(crate) speech: Speech,
    /// What is known of it.
    pub(crate) guest: Guest,
    /// The socket.
    pub(crate) arrival: oneshot::Receiver<Arrival>,
}

/// Who sends to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Another shard.
    Shard(usize),
    /// The relay: another node.
    Relay,
    /// The log: what was committed or read.
    Log,
}

/// Bytes under way between each sender and each shard: sent, but not carried out.
#[derive(Debug)]
pub(crate) struct Links {
    shards: usize,
    bytes: Box<[AtomicUsize]>,
}

impl Links {
    /// Between so many shards, and from the relay and the log.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, bytes: (0..(shards + 2) * shards).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Bytes under way.
    pub(crate) fn bytes(&self, from: Sender, to: usize) -> usize {
        self.link(from, to).load(Ordering::SeqCst)
    }

    /// Bytes under way on all links.
    pub(crate) fn total(&self) -> usize {
        self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// So many more are under way.
    pub(crate) fn add(&self, from: Sender, to: usize, bytes: usize) {
        self.link(from, to).fetch_add(bytes, Ordering::SeqCst);
    }

    /// So many are carried out. Whether that made the link fall to half of `limit` or below.
    pub(crate) fn take(&self, from: Sender, to: usize, bytes: usize, limit: usize) -> bool {
        let before = self.link(from, to).fetch_sub(bytes, Ordering::SeqCst);
        before > limit / 2 && before - bytes <= limit / 2
    }

    fn link(&self, from: Sender, to: usize) -> &AtomicUsize {
        let from = match from {
            Sender::Shard(shard) => shard,
            Sender::Relay => self.shards,
            Sender::Log => self.shards + 1,
        };
        &self.bytes[from * self.shards + to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_its_own_account_and_tells_once_when_it_is_half_empty() {
        let links = Links::new(2);
        for (bytes, (from, to)) in
            [(Sender::Shard(0), 1), (Sender::Shard(1), 0), (Sender::Relay, 0)]
                .into_iter()
                .enumerate()
        {
            links.add(from, to, 100 + bytes);
        }
        assert_eq!(links.bytes(Sender::Shard(0), 1), 100);
        assert_eq!(links.bytes(Sender::Shard(1), 0), 101);
        assert_eq!(links.bytes(Sender::Relay, 0), 102);
        assert_eq!(links.bytes(Sender::Relay, 1), 0);
        assert_eq!(links.total(), 303);
        assert!(!links.take(Sender::Shard(0), 1, 40, 100));
        assert!(links.take(Sender::Shard(0), 1, 10, 100));
        assert!(!links.take(Sender::Shard(0), 1, 50, 100));
    }
}
