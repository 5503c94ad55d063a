//! A database made ready: created, given its roles and its tables.

use anyhow::Context as _;
use shared::db::{MIGRATOR, roles};
use sqlx::migrate::MigrateDatabase as _;
use sqlx::{Connection as _, PgConnection, Postgres};

/// SQLSTATE `invalid_catalog_name`.
const NO_SUCH_DATABASE: &str = "3D000";

/// Creates the private database of `url` unless it is there, then brings it up to date. Returns the
/// owner's connection.
///
/// # Errors
/// If the server does not take connections or a migration fails.
pub(crate) async fn create(url: &str) -> anyhow::Result<PgConnection> {
    // Nearly always it is there; asking first would cost a connection at each start.
    let owner = match PgConnection::connect(url).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_SUCH_DATABASE) => {
            Postgres::create_database(url).await.context("cannot create the database")?;
            PgConnection::connect(url).await
        }
        other => other,
    };
    bring_up_to_date(owner.context("cannot connect to the private Postgres")?).await
}

/// Gives the database its roles and brings its tables up to date. `url` is the owner's, whose
/// connection it returns.
///
/// # Errors
/// If it cannot be reached, or a role or migration is refused.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<PgConnection> {
    let owner = PgConnection::connect(url).await.context("cannot connect to the database")?;
    bring_up_to_date(owner).await
}

async fn bring_up_to_date(mut owner: PgConnection) -> anyhow::Result<PgConnection> {
    roles::create(&mut owner).await.context("cannot create the roles of the database")?;
    MIGRATOR.run(&mut owner).await.context("cannot bring the database up to date")?;
    Ok(owner)
}
