//! `cargo dev grant-admin`: the first administrator, whom no route can appoint.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use shared::clock::Clock;
use shared::db::users;
use shared::role::Role;

use super::owner::as_owner;
use super::say;
use crate::store::Choice;

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user's name.
    name: String,
}

/// Gives the role.
///
/// # Errors
/// If the database cannot be reached or has no such user.
pub(super) async fn grant_admin(
    choice: &Choice,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let name = &arguments.name;
    let granted = as_owner(choice, async |owner| {
        Ok(users::grant_role(owner, name, Role::Admin, Clock::System.now()).await?)
    });
    match granted.await? {
        Some(true) => say(&format!("{name} is now an administrator.")),
        Some(false) => say(&format!("{name} is an administrator already.")),
        None => bail!("there is no user {name}; register the account first"),
    }
    Ok(ExitCode::SUCCESS)
}
