//! A Lambda function that panics, to show that its sandbox goes on.

use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use functions::lambda;

fn main() -> ExitCode {
    lambda::main(|_, ()| {
        let router = Router::new().route("/health", get(async || "well"));
        Ok(router.route("/panic", get(async || -> () { panic!("as it was told to") })))
    })
}
