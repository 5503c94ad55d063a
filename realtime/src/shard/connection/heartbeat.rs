//! When to ping a silent client and when to give it up.

use std::time::Instant;

use crate::settings;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing until then.
    Wait(Instant),
    /// Send a Ping, then ask again.
    Ping,
    /// The client has not been heard of for the interval and the time-out: cut it.
    Cut,
}

/// The heartbeat of one connection.
///
/// Only what arrives resets it: what the node sends says nothing about the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    /// When the next Ping is due, if none is under way.
    ping_at: Instant,
    /// When the Ping under way was due.
    pinged: Option<Instant>,
    /// Since when the node itself does not read.
    paused: Option<Instant>,
}

impl Heartbeat {
    /// The first Ping goes out after half an interval to a whole one, by `jitter` in 0..1: clients
    /// that connected together are not pinged together.
    pub(super) fn new(settings: &settings::Heartbeat, jitter: f64, now: Instant) -> Self {
        let first = settings.interval.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Self { ping_at: now + first, pinged: None, paused: None }
    }

    /// Something arrived; tells since when a Ping was under way.
    pub(super) fn heard(
        &mut self,
        settings: &settings::Heartbeat,
        now: Instant,
    ) -> Option<Instant> {
        self.ping_at = now + settings.interval;
        // Of a pause, what lies before this is counted already.
        self.paused = self.paused.map(|_| now);
        self.pinged.take()
    }

    /// The node stops reading: silence is no longer the client's.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// The node reads again: the time of the pause does not count.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused.take() {
            let pause = now.saturating_duration_since(since);
            self.ping_at += pause;
            self.pinged = self.pinged.map(|pinged| pinged + pause);
        }
    }

    /// What to do now. A `Ping` is told once.
    pub(super) fn check(&mut self, settings: &settings::Heartbeat, now: Instant) -> Beat {
        if self.paused.is_some() {
            // The caller asks again when it resumes.
            return Beat::Wait(now + settings.interval);
        }
        match self.pinged {
            None if now < self.ping_at => Beat::Wait(self.ping_at),
            None => {
                self.pinged = Some(now);
                Beat::Ping
            }
            Some(pinged) if now < pinged + settings.timeout => {
                Beat::Wait(pinged + settings.timeout)
            }
            Some(_) => Beat::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(10);
    const SETTINGS: settings::Heartbeat =
        settings::Heartbeat { interval: INTERVAL, timeout: TIMEOUT, close: Duration::ZERO };

    fn heartbeat(jitter: f64, now: Instant) -> Heartbeat {
        Heartbeat::new(&SETTINGS, jitter, now)
    }

    #[test]
    fn the_first_ping_is_spread_over_the_second_half_of_the_interval() {
        let now = Instant::now();
        assert_eq!(heartbeat(0.0, now).check(&SETTINGS, now), Beat::Wait(now + INTERVAL / 2));
        assert_eq!(heartbeat(1.0, now).check(&SETTINGS, now), Beat::Wait(now + INTERVAL));
    }

    #[test]
    fn a_silent_client_is_pinged_once_and_then_cut() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(1.0, start);
        let due = start + INTERVAL;
        assert_eq!(heartbeat.check(&SETTINGS, due), Beat::Ping);
        assert_eq!(heartbeat.check(&SETTINGS, due), Beat::Wait(due + TIMEOUT));
        assert_eq!(heartbeat.check(&SETTINGS, due + TIMEOUT), Beat::Cut);
    }

    #[test]
    fn whatever_arrives_resets_the_timer() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(1.0, start);
        assert_eq!(heartbeat.check(&SETTINGS, start + INTERVAL), Beat::Ping);
        let heard = start + INTERVAL + TIMEOUT / 2;
        assert_eq!(heartbeat.heard(&SETTINGS, heard), Some(start + INTERVAL));
        assert_eq!(heartbeat.check(&SETTINGS, heard), Beat::Wait(heard + INTERVAL));
    }

    #[test]
    fn it_stands_still_while_the_node_does_not_read() {
        let start = Instant::now();
        let mut heartbeat = heartbeat(1.0, start);
        assert_eq!(heartbeat.check(&SETTINGS, start + INTERVAL), Beat::Ping);
        heartbeat.pause(start + INTERVAL);
        let long_after = start + 100 * INTERVAL;
        assert!(matches!(heartbeat.check(&SETTINGS, long_after), Beat::Wait(_)));
        heartbeat.resume(long_after);
        assert_eq!(heartbeat.check(&SETTINGS, long_after), Beat::Wait(long_after + TIMEOUT));
        assert_eq!(heartbeat.check(&SETTINGS, long_after + TIMEOUT), Beat::Cut);
    }
}
