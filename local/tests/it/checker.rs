//! The checker of rooms: random clients, a real node and a real Postgres, broken ways between them, a node
//! that is killed again and again; and a judge who compares what everybody saw with what is stored.
//!
//! `cargo dev check-rooms --seconds 600` looks for longer, `--seed` repeats the choices of another run.

mod client;
mod history;
mod judge;
mod trouble;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::settings::Reader;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use client::{Client, Counts, Phase};
use history::History;
use trouble::Trouble;
use world::World;

/// Clients, each of a user of its own.
const CLIENTS: usize = 10;
/// Durable rooms, of which each client uses all.
const ROOMS: [&str; 3] = ["first", "second", "third"];
/// How long everything may take to be whole again when nothing breaks any more.
const WHOLE: Duration = Duration::from_mins(1);

/// How long things break, and by which choices.
struct Run {
    time: Duration,
    seed: u64,
}

impl Run {
    fn read() -> Self {
        let mut reader = Reader::from_env();
        let time = reader.get("CHECK_TIME", "20s", "How long things break.");
        let seed: Option<u64> = reader.optional("CHECK_SEED", "The choices of another run.");
        reader.finish().unwrap();
        Self { time, seed: seed.unwrap_or_else(rand::random) }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown when the test fails, and by `cargo dev check-rooms`"
)]
fn say(text: &str) {
    eprintln!("{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_keep_what_they_promise_whatever_breaks() {
    let Run { time, seed } = Run::read();
    say(&format!("checking rooms for {time:?}; again with --seed {seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::start(random.random()).await;
    let phases = watch::Sender::new(Phase::Random);
    let mut clients = JoinSet::new();
    let mut settled = Vec::new();
    for user in world.users(CLIENTS, &ROOMS).await {
        let random = StdRng::seed_from_u64(random.random());
        let rooms = ROOMS.map(str::to_owned);
        let (client, is_settled) =
            Client::new(world.address, user, &rooms, random, phases.subscribe());
        clients.spawn(client.run());
        settled.push(is_settled);
    }
    let mut trouble = Trouble::new(StdRng::seed_from_u64(random.random()));
    trouble.reigns(&mut world, Instant::now() + time).await;
    let calm = Instant::now();
    phases.send_replace(Phase::Settle);
    let settling = async {
        for is_settled in &mut settled {
            is_settled.wait_for(|settled| *settled).await.unwrap();
        }
    };
    let is_settled = timeout(WHOLE, settling).await.is_ok();
    say(&format!("settled: {is_settled}, after {:?}", calm.elapsed()));
    phases.send_replace(Phase::Until(world.last_words(&ROOMS).await));
    let (histories, counts) = ended(clients, &phases).await;
    let faults = trouble.faults;
    say(&format!("{faults:?}\n{counts:?}\nall ended {:?} after the last fault", calm.elapsed()));
    assert_kept(&mut world, seed, &histories).await;
    // Else nothing was tried.
    let tried = [counts.resumed, counts.again, counts.duplicates, counts.renewed, faults.kills];
    assert!(tried.iter().all(|times| *times > 0), "{counts:?}, {faults:?}");
}

async fn assert_kept(world: &mut World, seed: u64, histories: &[History]) {
    let logs = world.logs().await;
    let entries: BTreeMap<_, _> = logs.iter().map(|(room, log)| (room, log.len())).collect();
    say(&format!("entries: {entries:?}"));
    let wrong = judge::judge(histories, &logs);
    let said = world.faults_told();
    assert!(wrong.is_empty() && said.is_empty(), "seed {seed}: {wrong:#?}\nthe node: {said}");
}

/// Waits until all clients have ended, and makes them end when that takes too long.
async fn ended(
    mut clients: JoinSet<(History, Counts)>,
    phases: &watch::Sender<Phase>,
) -> (Vec<History>, Counts) {
    let (mut histories, mut all) = (Vec::new(), Counts::default());
    let deadline = Instant::now() + WHOLE;
    let next = async |clients: &mut JoinSet<_>| {
        let next = timeout_at(deadline.into(), clients.join_next()).await;
        if next.is_err() {
            phases.send_replace(Phase::Over);
        }
        if let Ok(next) = next { next } else { clients.join_next().await }
    };
    while let Some(ended) = next(&mut clients).await {
        let (history, counts) = ended.unwrap();
        histories.push(history);
        all = all.and(counts);
    }
    (histories, all)
}
