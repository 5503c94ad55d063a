//! The database of a cluster: created, given its roles and tables.

use anyhow::Context as _;
use sqlx::Postgres;
use sqlx::migrate::MigrateDatabase as _;

use crate::postgres::Cluster;

/// Creates the database unless it is there and brings its tables up to date, as the owner.
///
/// # Errors
/// If the cluster does not take connections or a migration fails.
pub(crate) async fn prepare(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let url = cluster.url(name);
    if !Postgres::database_exists(&url).await.context("cannot reach the private Postgres")? {
        Postgres::create_database(&url).await.context("cannot create the database")?;
    }
    Ok(())
}
