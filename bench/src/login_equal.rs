//! `login-equal`: an unknown user, a wrong password, a disabled account and an account without a
//! password get the same answer after the same time.

use std::path::Path;

use clap::Args;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::accounts;
use crate::client::Client;
use crate::keywire::{Keywire, UNTHROTTLED};
use crate::report::{Outcome, progress, rounded};
use crate::samples::Samples;

/// The medians may differ by so much: the largest over the smallest, in percent.
const BAR_PERCENT: f64 = 5.0;

/// Logins of each kind before counting begins.
const WARM_UP: usize = 10;

/// Rounds between two lines of progress.
const PROGRESS_EVERY: usize = 50;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Counted logins of each kind.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    each: u64,
    /// `BCRYPT_COST`.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=15))]
    cost: u32,
}

/// Why a login fails. The names are of one length, so that nothing but the reason differs.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// In the figures.
    label: &'static str,
    /// The account.
    name: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { label: "unknown_user", name: "kind-unknown" },
    Kind { label: "wrong_password", name: "kind-wrong00" },
    Kind { label: "disabled_account", name: "kind-disable" },
    Kind { label: "no_password", name: "kind-without" },
];

/// Runs it.
///
/// # Errors
/// If an answer is not 401, or not the same as the first.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let cost = options.cost.to_string();
    let settings = [UNTHROTTLED.as_slice(), &[("BCRYPT_COST", &cost)]].concat();
    let keywire = Keywire::start(program, &settings).await?;
    let mut client = Client::connect(keywire.port).await?;
    for kind in &KINDS[1..] {
        accounts::register(&mut client, kind.name).await?;
    }
    accounts::disable(&keywire, KINDS[2].name).await?;
    accounts::remove_password(&keywire, KINDS[3].name).await?;
    let each = usize::try_from(options.each)?;
    let (samples, seen) = measure(&mut client, each).await?;
    drop(client);
    keywire.end().await?;
    let medians = samples.each_ref().map(|samples| samples.percentile(50.0));
    let (smallest, largest) =
        (medians.into_iter().fold(f64::MAX, f64::min), medians.into_iter().fold(0.0, f64::max));
    let spread = (largest / smallest - 1.0) * 100.0;
    let kinds: Map<_, _> = KINDS
        .iter()
        .zip(&samples)
        .map(|(kind, samples)| (kind.label.to_owned(), samples.json()))
        .collect();
    let figures = json!({
        "cost": options.cost, "milliseconds": kinds, "answers": answers(&seen),
        "medians_differ_percent": rounded(spread), "bar_percent": BAR_PERCENT,
    });
    let met = spread <= BAR_PERCENT && seen.len() == 1;
    Ok(Outcome { run: "login-equal", met, figures })
}

/// One login of each kind a round, in another order each round. Returns their times and every
/// different answer that was seen.
async fn measure(client: &mut Client, each: usize) -> anyhow::Result<([Samples; 4], Vec<Value>)> {
    let mut samples = [(); 4].map(|()| Samples::new());
    let mut seen = Vec::new();
    for round in 0..WARM_UP + each {
        for index in order(round) {
            let answer = client.post("/login", KINDS[index].name, "a wrong password").await?;
            let answer = answer.expect(StatusCode::UNAUTHORIZED)?;
            if round >= WARM_UP {
                samples[index].record(answer.took);
            }
            let look = answer.seen()?;
            if !seen.contains(&look) {
                seen.push(look);
            }
        }
        if round >= WARM_UP && (round + 1 - WARM_UP).is_multiple_of(PROGRESS_EVERY) {
            progress(&format!("{} of {each} logins of each kind", round + 1 - WARM_UP));
        }
    }
    Ok((samples, seen))
}

/// Every kind comes equally often at every place, so that none profits from what came before.
fn order(round: usize) -> [usize; 4] {
    let mut order = [0, 1, 3, 2];
    order.rotate_left(round % 4);
    if (round / 4) % 2 == 1 {
        order.reverse();
    }
    if (round / 8) % 2 == 1 {
        order.swap(1, 2);
    }
    order
}

/// The one answer, or all the different ones.
fn answers(seen: &[Value]) -> Value {
    if let [one] = seen {
        json!({"identical": true, "answer": one})
    } else {
        json!({"identical": false, "answers": seen})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_equally_often_at_every_place() {
        let mut places = [[0; 4]; 4];
        for round in 0..16 {
            for (place, kind) in order(round).into_iter().enumerate() {
                places[kind][place] += 1;
            }
        }
        assert_eq!(places, [[4; 4]; 4]);
    }

    #[test]
    fn the_names_are_of_one_length() {
        assert!(KINDS.iter().all(|kind| kind.name.len() == KINDS[0].name.len()));
    }
}
