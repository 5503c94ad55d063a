//! What a connection that speaks `keywire.v1` has: who it is, and the rooms it is subscribed to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shared::db::members::{Membership, Role};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Shard;
use super::home::Answer;
use super::part::Part;
use super::presence::Word;
use crate::auth::Identity;
use crate::close::CloseCode;
use crate::hub::{Keeping, SignIn};
use crate::limits::Counted;
use crate::protocol::Since;
use crate::room::{MuteChange, RoleChange};

/// Commands over the rate within [`STRIKES_WITHIN`] that close the connection.
const STRIKES: u32 = 10;
/// In this time they count together.
const STRIKES_WITHIN: Duration = Duration::from_mins(1);

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    /// How the handshake signed it in, until it has been told; beside it, because it is gone soon.
    sign_in: RefCell<Option<Box<SignIn>>>,
    identity: RefCell<Option<Identity>>,
    /// Its place among the user's connections, if `auth` took it.
    pub(super) counted: RefCell<Option<Counted<Uuid>>>,
    sign_in_by: Instant,
    pub(super) subscriptions: RefCell<Vec<Subscription>>,
    /// Whether a command runs that lets no other begin.
    pub(super) is_running: Cell<bool>,
    /// Publishes whose outcome is awaited.
    pub(super) in_flight: Cell<u32>,
    /// Whether a subscription may be behind.
    pub(super) is_behind: Cell<bool>,
    /// Whether the next entries of a room are asked for: one page at a time, whatever the room.
    pub(super) is_paging: Cell<bool>,
    /// Whether the user's role in a room may have changed since a subscription was begun.
    pub(super) is_stale: Cell<bool>,
    /// Whether a command waits until what was said is read.
    pub(super) is_choked: Cell<bool>,
    /// Whether it has left its rooms for good.
    pub(super) is_over: Cell<bool>,
    /// Commands over the rate, and since when they count.
    strikes: Cell<(u32, Option<Instant>)>,
}

/// A room that a connection is subscribed to.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The room, on this shard.
    pub(super) part: Rc<Part>,
    /// The place among the members there.
    pub(super) place: u32,
    /// What the user is in the room; `None`: a reader of a public one.
    pub(super) role: Option<Role>,
    /// Until when the user may say nothing there, as far as a log does not judge.
    pub(super) muted_until: Option<OffsetDateTime>,
    /// The log's epoch. Where there is no log, how many changes of the room's members the role has seen: in
    /// one place, because no room has both.
    epoch: i64,
    /// How far the log was known to go when it was last asked. Where there is no log, how many changes of the
    /// room's members `muted_until` has seen: those of roles say nothing of it.
    known: u64,
}

impl Session {
    /// A connection that has `time` to sign in, unless its handshake did.
    pub(super) fn new(sign_in: SignIn, time: Duration, now: Instant) -> Self {
        Self {
            sign_in: RefCell::new(Some(Box::new(sign_in))),
            identity: RefCell::default(),
            counted: RefCell::default(),
            sign_in_by: now + time,
            subscriptions: RefCell::default(),
            is_running: Cell::new(false),
            in_flight: Cell::new(0),
            is_behind: Cell::new(false),
            is_paging: Cell::new(false),
            is_stale: Cell::new(false),
            is_choked: Cell::new(false),
            is_over: Cell::new(false),
            strikes: Cell::new((0, None)),
        }
    }

    /// How the handshake signed it in; told once.
    pub(super) fn take_sign_in(&self) -> Option<SignIn> {
        self.sign_in.take().map(|sign_in| *sign_in)
    }

