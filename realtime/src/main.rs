//! The realtime node as a process of its own: `PORT`, `DATABASE_URL`, `REDIS_URL` and the rest of
//! `docs/configuration.md`. SIGTERM or Ctrl-C drains it and ends it with code 0; a second one ends
//! it at once.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use mimalloc::MiMalloc;
use realtime::{Auth, Node, settings};
use shared::clock::Clock;
use shared::db::Database;
use shared::front::Front;
use shared::settings::Reader;
use shared::telemetry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Gives back what a crowd needed for a moment; bench/RESULTS.md says how much that is a connection.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What `--help` says.
const USAGE: &str = "\
realtime: the Keywire node, which carries the WebSockets.

Usage: realtime

Its settings come from environment variables, such as PORT, DATABASE_URL and REDIS_URL: see
docs/configuration.md. SIGTERM or Ctrl-C drains it; a second one ends it at once.";

/// An error is one readable line, never a backtrace.
#[tokio::main]
#[expect(clippy::print_stderr, reason = "the last words of a program whose log may not be set up")]
async fn main() -> ExitCode {
    if let Some(code) = shared::usage::answer(USAGE, std::env::args_os().skip(1)) {
        return code;
    }
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let mut reader = Reader::from_env();
    let settings = settings::Binary::read(&mut reader);
    reader.finish()?;
    telemetry::start(&settings.log).map_err(anyhow::Error::msg)?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider was installed before"))?;
    realtime::serve::raise_file_limit();
    // Before anything can fail slowly: a signal during the start ends the process as well.
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    run(settings, signals).await
}

async fn run(settings: settings::Binary, mut signals: (Signal, Signal)) -> anyhow::Result<()> {
    let front = Front::new(settings.http.clone());
    let auth = match &settings.database {
        Some(database) => {
            let database = Database::new(database, None).context("DATABASE_URL")?;
            realtime::log::check(&database, &settings.node.log).await?;
            Some(Auth::new(database, settings.tokens.clone(), Clock::System))
        }
        None => None,
    };
    let node = Node::start(settings.node.clone(), Arc::clone(&front), auth)?;
    let clients = listen("clients", &settings, settings.port)?;
    let mut router = node.router();
    match settings.admin_port {
        None => router = router.merge(node.admin_router()),
        Some(port) => {
            let listener = listen("admin", &settings, port)?;
            let (router, node) = (front.layer(node.admin_router()), node.clone());
            tokio::spawn(async move { realtime::serve_admin(listener, router, &node).await });
        }
    }
    let serving = realtime::serve(vec![clients], front.layer(router), &node);
    let ended = async {
        let why = tokio::select! {
            () = next(&mut signals) => Ok(()),
            () = node.failed() => Err(anyhow::anyhow!("a part of the node failed; the log says which")),
        };
        tokio::select! {
            () = node.drain() => {}
            () = next(&mut signals) => tracing::warn!("ended at once by a second signal"),
        }
        why
    };
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        why = ended.as_mut() => why,
        // It ends when the drain has stopped it.
        () = serving => ended.await,
    }
}

fn listen(whom: &str, settings: &settings::Binary, port: u16) -> anyhow::Result<TcpListener> {
    let address = settings.address;
    let listener = realtime::serve::listen((address, port).into());
    let listener = listener.with_context(|| format!("{address} port {port} cannot be used"))?;
    tracing::info!(address = %listener.local_addr()?, "listening for {whom}");
    Ok(listener)
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
