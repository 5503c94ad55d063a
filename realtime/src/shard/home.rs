//! The log of a durable room, on the shard that is its home.
//!
//! A room's log is opened when the first member asks: its head is read, and from then on a cursor takes
//! whatever comes. Reads run elsewhere and come back as [`News`].

mod gap;
mod open;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use uuid::Uuid;

use open::Open;

use super::Shard;
use super::client::Client;
use super::link::{Envelope, Sender};
use super::part::{Joined, Part, Waiting};
use crate::close::CloseCode;
use crate::hub::{Keeping, Room};
use crate::pressure::ENTRY_BYTES;
use crate::protocol::Since;
use crate::publication::Kind;
use crate::room::{Effect, Head, RoleChange, Row};
use crate::store::Store;

/// How long a hole may stay before it is read: mostly it fills by itself.
const HOLE_PATIENCE: Duration = Duration::from_millis(50);
/// How long after a read that failed it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A room's log.
#[derive(Debug, Default)]
pub(super) enum Log {
    /// Nobody here has asked for it.
    #[default]
    Closed,
    /// Its head is being read.
    Opening {
        /// Who asked meanwhile.
        asking: Vec<Asking>,
        /// What came meanwhile.
        early: Vec<Row>,
    },
    /// It is followed.
    Open(Box<Open>),
}

/// Somebody asks what comes next.
#[derive(Debug)]
pub(crate) struct Asking {
    /// Up to where they have it; `None`: they begin at the end.
    pub(crate) since: Option<Since>,
    /// Told what comes next. Dropped: that cannot be known now.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What comes next for somebody.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Where the log begins and, as far as this node knows, ends.
    pub(crate) head: Head,
    /// Whether what they had does not join what comes: the log is another one, or has lost it.
    pub(crate) is_reset: bool,
    /// The last entry they have when they have read this.
    pub(crate) at: u64,
    /// Entries, encoded.
    pub(crate) frames: Bytes,
}

/// What becomes known of a log.
#[derive(Debug)]
pub(crate) enum News {
    /// These entries are in it.
    Rows(i64, Vec<Row>),
    /// It has an entry at this place.
    Position(i64, u64),
    /// It was read behind this place, or its head alone; `None`: that failed.
    Read(Option<u64>, Option<(Head, Vec<Row>)>),
    /// Its head was looked at.
    Head(Head),
}

impl Part {
    /// Answers, now or when it has been read.
    pub(super) fn ask(self: &Rc<Self>, shard: &Rc<Shard>, asking: Asking) {
        let mut log = self.log.borrow_mut();
        match &mut *log {
            Log::Closed => {
                *log = Log::Opening { asking: vec![asking], early: Vec::new() };
                drop(log);
                shard.read(&self.room, None);
            }
            Log::Opening { asking: others, .. } => others.push(asking),
            Log::Open(open) => {
                if let Some(since) = open.answer(asking, shard.shared.page_bytes()) {
                    drop(log);
                    shard.read(&self.room, Some(since));
                }
            }
        }
    }

    /// Something is known of the log.
    pub(super) fn hear(self: &Rc<Self>, shard: &Rc<Shard>, news: News) {
        let asking = match (&mut *self.log.borrow_mut(), &news) {
            (Log::Opening { early, .. }, News::Rows(_, rows)) => {
                early.extend(rows.iter().cloned());
                return shard.tell_members(&self.room, rows);
            }
            (Log::Opening { asking, .. }, News::Read(None, _)) => Some(std::mem::take(asking)),
            (Log::Open(_), _) => None,
            _ => return shard.tell_members(&self.room, news.rows()),
        };
        if let Some(asking) = asking {
            self.opened(shard, &news, asking);
        } else {
            self.advance(shard, news);
        }
    }

    fn opened(self: &Rc<Self>, shard: &Rc<Shard>, news: &News, asking: Vec<Asking>) {
        let News::Read(None, Some((head, _))) = *news else {
            // Who asked is told by their answer being dropped.
            *self.log.borrow_mut() = Log::Closed;
            return;
        };
        let open = Open::new(head);
        let before = self.log.replace(Log::Open(Box::new(open)));
        self.given.set(head.last_seq);
        for asking in asking {
            self.ask(shard, asking);
        }
        if let Log::Opening { early, .. } = before {
            self.advance(shard, News::Rows(head.epoch, early));
        }
    }

