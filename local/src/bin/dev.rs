//! The `cargo dev` commands.

use std::process::ExitCode;

/// One thread: what it starts ends with it (see `local::child`).
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    local::places::let_servers_in();
    local::exit_code(local::dev::run().await)
}
