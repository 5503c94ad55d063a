//! Postgres, as `keywire.v1` uses it.
//!
//! Shards run nothing that waits for Postgres: it runs on the process's runtime, and what it says comes
//! back to the shard that asked.

mod append;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Deserialize;
use shared::clock::Clock;
use shared::db::log::{self as entries, HEADS, Kind};
use shared::db::members::Role;
use shared::db::rooms::{self, Standing};
use shared::db::{self, Database};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

pub(crate) use append::{Appended, effect_of, refusal};

use crate::auth::{Auth, Identity};
use crate::hub::{Keeping, Room, RoomId, Shared};
use crate::limits::Counts;
use crate::log::Log;
use crate::pressure::ENTRY_BYTES;
use crate::protocol::{Entry, ErrorCode, Name, Refusal, Sender, encode_entry};
use crate::room::{Effect, Head, MuteChange, RoleChange, Row};
use crate::settings;
use crate::shard::home::News;
use crate::shard::link::{self, Envelope};

/// A handle on it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    runtime: Handle,
    /// The serving connections.
    pub(crate) db: Database,
    /// Who brings which token.
    pub(crate) auth: Auth,
    /// The time of day.
    pub(crate) clock: Clock,
    /// The connections of each user.
    pub(crate) users: Arc<Counts<Uuid>>,
    log: Log,
}

/// A place in a log, as Postgres keeps it.
pub(crate) fn place(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// A place in a log, from Postgres: the table lets none below 0 in.
pub(crate) fn seq(place: i64) -> u64 {
    u64::try_from(place).unwrap_or(0)
}

fn head(head: &entries::Head) -> Head {
    let entries::Head { epoch, first_seq, last_seq } = *head;
    Head { epoch, first_seq: seq(first_seq), last_seq: seq(last_seq) }
}

impl Store {
    /// On the runtime that this is called on.
    pub(crate) fn new(auth: Auth, settings: &settings::Log, users: Arc<Counts<Uuid>>) -> Self {
        let (db, clock) = (auth.db().clone(), auth.clock().clone());
        let log = Log::start(&db, settings, &clock);
        Self { runtime: Handle::current(), db, auth, clock, users, log }
    }

    /// Wakes the publishers of this node when a lane has room for them again.
    pub(crate) fn relieve(&self, node: &Arc<Shared>) {
        let node = Arc::downgrade(node);
        self.log.on_relief(move || {
            if let Some(node) = node.upgrade() {
                node.relieve_all();
            }
        });
    }

    /// Whether what this user publishes in this room can be appended soon.
    pub(crate) fn has_room(&self, room: &Room, user: Uuid) -> bool {
        self.log.has_room(room.id.0, user)
    }

    /// Runs something on the process's runtime; `None` if that ends.
    pub(crate) async fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> F,
    ) -> Option<T> {
        self.runtime.spawn(work(self.clone())).await.ok()
    }

    /// Asks the database.
    ///
    /// # Errors
    /// `unavailable` while it is away; `internal` when it fails.
    pub(crate) async fn ask<T: Send + 'static, F>(
        &self,
        statement: impl FnOnce(Self) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, db::Error>> + Send + 'static,
    {
        let statement = statement(self.clone());
        let database = self.db.clone();
        let asked = self.run(async move |_| database.run(statement).await).await;
        match asked {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) if error.is_passing() => {
                tracing::warn!(%error, "database not available");
                Err(ErrorCode::Unavailable.into())
            }
            Some(Err(error)) => {
                tracing::error!(%error, "statement failed");
                Err(ErrorCode::Internal.into())
            }
            None => Err(ErrorCode::Unavailable.into()),
        }
    }

    /// The room of this name, and what the user is there.
    ///
    /// # Errors
    /// `room_not_found`, or as [`Self::ask`].
    pub(crate) async fn find(&self, name: &Name, who: &Identity) -> Result<Standing, Refusal> {
        let (name, user) = (name.as_str().to_owned(), who.user);
        let finding =
            self.ask(async move |store| rooms::find(store.db.pool(), &name, Some(user)).await);
        finding.await?.ok_or_else(|| ErrorCode::RoomNotFound.into())
    }

    /// The same, if the user may read what is said there: a private room of others is not found.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) async fn standing(&self, name: &Name, who: &Identity) -> Result<Standing, Refusal> {
        let standing = self.find(name, who).await?;
        let is_open = standing.room.public || standing.membership.is_some();
        if is_open { Ok(standing) } else { Err(ErrorCode::RoomNotFound.into()) }
    }

    /// A room on this node.
    pub(crate) fn open(node: &Shared, room: &rooms::Room) -> Arc<Room> {
        let keeping = if room.durable { Keeping::Durable } else { Keeping::Ephemeral };
        node.rooms.open(RoomId(room.id), &room.name, keeping, room.public)
    }

    /// Reads a room's log behind a place, or its head; what it says goes to the room's home.
    pub(crate) fn read(&self, node: &Arc<Shared>, room: &Arc<Room>, behind: Option<u64>) {
        let (store, node, room) = (self.clone(), Arc::clone(node), Arc::clone(room));
        self.runtime.spawn(async move {
            let news = News::Read(behind, store.replay(&room, behind, node.page_bytes()).await);
            send(&node, &room, news);
        });
    }

    async fn replay(
        &self,
        room: &Room,
        behind: Option<u64>,
        page: usize,
    ) -> Option<(Head, Vec<Row>)> {
        let (db, id) = (&self.db, room.id.0);
        let read = match behind {
            None => db.run(entries::since(db.pool(), id, None, 0)).await,
            Some(behind) => {
                let from = entries::From::After(place(behind));
                let limit = i64::try_from(page / entries::ROW_BYTES).unwrap_or(i64::MAX);
                db.run(entries::page(db.pool(), id, from, limit, page)).await
            }
        };
        match read {
            Ok(Some(replay)) => {
                let rows = replay.entries.iter().map(|entry| Self::row(room, entry));
                Some((head(&replay.head), rows.collect()))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, room = %room.name, "a log could not be read");
                None
            }
        }
    }

    /// Looks whether these rooms' logs have gone on without this node being told.
    pub(crate) fn look_at(&self, node: &Arc<Shared>, rooms: Vec<Arc<Room>>) {
        let (store, node) = (self.clone(), Arc::clone(node));
        self.runtime.spawn(async move {
            for rooms in rooms.chunks(HEADS) {
                let ids: Vec<_> = rooms.iter().map(|room| room.id.0).collect();
                match store.db.run(entries::heads(store.db.pool(), &ids)).await {
                    Ok(heads) => {
                        let heads: HashMap<_, _> = heads.into_iter().collect();
                        for room in rooms {
                            if let Some(found) = heads.get(&room.id.0) {
                                send(&node, room, News::Head(head(found)));
                            }
                        }
                    }
                    Err(error) => return tracing::warn!(%error, "logs could not be looked at"),
                }
            }
        });
    }

    fn row(room: &Room, entry: &entries::Entry) -> Row {
        let json = Self::json(&room.name, entry).into();
        Row { seq: seq(entry.seq), json, effect: effect(entry) }
    }

    /// The JSON of an entry.
    pub(crate) fn json(room: &str, entry: &entries::Entry) -> Vec<u8> {
        let user = entry.user.as_ref();
        let user = user.map(|user| Sender { id: user.id, username: user.username.clone() });
        let entry = Entry {
            kind: entry.kind.as_str(),
            seq: Some(seq(entry.seq)),
            at: entry.at,
            user: user.as_ref(),
            key: entry.key,
            of: entry.of.map(seq),
            body: entry.body.as_deref(),
        };
        encode_entry(room, &entry)
    }

    /// Tells all shards what a user is in a room from now on.
    pub(crate) fn member_changed(node: &Shared, room: &Arc<Room>, change: RoleChange) {
        node.tell_all(|| Envelope::Member { room: Arc::clone(room), change });
    }

    /// Tells all shards until when a user may say nothing in a room, and waits until that holds on each.
    pub(crate) async fn mute_changed(node: &Shared, room: &Arc<Room>, change: MuteChange) {
        let mut holds = Vec::new();
        node.tell_all(|| {
            let (done, held) = oneshot::channel();
            holds.push(held);
            Envelope::Muted { room: Arc::clone(room), change, done }
        });
        // Each ends with an error: nothing is said, and a shard that has ended has no subscriptions.
        join_all(holds).await;
    }
}

