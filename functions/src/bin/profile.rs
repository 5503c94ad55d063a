//! `/me`, what users see and change of themselves, as a Lambda function.

use std::process::ExitCode;

use functions::{lambda, profile};
use shared::second_factor::Vault;
use shared::secrets::Pepper;

fn main() -> ExitCode {
    lambda::main(|app, pepper: Pepper| {
        let vault = Vault::new(&pepper)?;
        Ok(profile::router(app.clone(), app.passwords(pepper), vault))
    })
}
