//! What a room has on one shard: its members here, and what is about to be written to them.
//!
//! On the room's home shard this is also where messages get their order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::Shard;
use super::connection::Connection;
use super::link::{Envelope, Sender};
use super::members::Members;
use super::queue::Class;
use crate::frame::encode;
use crate::hub::Room;
use crate::pressure::ENTRY_BYTES;
use crate::publication::Kind;

/// Larger buffers are not kept once they are written.
const KEPT_BYTES: usize = 256 * 1024;

/// A room's part on one shard.
#[derive(Debug)]
pub(super) struct Part {
    /// What all shards know of it.
    pub(super) room: Arc<Room>,
    /// Whether this shard is the room's home.
    is_home: bool,
    /// Its members here.
    pub(super) members: RefCell<Members<Rc<Connection>>>,
    /// What is to be written.
    pub(super) out: RefCell<Out>,
    /// Members here for which publishers wait. What is joined waits for them, too: it was let in
    /// before they fell behind.
    pub(super) pausing: Cell<usize>,
    /// Whether the flush knows of it.
    pub(super) is_due: Cell<bool>,
    /// Whether the flush knows that something waits.
    pub(super) is_stuck: Cell<bool>,
}

/// What is to be written to a room's members on a shard.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Joined since the last flush began.
    pub(super) next: Joined,
    /// What is being written, and to whom next.
    pub(super) batch: Option<Batch>,
    /// What other shards sent, while there is no room for it.
    waiting: VecDeque<Waiting>,
}

/// Frames in one piece.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Encoded.
    pub(super) bytes: Vec<u8>,
    /// How many messages they are.
    pub(super) messages: u64,
}

/// What a flush writes to each member.
#[derive(Debug)]
pub(super) struct Batch {
    /// Encoded.
    pub(super) joined: Joined,
    /// The same, to be shared by the queues of those who would not take it at once.
    shared: Option<Bytes>,
    /// The place of the member that is next.
    pub(super) place: u32,
}

/// What another shard or the relay sent.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A message to be ordered here.
    Publish {
        /// How it is to be read.
        kind: Kind,
        /// The message.
        payload: Bytes,
        /// Who accounted it.
        from: Sender,
    },
    /// Frames in order.
    Deliver {
        /// Encoded.
        frames: Bytes,
        /// How many messages they are.
        messages: u64,
        /// Who accounted them.
        from: Sender,
    },
}

/// The message was not taken: a reader, a shard or the relay needs time.
#[derive(Debug)]
pub(super) struct Busy;

impl Part {
    /// A room without members here.
    pub(super) fn new(room: Arc<Room>, shard: usize) -> Rc<Self> {
        Rc::new(Self {
            is_home: room.home == shard,
            room,
            members: RefCell::default(),
            out: RefCell::default(),
            pausing: Cell::new(0),
            is_due: Cell::new(false),
            is_stuck: Cell::new(false),
        })
    }

