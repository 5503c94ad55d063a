//! What a room has on one shard: its members here, and what is about to be written to them.
//!
//! On the room's home shard this is also where messages get their order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Shard;
use super::connection::Connection;
use super::home::Log;
use super::link::{Envelope, Sender};
use super::members::Members;
use super::memory::Frames;
use super::queue::Class;
use crate::frame::encode;
use crate::hub::{Keeping, LOG_BYTES, Room};
use crate::pressure::ENTRY_BYTES;
use crate::publication::Kind;

mod entries;
mod fleeting;
mod member;
mod out;

/// How soon publishers ask again whether the way to other nodes has room.
const RELAY_LOOK: Duration = Duration::from_millis(10);

pub(crate) use entries::Entries;
use entries::Reach;
pub(super) use member::Member;
pub(super) use out::{Batch, Joined, Out, Waiting};

/// A room's part on one shard.
#[derive(Debug)]
pub(super) struct Part {
    /// What all shards know of it.
    pub(super) room: Arc<Room>,
    /// Whether this shard is the room's home.
    is_home: bool,
    /// Its members here.
    pub(super) members: RefCell<Members<Member>>,
    /// What is to be written.
    pub(super) out: RefCell<Out>,
    /// Members here for which publishers wait. What is joined waits for them, too: it was let in
    /// before they fell behind.
    pub(super) pausing: Cell<usize>,
    /// Whether the flush knows of it.
    pub(super) is_due: Cell<bool>,
    /// Whether the flush knows that something waits.
    pub(super) is_stuck: Cell<bool>,
    /// Who may join first while not all fit.
    turn: Cell<Turn>,
    /// The last entry of the log that was given to the members here. Who has less by then is behind.
    pub(super) given: Cell<u64>,
    /// The room's log, if this is its home.
    pub(super) log: RefCell<Log>,
}

/// The clients of the home shard and what other shards and the relay send have turns, so that neither
/// side starves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The shard's own clients may go before what waits.
    Own,
    /// They have gone before it.
    Spent,
    /// What waits goes first.
    Others,
}

