//! `GET /.well-known/jwks.json`, `GET /.well-known/change-password`, `GET /openapi.json` and `GET /health`
//! as a Lambda function.

use std::process::ExitCode;

use functions::{discovery, lambda};

fn main() -> ExitCode {
    lambda::main(|app, ()| Ok(discovery::router(app.clone())))
}
