//! Removing rooms that have ended, and what is older than `MESSAGE_RETENTION`.
//!
//! Any number of nodes may do it at once: each step is one statement that begins at the first entry there
//! is, so that two remove nothing twice and leave nothing out.

use std::sync::Weak;
use std::time::Duration;

use shared::clock::Clock;
use shared::db::log::{self, KEPT_AT_LEAST, Retention};
use shared::db::{Database, Error};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::Lanes;

/// Between two rounds. No setting: entries and rooms are kept so much longer at most.
const EVERY: Duration = Duration::from_mins(10);
/// Entries, or rooms and their entries, that one step removes. No setting: it bounds how long those who
/// append to the room wait.
const STEP_ENTRIES: u32 = 200;
/// The pause after a step, in times of what it took: those who append have the room and the disk for the
/// larger part of the time. A million entries of one room, removed on a slow disk while another appended, in
/// steps of 12 ms and pauses of 30: 28 ms instead of 24 for 99 of 100 appends; with steps of 500 entries and
/// pauses of 10 ms, 32 instead of 20.
const PAUSE_TIMES: u32 = 2;
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Removes rooms that have ended, and old entries.
#[derive(Debug)]
pub struct Trimmer {
    database: Database,
    /// `MESSAGE_RETENTION`; `None`: entries do not become old.
    keep: Option<Duration>,
    clock: Clock,
}

impl Trimmer {
    /// Removes from this database what is older than that, and of rooms that anybody is in never what is
    /// younger than a day.
    pub fn new(database: Database, keep: Option<Duration>, clock: Clock) -> Self {
        Self { database, keep: keep.map(|keep| keep.max(KEPT_AT_LEAST)), clock }
    }

    /// Makes its rounds for as long as the lanes are there.
    pub(super) async fn run(self, lanes: Weak<Lanes>) {
        // Nodes that started together do not remove the same at the same time.
        let mut pause = EVERY.mul_f64(rand::random());
        loop {
            sleep(pause).await;
            pause = EVERY;
            if lanes.strong_count() == 0 {
                return;
            }
            match self.round().await {
                Ok(0) => {}
                Ok(removed) => tracing::debug!(rows = removed, "old entries removed"),
                Err(error) => tracing::warn!(%error, "old entries could not be removed"),
            }
        }
    }

    /// Removes all that has ended or is old by now, in steps; how many entries and ended rooms that were.
    ///
    /// # Errors
    /// Those of the statement that looks for old entries. What could not be removed is found by the next
    /// round.
    pub async fn round(&self) -> Result<u64, Error> {
        let ended = self.sweep().await.unwrap_or_else(|error| {
            // Old entries are removed all the same.
            tracing::warn!(%error, "rooms that have ended could not be removed");
            0
        });
        let Some(keep) = self.keep else { return Ok(ended) };
        let (db, now) = (&self.database, self.clock.now());
        let (mut after, mut removed) = (0, ended);
        while let Some((last, rooms)) = db.run(log::aged(db.pool(), after, now - keep)).await? {
            for room in rooms {
                // One that cannot be trimmed holds up none behind it.
                match self.trim(room, keep, now).await {
                    Ok(entries) => removed += entries,
                    Err(error) => {
                        tracing::warn!(%error, room, "old entries could not be removed");
                    }
                }
            }
            after = last;
        }
        Ok(removed)
    }

    /// Removes the rooms that have ended.
    async fn sweep(&self) -> Result<u64, Error> {
        let db = &self.database;
        in_steps(1, || db.run(log::remove_ended(db.pool(), STEP_ENTRIES))).await
    }

    async fn trim(&self, room: i64, keep: Duration, now: OffsetDateTime) -> Result<u64, Error> {
        let retention = Retention { before: Some(now - keep), keep: None };
        let db = &self.database;
        let step = || db.run(log::trim(db.pool(), room, retention, STEP_ENTRIES, now));
        in_steps(u64::from(STEP_ENTRIES), step).await
    }
}

/// Takes steps until one removes fewer than `whole`, with pauses between them; how much they removed.
async fn in_steps<F: Future<Output = Result<u64, Error>>>(
    whole: u64,
    mut step: impl FnMut() -> F,
) -> Result<u64, Error> {
    let mut removed = 0;
    loop {
        let began = Instant::now();
        let found = step().await?;
        removed += found;
        if found < whole {
            return Ok(removed);
        }
        sleep((began.elapsed() * PAUSE_TIMES).min(PAUSE_MAX)).await;
    }
}
