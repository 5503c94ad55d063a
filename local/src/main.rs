//! `cargo run`: Keywire in one process.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// As of the realtime node: bench/RESULTS.md says what it saves.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What `--help` says.
const USAGE: &str = "\
keywire: accounts and live messages in one process, with a Postgres of its own.

Usage: keywire

It listens at http://127.0.0.1:8080. Its settings come from environment variables, such as PORT, DATABASE_URL
and REDIS_URL: see docs/configuration.md. Ctrl-C or SIGTERM stops it.";

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = shared::usage::answer(USAGE, std::env::args_os().skip(1)) {
        return code;
    }
    local::places::let_servers_in();
    local::exit_code(local::process::run().await)
}
