//! Appending to the logs of durable rooms.
//!
//! A room belongs to one of a few lanes, each of which has a connection of its own and one call in flight
//! on it: what arrives meanwhile is the next batch. So a lone entry goes at once, and under load one commit
//! stores hundreds.

mod batch;
mod lane;
mod queue;
mod trimmer;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use shared::clock::Clock;
use shared::db::log::{self, Append, Durability, Outcome};
use shared::db::{Database, Error};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::settings;
use batch::{Answer, Item, UNKNOWN_AFTER};
use lane::Lane;
use queue::{Queue, Relief};

pub use trimmer::Trimmer;

/// Why an entry has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Postgres is away or behind. It is not known whether the entry is stored: it may be sent again under
    /// the same key.
    #[error("the log is not available")]
    Unavailable,
    /// Postgres refuses this entry for a reason that only the node's own log tells. It is not stored.
    #[error("the entry cannot be stored")]
    Fault,
}

/// The lanes of a node. Clones are the same ones, usable on any thread; they end with the last.
#[derive(Debug, Clone)]
pub struct Log(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    queues: Vec<Arc<Queue>>,
    relief: Relief,
}

impl Log {
    /// Starts the lanes on this runtime, and what removes ended rooms and old entries. While Postgres is
    /// away they wait for it; one that would forget what it has acknowledged gets nothing while
    /// `LOG_DURABLE` is on.
    pub fn start(database: &Database, settings: &settings::Log, clock: &Clock) -> Self {
        let relief = Relief::default();
        let queues = (0..settings.lanes).map(|number| {
            let queue = Arc::new(Queue::new(relief.clone()));
            let lane =
                Lane::new(number, Arc::clone(&queue), database.clone(), settings, clock.clone());
            tokio::spawn(lane.run());
            queue
        });
        let lanes = Arc::new(Lanes { queues: queues.collect(), relief });
        let trimmer = Trimmer::new(database.clone(), settings.retention, clock.clone());
        tokio::spawn(trimmer.run(Arc::downgrade(&lanes)));
        Self(lanes)
    }

    /// Appends an entry, in the order of the calls within its room. It is in the queue when this returns,
    /// and is stored also when nobody waits for the outcome.
    ///
    /// An entry that a lost connection left in doubt is tried again, and is then a
    /// [`Outcome::Duplicate`] of itself: whoever delivers what it stored delivers that, too.
    ///
    /// # Errors
    /// [`Unanswered::Unavailable`] at once when the queue is full, else when the outcome is not known in
    /// time; [`Unanswered::Fault`].
    pub fn append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Outcome, Unanswered>> + Send + use<> {
        let (answer, outcome) = oneshot::channel();
        // Whoever no longer waits need not be told.
        self.append_then(append, |told| drop(answer.send(told)));
        // A lane that drops an item has failed.
        async move { outcome.await.unwrap_or(Err(Unanswered::Unavailable)) }
    }

    /// The same for whoever does not wait: `then` is called with the outcome, for the entries of a room in
    /// the order of its log. It must not block: the lane waits for it. A lane that fails drops it.
    pub fn append_then(
        &self,
        append: Append,
        then: impl FnOnce(Result<Outcome, Unanswered>) + Send + 'static,
    ) {
        let answer = Answer(Box::new(then));
        let until = Instant::now() + UNKNOWN_AFTER;
        if let Some(queue) = self.queue(append.room) {
            queue.push(Item { append, answer, until });
        }
    }

    /// Whether what this user publishes in this room may be handed over. If not, there is too much before
    /// it, of everybody's or of theirs, and who was named to [`Self::on_relief`] is told when to ask again.
    pub(crate) fn has_room(&self, room: i64, user: Uuid) -> bool {
        self.queue(room).is_none_or(|queue| queue.has_room(user))
    }

    /// Names who is told that publishers may ask again. It must not block: the lanes wait for it.
    pub(crate) fn on_relief(&self, then: impl Fn() + Send + Sync + 'static) {
        self.0.relief.set(then);
    }

    fn queue(&self, room: i64) -> Option<&Queue> {
        // Rooms are numbered one after another, so that this spreads them evenly.
        let lane = room.unsigned_abs() % self.0.queues.len().max(1) as u64;
        usize::try_from(lane).ok().and_then(|lane| self.0.queues.get(lane)).map(Arc::as_ref)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for queue in &self.queues {
            queue.close();
        }
    }
}

/// What is said when the server would lose what was acknowledged.
const DISPOSABLE: &str = "Postgres runs with fsync or synchronous_commit off: what it has \
                          acknowledged is gone when it crashes. LOG_DURABLE=off takes it all the same";

/// Whether the logs may be kept in this database, so that a process can refuse to start.
///
/// # Errors
/// When Postgres would forget what it has acknowledged, and `LOG_DURABLE` is on; or refuses.
pub async fn check(database: &Database, settings: &settings::Log) -> anyhow::Result<()> {
    if settings.durable {
        match database.run(durability(database)).await {
            Ok(durability) => anyhow::ensure!(durability == Durability::Durable, DISPOSABLE),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "the log waits for the database");
            }
            Err(error) => return Err(error).context("DATABASE_URL"),
        }
    }
    Ok(())
}

async fn durability(database: &Database) -> Result<Durability, Error> {
    let mut connection = log::connect(database).await?;
    log::durability(&mut connection).await
}
