//! `cargo run`: Keywire in one process.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// As of the realtime node: bench/RESULTS.md says what it saves.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    local::places::let_servers_in();
    local::exit_code(local::process::run().await)
}
