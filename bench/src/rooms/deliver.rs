//! `rooms deliver`: deliveries a second in one durable room, beside plain mode with the same clients,
//! senders and bytes on the wire.

use clap::Args;
use serde_json::{Value, json};

use super::site::Site;
use super::speak::{answered, create, missed, subscribe, talk};
use crate::load::crowd::{Crowd, all_there};
use crate::load::phase::{self, Phase, Sending};
use crate::load::senders::Senders;
use crate::report::{Outcome, progress, rounded};

/// Subscribed at once.
const AT_ONCE: usize = 256;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Clients; all receive. Of more than 4,096 the senders could not be told apart.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// How many of them send.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    senders: u32,
    /// Messages of each on their way to itself.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=32))]
    in_flight: u32,
    /// Instead, so many messages a second, of all senders together.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of a text.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=65_000))]
    bytes: u32,
    /// Seconds of the same load before, in each phase.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=60))]
    warm_up: u32,
    /// How long each phase is measured.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

impl Options {
    pub(super) fn measure(&self, site: &Site) -> anyhow::Result<Outcome> {
        let (room, entry_bytes) = self.room(site)?;
        // The same bytes on the wire, and the same text.
        let same_frame = self.plain(site, entry_bytes)?;
        let same_text = self.plain(site, self.bytes as usize)?;
        let share = |of: &Value| {
            let rate = |figures: &Value| figures["deliveries_per_second"].as_f64();
            rate(&room).zip(rate(of)).map(|(room, plain)| rounded(room / plain))
        };
        let met = [&room, &same_frame, &same_text].iter().all(|figures| figures["clean"] == true);
        let figures = json!({
            "share_of_plain": share(&same_frame), "share_of_plain_same_text": share(&same_text),
            "room": room, "plain": same_frame, "plain_same_text": same_text,
            "load": {
                "clients": self.clients, "senders": self.senders, "bytes": self.bytes,
                "entry_bytes": entry_bytes, "rate": self.rate,
                "in_flight": self.rate.is_none().then_some(self.in_flight),
            },
        });
        Ok(Outcome { run: "rooms deliver", met, figures })
    }

    /// One durable room; also the size of an entry.
    fn room(&self, site: &Site) -> anyhow::Result<(Value, usize)> {
        let clients = self.clients as usize;
        let mut crowd = site.crowd(clients, 1, self.bytes as usize)?;
        crowd.connect(0..clients)?;
        create(&mut crowd, 0, 1)?;
        subscribe(&mut crowd, 0..clients, 0, AT_ONCE)?;
        answered(&mut crowd)?;
        let begin = crowd.intake.check.next(0, 0);
        let (phase, sent) = self.phases(site, &mut crowd)?;
        answered(&mut crowd)?;
        let lost = missed(&crowd, 0..clients, 0, begin + sent - 1);
        let talk = talk(&mut crowd)?;
        let (altered, bytes) = (talk.altered, talk.entry_bytes);
        let mut figures = of(&phase, lost, "a durable room");
        figures["altered"] = altered.into();
        figures["clean"] = (figures["clean"] == true && altered == 0).into();
        Ok((figures, bytes))
    }

    fn plain(&self, site: &Site, bytes: usize) -> anyhow::Result<Value> {
        let clients = self.clients as usize;
        let mut crowd = site.plain(clients, self.senders as usize)?;
        crowd.connect(0..clients)?;
        let mut senders = Senders::new(self.senders as usize, clients, bytes);
        let phase = self.load(site, &mut crowd, &mut senders)?;
        let lost = crowd.lost(&senders.sent);
        Ok(of(&phase, lost, &format!("plain mode, {bytes} bytes")))
    }

    /// Loads the room; also how many messages were sent.
    fn phases(&self, site: &Site, crowd: &mut Crowd) -> anyhow::Result<(Phase, u64)> {
        let (senders, clients) = (self.senders as usize, self.clients as usize);
        let mut senders = Senders::new(senders, clients, self.bytes as usize);
        let phase = self.load(site, crowd, &mut senders)?;
        Ok((phase, senders.sent.iter().sum()))
    }

    fn load(&self, site: &Site, crowd: &mut Crowd, senders: &mut Senders) -> anyhow::Result<Phase> {
        let sending = match self.rate {
            Some(rate) => Sending::Paced(rate),
            None => Sending::ClosedLoop(self.in_flight.into()),
        };
        phase::run(crowd, senders, site.meter(), sending, self.warm_up)?;
        let phase = phase::run(crowd, senders, site.meter(), sending, self.seconds)?;
        all_there(crowd)?;
        Ok(phase)
    }
}

fn of(phase: &Phase, lost: u64, what: &str) -> Value {
    let mut figures = phase.json();
    figures["lost"] = lost.into();
    figures["clean"] = (lost == 0 && phase.is_clean()).into();
    progress(&format!("{what}: {} deliveries a second", figures["deliveries_per_second"]));
    figures
}
