//! `stall`: clients come that read nothing. Those who read should notice nothing, compared with the same
//! load without the others, and the server should not keep everything for those who do not.

use clap::Args;
use serde_json::{Value, json};

use crate::load::crowd::Crowd;
use crate::load::phase::{self, Sending};
use crate::load::senders::Senders;
use crate::load::target::Target;
use crate::load::{self, Bench};
use crate::report::{Outcome, progress};

/// `SO_RCVBUF` of those who will stall, so that the kernel does not read for them.
const RECEIVE_BUFFER: usize = 16 << 10;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Clients; the first of them sends.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    clients: u32,
    /// How many of them come after the first phase and read nothing.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    stalled: u32,
    /// Messages a second.
    #[arg(long, default_value_t = 25.0)]
    rate: f64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    bytes: u32,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    warm_up: u32,
    /// How long each of the two phases lasts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// Runs it.
///
/// # Errors
/// If a client cannot connect, or the server breaks off.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    anyhow::ensure!(options.stalled < options.clients, "nobody is left to read");
    anyhow::ensure!((0.1..=100_000.0).contains(&options.rate), "--rate: 0.1 to 100000");
    let scenario = options.clone();
    load::run(&options.target, move |bench| scenario.measure(bench)).await
}

impl Options {
    fn measure(&self, Bench { endpoint, meter }: Bench) -> anyhow::Result<Outcome> {
        let clients = self.clients as usize;
        let readers = clients - self.stalled as usize;
        let mut crowd = Crowd::new(endpoint, clients, 1)?;
        let mut senders = Senders::new(1, clients, self.bytes as usize);
        crowd.connect(0..readers)?;
        crowd.intake.watched = 0..readers;
        let sending = Sending::Paced(self.rate);
        phase::run(&mut crowd, &mut senders, meter, sending, self.warm_up)?;
        progress("all read");
        let all_read = phase::run(&mut crowd, &mut senders, meter, sending, self.seconds)?;
        let lost_before = crowd.lost(&senders.sent);
        crowd.receive_buffer = Some(RECEIVE_BUFFER);
        crowd.connect(readers..clients)?;
        crowd.deafen(readers..clients);
        crowd.ended.clear();
        progress(&format!("{} come and do not read", self.stalled));
        let stalled = phase::run(&mut crowd, &mut senders, meter, sending, self.seconds)?;
        let cut = crowd.ended.len();
        let readers_cut = crowd.ended.iter().filter(|(client, _)| *client < readers).count();
        let lost = lost_before + crowd.lost(&senders.sent);
        let (first, second) = (all_read.json(), stalled.json());
        let growth = growth(&first, &second);
        let figures = json!({
            "p99_growth": growth, "stalled_cut": cut - readers_cut,
            "readers_cut": readers_cut, "lost": lost, "all_read": first, "some_stalled": second,
            "load": {
                "clients": self.clients, "stalled": self.stalled, "rate": self.rate,
                "bytes": self.bytes,
            },
        });
        let clean = all_read.is_clean() && stalled.is_clean();
        Ok(Outcome { run: "stall", met: lost == 0 && readers_cut == 0 && clean, figures })
    }
}

/// How much p99 grew: 0.1 is a tenth.
fn growth(first: &Value, second: &Value) -> Option<f64> {
    let p99 = |phase: &Value| phase["latency_ms"]["p99"].as_f64();
    Some(crate::report::rounded(p99(second)? / p99(first)? - 1.0))
}
