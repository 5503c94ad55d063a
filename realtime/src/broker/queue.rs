//! A queue between threads, bounded by bytes, which tells when those who fill it should wait: on both
//! sides of the relay.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use crate::pressure::{ENTRY_BYTES, Pressure, Rules};

/// What an item counts against the cap.
pub trait Cost {
    /// Payload bytes.
    fn bytes(&self) -> usize;
}

/// The push would exceed the cap; the item is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A queue: any task may push, one reads.
#[derive(Debug)]
pub struct Queue<T: Cost> {
    backlog: Mutex<Backlog<T>>,
    reader: AtomicWaker,
    rules: Rules,
}

#[derive(Debug)]
struct Backlog<T> {
    items: VecDeque<T>,
    bytes: usize,
    pressure: Pressure,
}

impl<T: Cost> Queue<T> {
    /// An empty queue.
    pub fn new(rules: Rules) -> Self {
        let backlog = Backlog { items: VecDeque::new(), bytes: 0, pressure: Pressure::default() };
        Self { backlog: Mutex::new(backlog), reader: AtomicWaker::new(), rules }
    }

    /// Appends an item and wakes the reader.
    ///
    /// # Errors
    /// [`Full`] when the cap would be exceeded.
    pub fn push(&self, item: T) -> Result<(), Full> {
        let cost = item.bytes() + ENTRY_BYTES;
        let mut backlog = self.lock();
        if backlog.bytes + cost > self.rules.cap {
            return Err(Full);
        }
        backlog.bytes += cost;
        backlog.items.push_back(item);
        let Backlog { bytes, pressure, .. } = &mut *backlog;
        pressure.grown(*bytes, &self.rules, Instant::now());
        drop(backlog);
        self.reader.wake();
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&self) -> Option<T> {
        let mut backlog = self.lock();
        let item = backlog.items.pop_front()?;
        let cost = item.bytes() + ENTRY_BYTES;
        backlog.bytes -= cost;
        let Backlog { items, bytes, pressure } = &mut *backlog;
        pressure.shrunk(cost, *bytes, &self.rules, Instant::now());
        if items.is_empty() {
            // A burst's memory is not kept.
            *items = VecDeque::new();
        }
        Some(item)
    }

    /// The oldest item, or a wake-up when there is one.
    pub fn poll_pop(&self, cx: &Context<'_>) -> Poll<T> {
        // Registered before looking, so that a push in between is not missed.
        self.reader.register(cx.waker());
        self.pop().map_or(Poll::Pending, Poll::Ready)
    }

    /// The share of the cap that waits.
    pub fn share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let share = |bytes| bytes as f64 / self.rules.cap.max(1) as f64;
        share(self.lock().bytes)
    }

    /// The reader took bytes.
    pub fn accepted(&self) {
        self.lock().pressure.accepted();
    }

    /// The reader would not take bytes.
    pub fn refused(&self) {
        self.lock().pressure.refused(Instant::now());
    }

    /// Until when publishers wait for this reader, at most.
    pub fn pauses_until(&self, now: Instant) -> Option<Instant> {
        let backlog = self.lock();
        backlog.pressure.pauses_until(backlog.bytes, &self.rules, now)
    }

    fn lock(&self) -> MutexGuard<'_, Backlog<T>> {
        // Nothing panics while it is held; a poisoned queue is still a whole one.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pressure::Patience;

    const CAP: usize = 1_000;

    fn queue() -> Queue<Bytes> {
        Queue::new(Rules { cap: CAP, patience: Patience::default() })
    }

    #[test]
    fn it_never_holds_more_than_its_cap_empty_messages_included() {
        let queue = queue();
        let mut count = 0;
        while queue.push(Bytes::new()).is_ok() {
            count += 1;
        }
        assert_eq!(count, CAP / ENTRY_BYTES);
        queue.pop().unwrap();
        assert_eq!(queue.push(Bytes::from_static(&[0; 100])), Err(Full));
        assert_eq!(queue.push(Bytes::new()), Ok(()));
    }

    #[tokio::test]
    async fn over_half_its_cap_it_pauses_until_it_is_read_and_a_push_wakes_the_reader() {
        let queue = queue();
        let (read, ()) = tokio::join!(std::future::poll_fn(|cx| queue.poll_pop(cx)), async {
            queue.push(Bytes::from_static(b"woken")).unwrap();
        });
        assert_eq!(read, "woken");
        queue.push(Bytes::from(vec![0; CAP / 2])).unwrap();
        assert!(queue.pauses_until(Instant::now()).is_some());
        queue.refused();
        queue.accepted();
        assert!(queue.pauses_until(Instant::now()).is_some());
        queue.pop().unwrap();
        assert_eq!(queue.pauses_until(Instant::now()), None);
    }
}
