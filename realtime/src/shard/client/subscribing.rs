//! From a wish to follow a room to its entries: the first ones, those that were missed, and the next page.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use shared::db::members::Membership;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::Client;
use crate::hub::{Keeping, Room};
use crate::presence::User;
use crate::protocol::{Push, Reset, Since};
use crate::shard::home::{Answer, Asking};
use crate::shard::link::Envelope;
use crate::shard::part::{Member, Part};
use crate::shard::presence::Word;
use crate::shard::session::Subscription;

/// How long after a page could not be had it is asked for again.
const PAGE_RETRY: Duration = Duration::from_secs(1);

impl Client {
    /// A subscription is about to be made: what becomes known of roles from now on may change it.
    pub(crate) fn begin_to_subscribe(&self) {
        self.session().is_stale.set(false);
    }

    /// Subscribes it to a room, from the end or from `since` on, in place of a subscription that there is;
    /// `reply` is said before anything that follows.
    pub(crate) async fn subscribe(
        &self,
        room: Arc<Room>,
        standing: (Option<Membership>, i64),
        since: Option<Since>,
        reply: impl FnOnce(Option<&Answer>) -> Vec<u8>,
    ) -> Subscribed {
        // Before it asks: what is ordered after the answer comes here.
        let seat = Seat::take(Arc::clone(&room), self.shard.index);
        let answer = match room.keeping {
            Keeping::Durable => match self.ask(&room, since).await {
                Some(answer) => Some(self.taken(since, answer)),
                None => return Subscribed::Unreadable,
            },
            Keeping::Ephemeral | Keeping::Plain => None,
        };
        // From here on nothing is awaited: no frame of the room comes between.
        if self.session().is_stale.get() {
            return Subscribed::Stale;
        }
        if self.session().is_over.get() {
            return Subscribed::Done;
        }
        if let Some(identity) = self.identity() {
            // Before an older subscription ends, so that the user is there all the time.
            self.shard.word(room.home, Word::Came(Arc::clone(&room), User::of(&identity)));
        }
        self.unsubscribe(&room.name);
        seat.keep();
        let part = self.shard.part(&room);
        let member = Member::new(Rc::clone(&self.connection), 0);
        let place = part.members.borrow_mut().insert(member);
        let mut subscription = Subscription::new(Rc::clone(&part), place, standing);
        if let Some(answer) = &answer {
            subscription.answered(answer);
        }
        self.session().subscribe(subscription);
        self.say(&reply(answer.as_ref()));
        if let Some(answer) = answer {
            self.go_on(&part, answer);
        }
        Subscribed::Done
    }

    /// What of an answer it takes now: while much waits for its socket, the entries come when it has read
    /// that. A page was asked for when little waited, and other rooms go on meanwhile.
    fn taken(&self, since: Option<Since>, answer: Answer) -> Answer {
        match since {
            Some(since) if !answer.frames.is_empty() && self.connection.is_slow(&self.shard) => {
                Answer { at: since.seq, frames: Bytes::new(), ..answer }
            }
            _ => answer,
        }
    }

    /// Tells it what follows in a room.
    fn go_on(&self, part: &Part, Answer { head, is_reset, at, frames }: Answer) {
        if is_reset {
            let reset = Reset {
                room: &part.room.name,
                epoch: head.epoch.to_string(),
                first_seq: head.first_seq,
                last_seq: head.last_seq,
            };
            self.say(&Push::Reset(reset).encode());
        }
        if !frames.is_empty() {
            self.enqueue(frames);
        }
        // More is there, or went by while it was read.
        if at < head.last_seq.max(part.given.get()) {
            self.connection.falls_behind();
        }
    }

    async fn ask(&self, room: &Arc<Room>, since: Option<Since>) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        let asking = Asking { since, answer: sender };
        let home = &self.shard.shared.shards[room.home].inbox;
        home.send(Envelope::Ask { room: Arc::clone(room), asking }).ok()?;
        answer.await.ok()
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn unsubscribe(&self, name: &str) -> bool {
        self.session().leave(&self.shard, |subscription| subscription.is_of(name))
    }

    /// It has read everything: what waited for that goes on.
    pub(in crate::shard) fn catch_up(&self) {
        let session = self.session();
        if self.connection.take_dropped() {
            self.say(&Push::Missed.encode());
        }
        if session.is_choked.replace(false) {
            self.connection.wake();
        }
        // One page at a time, or those of several rooms would be more than a queue holds.
        if session.is_paging.get() || !session.is_behind.replace(false) {
            return;
        }
        let mut subscriptions = session.subscriptions.borrow_mut();
        let mut all = subscriptions.iter().enumerate();
        let behind = all.find_map(|(at, subscription)| Some((at, subscription.is_behind()?)));
        let Some((at, since)) = behind else { return };
        let (part, place) = (Rc::clone(&subscriptions[at].part), subscriptions[at].place);
        // The others first, the next time.
        subscriptions.rotate_left(at + 1);
        session.is_paging.set(true);
        spawn_local(self.clone().turn_page(part, place, since));
    }

    /// Asks for the next entries of a room in which it is behind.
    async fn turn_page(self, part: Rc<Part>, place: u32, since: Since) {
        let answer = self.ask(&part.room, Some(since)).await;
        if answer.is_none() {
            tokio::time::sleep(PAGE_RETRY).await;
        }
        // From here on nothing is awaited.
        self.session().is_paging.set(false);
        // It may have unsubscribed meanwhile, or been given the entries by a flush that was under way.
        let mut subscriptions = self.session().subscriptions.borrow_mut();
        let subscription = subscriptions.iter_mut().find(|subscription| {
            Rc::ptr_eq(&subscription.part, &part) && subscription.place == place
        });
        if let (Some(answer), Some(subscription)) = (answer, subscription)
            && subscription.is_behind() == Some(since)
        {
            let answer = self.taken(Some(since), answer);
            subscription.answered(&answer);
            drop(subscriptions);
            self.go_on(&part, answer);
        } else {
            drop(subscriptions);
        }
        // It looks again, at this room and the others, when it has read what there is.
        self.session().is_behind.set(true);
        self.connection.wake();
    }
}

/// What became of a wish to follow a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// It follows, or the connection has ended.
    Done,
    /// The log cannot be read now.
    Unreadable,
    /// The user's role in some room has changed meanwhile: it is to be looked at again.
    Stale,
}

/// A member that is counted before it is one, and no longer if it does not become one.
struct Seat {
    room: Arc<Room>,
    shard: usize,
    is_kept: Cell<bool>,
}

impl Seat {
    fn take(room: Arc<Room>, shard: usize) -> Self {
        room.members[shard].fetch_add(1, Ordering::SeqCst);
        Self { room, shard, is_kept: Cell::new(false) }
    }

    fn keep(self) {
        self.is_kept.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.is_kept.get() {
            self.room.members[self.shard].fetch_sub(1, Ordering::SeqCst);
        }
    }
}
