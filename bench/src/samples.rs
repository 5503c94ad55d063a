//! Durations, counted in a histogram.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::report::rounded;

/// Significant digits kept of each duration: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Durations in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Histogram<u64>);

impl Samples {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Histogram::new(DIGITS).expect("the digits are between 0 and 5"))
    }

    /// Counts one.
    pub(crate) fn record(&mut self, took: Duration) {
        self.0 += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Counts one that was so often the same.
    pub(crate) fn record_many(&mut self, took: Duration, times: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.record_n(nanoseconds, times).expect("the histogram grows by itself");
    }

    /// Counts another's, too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the histogram grows by itself");
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// The percentile in milliseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        Duration::from_nanos(self.0.value_at_percentile(percent)).as_secs_f64() * 1e3
    }

    /// `{"count", "min", "p50", "p95", "p99", "p99.9", "max"}`, in milliseconds.
    pub(crate) fn json(&self) -> Value {
        let at = |percent| rounded(self.percentile(percent));
        json!({
            "count": self.0.len(), "min": at(0.0), "p50": at(50.0), "p95": at(95.0),
            "p99": at(99.0), "p99.9": at(99.9), "max": at(100.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_milliseconds_within_a_thousandth() {
        let mut samples = Samples::new();
        (1..=100).for_each(|ms| samples.record(Duration::from_millis(ms)));
        samples.record_many(Duration::from_secs(1), 1);
        assert!((samples.percentile(50.0) - 51.0).abs() < 0.06, "{}", samples.percentile(50.0));
        assert!((samples.percentile(100.0) - 1000.0).abs() < 1.0);
        assert_eq!(samples.json()["count"], 101);
    }
}
