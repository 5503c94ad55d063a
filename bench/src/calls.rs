//! `calls`: `GET /me` and refreshes a second, and beside them the statements of a lone call under pgbench.
//!
//! Phases of Keywire and of pgbench take turns on the same cores, with the same Postgres, as many
//! connections and a session for each. What pgbench reaches is what a statement for each call allows.
//! Keywire pays for HTTP, JSON and the tokens besides, and shares the cores with the client that asks;
//! for `GET /me`, calls that come while one is under way share a statement, which pgbench's do not.

mod load;
mod pgbench;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::keywire::{Keywire, UNTHROTTLED};
use crate::report::{Outcome, progress, rounded};
use load::{Counted, Kind, Load};
use pgbench::Pgbench;

/// The share of pgbench's rate that each kind of call must reach.
const SHARE_BAR: f64 = 0.6;

/// Off, too: all calls come from one network.
const LIMIT: (&str, &str) = ("LIMIT_REFRESH_ADDRESS", "off");

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Pairs of a phase of Keywire and one of pgbench, for each kind of call.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Counted seconds of each phase.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Connections that call at once, each with a session of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// `DATABASE_POOL`: Keywire's connections to Postgres.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pool: u32,
    /// The `pgbench` to use; the one on PATH by default.
    #[arg(long, default_value = "pgbench")]
    pgbench: PathBuf,
}

/// A phase of each.
#[derive(Debug)]
struct Pair {
    /// Keywire's answers.
    calls: Counted,
    /// The statements' transactions a second under pgbench.
    bare: f64,
}

/// Runs it.
///
/// # Errors
/// If a call is refused, or pgbench cannot be run.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let pool = options.pool.to_string();
    let settings = [UNTHROTTLED.as_slice(), &[LIMIT, ("DATABASE_POOL", &pool)]].concat();
    let keywire = Keywire::start(program, &settings).await?;
    let mut load = Load::prepare(&keywire, options.connections).await?;
    let pgbench = Pgbench::new(options.pgbench.clone(), &keywire, options.pool).await?;
    let mut figures = json!({"connections": options.connections, "pool": options.pool});
    let mut met = true;
    for kind in [Kind::Me, Kind::Refresh] {
        let mut pairs = Vec::new();
        for number in 0..options.pairs {
            let seconds = Duration::from_secs(options.seconds);
            let calls = load.run(&keywire, kind, seconds).await?;
            let bare = pgbench.run(kind, options.seconds).await?;
            progress(&format!(
                "{}, pair {} of {}: {:.0} calls/s, {bare:.0}/s under pgbench",
                kind.name(),
                number + 1,
                options.pairs,
                calls.rate(),
            ));
            pairs.push(Pair { calls, bare });
        }
        let share = share(&pairs);
        met &= share >= SHARE_BAR;
        figures[kind.name()] = json_of(&pairs, share);
    }
    figures["share_bar"] = json!(SHARE_BAR);
    keywire.end().await?;
    Ok(Outcome { run: "calls", met, figures })
}

/// Calls for each transaction of pgbench: the lower median of the pairs.
fn share(pairs: &[Pair]) -> f64 {
    let mut shares: Vec<_> = pairs.iter().map(|pair| pair.calls.rate() / pair.bare).collect();
    shares.sort_by(f64::total_cmp);
    shares[(shares.len() - 1) / 2]
}

fn json_of(pairs: &[Pair], share: f64) -> Value {
    let each = |figure: fn(&Pair) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| rounded(figure(pair))).collect()
    };
    json!({
        "calls_per_second": each(|pair| pair.calls.rate()),
        "pgbench_per_second": each(|pair| pair.bare),
        "share": rounded(share),
        "latency_ms": pairs.iter().map(|pair| pair.calls.latency.json()).collect::<Vec<_>>(),
        "statements_per_call": each(|pair| pair.calls.statements_per_call()),
        "core_ms_per_call": {
            "keywire": each(|pair| pair.calls.core_ms_per_call()[0]),
            "postgres": each(|pair| pair.calls.core_ms_per_call()[1]),
            "load": each(|pair| pair.calls.core_ms_per_call()[2]),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Samples;

    #[test]
    fn the_share_is_the_lower_median_of_the_pairs() {
        let pair = |answers, bare| Pair {
            calls: Counted {
                answers,
                seconds: 1.0,
                statements: 0,
                used: [Duration::ZERO; 3],
                latency: Samples::new(),
            },
            bare,
        };
        let pairs = [pair(50, 100.0), pair(70, 100.0), pair(80, 100.0), pair(90, 100.0)];
        assert!((share(&pairs) - 0.7).abs() < 1e-9);
    }
}
