//! The queue of a lane: any thread may push, the lane takes.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use uuid::Uuid;

use super::batch::{Batch, Fill, Item, Waiting};

/// Who is told that publishers may go on; the same for all lanes of a node, once it has shards.
#[derive(Clone, Default)]
pub(super) struct Relief(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

/// What waits for a lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    /// How much waits, to be asked without the lock: by each publish.
    fill: AtomicUsize,
    /// Whether publishers wait until the lane has less to carry.
    holds_all: AtomicBool,
    /// Whether some wait until less of it is theirs.
    holds_some: AtomicBool,
    relief: Relief,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(relief: Relief) -> Self {
        Self { relief, ..Self::default() }
    }

    /// Lets an item wait; it is given up when there is no room.
    pub(super) fn push(&self, item: Item) {
        if let Some(item) = self.change(|waiting| waiting.push(item)) {
            item.give_up();
        }
        self.ready.notify_one();
    }

    /// Takes no more; the lane ends when it has carried what waits.
    pub(super) fn close(&self) {
        self.change(Waiting::close);
        self.ready.notify_one();
    }

    /// Whether what this user publishes may be pushed. If not, [`Relief`] is told when to ask again.
    pub(super) fn has_room(&self, user: Uuid) -> bool {
        // Nobody can have more than all there is.
        if Fill::of(self.fill.load(Ordering::Relaxed)).is_low() {
            return true;
        }
        // What is noted under the lock is seen by whoever takes something after that.
        let waiting = self.lock();
        let (is_full, is_greedy) = (waiting.fill().is_high(), !waiting.fill_of(user).is_low());
        if is_full {
            self.holds_all.store(true, Ordering::SeqCst);
        } else if is_greedy {
            self.holds_some.store(true, Ordering::SeqCst);
        }
        !is_full && !is_greedy
    }

    /// Takes what one call carries; `None` when nothing waits.
    pub(super) fn take(&self) -> Option<Batch> {
        let batch = self.change(Waiting::take);
        self.relieve();
        batch
    }

    /// Takes what one call carries, as soon as something waits; `None` when nothing will any more.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            // Asked for before looking, so that a push in between is not missed.
            let ready = self.ready.notified();
            if let Some(batch) = self.take() {
                return Some(batch);
            }
            if self.lock().is_closed() {
                return None;
            }
            ready.await;
        }
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&self, now: Instant) {
        for item in self.change(|waiting| waiting.expire(now)) {
            item.give_up();
        }
        self.relieve();
    }

    /// There is less than there was: those who wait for that ask again.
    fn relieve(&self) {
        let is_eased = Fill::of(self.fill.load(Ordering::SeqCst)).is_eased();
        let all = is_eased && self.holds_all.swap(false, Ordering::SeqCst);
        // A flood of one user's goes on as its part is carried, however much others have in the queue.
        if self.holds_some.swap(false, Ordering::SeqCst) || all {
            self.relief.tell();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.lock();
        let changed = change(&mut waiting);
        self.fill.store(waiting.fill().number(), Ordering::SeqCst);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held; a poisoned queue is still a whole one.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relief {
    /// Tells this one from now on; who was set first stays.
    pub(super) fn set(&self, then: impl Fn() + Send + Sync + 'static) {
        if self.0.set(Box::new(then)).is_err() {
            tracing::debug!("somebody is told of relief already");
        }
    }

    fn tell(&self) {
        if let Some(then) = self.0.get() {
            then();
        }
    }
}

impl Debug for Relief {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Relief")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::db::log::{Append, NewEntry};

    use super::*;
    use crate::log::batch::{Answer, BATCH_BYTES, QUEUE_BYTES};

    const ANN: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    /// A queue, and how often those who wait for it were told.
    fn queue() -> (Queue, Arc<AtomicUsize>) {
        let (relief, told) = (Relief::default(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&told);
        relief.set(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        (Queue::new(relief), told)
    }

    /// Pushes a sixteenth of what it holds, twice what a call carries at least.
    fn push(queue: &Queue, user: Uuid) {
        let entry = NewEntry::Message { body: "x".repeat(QUEUE_BYTES / 16 - 256).into() };
        let append = Append { room: 1, user, moderates: false, key: Uuid::nil(), entry };
        let until = Instant::now() + Duration::from_mins(1);
        queue.push(Item { append, answer: Answer(Box::new(drop)), until });
    }

    #[test]
    fn a_user_has_a_quarter_and_all_together_a_half_and_relief_is_told_when_it_comes() {
        const { assert!(QUEUE_BYTES / 16 <= BATCH_BYTES, "a call carries one at least") };
        let (queue, told) = queue();
        let mut pushed = 0;
        while queue.has_room(ANN) {
            push(&queue, ANN);
            pushed += 1;
        }
        assert_eq!(pushed, 5, "the last one may go beyond");
        while queue.has_room(BOB) {
            push(&queue, BOB);
            pushed += 1;
        }
        assert_eq!(pushed, 9);
        assert_eq!(told.load(Ordering::SeqCst), 0);
        let mut takes = 0;
        while !(queue.has_room(ANN) && queue.has_room(BOB)) {
            assert!(queue.take().is_some());
            takes += 1;
        }
        assert!((1..=3).contains(&takes), "{takes}");
        assert!(told.load(Ordering::SeqCst) >= 1);
    }

    #[test]
    fn who_has_too_much_is_told_of_relief_whatever_others_have_in_the_queue() {
        let (queue, told) = queue();
        for user in [ANN, ANN, ANN, ANN, ANN, BOB, BOB, BOB] {
            push(&queue, user);
        }
        assert!(queue.has_room(BOB) && !queue.has_room(ANN));
        assert!(queue.take().is_some());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        assert!(queue.take().is_some());
        assert_eq!(told.load(Ordering::SeqCst), 1, "nobody waits");
    }
}
