//! `fanout`: a few clients send, all receive. Paced, it tells what a delivery costs and how long it
//! takes; in a closed loop, how many there are in a second.

use clap::Args;
use serde_json::json;

use crate::load::crowd::{Crowd, all_there};
use crate::load::phase::{self, Sending};
use crate::load::senders::Senders;
use crate::load::stamp::SENDERS;
use crate::load::target::Target;
use crate::load::{self, Bench};
use crate::report::Outcome;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Clients; all receive.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    /// How many of them send.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=SENDERS as i64))]
    senders: u32,
    /// Messages a second, of all senders together.
    #[arg(long, default_value_t = 50.0, conflicts_with = "in_flight")]
    rate: f64,
    /// No pace: each sender keeps so many messages on their way to itself.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: Option<u32>,
    /// Bytes of a message.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    bytes: u32,
    /// Seconds of the same load before.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    warm_up: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// Runs it.
///
/// # Errors
/// If a client cannot connect, or the server breaks off.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    anyhow::ensure!(options.senders <= options.clients, "more senders than clients");
    anyhow::ensure!((0.1..=100_000.0).contains(&options.rate), "--rate: 0.1 to 100000");
    let scenario = options.clone();
    load::run(&options.target, move |bench| scenario.measure(bench)).await
}

impl Options {
    fn measure(&self, Bench { endpoint, meter }: Bench) -> anyhow::Result<Outcome> {
        let (clients, senders) = (self.clients as usize, self.senders as usize);
        let mut crowd = Crowd::new(endpoint, clients, senders)?;
        let mut senders = Senders::new(senders, clients, self.bytes as usize);
        crowd.connect(0..clients)?;
        let sending = match self.in_flight {
            Some(window) => Sending::ClosedLoop(window.into()),
            None => Sending::Paced(self.rate),
        };
        phase::run(&mut crowd, &mut senders, meter, sending, self.warm_up)?;
        let phase = phase::run(&mut crowd, &mut senders, meter, sending, self.seconds)?;
        all_there(&crowd)?;
        let lost = crowd.lost(&senders.sent);
        let mut figures = phase.json();
        figures["lost"] = lost.into();
        figures["load"] = json!({
            "clients": self.clients, "senders": self.senders, "bytes": self.bytes,
            "rate": self.in_flight.is_none().then_some(self.rate), "in_flight": self.in_flight,
        });
        Ok(Outcome { run: "fanout", met: lost == 0 && phase.is_clean(), figures })
    }
}
