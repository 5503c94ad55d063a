//! The shards of this node, from outside: where sockets are handed over and messages put in.
//!
//! What is here is shared by threads. What a shard keeps for itself is in `shard`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Notify, oneshot};

use crate::auth::Identity;
use crate::broker::Broker;
use crate::close::CloseCode;
use crate::limits::Held;
use crate::metrics::Metrics;
use crate::pressure::{ENTRY_BYTES, Rules};
use crate::publication::Publication;
use crate::settings::Settings;
use crate::shard;
use crate::shard::link::{Envelope, Joining, Links, Sender};
use crate::store::Store;

mod doors;
mod rooms;

pub(crate) use doors::{Door, Shared};
pub(crate) use rooms::Rooms;
pub use rooms::{Keeping, Room, RoomId};

/// Bytes of relayed messages that may be under way to a home shard; more wait in the relay's own
/// queue.
const RELAY_BYTES: usize = 256 * 1024;

/// Bytes of entries of logs that may be under way to a home shard; whoever publishes there waits when
/// there are more.
pub(crate) const LOG_BYTES: usize = 1024 * 1024;

/// The shards of a node. They end when it is dropped.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

/// A socket on its way to its shard.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The stream, registered with no runtime.
    pub(crate) stream: std::net::TcpStream,
    /// What was read from it already.
    pub(crate) early: Vec<u8>,
}

/// What a client speaks.
#[derive(Debug)]
pub(crate) enum Speech {
    /// What it sends, everybody in this room gets.
    Plain(Arc<Room>),
    /// `keywire.v1`, and how the handshake's token was judged.
    V1(SignIn),
}

/// How a client of `keywire.v1` is signed in by its handshake.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// It brought no token: it is to send one.
    Awaited,
    /// It is signed in.
    Done(Identity),
    /// Its token was refused, and it is told by this Close: browsers hide an answer before the 101.
    Refused(CloseCode),
}

/// What is known of a connection before its socket arrives.
#[derive(Debug, Default)]
pub struct Guest {
    /// Who a plain client is, if its token was looked at.
    pub(crate) identity: Option<Box<Identity>>,
    /// The places it takes, given back when it has ended.
    pub(crate) held: Held,
}

/// A member whose socket has not arrived. Dropped, it leaves.
#[derive(Debug)]
pub struct Ticket(oneshot::Sender<Arrival>);

/// The shard has ended: it panicked, or the node is gone.
#[derive(Debug, thiserror::Error)]
#[error("the shard has ended")]
pub struct Ended;

impl Hub {
    /// Starts the shards, each on a thread of its own, for plain clients alone.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be had.
    pub fn start(
        settings: Settings,
        metrics: Arc<Metrics>,
        broker: Arc<dyn Broker>,
    ) -> io::Result<Self> {
        Self::start_with(settings, metrics, broker, None)
    }

