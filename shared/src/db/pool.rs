//! The connections, and who has one.
//!
//! sqlx's own pool asks the server at each return whether the connection is well: a round trip each
//! time, and without a time limit. Here a connection goes back as it is when its
//! statement was answered whole; only what may be left unfinished is tried.

use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Manager, Metrics, Object, PoolError, QueueMode, RecycleResult};
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, iter};
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{
    Connection, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr, Transaction,
};

use crate::settings;

/// The part of `DATABASE_TIMEOUT` that a connection which is tried has to answer; most of it is left to
/// make another one.
const TRIALS: u32 = 4;
/// How long a connection is used. No setting: long enough to cost nothing, and short enough that a
/// server behind a moved name, and memory that a session gathers, are left behind.
const LIFETIME: Duration = Duration::from_mins(30);
/// Between tries to reach a server that starts. No setting: short beside any `DATABASE_TIMEOUT`.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The connections. Any statement can be run on it; a transaction needs one that is [`Pool::lend`]ed.
#[derive(Debug, Clone)]
pub struct Pool(managed::Pool<Connections>);

/// Makes connections and tries them.
#[derive(Debug)]
struct Connections {
    options: PgConnectOptions,
    /// `DATABASE_TRUSTED_IDLE`.
    trusted_idle: Duration,
    /// How long a trial may take.
    trial: Duration,
}

impl Manager for Connections {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Whoever waits, waits for a server that is starting or full, too.
    async fn create(&self) -> sqlx::Result<PgConnection> {
        loop {
            // Else its 20 KB would be a part of the future of every statement.
            match Box::pin(PgConnection::connect_with(&self.options)).await {
                Err(error) if is_starting(&error) => tokio::time::sleep(RETRY_PAUSE).await,
                made => return made,
            }
        }
    }

    async fn recycle(
        &self,
        connection: &mut PgConnection,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.age() > LIFETIME {
            return Err(managed::RecycleError::message("old"));
        }
        if metrics.last_used() > self.trusted_idle {
            try_out(connection, self.trial).await?;
        }
        Ok(())
    }
}

/// Whether nobody listens (yet), too many wait at a unix socket (connect(2): EAGAIN), or the server is
/// starting (57P03) or full (53300).
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::WouldBlock)
        }
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| matches!(&*code, "57P03" | "53300"))
        }
        _ => false,
    }
}

/// Whether the connection still answers, soon. What was left of a statement is read, and a transaction
/// that was dropped is rolled back.
async fn try_out(connection: &mut PgConnection, trial: Duration) -> sqlx::Result<()> {
    let answered = tokio::time::timeout(trial, connection.ping()).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

impl Pool {
    /// A pool that connects when it is first used.
    pub(super) fn new(options: PgConnectOptions, settings: &settings::Database) -> Self {
        let (trusted_idle, trial) = (settings.trusted_idle, settings.timeout / TRIALS);
        let pool = managed::Pool::builder(Connections { options, trusted_idle, trial })
            .runtime(Runtime::Tokio1)
            .max_size(settings.pool.try_into().unwrap_or(usize::MAX))
            // The one used last: the others may rest.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.timeout))
            .build();
        Self(pool.expect("the runtime that time-outs need is named"))
    }

    /// How it connects.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.0.manager().options
    }

    /// A connection for a transaction, or for statements one after another.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn lend(&self) -> sqlx::Result<Lent> {
        let connection = self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Closed => sqlx::Error::PoolClosed,
            _ => sqlx::Error::PoolTimedOut,
        })?;
        let trial = self.0.manager().trial;
        Ok(Lent { connection: Some(connection), is_settled: false, is_beginning: false, trial })
    }

    /// Closes what nobody uses, and lends no more.
    pub fn close(&self) {
        self.0.close();
    }
}

/// A connection, until it is dropped. It is tried then, unless it is settled.
#[derive(Debug)]
pub struct Lent {
    connection: Option<Object<Connections>>,
    /// Whether all that was asked of it was answered, and no transaction is open.
    is_settled: bool,
    /// Whether a transaction was begun of which it is not known that it has.
    is_beginning: bool,
    trial: Duration,
}

impl Lent {
    /// Begins a transaction, which is rolled back unless it is committed.
    ///
    /// # Errors
    /// The statement's.
    pub async fn begin(&mut self) -> sqlx::Result<Transaction<'_, Postgres>> {
        let Self { connection: Some(connection), is_beginning, .. } = self else {
            return Err(sqlx::Error::PoolClosed);
        };
        // sqlx counts the transaction only once the server has answered. Cut off before that, it has
        // nothing to roll back, no trial shows it, and whoever comes next would be in it.
        *is_beginning = true;
        let transaction = Connection::begin(&mut **connection).await?;
        *is_beginning = false;
        Ok(transaction)
    }

    /// Its statements were answered whole: it goes back as it is.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(HELD)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(HELD)
    }
}

/// Why a lent connection is there.
const HELD: &str = "only its drop takes the connection";

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take().filter(|_| !self.is_settled) else {
            return;
        };
        if self.is_beginning {
            return drop(Object::take(connection));
        }
        let trial = self.trial;
        let tried = async move {
            if let Err(error) = try_out(&mut connection, trial).await {
                tracing::warn!(%error, "a connection was given up");
                drop(Object::take(connection));
            }
        };
        // Without a runtime the process is ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tried);
        }
    }
}

/// One statement on a connection of its own. Rows are gathered first: nobody streams.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answered = async move {
            let mut lent = self.lend().await?;
            let all: Vec<_> = lent.fetch_many(query).try_collect().await?;
            lent.is_settled = true;
            Ok(iter(all).map(Ok))
        };
        answered.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answered = async move {
            let mut lent = self.lend().await?;
            let row = lent.fetch_optional(query).await?;
            lent.is_settled = true;
            Ok(row)
        };
        answered.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        async move { self.lend().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'p: 'e,
    {
        async move { self.lend().await?.describe(sql).await }.boxed()
    }
}
