//! A stretch of steady load: paced or as fast as it goes, then a wait for what is still under way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::Verdict;
use super::crowd::Crowd;
use super::meter::{self, Cost, Meter};
use super::senders::{QUIET, Senders};
use crate::report::{progress, rounded};

/// Between two looks at the server's memory.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sending {
    /// So many a second, the senders in turn.
    Paced(f64),
    /// Each sender keeps so many on their way to itself.
    ClosedLoop(u64),
}

/// What a phase gave.
#[derive(Debug)]
pub(crate) struct Phase {
    /// From the first message until the last delivery.
    lasted: Duration,
    /// Messages sent.
    messages: u64,
    verdict: Verdict,
    cost: Cost,
    writes: u64,
    latency: Value,
    /// The most that the server held, and that the kernel held for all sockets.
    rss_peak: Option<u64>,
    tcp_peak: Option<u64>,
}

/// Loads the crowd for so long and waits for the last delivery.
///
/// # Errors
/// If the server is gone or breaks the protocol.
pub(crate) fn run(
    crowd: &mut Crowd,
    senders: &mut Senders,
    meter: Meter,
    sending: Sending,
    seconds: u32,
) -> anyhow::Result<Phase> {
    crowd.intake.latency.clear();
    let (verdict, writes) = (crowd.intake.check.verdict(), crowd.writes);
    let messages: u64 = senders.sent.iter().sum();
    let mut watch = Watch::new(meter, Duration::from_secs(seconds.into()));
    let before = meter.read()?;
    let start = Instant::now();
    match sending {
        Sending::Paced(rate) => paced(crowd, senders, rate, &mut watch)?,
        Sending::ClosedLoop(window) => closed_loop(crowd, senders, window, &mut watch)?,
    }
    senders.drain(crowd)?;
    let cost = meter.read()?.since(&before);
    watch.look()?;
    Ok(Phase {
        lasted: crowd.intake.last.saturating_duration_since(start),
        messages: senders.sent.iter().sum::<u64>() - messages,
        verdict: crowd.intake.check.verdict().since(verdict),
        cost,
        writes: crowd.writes - writes,
        latency: crowd.intake.latency.json(),
        rss_peak: watch.rss_peak,
        tcp_peak: watch.tcp_peak,
    })
}

fn paced(
    crowd: &mut Crowd,
    senders: &mut Senders,
    rate: f64,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut number = 0_u32;
    let mut due = start;
    while watch.goes_on(crowd)? {
        let hearing = crowd.hearing().count();
        // Stamped with when it was due, not with when it was sent: a stall of the load would hide
        // itself otherwise.
        while due <= Instant::now() {
            let sender = number as usize % senders.count();
            senders.send(crowd, sender, 1, due, hearing);
            number += 1;
            due = start + Duration::from_secs_f64(f64::from(number) / rate);
        }
        crowd.turn(due.saturating_duration_since(Instant::now()))?;
    }
    Ok(())
}

fn closed_loop(
    crowd: &mut Crowd,
    senders: &mut Senders,
    window: u64,
    watch: &mut Watch,
) -> anyhow::Result<()> {
    let hearing = crowd.hearing().count();
    while watch.goes_on(crowd)? {
        let now = Instant::now();
        for sender in 0..senders.count() {
            let room = window.saturating_sub(senders.in_flight(crowd, sender));
            if room > 0 {
                senders.send(crowd, sender, room, now, hearing);
            }
        }
        crowd.turn(Duration::from_millis(100))?;
        if crowd.intake.last.max(now).elapsed() > QUIET {
            senders.give_up();
        }
    }
    Ok(())
}

/// Says how a phase gets on, looks at the server's memory, and knows when it is over.
#[derive(Debug)]
struct Watch {
    meter: Meter,
    end: Instant,
    next_look: Instant,
    next_line: Instant,
    rss_peak: Option<u64>,
    tcp_peak: Option<u64>,
}

impl Watch {
    fn new(meter: Meter, lasts: Duration) -> Self {
        let now = Instant::now();
        let (next_look, next_line) = (now + LOOK_EVERY, now + PROGRESS_EVERY);
        Self { meter, end: now + lasts, next_look, next_line, rss_peak: None, tcp_peak: None }
    }

    fn goes_on(&mut self, crowd: &Crowd) -> anyhow::Result<bool> {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.look()?;
        }
        if now >= self.next_line {
            self.next_line = now + PROGRESS_EVERY;
            let Verdict { delivered, doubled, late } = crowd.intake.check.verdict();
            progress(&format!(
                "{delivered} deliveries ({doubled} doubled, {late} late), {} cut, {} s to go",
                crowd.cut,
                self.end.saturating_duration_since(now).as_secs()
            ));
        }
        Ok(now < self.end)
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.rss_peak = self.rss_peak.max(self.meter.rss()?);
        self.tcp_peak = self.tcp_peak.max(meter::tcp_memory());
        Ok(())
    }
}

impl Phase {
    /// Whether no message came twice or out of order.
    pub(crate) fn is_clean(&self) -> bool {
        self.verdict.is_clean()
    }

    /// Its figures.
    pub(crate) fn json(&self) -> Value {
        let seconds = self.lasted.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let a_second = |count: u64| rounded(count as f64 / seconds);
        json!({
            "seconds": rounded(seconds), "messages": self.messages,
            "deliveries": self.verdict.json(),
            "deliveries_per_second": a_second(self.verdict.delivered),
            "latency_ms": self.latency, "cost": self.cost.json(self.verdict.delivered, self.writes),
            "rss_peak": self.rss_peak, "tcp_peak": self.tcp_peak,
        })
    }
}
