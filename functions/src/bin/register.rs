//! `POST /register` as a Lambda function.

use std::process::ExitCode;

use functions::{lambda, register};
use shared::secrets::Pepper;

fn main() -> ExitCode {
    lambda::main(|app, pepper: Pepper| Ok(register::router(app.clone(), app.passwords(pepper))))
}
