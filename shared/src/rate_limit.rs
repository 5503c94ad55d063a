//! Answers to too many attempts: the 429 and its headers, and a memory of refusals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use time::OffsetDateTime;

use crate::problem::{Code, Problem};
use crate::settings::Rate;

/// Remembers refusals, so that an attack costs the database nothing.
#[derive(Debug, Clone)]
pub struct Refusals {
    /// By key.
    until: Arc<Mutex<HashMap<Vec<u8>, Refusal>>>,
    /// How many at most, at least 1.
    most: usize,
}

/// A refusal to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When the client may come back, as it was told.
    pub until: OffsetDateTime,
    /// When the database is asked again: earlier, for what an administrator may lift.
    pub ask_again: OffsetDateTime,
}

impl Refusals {
    /// A memory of `most` refusals. A busy attack evicts the half that ends soonest, which costs a
    /// statement again.
    ///
    /// # Panics
    /// If `most` is 0.
    pub fn new(most: usize) -> Self {
        assert!(most > 0, "a memory of no refusals");
        Self { until: Arc::default(), most }
    }

    /// Until when this key is refused, if it is.
    pub fn find(&self, key: &[u8], now: OffsetDateTime) -> Option<OffsetDateTime> {
        let all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|refusal| refusal.ask_again > now).map(|refusal| refusal.until)
    }

    /// Remembers a refusal.
    pub fn remember(&self, key: Vec<u8>, refusal: Refusal, now: OffsetDateTime) {
        let mut all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.most {
            all.retain(|_, refusal| refusal.ask_again > now);
        }
        if all.len() >= self.most {
            let mut ends: Vec<_> = all.values().map(|refusal| refusal.ask_again).collect();
            let (_, median, _) = ends.select_nth_unstable(self.most / 2);
            let median = *median;
            all.retain(|_, refusal| refusal.ask_again > median);
        }
        all.insert(key, refusal);
    }
}

/// The 429 for a bucket or lock that is free at `until`.
///
/// Its headers are those of draft-ietf-httpapi-ratelimit-headers; they tell the policy's rate, never
/// which of the limits refused, so that a lock tells nothing about the account.
pub fn refused(
    policy: &str,
    rate: Option<Rate>,
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Problem {
    let wait = Duration::try_from(until - now).unwrap_or(Duration::from_secs(1));
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let mut problem = Problem::new(Code::RateLimited).retry_after(wait);
    let mut add = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            problem.headers.push((HeaderName::from_static(name), value));
        }
    };
    add("ratelimit", format!("\"{policy}\";r=0;t={seconds}"));
    if let Some(rate) = rate {
        let (quota, window) = (rate.count, rate.period.as_secs());
        add("ratelimit-policy", format!("\"{policy}\";q={quota};w={window}"));
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_until_it_ends() {
        let (refusals, now) = (Refusals::new(1_000), OffsetDateTime::UNIX_EPOCH);
        let until = now + Duration::from_secs(5);
        let later = until + Duration::from_mins(1);
        refusals.remember(b"a".to_vec(), Refusal { until: later, ask_again: until }, now);
        assert_eq!(refusals.find(b"a", now), Some(later), "what the client was told");
        assert_eq!(refusals.find(b"b", now), None);
        assert_eq!(refusals.find(b"a", until), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (refusals, now) = (Refusals::new(1_000), OffsetDateTime::UNIX_EPOCH);
        for n in 0..3_000_u32 {
            let until = now + Duration::from_secs(60 + u64::from(n));
            let refusal = Refusal { until, ask_again: until };
            refusals.remember(n.to_be_bytes().to_vec(), refusal, now);
        }
        let held = refusals.until.lock().unwrap().len();
        assert!((1..=1_000).contains(&held), "{held}");
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let rate = Rate { count: 60, period: Duration::from_mins(1), burst: 30 };
        let problem = refused("login", Some(rate), now + Duration::from_millis(1_200), now);
        let header = |name: &str| {
            let found = problem.headers.iter().find(|(key, _)| key.as_str() == name);
            found.map(|(_, value)| value.to_str().unwrap())
        };
        assert_eq!(header("retry-after"), Some("2"));
        assert_eq!(header("ratelimit"), Some("\"login\";r=0;t=2"));
        assert_eq!(header("ratelimit-policy"), Some("\"login\";q=60;w=60"));
    }
}
