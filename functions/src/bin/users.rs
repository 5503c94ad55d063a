//! `/users` and `GET /audit`, managing accounts, as a Lambda function.

use std::process::ExitCode;

use functions::{lambda, users};
use shared::secrets::Pepper;

fn main() -> ExitCode {
    lambda::main(|app, pepper: Pepper| Ok(users::router(app.clone(), app.passwords(pepper))))
}
