//! What is told to whoever is in a room and kept by nobody: presence and typing.

use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::{Joined, Part};
use crate::frame::{Opcode, encode};
use crate::presence::User;
use crate::pressure::ENTRY_BYTES;
use crate::shard::Shard;
use crate::shard::link::{Envelope, Sender};
use crate::shard::presence::Word;

/// While so much waits for one flush, nobody types: what comes often is worth least.
const TYPING_BYTES: usize = 16 * 1024;

impl Part {
    /// On the room's home: tells everybody in the room but this user.
    pub(in crate::shard) fn pass(
        self: &Rc<Self>,
        shard: &Shard,
        json: &[u8],
        except: Option<Uuid>,
    ) {
        let mut out = self.out.borrow_mut();
        let Joined { bytes, entries } = out.lane(true);
        encode::append(bytes, Opcode::Text, json);
        entries.push_fleeting(bytes.len(), except);
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
        let waiting = self.out.borrow().fleeting.as_ref().map_or(0, |joined| joined.bytes.len());
        if waiting < TYPING_BYTES {
            self.pass(shard, &user.types(&self.room), Some(user.id));
        }
    }
}
