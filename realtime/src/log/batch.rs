//! What waits for a lane, and what one call carries: plain structs that are given the time.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt::{self, Debug, Formatter};
use std::time::{Duration, Instant};

use shared::db::log::{Append, Outcome};
use uuid::Uuid;

use super::Unanswered;

/// When an entry whose outcome is not known is given up. No setting: clients send it again, and give up a
/// silent node in about the same time.
pub(super) const UNKNOWN_AFTER: Duration = Duration::from_secs(10);
/// Most entries of one call. No setting: more make a call longer, and each of its entries later, and an
/// entry no cheaper.
pub(super) const BATCH_ITEMS: usize = 512;
/// Most bytes of one call, for the same reason; a larger entry goes alone.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Most entries that wait for a lane. No setting: half a second's worth, beyond which publishers are told.
pub(super) const QUEUE_ITEMS: usize = 4_096;
/// Most bytes that wait for a lane.
pub(super) const QUEUE_BYTES: usize = 8 << 20;
/// What an entry counts beside its body.
const ITEM_BYTES: usize = 256;
/// Parts of a queue in which its fill is told.
const PARTS: usize = 1_024;
/// Beyond this part of the queue publishers wait, so that what cannot wait has room. No setting: with
/// [`EASED`] it decides how many go on at once.
const HIGH: usize = PARTS / 2;
/// Down to this part they go on: a batch less than [`HIGH`], so that not all are woken for each.
const EASED: usize = PARTS * 3 / 8;
/// Beyond this part of the queue whoever it is from waits: four may flood it, and a fifth has room.
const LOW: usize = PARTS / 4;

/// An entry, and whom to tell.
#[derive(Debug)]
pub(super) struct Item {
    /// What is to be appended.
    pub(super) append: Append,
    /// Who waits for the outcome.
    pub(super) answer: Answer,
    /// Until when.
    pub(super) until: Instant,
}

/// Who waits for an outcome: called once with it, on the lane, in the order of the log.
pub(super) struct Answer(pub(super) Box<dyn FnOnce(Result<Outcome, Unanswered>) + Send>);

impl Debug for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl Item {
    /// Tells who waits for it that its outcome is not known.
    pub(super) fn give_up(self) {
        tell(self.answer, Err(Unanswered::Unavailable));
    }
}

fn tell(answer: Answer, outcome: Result<Outcome, Unanswered>) {
    (answer.0)(outcome);
}

/// What waits for a lane.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    items: VecDeque<Item>,
    all: Amount,
    /// How much of it is whose.
    users: HashMap<Uuid, Amount>,
    is_closed: bool,
}

/// So many items, and so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    items: usize,
    bytes: usize,
}

/// How full a queue is, in [`PARTS`] of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fill(usize);

impl Amount {
    fn fill(self) -> Fill {
        Fill((self.items * PARTS / QUEUE_ITEMS).max(self.bytes * PARTS / QUEUE_BYTES))
    }
}

impl Fill {
    /// From its number.
    pub(super) fn of(number: usize) -> Self {
        Self(number)
    }

    /// As a number.
    pub(super) fn number(self) -> usize {
        self.0
    }

    /// Whether publishers are to wait.
    pub(super) fn is_high(self) -> bool {
        self.0 > HIGH
    }

    /// Whether those who waited may go on.
    pub(super) fn is_eased(self) -> bool {
        self.0 <= EASED
    }

    /// Whether one user may have all of it.
    pub(super) fn is_low(self) -> bool {
        self.0 <= LOW
    }
}

