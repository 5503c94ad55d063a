//! A lane: one connection, one call in flight, and what to do when that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::clock::Clock;
use shared::db::log::{self, Append, Durability, Outcome, STATEMENT_TIMEOUT};
use shared::db::{Database, Error};
use sqlx::PgConnection;
use tokio::time::{sleep, timeout};

use super::batch::Batch;
use super::queue::Queue;
use super::{DISPOSABLE, Unanswered};
use crate::settings;

/// How long a connection may take to be there. No setting: a healthy server answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take: a little longer than the server gives itself, after which it is not there.
const CALL_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_secs(1));
/// How often, while a call is in flight, those are told who have waited too long.
const EXPIRY_PAUSE: Duration = Duration::from_millis(500);
/// The pause after a first failure; each further one is twice as long, up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// As above.
const RETRY_MAX: Duration = Duration::from_millis(500);

/// What carries a queue to the database.
pub(super) struct Lane {
    number: u32,
    queue: Arc<Queue>,
    writer: Writer,
    /// Doubles with each failure in a row.
    pause: Duration,
}

/// The connection, and how to have another one.
struct Writer {
    database: Database,
    /// `LOG_DURABLE`.
    is_durable: bool,
    clock: Clock,
    connection: Option<PgConnection>,
}

/// Why a call failed.
enum Failure {
    /// It may succeed when it is made again.
    Passing(Error),
    /// It will not, because of an entry.
    Lasting(Error),
}

impl Lane {
    /// A lane that connects when it has something to carry.
    pub(super) fn new(
        number: u32,
        queue: Arc<Queue>,
        database: Database,
        settings: &settings::Log,
        clock: Clock,
    ) -> Self {
        let is_durable = settings.durable;
        let writer = Writer { database, is_durable, clock, connection: None };
        Self { number, queue, writer, pause: RETRY_FIRST }
    }

    /// Carries what waits until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        // Should the lane fail, nobody is to wait for it.
        let _closing = Closing(Arc::clone(&self.queue));
        while let Some(batch) = self.queue.next().await {
            self.carry(batch).await;
        }
    }

    /// Carries a batch until each of its entries has an outcome or was given up. Its rooms keep their
    /// order: what comes later waits, in the halves of a batch that was refused as in the queue.
    async fn carry(&mut self, batch: Batch) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if !part.expire(Instant::now()) {
                continue;
            }
            match self.call(&mut part).await {
                Ok(outcomes) => {
                    self.pause = RETRY_FIRST;
                    part.answer(outcomes);
                }
                Err(Failure::Passing(error)) => {
                    parts.push(part);
                    self.rest(&error, &mut parts).await;
                }
                Err(Failure::Lasting(error)) => match part.halve() {
                    Ok((first, second)) => parts.extend([second, first]),
                    Err(single) => {
                        tracing::error!(%error, lane = self.number, "an entry cannot be stored");
                        single.fail(Unanswered::Fault);
                    }
                },
            }
        }
    }

    /// One call, during which those are told who have waited too long for this batch or for the next.
    async fn call(&mut self, part: &mut Batch) -> Result<Vec<Outcome>, Failure> {
        let Batch { appends, replies } = part;
        let mut call = std::pin::pin!(self.writer.append(appends));
        loop {
            tokio::select! {
                biased;
                answered = &mut call => return answered,
                () = sleep(EXPIRY_PAUSE) => {
                    let now = Instant::now();
                    replies.expire(now);
                    self.queue.expire(now);
                }
            }
        }
    }

    /// Waits before a call is made again.
    async fn rest(&mut self, error: &Error, parts: &mut [Batch]) {
        if self.pause == RETRY_FIRST {
            tracing::warn!(%error, lane = self.number, "the log is not available; it is tried again");
        } else {
            tracing::debug!(%error, lane = self.number, "the log is not available");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_MAX);
        let now = Instant::now();
        for part in parts {
            part.replies.expire(now);
        }
        self.queue.expire(now);
    }
}

impl Writer {
    /// One call, on a new connection when there is none.
    async fn append(&mut self, appends: &[Append]) -> Result<Vec<Outcome>, Failure> {
        // Taken, so that a connection whose call did not end is never used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => in_time(CONNECT_TIMEOUT, self.connect()).await.map_err(Failure::Passing)?,
        };
        let call = log::append(&mut connection, appends, self.clock.now());
        match in_time(CALL_TIMEOUT, call).await {
            Ok(outcomes) => {
                self.connection = Some(connection);
                Ok(outcomes)
            }
            Err(error) if error.is_passing() => Err(Failure::Passing(error)),
            Err(error) => {
                self.connection = Some(connection);
                Err(Failure::Lasting(error))
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        let mut connection = log::connect(&self.database).await?;
        // Another server may have taken the place of the one that was asked at the start.
        if self.is_durable && log::durability(&mut connection).await? != Durability::Durable {
            return Err(Error::Fault(sqlx::Error::Configuration(DISPOSABLE.into())));
        }
        Ok(connection)
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or(Err(Error::Silent))
}

/// Closes a queue and gives up what waits in it, however its lane ends.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
        while let Some(batch) = self.0.take() {
            batch.fail(Unanswered::Unavailable);
        }
    }
}