    /// Who it is.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity.borrow().clone()
    }

    /// Whose it is.
    pub(super) fn user(&self) -> Option<Uuid> {
        self.identity.borrow().as_ref().map(|identity| identity.user)
    }

    /// Whose it is, and the session on which it rests.
    pub(super) fn whose(&self) -> Option<(Uuid, Uuid)> {
        self.identity.borrow().as_ref().map(|identity| (identity.user, identity.session))
    }

    /// Whether its user moderates every room now.
    pub(super) fn may_moderate(&self, moderates: bool) {
        if let Some(identity) = &mut *self.identity.borrow_mut() {
            identity.moderates = moderates;
        }
    }

    /// It is signed in, or its sign-in is renewed.
    pub(super) fn signed_in(&self, identity: Identity) {
        *self.identity.borrow_mut() = Some(identity);
    }

    /// Whether a command is under way whose outcome is to be told.
    pub(super) fn is_answering(&self) -> bool {
        self.is_running.get() || self.in_flight.get() > 0
    }

    /// When it is closed unless something changes, and with what.
    pub(super) fn ends(&self) -> (Instant, CloseCode) {
        match &*self.identity.borrow() {
            Some(identity) => (identity.expires, CloseCode::Token),
            None => (self.sign_in_by, CloseCode::SignInTimeout),
        }
    }

    /// A command came too fast; whether that was one too many.
    pub(super) fn strike(&self, now: Instant) -> bool {
        let (count, since) = self.strikes.get();
        let recent = since.filter(|since| now.saturating_duration_since(*since) < STRIKES_WITHIN);
        let (count, since) = recent.map_or((1, now), |since| (count + 1, since));
        self.strikes.set((count, Some(since)));
        count >= STRIKES
    }

    /// Is subscribed to nothing more.
    pub(super) fn leave_all(&self, shard: &Shard) {
        self.is_over.set(true);
        for subscription in self.subscriptions.take() {
            subscription.leave(shard, self.user());
        }
    }

    /// Is subscribed to a further room.
    pub(super) fn subscribe(&self, subscription: Subscription) {
        let mut subscriptions = self.subscriptions.borrow_mut();
        if subscriptions.is_empty() {
            // Most stay with one, and a list takes places for four.
            subscriptions.reserve_exact(1);
        }
        subscriptions.push(subscription);
    }

    /// Is no longer subscribed to the rooms of which this holds.
    pub(super) fn leave(&self, shard: &Shard, which: impl Fn(&Subscription) -> bool) -> bool {
        let left: Vec<_> =
            self.subscriptions.borrow_mut().extract_if(.., |one| which(one)).collect();
        let is_any = !left.is_empty();
        for subscription in left {
            subscription.leave(shard, self.user());
        }
        is_any
    }
}

impl Subscription {
    /// A subscription of the member at this place; with what the user was, and how many changes of the room's
    /// members that has seen.
    pub(super) fn new(
        part: Rc<Part>,
        place: u32,
        (membership, version): (Option<Membership>, i64),
    ) -> Self {
        let role = membership.map(|membership| membership.role);
        let muted_until = membership.and_then(|membership| membership.muted_until);
        // Of a room with a log both are asked for before anything is compared with them.
        let known = if part.room.keeping == Keeping::Durable { 0 } else { number(version) };
        Self { part, place, role, muted_until, epoch: version, known }
    }

    /// The user is something else in the room, unless that was so before what is known. Those who change it
    /// are told when it is done, each on a shard of its own: not always in the order in which it was done.
    pub(super) fn changed(&mut self, RoleChange { user, role, version }: RoleChange) -> bool {
        if let Some(version) = version {
            if version <= self.epoch {
                return false;
            }
            self.epoch = version;
        }
        self.role = role;
        // Who comes back is a new member, and may have been muted as such before this is told. An owner is
        // never muted.
        if matches!(role, None | Some(Role::Owner)) {
            self.muted(MuteChange { user, until: None, version });
        }
        true
    }

    /// The user may say nothing in the room until then, or may speak, unless that was so before what is known.
    pub(super) fn muted(&mut self, MuteChange { until, version, .. }: MuteChange) {
        if let Some(version) = version.map(number) {
            if version <= self.known {
                return;
            }
            self.known = version;
        }
        self.muted_until = until;
    }

    /// The last entry the member has been given; `u64::MAX` if it is not there.
    pub(super) fn at(&self) -> u64 {
        self.part.members.borrow().get(self.place).map_or(u64::MAX, |member| member.at.get())
    }

    /// It is given what the log's home answered.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.epoch = answer.head.epoch;
        self.known = answer.head.last_seq;
        if let Some(member) = self.part.members.borrow().get(self.place) {
            member.at.set(answer.at);
        }
    }

    /// From where it is to be read, if the log has gone on without it.
    pub(super) fn is_behind(&self) -> Option<Since> {
        if self.part.room.keeping != Keeping::Durable {
            return None;
        }
        let seq = self.at();
        (seq < self.known.max(self.part.given.get())).then_some(Since { epoch: self.epoch, seq })
    }

    /// Its room's name.
    pub(super) fn is_of(&self, name: &str) -> bool {
        &*self.part.room.name == name
    }

    fn leave(self, shard: &Shard, user: Option<Uuid>) {
        let room = &self.part.room;
        self.part.members.borrow_mut().remove(self.place);
        room.members[shard.index].fetch_sub(1, Ordering::SeqCst);
        if let Some(user) = user {
            shard.word(room.home, Word::Went(Arc::clone(room), user));
        }
    }
}