impl Waiting {
    /// Lets an item wait; gives it back when there is no room or the queue is closed.
    pub(super) fn push(&mut self, item: Item) -> Option<Item> {
        let cost = cost(&item.append);
        let is_full = self.all.bytes + cost > QUEUE_BYTES || self.all.items >= QUEUE_ITEMS;
        if self.is_closed || is_full {
            return Some(item);
        }
        for amount in [&mut self.all, self.users.entry(item.append.user).or_default()] {
            amount.items += 1;
            amount.bytes += cost;
        }
        self.items.push_back(item);
        None
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        let cost = cost(&item.append);
        let less = |amount: &mut Amount| {
            amount.items -= 1;
            amount.bytes -= cost;
        };
        less(&mut self.all);
        if let Entry::Occupied(mut theirs) = self.users.entry(item.append.user) {
            less(theirs.get_mut());
            if theirs.get().items == 0 {
                theirs.remove();
            }
        }
        if self.items.is_empty() && self.items.capacity() > BATCH_ITEMS {
            // A burst's memory is not kept.
            (self.items, self.users) = (VecDeque::new(), HashMap::new());
        }
        Some(item)
    }

    /// How full it is.
    pub(super) fn fill(&self) -> Fill {
        self.all.fill()
    }

    /// How full it is of what this user appends.
    pub(super) fn fill_of(&self, user: Uuid) -> Fill {
        self.users.get(&user).copied().unwrap_or_default().fill()
    }

    /// Takes what one call carries, the oldest first; `None` when nothing waits.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(item) = self.items.front() {
            bytes += cost(&item.append);
            let is_full = batch.appends.len() >= BATCH_ITEMS || bytes > BATCH_BYTES;
            if is_full && !batch.appends.is_empty() {
                break;
            }
            batch.push(self.pop()?);
        }
        (!batch.appends.is_empty()).then_some(batch)
    }

    /// Takes no more items.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether it takes no more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes what has waited too long, which is at the front.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Item> {
        let mut late = Vec::new();
        while self.items.front().is_some_and(|item| item.until <= now) {
            late.extend(self.pop());
        }
        late
    }
}

/// What one call carries.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The entries.
    pub(super) appends: Vec<Append>,
    /// Whom to tell of each.
    pub(super) replies: Replies,
}

/// Who waits for the outcomes of a batch, by place.
#[derive(Debug, Default)]
pub(super) struct Replies(Vec<Option<(Answer, Instant)>>);

impl Replies {
    /// Gives up those that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for reply in &mut self.0 {
            if let Some((answer, _)) = reply.take_if(|(_, until)| *until <= now) {
                tell(answer, Err(Unanswered::Unavailable));
            }
        }
    }
}

impl Batch {
    fn push(&mut self, item: Item) {
        self.appends.push(item.append);
        self.replies.0.push(Some((item.answer, item.until)));
    }

    /// Leaves out what was given up; whether anything is left to be carried.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.replies.expire(now);
        let mut replies = self.replies.0.iter();
        self.appends.retain(|_| replies.next().is_some_and(Option::is_some));
        self.replies.0.retain(Option::is_some);
        !self.appends.is_empty()
    }

    /// Tells everybody what became of theirs.
    pub(super) fn answer(self, outcomes: Vec<Outcome>) {
        for (reply, outcome) in self.replies.0.into_iter().zip(outcomes) {
            if let Some((answer, _)) = reply {
                tell(answer, Ok(outcome));
            }
        }
    }

    /// Two halves, the first of which goes first; `Err` when it is a single entry.
    pub(super) fn halve(mut self) -> Result<(Self, Self), Self> {
        let half = self.appends.len() / 2;
        if half == 0 {
            return Err(self);
        }
        let appends = self.appends.split_off(half);
        let replies = Replies(self.replies.0.split_off(half));
        Ok((self, Self { appends, replies }))
    }

    /// Tells everybody that theirs has no outcome.
    pub(super) fn fail(self, why: Unanswered) {
        for (answer, _) in self.replies.0.into_iter().flatten() {
            tell(answer, Err(why));
        }
    }
}

/// What an entry counts.
fn cost(append: &Append) -> usize {
    append.entry.body().map_or(0, str::len) + ITEM_BYTES
}

#[cfg(test)]
mod tests;
