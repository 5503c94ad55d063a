//! A `keywire` of its own, a user of it, and what both use.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Server;
use crate::accounts::{self, PASSWORD};
use crate::client::Client;
use crate::keywire::{Keywire, UNTHROTTLED};
use crate::load::crowd::Crowd;
use crate::load::meter::Meter;
use crate::load::pin;
use crate::load::talk::{PROTOCOL, Talk};
use crate::load::target::Endpoint;
use crate::machine::Used;
use crate::report::{Outcome, rounded};

/// Off: all sockets are one user's, and as fast as it goes.
const LIMITS: [(&str, &str); 3] =
    [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("CONNECTIONS_PER_USER", "off")];

/// Whose all sockets are.
const USER: &str = "bench";

/// A session of Postgres tells its statistics when it has been idle for 10 s, if not sooner.
pub(super) const TOLD: Duration = Duration::from_secs(11);

/// Where a load finds its server.
#[derive(Debug)]
pub(super) struct Site {
    port: u16,
    pid: u32,
    token: String,
    database_url: String,
    runtime: Handle,
}

/// What was used up to a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    at: Instant,
    /// Processor time of Keywire, its Postgres and this process.
    used: [Duration; 3],
    /// Transactions that wrote.
    writes: i64,
}

/// Starts Keywire, runs `scenario` on a thread of its own, and ends Keywire.
///
/// # Errors
/// If Keywire does not start or end, or the scenario fails.
pub(super) async fn run<F>(program: &Path, server: &Server, scenario: F) -> anyhow::Result<Outcome>
where
    F: FnOnce(Site) -> anyhow::Result<Outcome> + Send + 'static,
{
    let mut settings = [UNTHROTTLED.as_slice(), &LIMITS].concat();
    for set in &server.set {
        settings.push(set.split_once('=').context("--set: NAME=VALUE")?);
    }
    let keywire = Keywire::start(program, &settings).await?;
    let site = Site {
        port: keywire.port,
        pid: keywire.pid()?,
        token: sign_in(&keywire).await?,
        database_url: keywire.database_url.clone(),
        runtime: Handle::current(),
    };
    let durability = site
        .ask::<String>("SELECT current_setting('fsync') || current_setting('synchronous_commit')");
    let durability = durability.await?;
    ensure!(durability == "onon", "its Postgres does not keep what it acknowledges: {durability}");
    let (done, outcome) = oneshot::channel();
    let core = server.load_core;
    // Its own thread, so that it alone is pinned and a signal can end the program meanwhile.
    thread::spawn(move || {
        let outcome = core.map_or(Ok(()), pin::pin).and_then(|()| scenario(site));
        // Nobody waits any more when the program was interrupted.
        drop(done.send(outcome));
    });
    let mut outcome = outcome.await.context("the load's thread panicked")??;
    outcome.figures["set"] = json!(server.set);
    keywire.end().await?;
    Ok(outcome)
}

/// Registers the user; an access token.
async fn sign_in(keywire: &Keywire) -> anyhow::Result<String> {
    let mut client = Client::connect(keywire.port).await?;
    accounts::register(&mut client, USER).await?;
    let answer = client.post("/login", USER, PASSWORD).await?.expect(StatusCode::OK)?;
    let answer: Value = serde_json::from_slice(&answer.body)?;
    Ok(answer["access_token"].as_str().context("an answer without a token")?.to_owned())
}

impl Site {
    /// Clients of `keywire.v1` for so many rooms, with texts of so many bytes; not connected yet.
    ///
    /// # Errors
    /// If the system gives no poll.
    pub(super) fn crowd(
        &self,
        clients: usize,
        rooms: usize,
        bytes: usize,
    ) -> anyhow::Result<Crowd> {
        let headers = vec![PROTOCOL.to_owned(), format!("Authorization: Bearer {}", self.token)];
        let mut crowd = Crowd::new(Endpoint::local(self.port, headers), clients, rooms)?;
        crowd.intake.talk = Some(Talk::new(clients, rooms, bytes));
        Ok(crowd)
    }

    /// Clients of plain mode; not connected yet.
    ///
    /// # Errors
    /// If the system gives no poll.
    pub(super) fn plain(&self, clients: usize, senders: usize) -> anyhow::Result<Crowd> {
        Crowd::new(Endpoint::local(self.port, Vec::new()), clients, senders)
    }

    /// Reads Keywire's process.
    pub(super) fn meter(&self) -> Meter {
        Meter::new(Some(self.pid))
    }

    /// What was used until now.
    ///
    /// # Errors
    /// If Keywire or its Postgres is gone.
    pub(super) fn read(&self) -> anyhow::Result<Reading> {
        // Each transaction that writes takes a number, which is known at once.
        let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        let writes = self.runtime.block_on(self.ask(next))?;
        let served = Used::by(self.pid)?;
        let load = Used::by(std::process::id())?.process;
        let used = [served.process, served.descendants, load];
        Ok(Reading { at: Instant::now(), used, writes })
    }

    /// Statements that ended so far, each a transaction: right once nothing happened for [`TOLD`].
    ///
    /// # Errors
    /// If Postgres is gone.
    pub(super) fn statements(&self) -> anyhow::Result<i64> {
        let asked = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        self.runtime.block_on(self.ask(asked))
    }

    /// Asks the database, on a connection of its own.
    async fn ask<T>(&self, asked: &'static str) -> anyhow::Result<T>
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres>,
        for<'r> T: sqlx::Decode<'r, sqlx::Postgres>,
    {
        let mut owner = PgConnection::connect(&self.database_url).await?;
        let answer = sqlx::query_scalar(asked).fetch_one(&mut owner).await?;
        owner.close().await?;
        Ok(answer)
    }
}

impl Reading {
    /// What was used since `before`, for each of `count` messages: `{"seconds", "per_second", "core_us",
    /// "cores", "transactions"}`.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn json(&self, before: &Self, count: u64) -> Value {
        let (count, seconds) = (count.max(1) as f64, (self.at - before.at).as_secs_f64());
        let used = |part: usize| self.used[part].saturating_sub(before.used[part]).as_secs_f64();
        let parts = |unit: f64| {
            let of = |part| rounded(used(part) * unit);
            json!({"keywire": of(0), "postgres": of(1), "load": of(2)})
        };
        json!({
            "seconds": rounded(seconds), "per_second": rounded(count / seconds),
            "core_us": parts(1e6 / count), "cores": parts(1.0 / seconds),
            "transactions": rounded((self.writes - before.writes) as f64 / count),
        })
    }
}
