//! The time of day, which a test can hold still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

/// Where the time of day comes from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Microseconds since 1970, which only a test moves.
    Held(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at the time now until a test moves it with [`Clock::advance`].
    pub fn held() -> Self {
        let now = Self::System.now().unix_timestamp_nanos() / 1_000;
        // Microseconds since 1970 fill 64 bits in the year 294,246.
        Self::Held(Arc::new(AtomicI64::new(i64::try_from(now).unwrap_or(i64::MAX))))
    }

    /// The time now, in UTC, to the microsecond: what Postgres keeps, so that a row read again is
    /// equal to the one written.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    pub fn now(&self) -> OffsetDateTime {
        match self {
            Self::System => {
                let now = OffsetDateTime::now_utc();
                now - time::Duration::nanoseconds(i64::from(now.nanosecond() % 1_000))
            }
            Self::Held(micros) => {
                let since = time::Duration::microseconds(micros.load(Ordering::Relaxed));
                OffsetDateTime::UNIX_EPOCH + since
            }
        }
    }

    /// Moves a held clock on.
    ///
    /// # Panics
    /// On the machine's clock, which nobody may move.
    pub fn advance(&self, by: Duration) {
        let Self::Held(micros) = self else { panic!("the machine's clock cannot be moved") };
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        micros.fetch_add(by, Ordering::Relaxed);
    }
}
