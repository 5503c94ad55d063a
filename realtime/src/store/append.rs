//! Appending to a room's log, and telling whoever follows it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use shared::db::log::{Append, NewEntry, Outcome};
use shared::db::members::Role;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Store, send, seq};
use crate::auth::Identity;
use crate::hub::{Room, Shared};
use crate::log::Unanswered;
use crate::protocol::{Entry, ErrorCode, Refusal, Reply, Sender, Stored, encode_entry};
use crate::room::{Effect, RoleChange, Row};
use crate::shard::home::News;

/// What was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Appended {
    /// It is in the log, at this place.
    Stored(u64),
    /// It was there before, at this place.
    Duplicate(u64),
    /// It was so already.
    Unchanged,
}

impl Appended {
    /// The reply to who appended it.
    pub(crate) fn reply(self, key: Uuid) -> Reply {
        match self {
            Self::Stored(seq) => Reply::Stored(Stored { seq, key, duplicate: false }),
            Self::Duplicate(seq) => Reply::Stored(Stored { seq, key, duplicate: true }),
            Self::Unchanged => Reply::UNCHANGED,
        }
    }
}

impl Store {
    /// Appends to a room's log, and tells the room's home. It goes on whether the future is awaited or not;
    /// what is handed over first is stored first.
    pub(crate) fn append(
        &self,
        node: &Arc<Shared>,
        room: &Arc<Room>,
        who: &Identity,
        key: Uuid,
        entry: NewEntry,
    ) -> impl Future<Output = Result<Appended, Refusal>> + use<> {
        let append =
            Append { room: room.id.0, user: who.user, moderates: who.moderates, key, entry };
        let (node, room, sender) = (Arc::clone(node), Arc::clone(room), who.sender());
        let (done, outcome) = oneshot::channel();
        let said = append.clone();
        self.log.append_then(said, move |told| {
            let appended = match told {
                Ok(outcome) => {
                    tell(&node, &room, &sender, &append, &outcome);
                    match outcome {
                        Outcome::Stored { seq: place, .. } => Ok(Appended::Stored(seq(place))),
                        Outcome::Duplicate { seq: place, .. } => {
                            Ok(Appended::Duplicate(seq(place)))
                        }
                        refused => refusal(&refused).map_or(Ok(Appended::Unchanged), Err),
                    }
                }
                Err(Unanswered::Unavailable) => Err(ErrorCode::Unavailable.into()),
                Err(Unanswered::Fault) => Err(ErrorCode::Internal.into()),
            };
            // Who published may have gone.
            drop(done.send(appended));
        });
        async move { outcome.await.unwrap_or_else(|_| Err(ErrorCode::Unavailable.into())) }
    }

    /// Tells all shards that a room has ended with this user. It is not public any more, so that it is closed
    /// to who was in it, and its name is free for another one.
    pub(crate) fn ended(node: &Shared, room: &Room, user: Uuid) {
        let Room { id, keeping, home, .. } = *room;
        let (name, members, pausing) = (room.name.clone(), Box::default(), AtomicUsize::default());
        let closed = Room { id, name, keeping, is_public: false, home, members, pausing };
        Self::member_changed(
            node,
            &Arc::new(closed),
            RoleChange { user, role: None, version: None },
        );
    }
}

/// Why something was not appended; `None`: it was so already.
pub(crate) fn refusal(outcome: &Outcome) -> Option<Refusal> {
    let code = match outcome {
        Outcome::KeyReused => ErrorCode::KeyReused,
        Outcome::NoSuchRoom => ErrorCode::RoomNotFound,
        Outcome::NotMember => ErrorCode::NotAMember,
        Outcome::Muted => ErrorCode::Muted,
        Outcome::Forbidden => ErrorCode::Forbidden,
        Outcome::NoSuchMessage => ErrorCode::MessageNotFound,
        Outcome::NoSuchMember => ErrorCode::UserNotFound,
        Outcome::LastOwner => ErrorCode::LastOwner,
        Outcome::Unchanged | Outcome::Stored { .. } | Outcome::Duplicate { .. } => return None,
    };
    Some(code.into())
}

/// Tells the room's home what was appended.
fn tell(node: &Arc<Shared>, room: &Arc<Room>, sender: &Sender, append: &Append, outcome: &Outcome) {
    match outcome {
        Outcome::Stored { epoch, seq: place, at, body } => {
            let of = match append.entry {
                NewEntry::Edited { of, .. } | NewEntry::Deleted { of } => Some(seq(of)),
                _ => None,
            };
            let entry = Entry {
                kind: append.entry.kind().as_str(),
                seq: Some(seq(*place)),
                at: *at,
                user: Some(sender),
                key: append.key,
                of,
                body: append.entry.body().or(body.as_deref()),
            };
            let json = encode_entry(&room.name, &entry).into();
            let effect = effect_of(append.user, &append.entry);
            let row = Row { seq: seq(*place), json, effect };
            send(node, room, News::Rows(*epoch, vec![row]));
        }
        // An earlier try may have stored it, and not have told.
        Outcome::Duplicate { epoch, seq: place, .. } => {
            send(node, room, News::Position(*epoch, seq(*place)));
        }
        _ => {}
    }
}

/// What an entry of this user means beside what it says.
pub(crate) fn effect_of(user: Uuid, entry: &NewEntry) -> Effect {
    match *entry {
        NewEntry::Joined => Effect::Member(user, Some(Role::Member)),
        NewEntry::Left { subject } => Effect::Member(subject, None),
        NewEntry::Role { subject, role } => Effect::Member(subject, Some(role)),
        NewEntry::Deleted { .. } => Effect::Hides,
        NewEntry::Message { .. } | NewEntry::Edited { .. } => Effect::None,
    }
}
