//! Whether a large room keeps a small one waiting: 15,000 members in one, 100 in another, on one shard,
//! driven through the hub, without a protocol.
//!
//! ```sh
//! cargo run --release -p realtime --example rooms
//! ```
//!
//! Half of the time only the small room is published to, half of the time both. The clients are a
//! process of their own, since all sockets together are more than one may open. The last line on
//! standard output is the result as JSON.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use realtime::broker::Inbound;
use realtime::broker::memory::Bus;
use realtime::hub::{Guest, Hub, Room, RoomId};
use realtime::metrics::Metrics;
use realtime::publication::{Kind, Publication};
use realtime::{Process, Settings};
use rustix::time::{ClockId, clock_gettime};
use shared::settings::Reader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

/// Members of the large room.
const LARGE: usize = 15_000;
/// Members of the small one.
const SMALL: usize = 100;
/// How long each half takes.
const HALF: Duration = Duration::from_secs(8);
/// Between two messages in the small room.
const SMALL_EVERY: Duration = Duration::from_millis(20);
/// Between two messages in the large room.
const LARGE_EVERY: Duration = Duration::from_millis(250);
/// Bytes of a message: the room or half it belongs to, and when it was published.
const BYTES: usize = 9;
/// A frame's header.
const HEADER: usize = 2;
/// The rooms.
const ROOMS: [RoomId; 2] = [RoomId(1), RoomId(2)];

fn main() -> anyhow::Result<()> {
    realtime::serve::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match std::env::args().nth(1) {
        Some(port) => runtime.block_on(clients(port.parse()?)),
        None => runtime.block_on(server()),
    }
}

/// Nanoseconds of the clock that both processes read.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

async fn server() -> anyhow::Result<()> {
    let mut reader = Reader::from_pairs([("SHARDS", "1"), ("PING_INTERVAL", "1h")]);
    let settings = Settings::read(&mut reader, Process::Node);
    reader.finish()?;
    let metrics = Arc::new(Metrics::default());
    let broker = Bus::default().join(&Inbound::new(0, Arc::clone(&metrics)));
    let hub = Hub::start(settings, metrics, broker)?;
    let rooms = ROOMS.map(|room| hub.room(room));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut clients = Command::new(std::env::current_exe()?)
        .arg(listener.local_addr()?.port().to_string())
        .stdout(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    for _ in 0..LARGE + SMALL {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let room = &rooms[usize::from(stream.read_u8().await?)];
        hub.join(room, Guest::default())?.attach(stream.into_std()?, Vec::new())?;
    }
    eprintln!("{LARGE} and {SMALL} members are there");
    publish(&hub, &rooms[1], None, 1).await?;
    publish(&hub, &rooms[1], Some(&rooms[0]), 2).await?;
    // Cuts all, upon which they tell what they have seen.
    drop(hub);
    clients.wait().await?;
    Ok(())
}

/// Publishes for one half.
async fn publish(
    hub: &Hub,
    small: &Arc<Room>,
    large: Option<&Arc<Room>>,
    half: u8,
) -> anyhow::Result<()> {
    let (mut small_pace, mut large_pace) = (interval(SMALL_EVERY), interval(LARGE_EVERY));
    let end = Instant::now() + HALF;
    while Instant::now() < end {
        let (room, mark) = tokio::select! {
            _ = small_pace.tick() => (Some(small), half),
            _ = large_pace.tick() => (large, 0),
        };
        let mut payload = vec![mark];
        payload.extend(now().to_be_bytes());
        if let Some(room) = room {
            hub.publish(room, Publication { kind: Kind::Binary, payload: Bytes::from(payload) })
                .await?;
        }
    }
    Ok(())
}

async fn clients(port: u16) -> anyhow::Result<()> {
    let mut readers = JoinSet::new();
    for number in 0..LARGE + SMALL {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_u8(u8::from(number >= LARGE)).await?;
        readers.spawn(read(stream));
    }
    let mut latencies: [Vec<u64>; 3] = Default::default();
    while let Some(read) = readers.join_next().await {
        for (mark, latency) in read? {
            latencies.get_mut(usize::from(mark)).context("an unknown mark")?.push(latency);
        }
    }
    let [large, alone, beside] = latencies.map(figures);
    let (alone, beside, large) = (alone?, beside?, large?);
    println!("{{\"small_alone\":{alone},\"small_beside_large\":{beside},\"large\":{large}}}");
    Ok(())
}

/// What one client got: marks, and nanoseconds from publishing to reading.
async fn read(mut stream: TcpStream) -> Vec<(u8, u64)> {
    let mut latencies = Vec::new();
    let mut frame = [0; HEADER + BYTES];
    // It ends with the server's cut.
    while stream.read_exact(&mut frame).await.is_ok() {
        let sent = frame[HEADER + 1..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        latencies.push((frame[HEADER], now().saturating_sub(sent)));
    }
    latencies
}

/// Count, median, 99th percentile and worst of a run, in milliseconds.
fn figures(mut latencies: Vec<u64>) -> anyhow::Result<String> {
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |share: usize| -> anyhow::Result<String> {
        let at = (count * share / 1_000).min(count.saturating_sub(1));
        let nanos = *latencies.get(at).context("nothing was received")?;
        Ok(format!("{:.3}", Duration::from_nanos(nanos).as_secs_f64() * 1e3))
    };
    let (p50, p99, worst) = (at(500)?, at(990)?, at(1_000)?);
    Ok(format!("{{\"count\":{count},\"p50_ms\":{p50},\"p99_ms\":{p99},\"max_ms\":{worst}}}"))
}
