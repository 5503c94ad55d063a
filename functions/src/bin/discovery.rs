//! `GET /.well-known/jwks.json` and `GET /health` as a Lambda function.

use std::process::ExitCode;

use functions::{discovery, lambda};

fn main() -> ExitCode {
    lambda::main(|app, ()| Ok(discovery::router(app.clone())))
}
