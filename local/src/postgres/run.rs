//! Keeps a cluster's server running: starts it, watches it, restarts it, stops it.

use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Cluster;
use super::server::{end, prepare, spawn, tail, until_ready};

/// Failed attempts in a row after which a server that ran is given up; with the pauses about 25 s.
/// None of these is a setting: whoever needs a server that is kept up otherwise gives `DATABASE_URL`.
const RESTARTS: u32 = 10;

/// Failed attempts after which a first start is given up: whoever waits wants to know why.
const FIRST_ATTEMPTS: u32 = 3;

/// A server that ran so long counts as healthy: its end starts a new row of attempts.
const HEALTHY: Duration = Duration::from_mins(1);

/// The pause after the first failed attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the supervisor last saw.
#[derive(Debug, Clone)]
enum State {
    /// Preparing, starting or restarting.
    Starting,
    /// The server, by its process id, takes connections.
    Ready(u32),
    /// Given up; the sentence says why, with the log's tail.
    Failed(String),
}

/// A running server. Dropping it stops it too, and blocks until it has ended.
#[derive(Debug)]
pub struct Postgres {
    /// Tells the supervisor to stop the server; dropping it tells so too.
    stop: Option<oneshot::Sender<()>>,
    /// The supervisor's thread. It starts the server, so it lives as long (see [`crate::child::tie`]).
    thread: Option<JoinHandle<()>>,
    /// What the supervisor last saw; closed when it has ended.
    state: watch::Receiver<State>,
}

impl Postgres {
    /// Prepares the cluster if it is new, starts its server and waits until it takes connections.
    ///
    /// # Errors
    /// If it cannot be prepared or started, with what the program said.
    pub async fn start(cluster: Cluster) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (tell, state) = watch::channel(State::Starting);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || runtime.block_on(supervise(&cluster, stopped, &tell)))?;
        // Whole before the wait, so that giving up the wait stops the server like any drop.
        let mut running = Self { stop: Some(stop), thread: Some(thread), state };
        let seen = running.state.wait_for(|state| !matches!(state, State::Starting)).await;
        let failed = match seen.as_deref() {
            Ok(State::Failed(why)) => Some(why.clone()),
            Ok(_) => None,
            Err(_) => Some("the thread that starts Postgres ended".to_owned()),
        };
        drop(seen);
        failed.map_or(Ok(running), |why| Err(anyhow!(why)))
    }

    /// Waits until the server has ended and could not be restarted, and says why.
    pub async fn given_up(&mut self) -> String {
        match self.state.wait_for(|state| matches!(state, State::Failed(_))).await.as_deref() {
            Ok(State::Failed(why)) => why.clone(),
            _ => "Postgres is no longer watched".to_owned(),
        }
    }

    /// The server's process id while it takes connections.
    pub fn pid(&self) -> Option<u32> {
        match &*self.state.borrow() {
            State::Ready(pid) => Some(*pid),
            State::Starting | State::Failed(_) => None,
        }
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(mut self) {
        self.stop = None;
        // The channel closes when the supervisor has ended, so that dropping `self` does not block.
        while self.state.changed().await.is_ok() {}
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watched Postgres panicked");
        }
    }
}

/// Keeps the server running until told to stop, or until it cannot be restarted.
async fn supervise(
    cluster: &Cluster,
    mut stop: oneshot::Receiver<()>,
    tell: &watch::Sender<State>,
) {
    let mut failures = 0;
    let mut limit = FIRST_ATTEMPTS;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = prepare(cluster) => ended,
            _ = &mut stop => return,
        };
        let ended = match ended {
            Ok(()) => run_once(cluster, &mut stop, tell).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        if matches!(&*tell.borrow(), State::Ready(_)) {
            limit = RESTARTS;
            tell.send_replace(State::Starting);
        }
        failures = if began.elapsed() > HEALTHY { 1 } else { failures + 1 };
        if failures >= limit {
            tell.send_replace(State::Failed(format!("{error:#}")));
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        tracing::warn!(attempt = failures, "Postgres ended, starting it again: {error:#}");
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut stop => return,
        }
    }
}

/// Starts the server, waits until it ends. `Ok` means that it was told to.
async fn run_once(
    cluster: &Cluster,
    stop: &mut oneshot::Receiver<()>,
    tell: &watch::Sender<State>,
) -> anyhow::Result<()> {
    let mut server = spawn(cluster)?;
    let pid = server.id().context("Postgres has no process id")?;
    let started = tokio::select! {
        started = timeout(cluster.waits.start, until_ready(&cluster.data, pid)) => Some(started),
        status = server.wait() => bail!("Postgres did not start ({})\n{}", status?, tail(&cluster.log)),
        _ = &mut *stop => None,
    };
    match started {
        Some(Ok(())) => {
            tell.send_replace(State::Ready(pid));
            tokio::select! {
                status = server.wait() => bail!("Postgres ended ({})\n{}", status?, tail(&cluster.log)),
                _ = stop => {}
            }
        }
        Some(Err(_)) => {
            end(&mut server, cluster.waits.stop).await?;
            bail!(
                "Postgres did not get ready in POSTGRES_START_TIMEOUT, {:?}\n{}",
                cluster.waits.start,
                tail(&cluster.log)
            );
        }
        None => {}
    }
    let status = end(&mut server, cluster.waits.stop).await?;
    tracing::debug!(%status, "Postgres stopped");
    Ok(())
}
