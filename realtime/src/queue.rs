//! A queue bounded by bytes, which tells when those who fill it should wait.
//!
//! The same queue stands before each socket and on both sides of the relay, so that back-pressure
//! has one rule: a reader over half its cap that still takes bytes pauses the publishers; one that
//! takes none for `STALL_TIMEOUT` pauses nobody and loses its place when the cap is reached.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// Bytes an entry costs beside its payload, so that a million empty messages are not free.
pub const ENTRY_BYTES: usize = 64;

/// What an item counts against the cap.
pub trait Cost {
    /// Payload bytes.
    fn bytes(&self) -> usize;
}

/// The push would exceed the cap; the item is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

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

/// What all queues of a node share.
#[derive(Debug, Default)]
pub struct Pool {
    patience: Patience,
    /// Bytes in all queues that were made with it.
    total: AtomicUsize,
    /// Rung whenever a queue falls below half its cap.
    pub relief: Notify,
}

impl Pool {
    /// A pool whose queues' publishers wait so long.
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Bytes waiting in all queues.
    pub fn bytes(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

/// The queue without locks and clocks.
#[derive(Debug)]
pub struct Backlog<T> {
    items: VecDeque<T>,
    bytes: usize,
    cap: usize,
    patience: Patience,
    /// Since when the reader takes nothing; `None` while it was not seen to refuse.
    blocked: Option<Instant>,
    /// Since when publishers may have waited for this reader, less what it has earned by taking
    /// bytes: from more than half the cap until nothing waits. Getting just below half does not end
    /// it, or a slow reader would set the pace for ever.
    pressing: Option<Instant>,
}

impl<T: Cost> Backlog<T> {
    /// An empty queue that takes `cap` bytes.
    pub fn new(cap: usize, patience: Patience) -> Self {
        Self { items: VecDeque::new(), bytes: 0, cap, patience, blocked: None, pressing: None }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// [`Full`] when the cap would be exceeded.
    pub fn push(&mut self, item: T, now: Instant) -> Result<(), Full> {
        let cost = item.bytes() + ENTRY_BYTES;
        if self.bytes + cost > self.cap {
            return Err(Full);
        }
        self.bytes += cost;
        self.items.push_back(item);
        if self.is_pressing() && self.pressing.is_none() {
            self.pressing = Some(now);
        }
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let item = self.items.pop_front()?;
        let cost = item.bytes() + ENTRY_BYTES;
        self.bytes -= cost;
        if let Some(since) = &mut self.pressing {
            *since = (*since + earned(cost, self.cap, self.patience.pause)).min(now);
        }
        if self.items.is_empty() {
            // A burst's memory is not kept for the rest of the connection.
            self.items = VecDeque::new();
            self.pressing = None;
        }
        Some(item)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.items = VecDeque::new();
        self.bytes = 0;
        self.pressing = None;
    }

    /// The reader took bytes.
    pub fn accepted(&mut self) {
        self.blocked = None;
    }

    /// The reader would not take bytes.
    pub fn refused(&mut self, now: Instant) {
        self.blocked.get_or_insert(now);
    }

    /// Bytes waiting, entries included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more than half the cap waits.
    pub fn is_pressing(&self) -> bool {
        self.bytes > self.cap / 2
    }

    /// Until when publishers wait for this reader, at most.
    pub fn pauses_until(&self, now: Instant) -> Option<Instant> {
        let Patience { stall, pause } = self.patience;
        let since = self.pressing.filter(|_| self.is_pressing())?;
        let until = match self.blocked {
            // It has not refused anything: this process is behind, not the reader.
            None => now + stall,
            Some(blocked) => (blocked + stall).min(since + pause),
        };
        (until > now).then_some(until)
    }
}

/// What taking `bytes` adds to a reader's time: half the cap is worth the whole of `pause`.
fn earned(bytes: usize, cap: usize, pause: Duration) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "a share of a wait need not be exact")]
    let share = bytes as f64 / (cap / 2).max(1) as f64;
    pause.mul_f64(share)
}

/// A [`Backlog`] between tasks: any may push, one reads.
#[derive(Debug)]
pub struct Queue<T: Cost> {
    backlog: Mutex<Backlog<T>>,
    reader: AtomicWaker,
    pool: Arc<Pool>,
}

impl<T: Cost> Queue<T> {
    /// An empty queue that takes `cap` bytes.
    pub fn new(cap: usize, pool: Arc<Pool>) -> Self {
        let backlog = Mutex::new(Backlog::new(cap, pool.patience));
        Self { backlog, reader: AtomicWaker::new(), pool }
    }

    /// Appends an item and wakes the reader; tells whether the queue is now pressing.
    ///
    /// # Errors
    /// [`Full`] when the cap would be exceeded.
    pub fn push(&self, item: T) -> Result<bool, Full> {
        let cost = item.bytes() + ENTRY_BYTES;
        let mut backlog = self.lock();
        backlog.push(item, Instant::now())?;
        self.pool.total.fetch_add(cost, Ordering::Relaxed);
        let pressing = backlog.is_pressing();
        drop(backlog);
        self.reader.wake();
        Ok(pressing)
    }

    /// Takes the oldest item.
    pub fn pop(&self) -> Option<T> {
        let mut backlog = self.lock();
        let before = (backlog.bytes(), backlog.is_pressing());
        let item = backlog.pop(Instant::now())?;
        self.freed(before, &backlog);
        Some(item)
    }

    /// Drops everything.
    pub fn clear(&self) {
        let mut backlog = self.lock();
        let before = (backlog.bytes(), backlog.is_pressing());
        backlog.clear();
        self.freed(before, &backlog);
    }

    /// The oldest item, or a wake-up when there is one.
    pub fn poll_pop(&self, cx: &Context<'_>) -> Poll<T> {
        // Registered before looking, so that a push in between is not missed.
        self.register(cx.waker());
        self.pop().map_or(Poll::Pending, Poll::Ready)
    }

    /// Names the task to wake when there is something to do.
    pub fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Wakes the reader.
    pub fn wake(&self) {
        self.reader.wake();
    }

    /// The reader took bytes.
    pub fn accepted(&self) {
        self.lock().accepted();
    }

    /// The reader would not take bytes.
    pub fn refused(&self) {
        self.lock().refused(Instant::now());
    }

    /// Bytes waiting, entries included.
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Whether more than half the cap waits.
    pub fn is_pressing(&self) -> bool {
        self.lock().is_pressing()
    }

    /// Until when publishers wait for this reader, at most.
    pub fn pauses_until(&self, now: Instant) -> Option<Instant> {
        self.lock().pauses_until(now)
    }

    fn freed(&self, (bytes, pressing): (usize, bool), backlog: &Backlog<T>) {
        self.pool.total.fetch_sub(bytes - backlog.bytes(), Ordering::Relaxed);
        if pressing && !backlog.is_pressing() {
            self.pool.relief.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog<T>> {
        // Nothing panics while it is held; a poisoned queue is still a whole one.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Cost> Drop for Queue<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests;
