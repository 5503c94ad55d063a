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
    /// The machine's clock and so many seconds more, which a test moves.
    Shifted(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that a test moves with [`Clock::advance`].
    pub fn shifted() -> Self {
        Self::Shifted(Arc::default())
    }

    /// The time now, in UTC, to the microsecond: what Postgres keeps, so that a row read again is
    /// equal to the one written.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        let now = now - time::Duration::nanoseconds(i64::from(now.nanosecond() % 1_000));
        match self {
            Self::System => now,
            Self::Shifted(seconds) => {
                now + time::Duration::seconds(seconds.load(Ordering::Relaxed))
            }
        }
    }

    /// Moves a shifted clock on, in whole seconds.
    ///
    /// # Panics
    /// On the machine's clock, which nobody may move.
    pub fn advance(&self, by: Duration) {
        let Self::Shifted(seconds) = self else { panic!("the machine's clock cannot be moved") };
        let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        seconds.fetch_add(by, Ordering::Relaxed);
    }
}
