//! `cargo dev new-epoch`: after a backup was restored, so that no client goes on from what is not there.

use std::process::ExitCode;

use shared::db::log;

use super::owner::as_owner;
use super::say;
use crate::store::Choice;

/// Gives every room's log another epoch.
///
/// # Errors
/// If the database cannot be reached.
pub(super) async fn new_epoch(choice: &Choice) -> anyhow::Result<ExitCode> {
    let renewed = as_owner(choice, async |owner| Ok(log::renew_epochs(owner).await?)).await?;
    say(&format!("Rooms whose clients begin anew: {renewed}."));
    Ok(ExitCode::SUCCESS)
}
