//! When those who publish should wait for a reader that is behind.
//!
//! The same rule stands before each socket and on both sides of the relay: a reader over half its cap
//! that still takes bytes pauses the publishers; one that takes none for `STALL_TIMEOUT` pauses
//! nobody and loses its place when the cap is reached.

use std::time::{Duration, Instant};

/// Bytes an entry of a queue costs beside its payload, so that a million tiny ones are not free.
pub(crate) const ENTRY_BYTES: usize = 64;

/// How long publishers wait for slow readers.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a reader may take nothing before publishers stop waiting for it.
    pub stall: Duration,
    /// How long one reader may keep publishers waiting; taking half its cap earns as long again. A
    /// client that reads a byte now and then would otherwise hold the room to its own pace.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { stall: Duration::from_millis(200), pause: Duration::from_secs(2) }
    }
}

/// What holds for every queue of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Bytes a queue may hold, entries included.
    pub cap: usize,
    /// How long publishers wait for its reader.
    pub patience: Patience,
}

/// What one queue remembers of its reader.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pressure {
    /// Since when the reader takes nothing; `None` while it was not seen to refuse.
    blocked: Option<Instant>,
    /// Since when publishers may have waited for this reader, less what it has earned by taking
    /// bytes: from more than half the cap until nothing waits. Getting just below half does not end
    /// it, or a slow reader would set the pace for ever.
    pressing: Option<Instant>,
}

impl Rules {
    /// The same with as little patience for a slow reader as for a stalled one: to be waited for it must
    /// take half its cap in `STALL_TIMEOUT`.
    pub(crate) fn hurried(self) -> Self {
        let Patience { stall, pause } = self.patience;
        Self { patience: Patience { stall, pause: pause.min(stall) }, ..self }
    }

    /// Whether so many waiting bytes are more than half the cap.
    pub(crate) fn is_pressing(&self, bytes: usize) -> bool {
        bytes > self.cap / 2
    }

    /// What taking `bytes` adds to a reader's time: half the cap is worth the whole of the pause.
    fn earned(&self, bytes: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a share of a wait need not be exact")]
        let share = bytes as f64 / (self.cap / 2).max(1) as f64;
        self.patience.pause.mul_f64(share)
    }
}

impl Pressure {
    /// Something was appended, and `waiting` bytes now wait.
    pub(crate) fn grown(&mut self, waiting: usize, rules: &Rules, now: Instant) {
        if rules.is_pressing(waiting) && self.pressing.is_none() {
            self.pressing = Some(now);
        }
    }

    /// `bytes` of what waited are gone to the reader, `waiting` are left.
    pub(crate) fn shrunk(&mut self, bytes: usize, waiting: usize, rules: &Rules, now: Instant) {
        if let Some(since) = &mut self.pressing {
            *since = (*since + rules.earned(bytes)).min(now);
        }
        if waiting == 0 {
            self.pressing = None;
        }
    }

    /// The reader took bytes.
    pub(crate) fn accepted(&mut self) {
        self.blocked = None;
    }

    /// The reader would not take bytes.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// Until when publishers wait for this reader, of which `waiting` bytes wait, at most.
    pub(crate) fn pauses_until(
        &self,
        waiting: usize,
        rules: &Rules,
        now: Instant,
    ) -> Option<Instant> {
        let Patience { stall, pause } = rules.patience;
        let since = self.pressing.filter(|_| rules.is_pressing(waiting))?;
        let until = match self.blocked {
            // It has not refused anything: this process is behind, not the reader.
            None => now + stall,
            Some(blocked) => (blocked + stall).min(since + pause),
        };
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests;
