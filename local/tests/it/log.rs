//! Rooms and the log of each, as the serving role appends to it and reads it.

mod append;
mod invitations;
mod lanes;
mod outcomes;
mod owners;
mod proxy;
mod reading;
mod retention;
mod rooms;
mod runs;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shared::db::log::{self, Append, NewEntry, Outcome};
use shared::db::rooms::{Created, NewRoom};
use shared::db::{self, Database};
use shared::settings::{self, Reader};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::TestDatabase;

/// A database with users and rooms.
pub(crate) struct Rooms {
    /// As the serving role.
    pub(crate) db: Database,
    /// The owner's connections, for looking behind the scenes.
    pub(crate) owner: PgPool,
    /// The owner's URL.
    pub(crate) url: String,
    /// Dropped last.
    _database: TestDatabase,
}

impl Rooms {
    /// Empty.
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create().await;
        let owner = PgPoolOptions::new().max_connections(4).connect(&database.url).await.unwrap();
        let db = Self::database(&database.url);
        Self { db, owner, url: database.url.clone(), _database: database }
    }

    /// How the serving role reaches this address.
    pub(crate) fn database(url: &str) -> Database {
        let settings = [("DATABASE_TIMEOUT", "20s"), ("DATABASE_POOL", "4")];
        let mut reader = Reader::from_pairs(settings);
        let settings = settings::Database::at(url.to_owned(), &mut reader);
        reader.finish().unwrap();
        Database::new(&settings, Some(db::SERVING_ROLE)).unwrap()
    }

    /// A new user.
    pub(crate) async fn user(&self, name: &str) -> Uuid {
        let insert = "INSERT INTO users (id, username, username_key, created_at)
                      VALUES ($1, $2, lower($2), now())";
        let id = Uuid::now_v7();
        sqlx::query(insert).bind(id).bind(name).execute(&self.owner).await.unwrap();
        id
    }

    /// A new public, durable room of this owner's.
    pub(crate) async fn room(&self, name: &str, owner: Uuid) -> i64 {
        self.new_room(name, owner, true, true).await
    }

    /// A new room.
    pub(crate) async fn new_room(
        &self,
        name: &str,
        owner: Uuid,
        public: bool,
        durable: bool,
    ) -> i64 {
        let new = NewRoom { name, title: "A room", durable, public };
        let created = db::rooms::create(self.db.pool(), new, owner, None, now()).await.unwrap();
        let Created::New(room) = created else { panic!("{created:?}") };
        room.id
    }

    /// Appends a batch.
    pub(crate) async fn append(&self, items: &[Append]) -> Vec<Outcome> {
        let mut connection = self.db.pool().lend().await.unwrap();
        log::append(&mut connection, items, now()).await.unwrap()
    }

    /// Appends one item.
    pub(crate) async fn one(&self, item: Append) -> Outcome {
        self.append(&[item]).await.remove(0)
    }

    /// Makes users members of a room.
    pub(crate) async fn join(&self, room: i64, users: &[Uuid]) {
        let joined: Vec<_> = users.iter().map(|user| item(room, *user, NewEntry::Joined)).collect();
        let outcomes = self.append(&joined).await;
        assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
    }

    /// The numbers and texts of a log.
    pub(crate) async fn texts(&self, room: i64) -> Vec<(i64, Option<String>)> {
        let all = log::page(self.db.pool(), room, log::From::After(0), 100_000, usize::MAX);
        let all = all.await.unwrap().unwrap();
        let numbers = all.head.first_seq..=all.head.last_seq;
        assert!(numbers.eq(all.entries.iter().map(|entry| entry.seq)), "{:?}", all.head);
        all.entries.into_iter().map(|entry| (entry.seq, entry.body)).collect()
    }

    /// Waits until so many statements wait for a lock.
    pub(crate) async fn until_waiting(&self, many: i64) {
        let asked = "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                     WHERE NOT granted AND datname = current_database()";
        let deadline = Instant::now() + Duration::from_mins(1);
        while sqlx::query_scalar::<_, i64>(asked).fetch_one(&self.owner).await.unwrap() < many {
            assert!(Instant::now() < deadline, "nobody waits");
            tokio::task::yield_now().await;
        }
    }

    /// Several connections of the serving role's, with a writer's limits.
    pub(crate) async fn writers(&self, many: usize) -> Vec<sqlx::PgConnection> {
        let writers = (0..many).map(|_| log::connect(&self.db));
        join_all(writers).await.into_iter().map(Result::unwrap).collect()
    }
}

/// By the machine's clock, to the microsecond as Postgres keeps it.
pub(crate) fn now() -> OffsetDateTime {
    let now = shared::clock::Clock::System.now();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap()
}

/// An item with a key of its own, of somebody who moderates nothing.
pub(crate) fn item(room: i64, user: Uuid, entry: NewEntry) -> Append {
    Append { room, user, moderates: false, key: Uuid::now_v7(), entry }
}

/// A message.
pub(crate) fn message(room: i64, user: Uuid, text: &str) -> Append {
    item(room, user, NewEntry::Message { body: Arc::from(text) })
}

/// Whether it is committed now.
pub(crate) fn is_stored(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored { .. })
}

/// The number of an item that is committed now.
#[track_caller]
pub(crate) fn stored_seq(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Stored { seq, .. } => *seq,
        outcome => panic!("not stored: {outcome:?}"),
    }
}
