//! `fanout`: one client sends at a steady pace, every client receives. Nothing may be lost or come out
//! of order.

mod client;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use self::client::{Received, Socket};
use crate::keywire::Keywire;
use crate::machine::Used;
use crate::report::{Outcome, progress, rounded};
use crate::samples::Samples;

/// How long the last message may take after the last was sent.
const LAST_LIMIT: Duration = Duration::from_secs(15);

/// Clients between two lines of progress.
const PROGRESS_EVERY: usize = 1000;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Clients; the first of them sends, and receives as all others do.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    /// Messages in all.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    messages: u64,
    /// Messages a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(48..=16_384))]
    bytes: u32,
}

impl Options {
    /// How long sending takes.
    fn sending(&self) -> Duration {
        Duration::from_secs_f64(1.0 / f64::from(self.rate))
            .saturating_mul(u32::try_from(self.messages).unwrap_or(u32::MAX))
    }
}

/// Runs it.
///
/// # Errors
/// If a client cannot connect, or a connection breaks off.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off")];
    let keywire = Keywire::start(program, &settings).await?;
    let mut sockets = Vec::new();
    for number in 1..=options.clients as usize {
        sockets.push(Socket::connect(keywire.port).await?);
        if number.is_multiple_of(PROGRESS_EVERY) {
            progress(&format!("{number} of {} clients", options.clients));
        }
    }
    let before = Used::by(keywire.pid()?)?;
    let start = Instant::now();
    let received = exchange(sockets, options, start).await?;
    let used = Used::by(keywire.pid()?)?.since(before);
    keywire.end().await?;
    Ok(outcome(options, &received, used, start))
}

/// Sends and receives everything; what each client received.
async fn exchange(
    sockets: Vec<Socket>,
    options: &Options,
    start: Instant,
) -> anyhow::Result<Vec<Received>> {
    let limit = options.sending() + LAST_LIMIT;
    let mut receivers = JoinSet::new();
    let mut sender = None;
    for socket in sockets {
        let (sending, receiver) = socket.split();
        sender.get_or_insert(sending);
        receivers.spawn(receiver.receive(options.messages, start, limit));
    }
    let mut sender = sender.expect("there is at least one client");
    let bytes = options.bytes as usize;
    let mut pace = interval_at(start.into(), Duration::from_secs(1) / options.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..options.messages {
        pace.tick().await;
        timeout(limit, sender.send(number, start.elapsed(), bytes)).await??;
        if (number + 1).is_multiple_of(u64::from(options.rate) * 5) {
            progress(&format!("{} of {} messages sent", number + 1, options.messages));
        }
    }
    let mut all = Vec::new();
    while let Some(received) = receivers.join_next().await {
        all.push(received??);
    }
    ensure!(all.len() == options.clients as usize, "a client is missing");
    Ok(all)
}

fn outcome(options: &Options, received: &[Received], used: Used, start: Instant) -> Outcome {
    let mut latency = Samples::new();
    for client in received {
        latency.merge(&client.latency);
    }
    let wanted = options.messages * u64::from(options.clients);
    let deliveries: u64 = received.iter().map(|client| client.count).sum();
    let disordered: u64 = received.iter().map(|client| client.disordered).sum();
    let last = received.iter().filter_map(|client| client.last).max();
    let lasted = last.map_or(Duration::ZERO, |last| last - start).as_secs_f64();
    let microseconds = used.process.as_secs_f64() * 1e6;
    let missing = wanted.saturating_sub(deliveries);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let delivered = deliveries as f64;
    let figures = json!({
        "clients": options.clients, "messages": options.messages, "bytes": options.bytes,
        "sent_per_second": options.rate, "deliveries": deliveries, "lost": missing,
        "disordered": disordered, "deliveries_per_second": rounded(delivered / lasted),
        "latency_ms": latency.json(),
        "processor_us_per_delivery": rounded(microseconds / delivered),
    });
    Outcome { run: "fanout", met: missing == 0 && disordered == 0, figures }
}
