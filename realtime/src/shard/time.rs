//! Keeps a shard's time: one timer, which rings for the wheel's next slot.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::time::sleep_until;

use super::Shard;

/// The wheel's key for those who wait for a slow reader.
pub(super) const REVIEW: u32 = u32::MAX;
/// The wheel's key for who is about to be absent.
pub(super) const PRESENCE: u32 = u32::MAX - 1;

/// Looks at whoever is due, for as long as the shard lives.
pub(super) async fn keep(shard: Rc<Shard>) {
    loop {
        let next = shard.wheel.borrow().next();
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next.into()) => {}
                () = earlier(&shard) => {}
            },
            None => earlier(&shard).await,
        }
        let now = Instant::now();
        loop {
            let due = shard.wheel.borrow_mut().due(now);
            let Some(keys) = due else { break };
            for key in keys {
                look(&shard, key, now);
            }
        }
    }
}

fn look(shard: &Shard, key: u32, now: Instant) {
    if key == REVIEW {
        return shard.review(now);
    }
    if key == PRESENCE {
        return shard.see_off(now);
    }
    // Its place may be free or another's by now; a look in vain is harmless.
    if let Some(connection) = shard.connections.borrow().get(key) {
        connection.wake();
    }
}

/// Ends when something is due earlier than before.
async fn earlier(shard: &Shard) {
    let mut waits = false;
    poll_fn(|cx| {
        // Taken by whoever wakes it.
        let waker = &mut *shard.clock.borrow_mut();
        if waits && waker.is_none() {
            return Poll::Ready(());
        }
        waits = true;
        *waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}
