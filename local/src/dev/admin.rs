//! `cargo dev grant-admin`: the first administrator, whom no route can appoint.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use secrecy::ExposeSecret as _;
use shared::clock::Clock;
use shared::db::users;
use shared::role::Role;
use sqlx::{Connection as _, PgConnection};

use super::say;
use crate::postgres::DATABASE;
use crate::progress::Progress;
use crate::store::{Choice, Store};

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user's name.
    name: String,
}

/// Gives the role, in the database of `DATABASE_URL` or in the private one, whether that is running
/// or not.
///
/// # Errors
/// If the database cannot be reached or has no such user.
pub(super) async fn grant_admin(
    choice: &Choice,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let progress = Progress::new();
    let running = match &choice.database_url {
        Some(url) => Some(PgConnection::connect(url.expose_secret()).await?),
        // Without this command's own: a `cargo run` in another terminal is the usual case.
        None => PgConnection::connect(&choice.cluster(&progress).await?.url(DATABASE)).await.ok(),
    };
    if let Some(mut owner) = running {
        return grant(&mut owner, &arguments.name).await;
    }
    let store = Store::open(choice, &progress).await?;
    let mut owner = PgConnection::connect(store.url.expose_secret()).await?;
    let granted = grant(&mut owner, &arguments.name).await;
    owner.close().await?;
    store.stop().await;
    granted
}

async fn grant(owner: &mut PgConnection, name: &str) -> anyhow::Result<ExitCode> {
    match users::grant_role(owner, name, Role::Admin, Clock::System.now()).await? {
        Some(true) => say(&format!("{name} is now an administrator.")),
        Some(false) => say(&format!("{name} is an administrator already.")),
        None => bail!("there is no user {name}; register the account first"),
    }
    Ok(ExitCode::SUCCESS)
}
