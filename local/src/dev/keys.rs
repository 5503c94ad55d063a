//! `cargo dev keys`: a set of keys for a database of one's own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use secrecy::ExposeSecret as _;
use shared::db::signing_keys;
use sqlx::Connection as _;

use super::say;
use crate::store::Choice;
use crate::{database, keys};

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file to write. One that is there is kept as it is, but for a key that it lacks: that is
    /// added.
    file: PathBuf,
    /// Publish the public halves in the database of `DATABASE_URL`, which is migrated first.
    #[arg(long)]
    register: bool,
}

/// Makes the set unless the file is there, and publishes it if asked to.
///
/// # Errors
/// If the file cannot be written or read, or the database has keys already.
pub(super) async fn keys(choice: &Choice, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, register } = arguments;
    let set = if file.exists() {
        let (set, added) = keys::complete(file)?;
        if added {
            say(&format!("Added the key of second factors to {}.", file.display()));
        }
        let shown = file.display();
        ensure!(*register || added, "{shown} is there already, and keys are never written over");
        set
    } else {
        let set = keys::create(file)?;
        say(&format!("Made {}. Keep it: without it no password can be checked.", file.display()));
        set
    };
    if *register {
        let url = choice.database_url.as_ref();
        let url =
            url.context("--register needs DATABASE_URL, the owner's address of the database")?;
        let mut owner = database::migrate(url.expose_secret()).await?;
        let first = signing_keys::register_first(&mut owner, &set.signing).await?;
        owner.close().await?;
        ensure!(first, "the database has signing keys already; nothing was changed");
        say("Published its public keys in the database.");
    }
    Ok(ExitCode::SUCCESS)
}