/// What an entry means beside what it says.
fn effect(entry: &entries::Entry) -> Effect {
    match entry.kind {
        Kind::Deleted => Effect::Hides,
        Kind::Joined | Kind::Left | Kind::Role => {
            let subject = entry.body.as_deref().map(serde_json::from_str::<Subject>);
            let Some(Ok(Subject { user, role })) = subject else { return Effect::None };
            let role = role.and_then(|role| Role::find(&role));
            Effect::Member(user, role.filter(|_| entry.kind != Kind::Left))
        }
        Kind::Message | Kind::Edited => Effect::None,
    }
}

/// Whom an entry is about, as it is stored.
#[derive(Deserialize)]
struct Subject {
    user: Uuid,
    #[serde(default)]
    role: Option<Box<str>>,
}

/// Tells the room's home.
fn send(node: &Arc<Shared>, room: &Arc<Room>, news: News) {
    let rows = match &news {
        News::Rows(_, rows) | News::Read(_, Some((_, rows))) => rows.as_slice(),
        _ => &[],
    };
    let bytes = rows.iter().map(|row| row.json.len() + ENTRY_BYTES).sum();
    let room = Arc::clone(room);
    let home = room.home;
    let sent =
        node.send_bytes(link::Sender::Log, home, bytes, |_| Envelope::Log { room, news, bytes });
    if sent.is_err() {
        tracing::debug!(shard = home, "news of a log for a shard that has ended");
    }
}