/// How many changes of a room's members there have been; the table lets none below 0 in.
fn number(version: i64) -> u64 {
    u64::try_from(version).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::hub::{RoomId, Rooms};
    use crate::shard::part::Member;

    /// The budget of DESIGN's engine beside what a plain connection costs.
    #[test]
    fn a_signed_in_connection_and_a_subscription_keep_within_their_budgets() {
        let session = size_of::<Session>();
        assert!(session <= 256, "identity and state: {session}");
        let subscription = size_of::<Subscription>() + size_of::<Option<Member>>();
        assert!(subscription <= 64, "a subscription and its member: {subscription}");
    }

    #[test]
    fn ten_commands_over_the_rate_within_a_minute_are_too_many() {
        let now = Instant::now();
        let session = Session::new(SignIn::Awaited, Duration::from_secs(10), now);
        for n in 1..=20 {
            // Two in each minute that begins with one of them.
            assert!(!session.strike(now + n * Duration::from_secs(31)));
        }
        let later = now + Duration::from_hours(1);
        assert!((1..10).all(|n| !session.strike(later + n * Duration::from_secs(5))));
        assert!(session.strike(later + Duration::from_secs(55)));
    }

    #[test]
    fn what_is_told_out_of_turn_changes_nothing_that_came_after_it() {
        let room = Rooms::new(1).open(RoomId(1), "now", Keeping::Ephemeral, true);
        let change = |role, version| RoleChange { user: Uuid::nil(), role, version: Some(version) };
        let (left, joined) = (change(None, 7), change(Some(Role::Member), 8));
        let member = Membership { role: Role::Member, muted_until: None };
        let mut subscription = Subscription::new(Part::new(room, 0), 0, (Some(member), 6));
        assert!(subscription.changed(joined), "it comes first");
        assert!(!subscription.changed(left));
        assert_eq!(subscription.role, Some(Role::Member));
        assert!(!subscription.changed(joined), "nor is it told twice");
        assert!(subscription.changed(change(None, 9)));
        assert_eq!(subscription.role, None);
    }

    #[test]
    fn a_mute_that_is_told_late_undoes_none_that_came_after_it_and_no_change_of_roles_hides_it() {
        let room = Rooms::new(1).open(RoomId(1), "now", Keeping::Ephemeral, true);
        let (user, part) = (Uuid::nil(), Part::new(room, 0));
        let member = Membership { role: Role::Member, muted_until: None };
        let then = Some(datetime!(2026-11-26 10:00 UTC));
        let mute = |until, version| MuteChange { user, until, version: Some(version) };
        let change = |role, version| RoleChange { user, role, version: Some(version) };
        let new = || Subscription::new(Rc::clone(&part), 0, (Some(member), 6));
        let mut it = new();
        it.muted(mute(None, 8));
        it.muted(mute(then, 7));
        assert_eq!(it.muted_until, None, "it was undone before it was told");
        let mut it = new();
        assert!(it.changed(change(Some(Role::Moderator), 8)));
        it.muted(mute(then, 7));
        assert_eq!(it.muted_until, then, "another role says nothing of it");
        it.muted(mute(None, 6));
        assert_eq!(it.muted_until, then, "what was read has seen that");
        let mut it = new();
        // Who left came back and was muted, which is told first.
        it.muted(mute(then, 9));
        assert!(it.changed(change(None, 7)) && it.changed(change(Some(Role::Member), 8)));
        assert_eq!(it.muted_until, then);
        let mut it = new();
        assert!(it.changed(change(None, 8)));
        it.muted(mute(then, 7));
        assert_eq!(it.muted_until, None, "that was before the user left");
        assert!(it.is_behind().is_none(), "there is no log");
    }

    #[test]
    fn who_does_not_sign_in_is_closed_in_time() {
        let now = Instant::now();
        let session = Session::new(SignIn::Awaited, Duration::from_secs(10), now);
        assert_eq!(session.ends(), (now + Duration::from_secs(10), CloseCode::SignInTimeout));
    }
}
