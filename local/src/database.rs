//! A database made ready: created, given its roles and its tables.

use anyhow::Context as _;
use shared::db::{MIGRATOR, roles};
use sqlx::migrate::MigrateDatabase as _;
use sqlx::{Connection as _, PgConnection, Postgres};

/// SQLSTATE `invalid_catalog_name`.
const NO_SUCH_DATABASE: &str = "3D000";

/// Creates the database of `url` unless it is there, then brings it up to date.
///
/// # Errors
/// If the server does not take connections or a migration fails.
pub(crate) async fn create(url: &str) -> anyhow::Result<()> {
    // Nearly always it is there; asking first would cost a connection at each start.
    let mut owner = match PgConnection::connect(url).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NO_SUCH_DATABASE) => {
            Postgres::create_database(url).await.context("cannot create the database")?;
            PgConnection::connect(url).await
        }
        other => other,
    }
    .context("cannot connect to the private Postgres")?;
    bring_up_to_date(&mut owner).await?;
    owner.close().await.context("the connection to the database broke")
}

/// Gives the database its roles and brings its tables up to date. `url` is the owner's.
///
/// # Errors
/// If it cannot be reached, or a role or migration is refused.
#[expect(dead_code, reason = "the local process follows")]
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    let mut owner = PgConnection::connect(url).await.context("cannot connect to the database")?;
    bring_up_to_date(&mut owner).await?;
    owner.close().await.context("the connection to the database broke")
}

async fn bring_up_to_date(owner: &mut PgConnection) -> anyhow::Result<()> {
    roles::create(owner).await.context("cannot create the roles of the database")?;
    MIGRATOR.run(owner).await.context("cannot bring the database up to date")
}
