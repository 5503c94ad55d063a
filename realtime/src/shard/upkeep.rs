//! What a shard looks at now and then: rooms that nobody is in any more, and logs that may have gone on
//! without it being told.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shard;
use super::part::Part;
use crate::hub::Keeping;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for as long as the shard lives.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        tokio::time::sleep(EVERY).await;
        shard.parts.borrow_mut().retain(|_, part| !part.is_idle());
        let parts = shard.parts.borrow();
        parts.values().for_each(|part| part.rest());
        let open: Vec<_> = parts
            .values()
            .filter(|part| part.is_open())
            .map(|part| Arc::clone(&part.room))
            .collect();
        drop(parts);
        if let Some(store) = shard.shared.store.as_ref().filter(|_| !open.is_empty()) {
            store.look_at(&shard.shared, open);
        }
    }
}

impl Part {
    /// Whether nobody is in the room, and nothing of it waits here. Who comes later finds it as it was
    /// before anybody was there.
    fn is_idle(&self) -> bool {
        let out = self.out.borrow();
        self.room.keeping != Keeping::Plain
            && self.room.members.iter().all(|members| members.load(Ordering::SeqCst) == 0)
            && !out.is_joined()
            && out.batch.is_none()
            && out.waiting.is_empty()
            && !self.is_followed()
            && !self.is_due.get()
            && !self.is_stuck.get()
    }
}
