//! `GET /me` as a Lambda function.

use std::process::ExitCode;

use functions::{lambda, profile};

fn main() -> ExitCode {
    lambda::main(|app, ()| Ok(profile::router(app.clone())))
}
