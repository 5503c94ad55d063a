//! `POST /password/forgot`, `POST /password/reset` as a Lambda function.

use std::process::ExitCode;

use functions::{lambda, recovery};
use shared::secrets::{Links, Pepper};

fn main() -> ExitCode {
    lambda::main(|app, (pepper, links): (Pepper, Links)| {
        Ok(recovery::router(app.clone(), app.passwords(pepper), links))
    })
}
