//! `POST /token/refresh`, `POST /logout` and `/me/sessions` as a Lambda function.

use std::process::ExitCode;

use functions::{TokenKeys, lambda, session};
use shared::secrets::Signing;

fn main() -> ExitCode {
    lambda::main(|app, signing: Signing| {
        Ok(session::router(app.clone(), TokenKeys::new(app, signing)?))
    })
}
