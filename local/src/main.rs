//! `cargo run`: Keywire in one process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::places::let_servers_in();
    local::exit_code(local::process::run().await)
}
