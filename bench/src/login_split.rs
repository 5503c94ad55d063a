//! `login-split`: what a login costs beside its hash, one at a time and at saturation.
//!
//! The hash cannot be watched from outside, so the rest is bounded from above, in two ways. At cost 4,
//! the least bcrypt knows, a hash takes about a millisecond: the whole login, nothing taken off, must
//! stay under the bar. At the cost asked for, logins and bare hashes take turns, and from each
//! percentile of the logins the bare hash's median is taken off, which leaves the hash's own variation
//! with the rest. At saturation, logins and bare hashes take turns on the same cores.

mod processor;
mod saturation;

use std::path::Path;

use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};

use crate::accounts::{self, PASSWORD};
use crate::bare::Bare;
use crate::client::Client;
use crate::keywire::{Keywire, UNTHROTTLED};
use crate::report::{Outcome, progress, rounded};
use crate::samples::Samples;

/// What a login may take beside its hash, 99 of 100 times.
const REST_BAR_MS: f64 = 10.0;

/// The share of bare bcrypt's rate that logins must reach.
const SHARE_BAR: f64 = 0.95;

/// The share of its own best rate that bare bcrypt must reach at saturation; below it something else
/// used the cores, and the logins' share says nothing, whichever way it falls.
const QUIET_BAR: f64 = 0.95;

/// The least cost that bcrypt knows.
const CHEAP: u32 = 4;

/// Logins before counting begins.
const WARM_UP: u64 = 20;

/// Logins between two lines of progress.
const PROGRESS_EVERY: u64 = 250;

/// The account that signs in when one login runs at a time.
const ALONE: &str = "alone";

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// `BCRYPT_COST`.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..=15))]
    cost: u32,
    /// Logins one at a time, at cost 4.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cheap: u64,
    /// Logins one at a time, at the cost asked for.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    logins: u64,
    /// How to saturate.
    #[command(flatten)]
    saturation: saturation::Saturation,
}

/// Runs it.
///
/// # Errors
/// If a login is refused.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let keywire = start(program, CHEAP).await?;
    let cheap = Alone::measure(&keywire, CHEAP, options.cheap).await?;
    keywire.end().await?;
    let keywire = start(program, options.cost).await?;
    let alone = Alone::measure(&keywire, options.cost, options.logins).await?;
    let saturated = saturation::run(&keywire, options.cost, &options.saturation).await?;
    keywire.end().await?;
    let rest = cheap.logins.percentile(99.0);
    let quiet = saturated.quiet(alone.bare.percentile(0.0));
    let figures = json!({
        "cost": options.cost,
        "cheap": cheap.json(), "alone": alone.json(), "saturated": saturated.json(),
        "rest_p99_ms": rounded(rest), "rest_bar_ms": REST_BAR_MS,
        "share_of_bare": rounded(saturated.share()), "share_bar": SHARE_BAR,
        "quiet": rounded(quiet), "quiet_bar": QUIET_BAR,
    });
    if quiet < QUIET_BAR {
        progress(
            "the machine was busy with something else: the share at saturation does not count",
        );
    }
    let met = rest < REST_BAR_MS && saturated.share() >= SHARE_BAR && quiet >= QUIET_BAR;
    Ok(Outcome { run: "login-split", met, figures })
}

async fn start(program: &Path, cost: u32) -> anyhow::Result<Keywire> {
    let cost = cost.to_string();
    let settings = [UNTHROTTLED.as_slice(), &[("BCRYPT_COST", &cost)]].concat();
    Keywire::start(program, &settings).await
}

/// Logins with the right password, one at a time, in turn with bare hashes.
#[derive(Debug)]
struct Alone {
    /// The cost of both.
    cost: u32,
    /// Whole logins, as the client sees them.
    logins: Samples,
    /// Bare hashes.
    bare: Samples,
}

impl Alone {
    async fn measure(keywire: &Keywire, cost: u32, count: u64) -> anyhow::Result<Self> {
        let mut client = Client::connect(keywire.port).await?;
        accounts::register(&mut client, ALONE).await?;
        let bare = Bare::new(cost)?;
        let mut alone = Self { cost, logins: Samples::new(), bare: Samples::new() };
        for done in 0..WARM_UP + count {
            let answer = client.post("/login", ALONE, PASSWORD).await?.expect(StatusCode::OK)?;
            let hashed = bare.check_off_thread().await?;
            if done >= WARM_UP {
                alone.logins.record(answer.took);
                alone.bare.record(hashed);
            }
            if done > WARM_UP && (done - WARM_UP).is_multiple_of(PROGRESS_EVERY) {
                progress(&format!(
                    "cost {cost}: {} of {count} logins one at a time",
                    done - WARM_UP
                ));
            }
        }
        Ok(alone)
    }

    fn json(&self) -> Value {
        let hash = self.bare.percentile(50.0);
        let rest = |percent| rounded(self.logins.percentile(percent) - hash);
        json!({
            "cost": self.cost, "login_ms": self.logins.json(), "bare_ms": self.bare.json(),
            "rest_ms": {"p50": rest(50.0), "p95": rest(95.0), "p99": rest(99.0)},
        })
    }
}