    /// Starts the shards; with a store, for `keywire.v1`, too.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be had.
    pub(crate) fn start_with(
        settings: Settings,
        metrics: Arc<Metrics>,
        broker: Arc<dyn Broker>,
        store: Option<Store>,
    ) -> io::Result<Self> {
        let count = settings.shards.count.resolve();
        let (doors, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (inbox, receiver) = unbounded_channel();
                (Door::new(inbox), receiver)
            })
            .unzip();
        let queues = &settings.queues;
        let rules = Rules { cap: queues.connection.0, patience: queues.patience };
        let shared = Arc::new(Shared {
            rules,
            hurried_rules: rules.hurried(),
            metrics,
            broker,
            shards: doors.into(),
            links: Links::new(count),
            relay_relief: Notify::new(),
            hurried: AtomicBool::new(false),
            ended: Notify::new(),
            rooms: Rooms::new(count),
            store,
            settings,
        });
        if let Some(store) = &shared.store {
            store.relieve(&shared);
        }
        let hub = Self { shared: Arc::clone(&shared), next_id: AtomicU64::new(1) };
        for (index, inbox) in inboxes.into_iter().enumerate() {
            shard::start(index, Arc::clone(&shared), inbox)?;
        }
        Ok(hub)
    }

    /// A room of plain clients, opened if need be.
    pub fn room(&self, id: RoomId) -> Arc<Room> {
        self.shared.rooms.open(id, "", Keeping::Plain, true)
    }

    /// Takes a plain client in, whose socket follows: from now on what is published waits for it.
    ///
    /// # Errors
    /// [`Ended`] if its shard has ended.
    pub fn join(&self, room: &Arc<Room>, guest: Guest) -> Result<Ticket, Ended> {
        self.admit(Speech::Plain(Arc::clone(room)), guest)
    }

    /// Takes a client in, whose socket follows.
    ///
    /// # Errors
    /// [`Ended`] if its shard has ended.
    pub(crate) fn admit(&self, speech: Speech, guest: Guest) -> Result<Ticket, Ended> {
        let doors = self.shared.shards.iter().enumerate();
        let open = doors.filter(|(_, door)| !door.inbox.is_closed());
        let least = open.min_by_key(|(_, door)| door.load.load(Ordering::Relaxed));
        let (index, door) = least.ok_or(Ended)?;
        door.load.fetch_add(1, Ordering::Relaxed);
        let room = if let Speech::Plain(room) = &speech { Some(Arc::clone(room)) } else { None };
        if let Some(room) = &room {
            room.members[index].fetch_add(1, Ordering::SeqCst);
        }
        let (ticket, arrival) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let joining = Joining { id, speech, guest, arrival };
        if door.inbox.send(Envelope::Join(Box::new(joining))).is_err() {
            door.load.fetch_sub(1, Ordering::Relaxed);
            if let Some(room) = room {
                room.members[index].fetch_sub(1, Ordering::SeqCst);
            }
            return Err(Ended);
        }
        Ok(Ticket(ticket))
    }

    /// Broadcasts on this node what came from elsewhere, once there is room for it.
    ///
    /// # Errors
    /// [`Ended`] if the room's home shard has ended.
    pub async fn publish(&self, room: &Arc<Room>, publication: Publication) -> Result<(), Ended> {
        let Shared { links, relay_relief, .. } = &*self.shared;
        loop {
            // Made before asking, so that a ring in between is not missed.
            let relief = relay_relief.notified();
            if links.bytes(Sender::Relay, room.home) <= RELAY_BYTES {
                break;
            }
            relief.await;
        }
        let Publication { kind, payload } = publication;
        let room = Arc::clone(room);
        let home = room.home;
        let bytes = payload.len() + ENTRY_BYTES;
        self.shared.send_bytes(Sender::Relay, home, bytes, |from| Envelope::Publish {
            room,
            kind,
            payload,
            from,
        })
    }

    /// Whether readers get less time, because what other nodes send piles up: over Redis those cannot be
    /// told to wait, so what finds no room would be lost for everybody here.
    pub(crate) fn hurry(&self, hurried: bool) {
        let before = self.shared.hurried.swap(hurried, Ordering::SeqCst);
        if hurried && !before {
            self.shared.tell_all(|| Envelope::Review);
        }
    }

    /// Sends every client away with 1012, in random order and evenly over the window.
    pub(crate) async fn send_away(&self, window: Duration) {
        let told = self.shared.shards.iter().map(|door| {
            let (done, waiting) = oneshot::channel();
            // A shard that has ended has no clients; then the wait ends at once, too.
            let sent = door.inbox.send(Envelope::SendAway { window, done }).is_ok();
            async move { sent && waiting.await.is_ok() }
        });
        let done = join_all(told.collect::<Vec<_>>()).await;
        tracing::debug!(shards = done.iter().filter(|done| **done).count(), "clients sent away");
    }

    /// What its shards share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Connections there are, those about to arrive included.
    pub fn count(&self) -> usize {
        self.shared.shards.iter().map(|door| door.load.load(Ordering::Relaxed)).sum()
    }

    /// Whether every shard is there. One that panicked does not come back: rooms at home there are silent.
    pub fn is_whole(&self) -> bool {
        self.shared.shards.iter().all(|door| !door.inbox.is_closed())
    }

    /// Waits until a shard has ended. The node should then go: what is left of it would serve some rooms
    /// and be silent in others.
    pub async fn broken(&self) {
        loop {
            // Made before asking, so that a ring in between is not missed.
            let ended = self.shared.ended.notified();
            if !self.is_whole() {
                return;
            }
            ended.await;
        }
    }

    /// Bytes that connections make the node hold: what waits for them, and what was read from them but
    /// cannot be carried out yet.
    pub fn held_bytes(&self) -> usize {
        self.shared.shards.iter().map(|door| door.held_bytes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes that shards and the relay have sent to shards which did not carry them out yet.
    pub fn bytes_under_way(&self) -> usize {
        self.shared.links.total()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.tell_all(|| Envelope::Stop);
    }
}

impl Ticket {
    /// Hands the socket over, with what was read from it.
    ///
    /// # Errors
    /// [`Ended`] if the shard has ended.
    pub fn attach(self, stream: std::net::TcpStream, early: Vec<u8>) -> Result<(), Ended> {
        self.0.send(Arrival { stream, early }).map_err(|_| Ended)
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::Reader;

    use super::*;
    use crate::broker::Inbound;
    use crate::broker::memory::Bus;
    use crate::settings::Process;

    fn hub() -> Hub {
        let mut reader = Reader::from_pairs([("SHARDS", "2")]);
        let settings = Settings::read(&mut reader, Process::Node);
        reader.finish().unwrap();
        let metrics = Arc::new(Metrics::default());
        let broker = Bus::default().join(&Inbound::new(0, Arc::clone(&metrics)));
        Hub::start(settings, metrics, broker).unwrap()
    }

    #[tokio::test]
    async fn a_shard_that_ends_is_told_of_and_gets_no_connection_and_no_message() {
        let hub = hub();
        assert!(hub.is_whole());
        let room = hub.room(RoomId(0));
        assert_eq!(room.home, 0);
        hub.shared.shards[0].inbox.send(Envelope::Stop).unwrap();
        tokio::time::timeout(Duration::from_mins(1), hub.broken()).await.unwrap();
        assert!(!hub.is_whole());
        let tickets: Vec<_> = (0..4).map(|_| hub.join(&room, Guest::default()).unwrap()).collect();
        assert_eq!(room.members[0].load(Ordering::SeqCst), 0, "{tickets:?}");
        let message = Publication { kind: crate::publication::Kind::Text, payload: "hi".into() };
        assert!(hub.publish(&room, message).await.is_err());
        assert_eq!(hub.shared.links.bytes(Sender::Relay, 0), 0, "nobody waits for it");
    }
}