/// The message was not taken: a reader, a shard or the relay needs time.
#[derive(Debug)]
pub(crate) struct Busy;

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
            turn: Cell::new(Turn::Own),
            given: Cell::new(0),
            log: RefCell::default(),
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
        let node = &shard.shared;
        let is_relayed = self.room.keeping == Keeping::Plain;
        if self.is_busy(shard) || (is_relayed && relay_is_busy(shard, now)) {
            return Err(Busy);
        }
        if self.is_home {
            let mut out = self.out.borrow_mut();
            let (others_wait, turn) = (!out.waiting.is_empty(), self.turn.get());
            if (others_wait && turn == Turn::Others)
                || !out.has_room(encode::size(payload.len()), shard)
            {
                return Err(Busy);
            }
            if others_wait {
                self.turn.set(Turn::Spent);
            }
            if is_relayed {
                node.broker.publish(kind, payload);
            }
            self.order(&mut out, shard, kind, payload, 0);
            return Ok(());
        }
        if is_relayed {
            node.broker.publish(kind, payload);
        }
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
        let mut out = self.out.borrow_mut();
        out.waiting.push_back(waiting);
        let is_first = out.waiting.len() == 1;
        drop(out);
        // Else there was no room for those before it, and the flush will come back to them.
        if is_first {
            self.pump(shard);
        }
    }

    /// There is relief: the clients of this shard that hold a message have been woken and had what they
    /// could, now comes what others sent.
    pub(super) fn retry(self: &Rc<Self>, shard: &Shard) {
        let turn = match (self.pump(shard), self.turn.get()) {
            (true, _) => Turn::Own,
            (false, Turn::Spent) => Turn::Others,
            (false, turn) => turn,
        };
        self.turn.set(turn);
    }

    /// Takes what waits, as far as there is room; whether that was anything.
    fn pump(self: &Rc<Self>, shard: &Shard) -> bool {
        let mut out = self.out.borrow_mut();
        let mut took = false;
        while let Some(waiting) = out.waiting.front() {
            // What does not follow what is joined already begins the next batch.
            let room = out.has_room(waiting.size(), shard) && waiting.joins(&out.next.entries);
            if !room || (self.is_home && self.is_busy(shard)) {
                shard.flush.stuck(self);
                shard.shared.shards[shard.index].waiting.store(true, Ordering::SeqCst);
                // The relief may have come just before.
                if !room || self.is_busy(shard) {
                    break;
                }
            }
            let Some(waiting) = out.waiting.pop_front() else { break };
            took = true;
            let (from, bytes) = waiting.account();
            match waiting {
                Waiting::Publish { kind, payload, seq, .. } => {
                    self.order(&mut out, shard, kind, &payload, seq);
                }
                Waiting::Deliver { frames, entries, .. } => {
                    if entries.are_fleeting() {
                        out.wait(&frames, &entries, shard.shared.page_bytes());
                    } else {
                        let Joined { bytes, entries: joined } = &mut out.next;
                        joined.append(&entries, bytes.len());
                        bytes.extend_from_slice(&frames);
                    }
                    shard.flush.due(self);
                }
            }
            shard.shared.arrived(from, shard.index, bytes);
        }
        took
    }

    /// Gives a message its place in the room's order.
    fn order(self: &Rc<Self>, out: &mut Out, shard: &Shard, kind: Kind, payload: &[u8], seq: u64) {
        let Joined { bytes, entries } = &mut out.next;
        encode::append(bytes, kind.opcode(), payload);
        entries.push(seq, bytes.len());
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

    /// Whether so much of the room's log is on its way here that whoever publishes must wait.
    pub(super) fn has_backlog(&self, shard: &Shard) -> bool {
        shard.shared.links.bytes(Sender::Log, self.room.home) > LOG_BYTES
    }

    /// Takes everything that is joined as the next batch, and sends it to the other shards with
    /// members if this is where it was ordered.
    pub(super) fn begin_batch(&self, out: &mut Out, shard: &Shard) {
        if out.batch.is_some() || self.pausing.get() > 0 {
            return;
        }
        let Some(joined) = out.take() else { return };
        let mut batch = Batch::new(joined);
        if self.is_home {
            for (to, members) in self.room.members.iter().enumerate() {
                if to != shard.index && members.load(Ordering::SeqCst) > 0 {
                    let (room, entries) = (Arc::clone(&self.room), batch.joined.entries.clone());
                    let frames = batch.shared(shard).bytes();
                    let sent = shard.shared.send_bytes(shard.sender(), to, frames.len(), |from| {
                        Envelope::Deliver { room, frames, entries, from }
                    });
                    if sent.is_err() {
                        tracing::debug!(shard = to, "frames for a shard that has ended");
                    }
                }
            }
        }
        self.given.set(self.given.get().max(batch.joined.entries.last()));
        out.batch = Some(batch);
        // There is room for the next.
        shard.relieve();
    }

    /// Queues for a plain client that leaves what it would have been written next.
    pub(super) fn catch_up(&self, shard: &Shard, connection: &Rc<Connection>, place: u32) {
        let mut out = self.out.borrow_mut();
        if let Some(batch) = out.batch.as_mut().filter(|batch| batch.place <= place) {
            connection.enqueue(shard, Class::Kept, batch.shared(shard), 0);
        }
        if !out.next.bytes.is_empty() {
            let frames = Bytes::copy_from_slice(&out.next.bytes);
            connection.enqueue(shard, Class::Kept, Frames::new(frames, &shard.memory), 0);
        }
    }
}

/// Whether publishers must wait for the way to other nodes; if so, they are woken when it is time.
fn relay_is_busy(shard: &Shard, now: Instant) -> bool {
    let until = shard.shared.broker.pauses_until(now);
    if let Some(until) = until {
        // It does not ring when it has room again.
        shard.review_by(until.min(now + RELAY_LOOK));
    }
    until.is_some()
}
