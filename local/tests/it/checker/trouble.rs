//! What breaks: the ways to the node and to Postgres, and the node itself.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::world::World;
use crate::faulty::Mood;

/// How clients and node always reach each other while things break: late, and now and then not at all.
const ROUGH: Mood =
    Mood { delay: Duration::from_millis(4), cut: 2, holds_requests: false, holds_answers: false };
/// The same between node and Postgres, where a piece is seldom lost.
const UNEVEN: Mood = Mood { delay: Duration::from_millis(1), cut: 1, ..ROUGH };
/// Between two faults.
const PAUSE: std::ops::Range<u64> = 20..500;
/// Between two kills, seconds.
const LIFE: std::ops::Range<f64> = 3.0..8.0;

/// Breaks one thing after the other.
pub(super) struct Trouble {
    random: StdRng,
    /// What broke so far.
    pub(super) faults: Faults,
}

/// What broke.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Times that the node was killed.
    pub(super) kills: usize,
    /// Times that all clients were cut, or heard nothing.
    clients: usize,
    /// Times that Postgres was cut off, or silent.
    postgres: usize,
    /// From a kill to a node that is ready again, the longest.
    away: Duration,
}

impl Trouble {
    /// Nothing yet.
    pub(super) fn new(random: StdRng) -> Self {
        Self { random, faults: Faults::default() }
    }

    /// Breaks one thing after the other until then, and mends all.
    pub(super) async fn reigns(&mut self, world: &mut World, until: Instant) {
        let mut next_kill = self.next_kill();
        while Instant::now() < until {
            world.to_node.is(ROUGH);
            world.to_postgres.is(UNEVEN);
            let pause = self.random.random_range(PAUSE);
            sleep(Duration::from_millis(pause)).await;
            if Instant::now() >= next_kill {
                self.kills(world).await;
                next_kill = self.next_kill();
                continue;
            }
            self.breaks(world).await;
        }
        world.to_node.is(Mood::default());
        world.to_postgres.is(Mood::default());
    }

    fn next_kill(&mut self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.random.random_range(LIFE))
    }

    async fn breaks(&mut self, world: &World) {
        let long = self.random.random_range(20..2_000);
        let long = Duration::from_millis(long);
        let choice = self.random.random_range(0..10);
        match choice {
            0 => world.to_node.cut(),
            1 => world.to_node.is(ROUGH.stalled()),
            2 => world.to_node.is(Mood { holds_answers: true, ..ROUGH }),
            3 => world.to_postgres.cut(),
            4 => world.to_postgres.is(UNEVEN.stalled()),
            // What is committed now is not told.
            5 | 6 => world.to_postgres.is(Mood { holds_answers: true, ..UNEVEN }),
            7 => world.to_postgres.is(Mood { cut: 200, ..UNEVEN }),
            _ => world.to_node.is(Mood { cut: 50, ..ROUGH }),
        }
        if (3..=7).contains(&choice) {
            self.faults.postgres += 1;
        } else {
            self.faults.clients += 1;
        }
        sleep(long).await;
        if choice == 6 {
            world.to_postgres.cut();
        }
    }

    /// Kills the node, at times with commits that it has not heard of.
    async fn kills(&mut self, world: &mut World) {
        let holds_answers = self.random.random_bool(0.5);
        world.to_postgres.is(Mood { holds_answers, ..UNEVEN });
        let wait = self.random.random_range(0..100);
        sleep(Duration::from_millis(wait)).await;
        let killed = Instant::now();
        world.kill().await;
        // One that cannot reach Postgres does not start, and says so.
        world.to_postgres.is(Mood::default());
        world.start_again().await;
        self.faults.kills += 1;
        self.faults.away = self.faults.away.max(killed.elapsed());
    }
}
