//! Work on a database as its owner, whether it runs or not.

use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, PgConnection};

use crate::postgres::DATABASE;
use crate::progress::Progress;
use crate::store::{Choice, Store};

/// Does the work in the database of `DATABASE_URL` or in the private one, whether that is running or
/// not.
///
/// # Errors
/// The work's own, or if the database cannot be reached.
pub(super) async fn as_owner<T>(
    choice: &Choice,
    work: impl AsyncFnOnce(&mut PgConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let progress = Progress::new();
    let running = match &choice.database_url {
        Some(url) => Some(PgConnection::connect(url.expose_secret()).await?),
        // Without this command's own: a `cargo run` in another terminal is the usual case.
        None => PgConnection::connect(&choice.cluster(&progress).await?.url(DATABASE)).await.ok(),
    };
    if let Some(mut owner) = running {
        drop(progress);
        return work(&mut owner).await;
    }
    let store = Store::open(choice, &progress).await?;
    drop(progress);
    let mut owner = PgConnection::connect(store.url.expose_secret()).await?;
    let done = work(&mut owner).await;
    owner.close().await?;
    store.stop().await;
    done
}
