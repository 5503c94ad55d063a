//! `cargo dev rotate-keys`: the next signing key signs from now on.

use std::process::ExitCode;

use super::owner::as_owner;
use super::say;
use crate::keys::rotate::{Lives, Rotated, rotate};
use crate::settings;
use crate::store::Choice;

/// Rotates the keys of the private database, or those in `KEYS_FILE` of the given one.
///
/// # Errors
/// If the next key is too young, the keys are not the database's, or file or database cannot be
/// written.
pub(super) async fn rotate_keys(choice: &Choice) -> anyhow::Result<ExitCode> {
    let lives = Lives::of(&settings::of_functions()?);
    let file = choice.keys_path()?;
    let rotated = as_owner(choice, async |owner| rotate(owner, &file, lives).await).await?;
    let file = file.display();
    say(&match rotated {
        Rotated::Anew => format!(
            "Rotated the keys in {file}. A running `cargo run` takes them on by itself within \
             KEYS_FILE_INTERVAL; back the file up."
        ),
        Rotated::Finished => format!(
            "Finished the rotation that was interrupted: the keys in {file} are published now. \
             Nothing else was rotated."
        ),
    });
    Ok(ExitCode::SUCCESS)
}
