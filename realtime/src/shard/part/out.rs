//! What is to be written to a room's members on one shard: joined, being written, or waiting for room.

use std::collections::VecDeque;

use bytes::Bytes;

use super::entries::Entries;
use super::fleeting::Waits;
use crate::frame::encode;
use crate::pressure::ENTRY_BYTES;
use crate::publication::Kind;
use crate::shard::Shard;
use crate::shard::link::Sender;
use crate::shard::memory::Frames;

/// Larger buffers are not kept once they are written.
const KEPT_BYTES: usize = 256 * 1024;

/// What is to be written to a room's members on a shard.
#[derive(Debug, Default)]
pub(in crate::shard) struct Out {
    /// Joined since the last flush began.
    pub(in crate::shard) next: Joined,
    /// The same of what is fleeting, which is written by itself: of entries each member gets what it lacks.
    pub(super) fleeting: Option<Box<Waits>>,
    /// What is being written, and to whom next.
    pub(in crate::shard) batch: Option<Batch>,
    /// What other shards sent, while there is no room for it.
    pub(in crate::shard) waiting: VecDeque<Waiting>,
}

/// Frames in one piece.
#[derive(Debug, Default)]
pub(in crate::shard) struct Joined {
    /// Encoded.
    pub(in crate::shard) bytes: Vec<u8>,
    /// What they are.
    pub(in crate::shard) entries: Entries,
}

/// What a flush writes to each member.
#[derive(Debug)]
pub(in crate::shard) struct Batch {
    /// Encoded.
    pub(in crate::shard) joined: Joined,
    /// The same, to be shared by the queues of those who would not take it at once.
    shared: Option<Frames>,
    /// The place of the member that is next.
    pub(in crate::shard) place: u32,
}

/// What another shard or the relay sent.
#[derive(Debug)]
pub(in crate::shard) enum Waiting {
    /// A message to be ordered here.
    Publish {
        /// How it is to be read.
        kind: Kind,
        /// The message.
        payload: Bytes,
        /// Its place in the room's log; 0 without one.
        seq: u64,
        /// Who accounted it.
        from: Sender,
    },
    /// Frames in order.
    Deliver {
        /// Encoded.
        frames: Bytes,
        /// What they are.
        entries: Entries,
        /// Who accounted them.
        from: Sender,
    },
}

impl Out {
    /// Whether anything is joined.
    pub(in crate::shard) fn is_joined(&self) -> bool {
        !self.next.bytes.is_empty() || self.fleeting.is_some()
    }

    /// Takes what is joined: what is not fleeting, and what is when nothing else is there, or often was.
    pub(super) fn take(&mut self) -> Option<Joined> {
        let is_idle = self.next.bytes.is_empty();
        if let Some(waits) = self.fleeting.take_if(|waits| is_idle || waits.is_over()) {
            return Some(waits.joined);
        }
        (!is_idle).then(|| std::mem::take(&mut self.next))
    }

    /// Whether so many bytes more may be joined: a batch is at most a quarter of a queue's cap, so
    /// that one that is half full takes it. A larger message goes alone.
    pub(super) fn has_room(&self, bytes: usize, shard: &Shard) -> bool {
        self.next.bytes.is_empty() || self.next.bytes.len() + bytes <= shard.shared.rules().cap / 4
    }

    /// The batch is written to all: its memory serves the next one.
    pub(in crate::shard) fn end_batch(&mut self) {
        let Some(Batch { joined: Joined { mut bytes, .. }, .. }) = self.batch.take() else {
            return;
        };
        if self.next.bytes.capacity() == 0 && bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            self.next.bytes = bytes;
        }
    }
}

impl Batch {
    /// What is joined, to be written to everybody.
    pub(super) fn new(joined: Joined) -> Self {
        Self { joined, shared: None, place: 0 }
    }

    /// The frames, shared.
    pub(in crate::shard) fn shared(&mut self, shard: &Shard) -> Frames {
        let bytes = &self.joined.bytes;
        let new = || Frames::new(Bytes::copy_from_slice(bytes), &shard.memory);
        self.shared.get_or_insert_with(new).clone()
    }
}

impl Waiting {
    /// How many bytes it is once it is joined.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Publish { payload, .. } => encode::size(payload.len()),
            Self::Deliver { frames, .. } => frames.len(),
        }
    }

    /// Whether it follows entries that are joined already; anything follows none.
    pub(super) fn joins(&self, joined: &Entries) -> bool {
        match self {
            Self::Publish { seq, .. } => joined.joins(*seq),
            Self::Deliver { entries, .. } => joined.joins(entries.first()),
        }
    }

    /// Who accounted it, and how many bytes.
    pub(in crate::shard) fn account(&self) -> (Sender, usize) {
        match self {
            Self::Publish { payload, from, .. } => (*from, payload.len() + ENTRY_BYTES),
            Self::Deliver { frames, from, .. } => (*from, frames.len()),
        }
    }
}
