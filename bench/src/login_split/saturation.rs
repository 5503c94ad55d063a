//! As many logins as the machine gives, in turn with as many bare hashes.

use std::time::{Duration, Instant};

use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::processor::Spent;
use crate::accounts::{self, PASSWORD};
use crate::bare::Bare;
use crate::client::Client;
use crate::keywire::Keywire;
use crate::machine;
use crate::report::{progress, rounded};

/// Load before counting begins, in each phase.
const RAMP: Duration = Duration::from_secs(1);

/// How to saturate.
#[derive(Debug, Args)]
pub(super) struct Saturation {
    /// Pairs of a phase of logins and one of bare hashes; every second pair begins with the hashes.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Counted seconds of each phase.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Connections that sign in at once, each an account of its own.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
}

/// What the phases gave.
#[derive(Debug)]
pub(super) struct Saturated {
    /// In their order.
    pairs: Vec<Pair>,
    /// Counted seconds of each phase.
    seconds: u64,
    /// Connections that signed in at once.
    connections: u32,
}

/// One phase of each.
#[derive(Debug)]
struct Pair {
    /// Logins answered in the counted time.
    logins: usize,
    /// Bare hashes made in it.
    hashes: usize,
    /// Where the cores' time went while these logins ran.
    spent: Spent,
}

/// When a phase counts.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    end: Instant,
}

/// Runs the phases.
///
/// # Errors
/// If a login is refused.
pub(super) async fn run(
    keywire: &Keywire,
    cost: u32,
    options: &Saturation,
) -> anyhow::Result<Saturated> {
    let mut client = Client::connect(keywire.port).await?;
    for number in 0..options.connections {
        accounts::register(&mut client, &name(number)).await?;
    }
    drop(client);
    let bare = Bare::new(cost)?;
    let mut pairs = Vec::new();
    for number in 0..options.pairs {
        let pair = if number % 2 == 0 {
            let (logins, spent) = logins(keywire, options).await?;
            Pair { logins, hashes: hashes(&bare, options).await?, spent }
        } else {
            let hashes = hashes(&bare, options).await?;
            let (logins, spent) = logins(keywire, options).await?;
            Pair { logins, hashes, spent }
        };
        progress(&format!(
            "cost {cost}, pair {} of {}: {} logins, {} bare hashes in {} s each",
            number + 1,
            options.pairs,
            pair.logins,
            pair.hashes,
            options.seconds,
        ));
        pairs.push(pair);
    }
    Ok(Saturated { pairs, seconds: options.seconds, connections: options.connections })
}

async fn hashes(bare: &Bare, options: &Saturation) -> anyhow::Result<usize> {
    let Window { start, end } = Window::next(options);
    bare.saturate(machine::cores(), start, end).await
}

async fn logins(keywire: &Keywire, options: &Saturation) -> anyhow::Result<(usize, Spent)> {
    let window = Window::next(options);
    let mut workers = JoinSet::new();
    for number in 0..options.connections {
        // A new connection for each phase: an idle one would be closed during the hashes' phase.
        let client = Client::connect(keywire.port).await?;
        workers.spawn(sign_in_until(client, name(number), window));
    }
    tokio::time::sleep_until(window.start.into()).await;
    let before = Spent::so_far(keywire.pid()?)?;
    tokio::time::sleep_until(window.end.into()).await;
    let spent = Spent::so_far(keywire.pid()?)?.since(before);
    let mut counted = 0;
    while let Some(worker) = workers.join_next().await {
        counted += worker??;
    }
    Ok((counted, spent))
}

/// Signs in again and again; how many answers came within the window. The load goes on to its end, so
/// that the last ones counted had as much company as the first.
async fn sign_in_until(mut client: Client, name: String, window: Window) -> anyhow::Result<usize> {
    let mut counted = 0;
    loop {
        client.post("/login", &name, PASSWORD).await?.expect(StatusCode::OK)?;
        let now = Instant::now();
        if now >= window.end {
            return Ok(counted);
        }
        counted += usize::from(now >= window.start);
    }
}

fn name(number: u32) -> String {
    format!("saturating-{number}")
}

impl Window {
    fn next(options: &Saturation) -> Self {
        let start = Instant::now() + RAMP;
        Self { start, end: start + Duration::from_secs(options.seconds) }
    }
}

impl Saturated {
    /// Logins for each bare hash: the median of the pairs.
    pub(super) fn share(&self) -> f64 {
        let mut shares: Vec<_> = self.pairs.iter().map(Pair::share).collect();
        shares.sort_by(f64::total_cmp);
        // The lower of the two in the middle: a bar must not be met by an average.
        shares[(shares.len() - 1) / 2]
    }

    /// What bare bcrypt reached of the rate that all cores would have if every hash took as long as
    /// the fastest, in milliseconds: the slowest phase counts.
    pub(super) fn quiet(&self, fastest: f64) -> f64 {
        let fewest = self.pairs.iter().map(|pair| pair.hashes).min().unwrap_or(0);
        let cores = machine::cores() as u128;
        ratio(fewest as u128, cores * u128::from(self.seconds)) * fastest / 1e3
    }

    /// The rates and what each login cost the processor.
    pub(super) fn json(&self) -> Value {
        let total = |count: fn(&Pair) -> usize| self.pairs.iter().map(count).sum::<usize>();
        let (logins, hashes) = (total(|pair| pair.logins), total(|pair| pair.hashes));
        let seconds =
            Duration::from_secs(self.seconds) * u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        let spent = self.pairs.iter().map(|pair| pair.spent).fold(Spent::default(), Spent::and);
        let core_time = seconds * u32::try_from(machine::cores()).unwrap_or(u32::MAX);
        json!({
            "connections": self.connections, "seconds": seconds.as_secs(),
            "logins_per_second": rounded(ratio(logins as u128, seconds.as_secs().into())),
            "bare_per_second": rounded(ratio(hashes as u128, seconds.as_secs().into())),
            "shares": self.pairs.iter().map(|pair| rounded(pair.share())).collect::<Vec<_>>(),
            "core_ms_per_hash": rounded(ratio(core_time.as_millis(), hashes as u128)),
            "core_ms_per_login": spent.of_each(logins),
        })
    }
}

impl Pair {
    fn share(&self) -> f64 {
        ratio(self.logins as u128, self.hashes as u128)
    }
}

/// A quotient of counts.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn ratio(of: u128, to: u128) -> f64 {
    of as f64 / to as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saturated(counts: &[(usize, usize)]) -> Saturated {
        let spent = Spent::default();
        let pairs = counts.iter().map(|&(logins, hashes)| Pair { logins, hashes, spent }).collect();
        Saturated { pairs, seconds: 10, connections: 8 }
    }

    #[test]
    fn the_share_is_the_lower_median_of_the_pairs() {
        let share = saturated(&[(90, 100), (97, 100), (150, 100), (96, 100)]).share();
        assert!((share - 0.96).abs() < 1e-9, "{share}");
    }

    #[test]
    fn one_disturbed_phase_makes_a_run_disturbed() {
        // Hashes of 100 ms: ten a second on each core.
        let full = machine::cores() * 100;
        assert!((saturated(&[(1, full), (1, full)]).quiet(100.0) - 1.0).abs() < 1e-9);
        assert!((saturated(&[(1, full), (1, full / 2)]).quiet(100.0) - 0.5).abs() < 1e-9);
    }
}
