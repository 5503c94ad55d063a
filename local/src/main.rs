//! `cargo run`: Keywire in one process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::exit_code(local::process::run().await)
}