    fn advance(self: &Rc<Self>, shard: &Rc<Shard>, news: News) {
        let mut log = self.log.borrow_mut();
        let Log::Open(open) = &mut *log else { return };
        let ours = open.cursor.head().epoch;
        let was_read = matches!(news, News::Read(..));
        let mut gone = None;
        let (epoch, rows) = match news {
            News::Rows(epoch, rows) => (epoch, rows),
            News::Position(epoch, seq) => {
                open.cursor.learn(seq);
                (epoch, Vec::new())
            }
            News::Head(head) => {
                gone = open.learn(head);
                (head.epoch, Vec::new())
            }
            News::Read(Some(behind), Some((head, rows))) => {
                gone = open.learn(head);
                open.turn_page(behind, head, &rows);
                (head.epoch, rows)
            }
            News::Read(behind, _) => {
                // Who waited for the page is told by their answer being dropped.
                behind.and_then(|behind| open.pages.remove(&behind));
                (ours, Vec::new())
            }
        };
        if epoch != ours {
            // Positions mean nothing any more. Who comes back is told so.
            drop(log);
            return shard.renew(&self.room);
        }
        let next = open.cursor.advance(rows);
        let has_hole = open.cursor.has_hole();
        if !has_hole {
            open.whole();
        } else if !open.is_repairing() {
            open.repair =
                Some(spawn_local(repair(Rc::clone(shard), Rc::clone(self))).abort_handle());
        }
        // A long hole is read page by page.
        let goes_on =
            (was_read && has_hole && !next.is_empty()).then(|| open.cursor.head().last_seq);
        drop(log);
        if let Some(gone) = gone {
            shard.tell_gap(&self.room, gone);
        }
        shard.tell_members(&self.room, &next);
        for Row { seq, json, .. } in next {
            shard.shared.links.add(Sender::Log, shard.index, json.len() + ENTRY_BYTES);
            self.arrived(shard, Waiting::entry(seq, json));
        }
        if let Some(behind) = goes_on {
            shard.read(&self.room, Some(behind));
        }
    }

    /// The log is another one: what was about to be written is of the old one, and whom it was for is sent
    /// away, to come back and learn of it.
    pub(super) fn renew(&self, shard: &Shard) {
        self.log.take();
        self.given.set(0);
        let mut out = self.out.borrow_mut();
        out.next = Joined::default();
        for waiting in out.waiting.drain(..) {
            let (from, bytes) = waiting.account();
            shard.shared.arrived(from, shard.index, bytes);
        }
        for member in self.members.borrow().iter() {
            member.connection.end(CloseCode::TryLater);
        }
    }

    /// Whether anybody here follows the log, or waits for it.
    pub(super) fn is_followed(&self) -> bool {
        match &*self.log.borrow() {
            Log::Closed => false,
            Log::Opening { .. } => true,
            Log::Open(open) => !open.pages.is_empty() || open.is_repairing(),
        }
    }

    /// Lets go of what a room that was quiet since the last look need not keep.
    pub(super) fn rest(&self) {
        if let Log::Open(open) = &mut *self.log.borrow_mut() {
            let last_seq = open.cursor.head().last_seq;
            if std::mem::replace(&mut open.seen_seq, last_seq) == last_seq {
                open.cursor.forget_tail();
            }
        }
        let mut out = self.out.borrow_mut();
        if self.room.keeping != Keeping::Plain && out.next.bytes.is_empty() && out.batch.is_none() {
            out.next = Joined::default();
        }
    }

    /// Whether its log is open: then somebody looks now and then whether it goes on elsewhere.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.log.borrow(), Log::Open(_))
    }
}

impl Waiting {
    /// An entry of the log, in its turn.
    fn entry(seq: u64, payload: Bytes) -> Self {
        Self::Publish { kind: Kind::Text, payload, seq, from: Sender::Log }
    }
}

impl News {
    /// The entries in it.
    pub(super) fn rows(&self) -> &[Row] {
        match self {
            Self::Rows(_, rows) => rows,
            _ => &[],
        }
    }
}

impl Shard {
    /// Tells all shards what these entries make of whom in the room.
    pub(super) fn tell_members(&self, room: &Arc<Room>, rows: &[Row]) {
        for row in rows {
            if let Effect::Member(user, role) = row.effect {
                let change = RoleChange { user, role, version: None };
                Store::member_changed(&self.shared, room, change);
            }
        }
    }

    /// A user is something else in a room from now on.
    pub(super) fn member_changed(self: &Rc<Self>, room: &Arc<Room>, change: RoleChange) {
        for client in self.clients_of(change.user) {
            client.role_changed(room, change);
        }
    }

    /// The user's connections here.
    pub(super) fn clients_of(self: &Rc<Self>, user: Uuid) -> impl Iterator<Item = Client> {
        let theirs = self.users.borrow().get(&user).cloned().unwrap_or_default();
        // Those in plain mode hear nothing of rooms.
        let theirs = theirs.into_iter().filter(|connection| connection.session().is_some());
        theirs.map(move |connection| Client::new(Rc::clone(self), connection))
    }

    /// Reads a room's log elsewhere; what it says comes back as news.
    fn read(self: &Rc<Self>, room: &Arc<Room>, behind: Option<u64>) {
        if let Some(store) = &self.shared.store {
            store.read(&self.shared, room, behind);
        }
    }

    /// The log is another one: the members connect anew, and learn it.
    fn renew(&self, room: &Arc<Room>) {
        self.shared.tell_all(|| Envelope::Renew { room: Arc::clone(room) });
    }
}

/// Waits for a hole to fill, and reads it if it does not, until it has: then it is ended.
async fn repair(shard: Rc<Shard>, part: Rc<Part>) {
    let mut patience = HOLE_PATIENCE;
    loop {
        tokio::time::sleep(patience).await;
        let behind = match &mut *part.log.borrow_mut() {
            Log::Open(open) if open.cursor.has_hole() => open.cursor.head().last_seq,
            _ => return,
        };
        shard.shared.metrics.log_repairs.increment(1);
        shard.read(&part.room, Some(behind));
        patience = RETRY;
    }
}