    /// Publishes what a client of this shard sent.
    ///
    /// # Errors
    /// [`Busy`] while whoever would get it needs time.
    pub(super) fn publish(
        self: &Rc<Self>,
        shard: &Shard,
        kind: Kind,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Busy> {
        if self.is_busy(shard) || relay_is_busy(shard, now) {
            return Err(Busy);
        }
        let node = &shard.shared;
        if self.is_home {
            let mut out = self.out.borrow_mut();
            if !out.waiting.is_empty() || !out.has_room(encode::size(payload.len()), shard) {
                return Err(Busy);
            }
            node.broker.publish(kind, payload);
            self.order(&mut out, shard, kind, payload);
            return Ok(());
        }
        node.broker.publish(kind, payload);
        let (room, copy) = (Arc::clone(&self.room), Bytes::copy_from_slice(payload));
        let bytes = payload.len() + ENTRY_BYTES;
        let sent = node.send_bytes(shard.sender(), self.room.home, bytes, |from| {
            Envelope::Publish { room, kind, payload: copy, from }
        });
        if sent.is_err() {
            tracing::debug!(shard = self.room.home, "a message for a shard that has ended");
        }
        Ok(())
    }

    /// Takes what another shard or the relay sent, at once or when there is room.
    pub(super) fn arrived(self: &Rc<Self>, shard: &Shard, waiting: Waiting) {
        self.out.borrow_mut().waiting.push_back(waiting);
        self.pump(shard);
    }

    /// Takes what waits, as far as there is room.
    pub(super) fn pump(self: &Rc<Self>, shard: &Shard) {
        let mut out = self.out.borrow_mut();
        while let Some(waiting) = out.waiting.front() {
            let room = out.has_room(waiting.size(), shard);
            if !room || (self.is_home && self.is_busy(shard)) {
                shard.flush.stuck(self);
                shard.shared.shards[shard.index].waiting.store(true, Ordering::SeqCst);
                // The relief may have come just before.
                if !room || self.is_busy(shard) {
                    return;
                }
            }
            let Some(waiting) = out.waiting.pop_front() else { return };
            let (from, bytes) = waiting.account();
            match waiting {
                Waiting::Publish { kind, payload, .. } => {
                    self.order(&mut out, shard, kind, &payload);
                }
                Waiting::Deliver { frames, messages, .. } => {
                    out.next.bytes.extend_from_slice(&frames);
                    out.next.messages += messages;
                    shard.flush.due(self);
                }
            }
            shard.shared.arrived(from, shard.index, bytes);
        }
    }

    /// Gives a message its place in the room's order.
    fn order(self: &Rc<Self>, out: &mut Out, shard: &Shard, kind: Kind, payload: &[u8]) {
        encode::append(&mut out.next.bytes, kind.opcode(), payload);
        out.next.messages += 1;
        shard.flush.due(self);
    }

    /// Whether publishers must wait for a reader or for another shard.
    fn is_busy(&self, shard: &Shard) -> bool {
        let (node, from) = (&shard.shared, shard.sender());
        let limit = node.settings.shards.bytes.0;
        let is_behind = |to| node.links.bytes(from, to) > limit;
        self.room.pausing.load(Ordering::SeqCst) > 0
            || if self.is_home {
                (0..node.shards.len()).any(is_behind)
            } else {
                is_behind(self.room.home)
            }
    }

    /// Takes everything that is joined as the next batch, and sends it to the other shards with
    /// members if this is where it was ordered.
    pub(super) fn begin_batch(&self, out: &mut Out, shard: &Shard) {
        if out.batch.is_some() || out.next.bytes.is_empty() || self.pausing.get() > 0 {
            return;
        }
        let mut batch = Batch { joined: std::mem::take(&mut out.next), shared: None, place: 0 };
        if self.is_home {
            for (to, members) in self.room.members.iter().enumerate() {
                if to != shard.index && members.load(Ordering::SeqCst) > 0 {
                    let (room, messages) = (Arc::clone(&self.room), batch.joined.messages);
                    let frames = batch.shared();
                    let sent = shard.shared.send_bytes(shard.sender(), to, frames.len(), |from| {
                        Envelope::Deliver { room, frames, messages, from }
                    });
                    if sent.is_err() {
                        tracing::debug!(shard = to, "frames for a shard that has ended");
                    }
                }
            }
        }
        out.batch = Some(batch);
        // There is room for the next.
        shard.relieve();
    }

    /// Queues for a member that leaves what it would have been written next.
    pub(super) fn catch_up(&self, shard: &Shard, connection: &Rc<Connection>) {
        let mut out = self.out.borrow_mut();
        if let Some(batch) = out.batch.as_mut().filter(|batch| batch.place <= connection.place()) {
            connection.enqueue(shard, Class::Kept, batch.shared(), 0);
        }
        if !out.next.bytes.is_empty() {
            connection.enqueue(shard, Class::Kept, Bytes::copy_from_slice(&out.next.bytes), 0);
        }
    }
}

/// Whether publishers must wait for the way to other nodes; if so, they are woken when it is time.
fn relay_is_busy(shard: &Shard, now: Instant) -> bool {
    let until = shard.shared.broker.pauses_until(now);
    if let Some(until) = until {
        shard.review_by(until);
    }
    until.is_some()
}

impl Out {
    /// Whether so many bytes more may be joined: a batch is at most a quarter of a queue's cap, so
    /// that one that is half full takes it. A larger message goes alone.
    fn has_room(&self, bytes: usize, shard: &Shard) -> bool {
        self.next.bytes.is_empty() || self.next.bytes.len() + bytes <= shard.shared.rules.cap / 4
    }

    /// The batch is written to all: its memory serves the next one.
    pub(super) fn end_batch(&mut self) {
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
    /// The frames, shared.
    pub(super) fn shared(&mut self) -> Bytes {
        self.shared.get_or_insert_with(|| Bytes::copy_from_slice(&self.joined.bytes)).clone()
    }
}

impl Waiting {
    /// How many bytes it is once it is joined.
    fn size(&self) -> usize {
        match self {
            Self::Publish { payload, .. } => encode::size(payload.len()),
            Self::Deliver { frames, .. } => frames.len(),
        }
    }

    /// Who accounted it, and how many bytes.
    fn account(&self) -> (Sender, usize) {
        match self {
            Self::Publish { payload, from, .. } => (*from, payload.len() + ENTRY_BYTES),
            Self::Deliver { frames, from, .. } => (*from, frames.len()),
        }
    }
}
