//! Calls with a token, as fast as they are answered.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, spawn_blocking};

use super::wire::Wire;
use crate::accounts::{self, PASSWORD};
use crate::client::Client;
use crate::keywire::Keywire;
use crate::machine::Used;
use crate::samples::Samples;

/// Load before counting begins, in each phase.
const RAMP: Duration = Duration::from_secs(1);

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GET /me`.
    Me,
    /// `POST /token/refresh`.
    Refresh,
}

impl Kind {
    /// The name in the figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::Refresh => "refresh",
        }
    }
}

/// A session, and the tokens that hold.
#[derive(Debug, Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

/// The sessions of all connections.
#[derive(Debug)]
pub(super) struct Load(Vec<Tokens>);

/// What a phase gave.
#[derive(Debug)]
pub(super) struct Counted {
    /// Answers in the counted time.
    pub(super) answers: u64,
    /// The counted time.
    pub(super) seconds: f64,
    /// Transactions that the database ended in it.
    pub(super) statements: i64,
    /// Processor time that Keywire, its Postgres and this process used in it.
    pub(super) used: [Duration; 3],
    /// From before a request was sent until its answer was read.
    pub(super) latency: Samples,
}

impl Counted {
    /// Milliseconds of processor time for each answer: by Keywire, its Postgres, and the client that asks.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn core_ms_per_call(&self) -> [f64; 3] {
        self.used.map(|used| used.as_secs_f64() * 1e3 / self.answers as f64)
    }

    /// Answers a second.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// Statements for each answer.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn statements_per_call(&self) -> f64 {
        self.statements as f64 / self.answers as f64
    }
}

impl Load {
    /// Registers an account for each connection and signs it in.
    ///
    /// # Errors
    /// If one is refused.
    pub(super) async fn prepare(keywire: &Keywire, connections: u32) -> anyhow::Result<Self> {
        let mut client = Client::connect(keywire.port).await?;
        let mut all = Vec::new();
        for number in 0..connections {
            let name = format!("calling-{number}");
            accounts::register(&mut client, &name).await?;
            let answer = client.post("/login", &name, PASSWORD).await?.expect(StatusCode::OK)?;
            all.push(Tokens::of(&serde_json::from_slice(&answer.body)?)?);
        }
        Ok(Self(all))
    }

    /// One phase of calls.
    ///
    /// # Errors
    /// If one is refused.
    pub(super) async fn run(
        &mut self,
        keywire: &Keywire,
        kind: Kind,
        counted: Duration,
    ) -> anyhow::Result<Counted> {
        let start = Instant::now() + RAMP;
        let end = start + counted;
        // On one thread, as one pgbench is: what the load takes of the cores, the server cannot have.
        let (port, tokens) = (keywire.port, std::mem::take(&mut self.0));
        let calling = spawn_blocking(move || {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call_all(port, tokens, kind, start..end))
        });
        let mut owner = PgConnection::connect(&keywire.database_url).await?;
        tokio::time::sleep_until(start.into()).await;
        let (before, used) = (transactions(&mut owner).await?, used(keywire)?);
        tokio::time::sleep_until(end.into()).await;
        let statements = transactions(&mut owner).await? - before;
        let until = self::used(keywire)?;
        let used = std::array::from_fn(|part| until[part].saturating_sub(used[part]));
        let latency;
        (self.0, latency) = calling.await??;
        let (answers, seconds) = (latency.count(), counted.as_secs_f64());
        Ok(Counted { answers, seconds, statements, used, latency })
    }
}

/// Processor time so far of Keywire, its Postgres and this process.
fn used(keywire: &Keywire) -> anyhow::Result<[Duration; 3]> {
    let served = Used::by(keywire.pid()?)?;
    Ok([served.process, served.descendants, Used::by(std::process::id())?.process])
}

/// Transactions that ended so far: each statement is one.
async fn transactions(owner: &mut PgConnection) -> anyhow::Result<i64> {
    // Else the second reading of a connection is the first one again.
    sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&mut *owner).await?;
    let asked = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    Ok(sqlx::query_scalar(asked).fetch_one(owner).await?)
}

impl Tokens {
    fn of(answer: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let found = answer[name].as_str().map(str::to_owned);
            found.with_context(|| format!("an answer without {name}"))
        };
        Ok(Self { access: text("access_token")?, refresh: text("refresh_token")? })
    }
}

/// Calls on a connection for each session; the tokens that hold afterwards, and the calls' times.
async fn call_all(
    port: u16,
    tokens: Vec<Tokens>,
    kind: Kind,
    window: Range<Instant>,
) -> anyhow::Result<(Vec<Tokens>, Samples)> {
    let mut workers = JoinSet::new();
    for tokens in tokens {
        let worker = Worker { wire: Wire::connect(port).await?, tokens, latency: Samples::new() };
        workers.spawn(worker.call(kind, window.clone()));
    }
    let (mut tokens, mut latency) = (Vec::new(), Samples::new());
    while let Some(worker) = workers.join_next().await {
        let worker = worker??;
        latency.add(&worker.latency);
        tokens.push(worker.tokens);
    }
    Ok((tokens, latency))
}

/// One connection and its session.
struct Worker {
    wire: Wire,
    tokens: Tokens,
    latency: Samples,
}

impl Worker {
    /// Calls again and again; what is answered within the window counts.
    async fn call(mut self, kind: Kind, window: Range<Instant>) -> anyhow::Result<Self> {
        loop {
            let request = self.request(kind);
            let (body, took) = self.wire.call(&request).await?;
            if kind == Kind::Refresh {
                self.tokens = Tokens::of(&serde_json::from_slice(body)?)?;
            }
            let now = Instant::now();
            if now >= window.end {
                return Ok(self);
            }
            if window.contains(&now) {
                self.latency.record(took);
            }
        }
    }

    fn request(&self, kind: Kind) -> Vec<u8> {
        let Tokens { access, refresh } = &self.tokens;
        match kind {
            Kind::Me => {
                let bearer = format!("authorization: Bearer {access}\r\n");
                self.wire.request("GET /me", &bearer, "")
            }
            Kind::Refresh => {
                let body = json!({ "refresh_token": refresh }).to_string();
                self.wire.request(
                    "POST /token/refresh",
                    "content-type: application/json\r\n",
                    &body,
                )
            }
        }
    }
}
