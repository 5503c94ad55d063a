//! When to look at which connection again: one wheel a shard instead of a timer a connection.
//!
//! Time is cut into slots, and a slot exists only while something is due in it. A look is always
//! harmless, so nothing is ever taken out early: who no longer needs it is looked at in vain.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Deadlines of one shard. A plain struct, which is told the time.
#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    slot: Duration,
    slots: BTreeMap<u64, Vec<u32>>,
}

/// The finest slot: pauses of a client over its rate are as short as that.
const FINEST: Duration = Duration::from_millis(10);

impl Wheel {
    /// An empty wheel for heartbeats of this interval.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        let slot = (interval / 8).clamp(Duration::from_millis(1), FINEST);
        Self { start: now, slot, slots: BTreeMap::new() }
    }

    /// Asks for a look at `key` at `due` or up to `late` after it: the later it may be, the more
    /// looks fall together. Tells when, and whether that is earlier than anything asked before.
    pub(crate) fn add(&mut self, key: u32, due: Instant, late: Duration) -> (Instant, bool) {
        let slot = self.slot.as_nanos();
        let step = u64::try_from((late.as_nanos() / slot).max(1)).unwrap_or(u64::MAX);
        let nanos = due.saturating_duration_since(self.start).as_nanos();
        let number = u64::try_from(nanos.div_ceil(slot)).unwrap_or(u64::MAX / 2);
        let number = number.next_multiple_of(step);
        let first = self.slots.first_key_value().is_none_or(|(&first, _)| number < first);
        self.slots.entry(number).or_default().push(key);
        (self.time(number), first)
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.slots.first_key_value().map(|(&number, _)| self.time(number))
    }

    /// The keys that are due, a slot at a time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Vec<u32>> {
        let first = self.slots.first_entry()?;
        let time = self.start + time_of(self.slot, *first.key());
        (time <= now).then(|| first.remove())
    }

    fn time(&self, number: u64) -> Instant {
        self.start + time_of(self.slot, number)
    }
}

/// When the slot with this number ends.
fn time_of(slot: Duration, number: u64) -> Duration {
    let nanos = slot.as_nanos().saturating_mul(u128::from(number));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const SECOND: Duration = Duration::from_secs(1);

    fn all_due(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.due(now)).flatten().collect()
    }

    #[test]
    fn nothing_is_looked_at_early_and_everything_by_its_slots_end() {
        let start = Instant::now();
        let mut wheel = Wheel::new(INTERVAL, start);
        for (key, millis, late) in [(1, 1_234, SECOND), (2, 1_234, FINEST), (3, 0, FINEST)] {
            let due = start + Duration::from_millis(millis);
            let (at, _) = wheel.add(key, due, late);
            assert!(at >= due && at < due + late, "key {key}");
        }
        assert_eq!(all_due(&mut wheel, start), [3]);
        assert_eq!(all_due(&mut wheel, start + Duration::from_millis(1_239)), [0; 0]);
        assert_eq!(all_due(&mut wheel, start + Duration::from_millis(1_240)), [2]);
        assert_eq!(wheel.next(), Some(start + 2 * SECOND));
        assert_eq!(all_due(&mut wheel, start + 2 * SECOND), [1]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn it_tells_when_the_next_look_has_become_earlier() {
        let start = Instant::now();
        let mut wheel = Wheel::new(INTERVAL, start);
        assert!(wheel.add(1, start + 20 * SECOND, SECOND).1);
        assert!(!wheel.add(2, start + 20 * SECOND, SECOND).1);
        assert!(!wheel.add(3, start + 21 * SECOND, SECOND).1);
        assert!(wheel.add(4, start + SECOND, FINEST).1);
    }

    #[test]
    fn heartbeats_that_may_be_late_share_their_slots() {
        let start = Instant::now();
        let mut wheel = Wheel::new(INTERVAL, start);
        for key in 0..10_000 {
            wheel.add(key, start + Duration::from_micros(u64::from(key) * 2_500), SECOND);
        }
        assert!(wheel.slots.len() <= 26, "{}", wheel.slots.len());
    }

    #[test]
    fn short_intervals_get_short_slots_and_absurd_ones_no_panic() {
        let start = Instant::now();
        let interval = Duration::from_millis(40);
        let mut wheel = Wheel::new(interval, start);
        let (at, _) = wheel.add(1, start + interval, interval / 8);
        assert!(at <= start + interval + interval / 8, "{:?}", at - start);
        wheel.add(2, start + Duration::from_hours(24 * 365 * 100), SECOND);
        assert_eq!(all_due(&mut wheel, start + interval * 2), [1]);
    }
}
