//! Limits: how fast a connection may send, and how many connections there may be.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shared::settings::Rate;
use tokio::sync::watch;
use uuid::Uuid;

use crate::serve::Place;

/// A year in nanoseconds: the longest wait there is.
const YEAR: u64 = 365 * 24 * 3_600 * 1_000_000_000;

/// A token bucket that lets a message in that has already arrived and tells how long to wait before
/// the next one is read. Nothing is refused, so nothing is lost.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    rate: Rate,
    /// When the bucket will be full again (the generic cell rate algorithm's arrival time).
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Takes `units` and tells how long the bucket is overdrawn.
    pub fn take(&mut self, units: u64, now: Instant) -> Option<Duration> {
        self.full_at = self.full_at.max(now) + refill(self.rate, units);
        let room = refill(self.rate, self.rate.burst);
        self.full_at.checked_duration_since(now + room).filter(|wait| !wait.is_zero())
    }
}

/// The time in which so many units come back.
pub fn refill(rate: Rate, units: u64) -> Duration {
    // u128, because a byte rate over a day would overflow u64 nanoseconds; then at most a year,
    // so that adding it to an Instant cannot overflow.
    let nanos = rate.period.as_nanos() * u128::from(units) / u128::from(rate.count);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(YEAR).min(YEAR))
}

/// A connection's two buckets, messages and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    /// Full buckets; `None` is no limit.
    pub fn new(messages: Option<Rate>, bytes: Option<Rate>, now: Instant) -> Self {
        let bucket = |rate: Option<Rate>| rate.map(|rate| Bucket::new(rate, now));
        Self { messages: bucket(messages), bytes: bucket(bytes) }
    }

    /// Counts what arrived and tells how long not to read.
    pub fn take(&mut self, messages: u64, bytes: u64, now: Instant) -> Option<Duration> {
        let by_messages = self.messages.as_mut().and_then(|bucket| bucket.take(messages, now));
        let by_bytes = self.bytes.as_mut().and_then(|bucket| bucket.take(bytes, now));
        by_messages.max(by_bytes)
    }
}

/// How many connections are open on this node.
#[derive(Debug)]
pub struct Slots {
    open: watch::Sender<usize>,
    max: Option<usize>,
}

/// A place for one connection, free again when dropped.
#[derive(Debug)]
pub struct Slot(Arc<Slots>);

impl Slots {
    /// So many places; `None` is no limit.
    pub fn new(max: Option<usize>) -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(0), max })
    }

    /// A place, if one is free.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let taken = self.open.send_if_modified(|open| {
            let free = self.max.is_none_or(|max| *open < max);
            *open += usize::from(free);
            free
        });
        taken.then(|| Slot(Arc::clone(self)))
    }

    /// Places taken now.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until every connection has ended.
    pub async fn all_free(&self) {
        let mut open = self.open.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        if open.wait_for(|open| *open == 0).await.is_err() {
            tracing::debug!("the count of connections ended");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// How many connections each address, or each user, has.
#[derive(Debug)]
pub struct Counts<K: Eq + Hash> {
    counts: Mutex<HashMap<K, u32>>,
    max: Option<u32>,
}

/// One counted connection, given back when dropped.
#[derive(Debug)]
pub struct Counted<K: Eq + Hash> {
    counts: Arc<Counts<K>>,
    key: Option<K>,
}

impl<K: Eq + Hash + Clone> Counts<K> {
    /// So many each; `None` is no limit and counts nothing.
    pub fn new(max: Option<u32>) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), max })
    }

    /// Counts one more, if that is allowed.
    pub fn take(self: &Arc<Self>, key: K) -> Option<Counted<K>> {
        let counts = Arc::clone(self);
        let Some(max) = self.max else { return Some(Counted { counts, key: None }) };
        let mut held = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        held.insert(key.clone(), count + 1);
        Some(Counted { counts, key: Some(key) })
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut held = self.counts.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&key) {
            *count -= 1;
            // An entry for each address ever seen would be a leak.
            if *count == 0 {
                held.remove(&key);
            }
        }
    }
}

/// What a connection takes of the limits for as long as it lives.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Its place among the node's connections.
    pub(crate) _place: Option<Place>,
    /// Its place among those of its address.
    pub(crate) _address: Option<Counted<Vec<u8>>>,
    /// Its place among those of its user.
    pub(crate) _user: Option<Counted<Uuid>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u64, burst: u64) -> Rate {
        Rate { count, period: Duration::from_secs(1), burst }
    }

    #[test]
    fn a_burst_passes_and_what_follows_waits_its_turn() {
        let now = Instant::now();
        let mut bucket = Bucket::new(rate(10, 3), now);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, now), None);
        }
        let wait = bucket.take(1, now).unwrap();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(bucket.take(1, now + wait).unwrap(), Duration::from_millis(100));
    }

    #[test]
    fn a_rest_refills_the_bucket_and_no_more() {
        let now = Instant::now();
        let mut bucket = Bucket::new(rate(10, 3), now);
        assert!(bucket.take(100, now).is_some());
        let later = now + Duration::from_hours(1);
        for _ in 0..3 {
            assert_eq!(bucket.take(1, later), None);
        }
        assert!(bucket.take(1, later).is_some());
    }

    #[test]
    fn the_longer_of_both_waits_counts() {
        let now = Instant::now();
        let mut meter = Meter::new(Some(rate(1, 1)), Some(rate(100, 100)), now);
        assert_eq!(meter.take(1, 350, now), Some(Duration::from_millis(2_500)));
        let mut off = Meter::new(None, None, now);
        assert_eq!(off.take(u64::MAX, u64::MAX, now), None);
    }

    #[test]
    fn huge_numbers_neither_panic_nor_pass() {
        let now = Instant::now();
        let slow = Rate { count: 1, period: Duration::from_hours(24), burst: u64::MAX };
        let mut bucket = Bucket::new(slow, now);
        assert!(bucket.take(u64::MAX, now).is_none());
        assert!(bucket.take(u64::MAX, now).is_some());
    }

    #[tokio::test]
    async fn slots_are_given_back() {
        let slots = Slots::new(Some(2));
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        assert!(slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
        drop(second);
        slots.all_free().await;
        assert_eq!(slots.open(), 0);
    }

    #[test]
    fn each_key_has_its_own_count_and_leaves_nothing_behind() {
        let counts = Counts::new(Some(1));
        let ann = counts.take("ann").unwrap();
        assert!(counts.take("ann").is_none());
        let bob = counts.take("bob").unwrap();
        drop((ann, bob));
        assert!(counts.counts.lock().unwrap().is_empty());
    }
}
