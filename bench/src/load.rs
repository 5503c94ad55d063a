//! What the load runs have in common: a server by its URL, many thin clients on one thread, and a
//! check of every delivery.
//!
//! The server has to relay each text message to every client, the sender included. It is talked to
//! as any client would; to know what it costs, its process is read from `/proc`.

pub(crate) mod check;
pub(crate) mod crowd;
pub(crate) mod frame;
pub(crate) mod intake;
pub(crate) mod meter;
pub(crate) mod phase;
pub(crate) mod pin;
pub(crate) mod senders;
pub(crate) mod server;
pub(crate) mod stamp;
pub(crate) mod talk;
pub(crate) mod target;
pub(crate) mod upgrade;

use std::thread;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::oneshot;

use self::meter::Meter;
use self::server::Server;
use self::target::{Endpoint, Target};
use crate::report::Outcome;

/// What a run is given.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where the server is.
    pub(crate) endpoint: Endpoint,
    /// Reads the server's process.
    pub(crate) meter: Meter,
}

/// Starts the server if it is to be started, runs `scenario` on a thread of its own, and ends the
/// server. Dropping the future ends the server as well.
///
/// # Errors
/// If the server does not start, or the scenario fails.
pub(crate) async fn run<F>(target: &Target, scenario: F) -> anyhow::Result<Outcome>
where
    F: FnOnce(Bench) -> anyhow::Result<Outcome> + Send + 'static,
{
    let endpoint = target.endpoint()?;
    let server = match &target.spawn {
        None => None,
        Some(command) => Some(Server::start(command, target.server_core, endpoint.address).await?),
    };
    let pid = target.pid.or(server.as_ref().map(Server::pid).transpose()?);
    let bench = Bench { endpoint, meter: Meter::new(pid) };
    let (done, outcome) = oneshot::channel();
    let core = target.load_core;
    // Its own thread, so that it alone is pinned and a signal can end the program meanwhile.
    thread::spawn(move || {
        let outcome = core.map_or(Ok(()), pin::pin).and_then(|()| scenario(bench));
        // Nobody waits any more when the program was interrupted.
        drop(done.send(outcome));
    });
    let outcome = outcome.await.context("the load's thread panicked")?;
    let mut outcome = match (&server, outcome) {
        (Some(server), Err(error)) => return Err(error.context(server.last_words())),
        (_, outcome) => outcome?,
    };
    if let Some(server) = server {
        server.end().await?;
    }
    outcome.figures["server"] = target.name().into();
    outcome.figures["command"] = target.spawn.clone().map_or(Value::Null, Value::from);
    Ok(outcome)
}
