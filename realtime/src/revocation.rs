//! Sockets of a sign-in that has ended are closed 4403, and a change of roles holds on open sockets.
//!
//! Every node hears by `NOTIFY` which session or user to look at again, and the rows decide. One statement
//! at a time looks at all that is in doubt by then; when notices may have been lost, that is every session
//! with an open socket, a page at a time.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use shared::db::Error;
use shared::db::notices::{Listener, Notice};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::auth::{Auth, Verdict};
use crate::hub::Shared;
use crate::shard::link::Envelope;

/// Sessions looked at in one statement, and connections of a shard looked through in one go. No setting: a
/// statement of so many takes milliseconds.
pub(crate) const PAGE: usize = 1_000;
/// Sessions and users in doubt at once; when there are more, every session is. No setting: they take less
/// than a megabyte, and looking at all is as quick then.
const DOUBTS: usize = 10_000;
/// Between two looks, so that many notices make few statements. No setting: short beside the second in
/// which a revocation is to hold.
const PAUSE: Duration = Duration::from_millis(50);
/// After a silence of this length the connection is tried. No setting: it costs a round trip.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long the connection may take to be there, or to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a first failure; each further one is twice as long, up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// As above.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What a node is to look at again.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Counts what was heard, before it is in doubt: whoever has looked at a session when it was less may
    /// have seen what was before.
    heard: AtomicU32,
    /// Whether notices are heard now.
    is_listening: AtomicBool,
    doubted: Mutex<Doubted>,
    /// Rung when something is in doubt.
    ring: Notify,
}

/// What is in doubt.
#[derive(Debug, Default)]
struct Doubted {
    /// Every session that a socket here rests on.
    all: bool,
    sessions: HashSet<Uuid>,
    users: HashSet<Uuid>,
}

impl Doubts {
    /// How many notices have been heard.
    pub(crate) fn heard(&self) -> u32 {
        self.heard.load(Ordering::SeqCst)
    }

    /// Whether notices are heard now.
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::SeqCst)
    }

    /// A session is to be looked at again.
    pub(crate) fn add(&self, notice: Notice) {
        let mut doubted = self.lock();
        match notice {
            Notice::Session(session) => doubted.sessions.insert(session),
            Notice::User(user) => doubted.users.insert(user),
        };
        doubted.bound();
        self.ring.notify_one();
    }

    fn hear(&self, notice: Notice) {
        self.heard.fetch_add(1, Ordering::SeqCst);
        self.add(notice);
    }

    /// Notices may have been lost.
    fn miss(&self) {
        self.heard.fetch_add(1, Ordering::SeqCst);
        self.lock().all = true;
        self.ring.notify_one();
    }

    fn take(&self) -> Doubted {
        std::mem::take(&mut *self.lock())
    }

    /// It could not be looked at.
    fn put_back(&self, Doubted { all, sessions, users }: Doubted) {
        let mut doubted = self.lock();
        doubted.all |= all;
        doubted.sessions.extend(sessions);
        doubted.users.extend(users);
        doubted.bound();
        self.ring.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Doubted> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubted {
    fn bound(&mut self) {
        if self.sessions.len() + self.users.len() > DOUBTS {
            *self = Self { all: true, ..Self::default() };
        }
    }
}

/// Watches over the sockets of a node until this is dropped.
pub(crate) fn watch(auth: &Auth, node: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(auth.clone()));
    tasks.spawn(judge(auth.clone(), Arc::downgrade(node)));
    tasks
}

