//! The connections that append, which are not of the pool.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use crate::db::{Database, Error};

/// How long a batch waits for the rooms of others. No setting: a batch takes milliseconds, so that whoever
/// holds them longer is stuck.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a batch may take in all. No setting: with the lock it waits for, a hundred times what the
/// largest one takes.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether what is committed outlives a crash of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does.
    Durable,
    /// It may not: `fsync` or `synchronous_commit` is off.
    Disposable,
}

/// A connection of its own, with the limits above.
///
/// # Errors
/// When the server is away, or refuses.
pub async fn connect(database: &Database) -> Result<PgConnection, Error> {
    let limits = [("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", STATEMENT_TIMEOUT)];
    let limits = limits.map(|(name, limit)| (name, limit.as_millis().to_string()));
    let options = database.pool().options().clone().options(limits);
    Ok(Box::pin(PgConnection::connect_with(&options)).await?)
}

/// Whether the server keeps what it says it has committed on this connection.
///
/// # Errors
/// The statement's.
pub async fn durability(connection: &mut PgConnection) -> Result<Durability, Error> {
    let is_durable = sqlx::query_scalar!(
        r#"SELECT current_setting('fsync') = 'on'
                  AND current_setting('synchronous_commit') <> 'off' AS "is_durable!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(if is_durable { Durability::Durable } else { Durability::Disposable })
}
