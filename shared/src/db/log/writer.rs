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

/// A connection of its own, with the limits above, which are the session's: a pooler must not give it to
/// others between two statements.
///
/// # Errors
/// When the server is away, or refuses.
pub async fn connect(database: &Database) -> Result<PgConnection, Error> {
    let mut connection = Box::pin(PgConnection::connect_with(database.pool().options())).await?;
    // Not as start-up options, which poolers refuse.
    sqlx::query!(
        "SELECT set_config('lock_timeout', $1, false) AS lock,
                set_config('statement_timeout', $2, false) AS statement",
        LOCK_TIMEOUT.as_millis().to_string(),
        STATEMENT_TIMEOUT.as_millis().to_string()
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(connection)
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