/// Hears the notices, over one connection after another.
async fn listen(auth: Auth) {
    let mut pause = RETRY_FIRST;
    loop {
        let connecting = timeout(ANSWER_TIMEOUT, Listener::connect(auth.db())).await;
        let failure = match connecting.unwrap_or(Err(Error::Silent)) {
            Ok(listener) => {
                pause = RETRY_FIRST;
                auth.doubts().is_listening.store(true, Ordering::SeqCst);
                // It hears from now on: what is looked at after this misses nothing.
                auth.doubts().miss();
                let failure = hear(listener, auth.doubts()).await;
                auth.doubts().is_listening.store(false, Ordering::SeqCst);
                failure
            }
            Err(error) => Some(error),
        };
        let error = failure.map(|error| error.to_string());
        tracing::warn!(error, "revocations are not heard of; what is missed is looked at later");
        // Not all nodes at once.
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Hears notices until the connection is lost; with the error, if there was one.
async fn hear(mut listener: Listener, doubts: &Doubts) -> Option<Error> {
    loop {
        match timeout(PROBE_EVERY, listener.next()).await {
            Ok(Ok(Some(notice))) => doubts.hear(notice),
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => return Some(error),
            Err(_) => {
                let probed = timeout(ANSWER_TIMEOUT, listener.probe()).await;
                if let Err(error) = probed.unwrap_or(Err(Error::Silent)) {
                    return Some(error);
                }
            }
        }
    }
}

/// How far looking at all sessions has come: a shard, and a place among its connections.
type Sweep = (usize, u32);

/// Looks at what is in doubt, and tells the shards what was found.
async fn judge(auth: Auth, node: Weak<Shared>) {
    let mut sweep = None;
    loop {
        if sweep.is_none() {
            auth.doubts().ring.notified().await;
        }
        let Some(node) = node.upgrade() else { return };
        let mut doubted = auth.doubts().take();
        if std::mem::take(&mut doubted.all) {
            sweep = Some((0, 0));
        }
        match look_at(&auth, &node, &doubted, sweep).await {
            Ok(next) => sweep = next,
            Err(error) => {
                tracing::warn!(%error, "sessions could not be looked at; they are again soon");
                auth.doubts().put_back(doubted);
                sleep(RETRY_MAX).await;
            }
        }
        drop(node);
        if sweep.is_none() {
            sleep(PAUSE).await;
        }
    }
}

/// Looks at what is in doubt and at the next page of all; where that goes on. Nothing is asked for
/// nobody: sockets on their way are counted, and those that come later know that they are to be looked at.
async fn look_at(
    auth: &Auth,
    node: &Shared,
    doubted: &Doubted,
    sweep: Option<Sweep>,
) -> Result<Option<Sweep>, Error> {
    if node.shards.iter().all(|door| door.load.load(Ordering::SeqCst) == 0) {
        return Ok(None);
    }
    // Of some only the notice tells, and no user.
    let mut open: HashMap<Uuid, Option<Uuid>> =
        doubted.sessions.iter().map(|session| (*session, None)).collect();
    if !doubted.users.is_empty() {
        let users: Arc<[Uuid]> = doubted.users.iter().copied().collect();
        for shard in 0..node.shards.len() {
            let theirs = ask(node, shard, Which::Of(Arc::clone(&users))).await;
            open.extend(theirs.sessions);
        }
    }
    let mut next = None;
    if let Some((shard, place)) = sweep {
        let page = ask(node, shard, Which::From(place)).await;
        open.extend(page.sessions);
        next = page.next.map(|place| (shard, place));
        next = next.or((shard + 1 < node.shards.len()).then_some((shard + 1, 0)));
    }
    let open: Vec<_> = open.into_iter().collect();
    for page in open.chunks(PAGE) {
        let ids: Vec<_> = page.iter().map(|(session, _)| *session).collect();
        let verdicts: Arc<[_]> = complete(auth.look_at(&ids).await?, page).into();
        node.tell_all(|| Envelope::Judged(Arc::clone(&verdicts)));
    }
    Ok(next)
}

/// A session that was not found has ended.
fn complete(mut verdicts: Vec<Verdict>, asked: &[(Uuid, Option<Uuid>)]) -> Vec<Verdict> {
    let found: HashSet<_> = verdicts.iter().map(|verdict| verdict.session).collect();
    let gone = asked.iter().filter(|(session, _)| !found.contains(session));
    let gone = gone.filter_map(|(session, user)| {
        Some(Verdict { user: (*user)?, session: *session, moderates: None })
    });
    verdicts.extend(gone);
    verdicts
}

/// Which of its sockets a shard is asked for.
#[derive(Debug)]
pub(crate) enum Which {
    /// Those of these users.
    Of(Arc<[Uuid]>),
    /// Those from this place on, a page of them.
    From(u32),
}

/// The sessions on which sockets of a shard rest.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Sessions and their users; some more than once.
    pub(crate) sessions: Vec<(Uuid, Option<Uuid>)>,
    /// The place from which on there are more.
    pub(crate) next: Option<u32>,
}

async fn ask(node: &Shared, shard: usize, which: Which) -> Open {
    let (answer, open) = oneshot::channel();
    // A shard that has ended has no sockets.
    if node.shards[shard].inbox.send(Envelope::Sessions { which, answer }).is_err() {
        return Open::default();
    }
    open.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_doubts_that_all_is_as_quick_are_a_doubt_about_all() {
        let doubts = Doubts::default();
        for n in 0..DOUBTS {
            doubts.hear(Notice::Session(Uuid::from_u128(n as u128)));
        }
        let doubted = doubts.take();
        assert!(!doubted.all);
        doubts.hear(Notice::User(Uuid::nil()));
        doubts.put_back(doubted);
        let doubted = doubts.take();
        assert!(doubted.all);
        assert_eq!(doubted.sessions.len() + doubted.users.len(), 0);
    }

    #[test]
    fn whoever_looked_before_a_notice_was_heard_can_tell() {
        let doubts = Doubts::default();
        let before = doubts.heard();
        doubts.add(Notice::Session(Uuid::nil()));
        assert_eq!(doubts.heard(), before, "nothing new is known of it");
        doubts.hear(Notice::Session(Uuid::nil()));
        assert_ne!(doubts.heard(), before);
        let before = doubts.heard();
        doubts.miss();
        assert_ne!(doubts.heard(), before);
    }

    #[test]
    fn a_session_that_is_not_found_has_ended() {
        let (ann, here, gone) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let found = vec![Verdict { user: ann, session: here, moderates: Some(false) }];
        let asked = [(here, Some(ann)), (gone, Some(ann)), (Uuid::from_u128(4), None)];
        let verdicts = complete(found, &asked);
        let verdicts: Vec<_> = verdicts.iter().map(|one| (one.session, one.moderates)).collect();
        assert_eq!(verdicts, [(here, Some(false)), (gone, None)]);
    }
}
