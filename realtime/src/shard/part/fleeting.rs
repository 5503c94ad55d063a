//! What is told to whoever is in a room and kept by nobody: presence and typing.

use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::{Entries, Joined, Out, Part};
use crate::frame::{Opcode, encode};
use crate::presence::User;
use crate::pressure::ENTRY_BYTES;
use crate::protocol::Push;
use crate::shard::Shard;
use crate::shard::link::{Envelope, Sender};
use crate::shard::presence::Word;

/// While so much waits for one flush, nobody types: what comes often is worth least.
const TYPING_BYTES: usize = 16 * 1024;
/// Batches of messages that go before what is fleeting, when there are always more: so that costs messages
/// a ninth of the writes at most, and waits for eight.
const BEFORE: u32 = 8;

/// What waits to be written when nothing else does.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The frames.
    pub(super) joined: Joined,
    /// Batches that went before it.
    before: u32,
    /// Whether more came than may wait, and was dropped.
    is_full: bool,
}

impl Waits {
    /// Whether it has waited long enough; if not, one more goes before it.
    pub(super) fn is_over(&mut self) -> bool {
        self.before += 1;
        self.before > BEFORE
    }

    fn push(&mut self, frames: &[u8], entries: &Entries) {
        self.joined.entries.append(entries, self.joined.bytes.len());
        self.joined.bytes.extend_from_slice(frames);
    }
}

impl Out {
    /// Lets frames that are fleeting wait, up to so many bytes. What does not fit is dropped, with all that
    /// comes behind it, and everybody is told once that something is missed.
    pub(super) fn wait(&mut self, frames: &[u8], entries: &Entries, most: usize) {
        let waits = self.fleeting.get_or_insert_default();
        if waits.is_full {
            return;
        }
        // What another shard sends is as much as may wait there, and the word that more is missed.
        if waits.joined.bytes.is_empty() || waits.joined.bytes.len() + frames.len() <= most {
            return waits.push(frames, entries);
        }
        waits.is_full = true;
        let (frame, entries) = one(&Push::Missed.encode(), None);
        waits.push(&frame, &entries);
    }
}

/// One fleeting frame.
fn one(json: &[u8], except: Option<Uuid>) -> (Vec<u8>, Entries) {
    let (mut frame, mut entries) =
        (Vec::with_capacity(encode::size(json.len())), Entries::default());
    encode::append(&mut frame, Opcode::Text, json);
    entries.push_fleeting(frame.len(), except);
    (frame, entries)
}

impl Part {
    /// On the room's home: tells everybody in the room but this user. As much waits at most as a member is
    /// given at once while it catches up.
    pub(in crate::shard) fn pass(
        self: &Rc<Self>,
        shard: &Shard,
        json: &[u8],
        except: Option<Uuid>,
    ) {
        let (frame, entries) = one(json, except);
        self.out.borrow_mut().wait(&frame, &entries, shard.shared.page_bytes());
        shard.flush.due(self);
    }

    /// A user of this shard types. Where publishers would have to wait, nobody is told.
    pub(in crate::shard) fn types(self: &Rc<Self>, shard: &Shard, user: User) {
        if self.is_busy(shard) {
            return;
        }
        if self.is_home {
            return self.pass_typing(shard, &user);
        }
        let (room, home) = (Arc::clone(&self.room), self.room.home);
        let sent = shard.shared.send_bytes(shard.sender(), home, ENTRY_BYTES, |from| {
            Envelope::Presence(Word::Types(room, user, from))
        });
        if sent.is_err() {
            tracing::debug!(shard = home, "somebody types for a shard that has ended");
        }
    }

    /// On the room's home: a user of another shard types.
    pub(in crate::shard) fn heard_types(self: &Rc<Self>, shard: &Shard, user: &User, from: Sender) {
        self.pass_typing(shard, user);
        shard.shared.arrived(from, shard.index, ENTRY_BYTES);
    }

    fn pass_typing(self: &Rc<Self>, shard: &Shard, user: &User) {
        let waiting =
            self.out.borrow().fleeting.as_ref().map_or(0, |waits| waits.joined.bytes.len());
        if waiting < TYPING_BYTES {
            self.pass(shard, &user.types(&self.room), Some(user.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes may wait.
    const MOST: usize = 100;

    fn wait(out: &mut Out, json: &[u8]) {
        let (frame, entries) = one(json, None);
        out.wait(&frame, &entries, MOST);
    }

    #[test]
    fn what_is_fleeting_waits_for_so_many_batches_and_no_more() {
        let mut out = Out::default();
        for _ in 0..2 {
            wait(&mut out, b"ann types");
            for n in 0..BEFORE {
                out.next.bytes.extend_from_slice(b"message");
                assert!(!out.take().unwrap().entries.are_fleeting(), "batch {n}");
            }
            out.next.bytes.extend_from_slice(b"message");
            assert!(out.take().unwrap().entries.are_fleeting());
            assert!(!out.take().unwrap().entries.are_fleeting());
            assert!(out.take().is_none());
        }
        wait(&mut out, b"ann types");
        assert!(out.take().unwrap().entries.are_fleeting(), "nothing else is there");
    }

    #[test]
    fn more_than_may_wait_is_dropped_and_told_once_to_be_missed() {
        let mut out = Out::default();
        for _ in 0..20 {
            wait(&mut out, &[b'a'; 30]);
        }
        let Joined { bytes, entries } = out.take().unwrap();
        let (missed, _) = one(&Push::Missed.encode(), None);
        assert_eq!(entries.messages, 4, "three that fit, and that the others are missed");
        assert!(bytes.len() <= MOST + missed.len() && bytes.ends_with(&missed));
        wait(&mut out, b"ann is here");
        assert_eq!(out.take().unwrap().entries.messages, 1, "then it is told again");
    }
}
