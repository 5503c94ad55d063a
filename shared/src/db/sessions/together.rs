//! Session checks that are made together while many are wanted at once.
//!
//! A check on its own is one statement. Those who come while one is under way are gathered, and share a
//! statement that reads and, for the sessions that are due, one that writes. Nobody is answered by a
//! statement that began before they asked, so a revocation holds on the very next call here, too. Whoever
//! is not answered, because the statement failed or because somebody else holds the session's row, makes
//! a check of their own: nobody pays for another's session.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, oneshot};
use uuid::Uuid;

use super::{SEEN_EVERY, counter};
use crate::access_token::Claims;
use crate::db::Error;
use crate::db::pool::Pool;
use crate::db::profile::{Profile, profile_of};

/// Most checks in one statement: with more of them the first would wait for the last.
const SHARING: usize = 100;
/// Most checks that wait. Whoever comes then makes their own.
const WAITING: usize = 10_000;
/// The part of `DATABASE_TIMEOUT` that shared statements have: when they fail, most of it is left for
/// checks on one's own.
const PART: u32 = 4;
/// How long statements go on being shared when nobody waits. No setting: about as long as those who were
/// answered together take to ask again.
const LINGER: Duration = Duration::from_millis(1);

/// The checks under way.
#[derive(Debug, Clone)]
pub(in crate::db) struct Together(Arc<Checks>);

#[derive(Debug)]
struct Checks {
    pool: Pool,
    /// `DATABASE_TIMEOUT`.
    timeout: Duration,
    /// Has one permit, for the check that finds no other under way.
    alone: Semaphore,
    waiting: Mutex<Waiting>,
    /// Somebody waits.
    came: Notify,
}

/// Who waits for the next shared statement.
#[derive(Debug, Default)]
struct Waiting {
    asked: VecDeque<Asked>,
    /// Whether a task takes them.
    is_served: bool,
    /// Nothing is shared until then: it has failed, and what is slow would be waited for twice.
    paused: Option<Instant>,
}

/// A check that is wanted.
#[derive(Debug)]
struct Asked {
    session: Uuid,
    user: Uuid,
    counter: i64,
    now: OffsetDateTime,
    /// Dropped without a word: ask yourself.
    tell: oneshot::Sender<Option<Profile>>,
}

impl Together {
    /// For checks on this pool, which are waited for at most `timeout`.
    pub(in crate::db) fn new(pool: Pool, timeout: Duration) -> Self {
        let (alone, waiting, came) = (Semaphore::new(1), Mutex::default(), Notify::new());
        Self(Arc::new(Checks { pool, timeout, alone, waiting, came }))
    }

    /// Whose the session is, as of now.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`], or the statement's.
    pub(in crate::db) async fn check(
        &self,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Profile, Error> {
        let Self(checks) = self;
        let is_served = checks.lock().is_served;
        let alone = if is_served { None } else { checks.alone.try_acquire().ok() };
        if alone.is_none()
            && let Some(found) = checks.ask(claims, now).await
        {
            return found;
        }
        super::check(&checks.pool, claims, now).await
    }
}

impl Checks {
    /// Waits for a shared statement. `None`: ask yourself.
    async fn ask(
        self: &Arc<Self>,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Option<Result<Profile, Error>> {
        let (session, user, counter) = (claims.sid, claims.sub, counter(claims.ctr));
        let (tell, told) = oneshot::channel();
        if !self.queue(Asked { session, user, counter, now, tell }) {
            return None;
        }
        let found = told.await.ok()?;
        Some(found.ok_or(Error::SessionRevoked))
    }

    /// Whether it may wait with the others.
    fn queue(self: &Arc<Self>, asked: Asked) -> bool {
        let mut waiting = self.lock();
        let is_paused = waiting.paused.is_some_and(|until| Instant::now() < until);
        if is_paused || waiting.asked.len() >= WAITING {
            return false;
        }
        waiting.asked.push_back(asked);
        let was_served = std::mem::replace(&mut waiting.is_served, true);
        // A runtime that is ending drops the task at once, and with it the service, which locks.
        drop(waiting);
        if was_served {
            self.came.notify_one();
        } else {
            tokio::spawn(Service(Arc::clone(self)).serve());
        }
        true
    }

    /// Those whose turn it is, who came first.
    fn next(&self) -> Vec<Asked> {
        let mut waiting = self.lock();
        let mut next = Vec::new();
        while next.len() < SHARING
            && let Some(asked) = waiting.asked.pop_front()
        {
            // Who is gone by now is left out.
            if !asked.tell.is_closed() {
                next.push(asked);
            }
        }
        next
    }

    /// Shares statements among these.
    ///
    /// # Errors
    /// The statement's, or there is no connection: whoever was not answered checks alone.
    async fn share(&self, asked: Vec<Asked>) -> Result<(), Error> {
        // The wait for a connection is that of everybody, and says nothing of the statements.
        let mut db = self.pool.lend().await?;
        let answered = tokio::time::timeout(self.timeout / PART, answer(&mut db, asked)).await;
        let answered = answered.unwrap_or(Err(Error::Silent));
        match &answered {
            Ok(()) => db.settle(),
            Err(_) => self.lock().paused = Some(Instant::now() + self.timeout),
        }
        answered
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers those who can be.
async fn answer(db: &mut PgConnection, asked: Vec<Asked>) -> Result<(), Error> {
    let found = look(&mut *db, &asked).await?;
    let mut due = Vec::new();
    for (asked, found) in asked.into_iter().zip(found) {
        match found {
            Some(Found { profile, due: true }) => due.push((asked, profile)),
            found => asked.answer(found.map(|found| found.profile)),
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    let seen = mark(db, &due).await?;
    for (asked, profile) in due.into_iter().filter(|(asked, _)| seen.contains(&asked.session)) {
        asked.answer(Some(profile));
    }
    Ok(())
}

impl Asked {
    fn answer(self, found: Option<Profile>) {
        // Who is gone by now needs none.
        drop(self.tell.send(found));
    }
}

/// The task that takes those who wait. However it ends, nobody goes on waiting for it.
struct Service(Arc<Checks>);

impl Service {
    async fn serve(self) {
        let Self(checks) = &self;
        loop {
            let asked = checks.next();
            if asked.is_empty() {
                match tokio::time::timeout(LINGER, checks.came.notified()).await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            if let Err(error) = checks.share(asked).await {
                let said = "shared session checks failed: each is made on its own";
                if error.is_passing() {
                    tracing::warn!(%error, "{said}");
                } else {
                    tracing::error!(%error, "{said}");
                }
                return;
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_served = false;
        let left = std::mem::take(&mut waiting.asked);
        // They wake, and lock.
        drop(waiting);
        drop(left);
    }
}

/// A session that holds.
#[derive(Debug)]
struct Found {
    profile: Profile,
    /// Whether the call is to be written down.
    due: bool,
}

/// What `checked!` asks, for each.
async fn look(db: impl PgExecutor<'_>, asked: &[Asked]) -> Result<Vec<Option<Found>>, Error> {
    let sessions: Vec<_> = asked.iter().map(|asked| asked.session).collect();
    let (nows, counters): (Vec<_>, Vec<_>) = asked.iter().map(|a| (a.now, a.counter)).unzip();
    let rows = sqlx::query!(
        r#"SELECT a.position AS "position!", u.id, u.username, u.email, u.display_name, u.bio, u.created_at,
                  ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS "roles!",
                  (s.last_seen_at < a.now - $4::interval OR s.seen_counter < a.counter) AS "due!"
           FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[])
                WITH ORDINALITY AS a (session, now, counter, position)
           JOIN sessions s ON s.id = a.session
           JOIN users u ON u.id = s.user_id
           WHERE u.status = 'active' AND s.revoked_at IS NULL
             AND s.idle_until > a.now AND s.absolute_until > a.now"#,
        &sessions,
        &nows,
        &counters,
        SEEN_EVERY as Duration,
    )
    .fetch_all(db)
    .await?;
    let mut found: Vec<Option<Found>> = asked.iter().map(|_| None).collect();
    for row in rows {
        let at = usize::try_from(row.position - 1).expect("positions count from 1");
        // A session of somebody else's is none.
        if asked[at].user != row.id {
            continue;
        }
        found[at] = Some(Found { due: row.due, profile: profile_of!(row) });
    }
    Ok(found)
}

/// Writes down that sessions were seen, those whose row nobody holds: waiting for one row while holding
/// others could deadlock. Returns them.
async fn mark(db: impl PgExecutor<'_>, due: &[(Asked, Profile)]) -> Result<HashSet<Uuid>, Error> {
    let sessions: Vec<_> = due.iter().map(|(asked, _)| asked.session).collect();
    let (nows, counters): (Vec<_>, Vec<_>) = due.iter().map(|(a, _)| (a.now, a.counter)).unzip();
    let seen = sqlx::query_scalar!(
        r#"WITH due AS (
               SELECT session, max(now) AS now, max(counter) AS counter
               FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[]) AS d (session, now, counter)
               GROUP BY session),
           free AS (
               SELECT s.id, due.now, due.counter FROM sessions s JOIN due ON due.session = s.id
               FOR NO KEY UPDATE OF s SKIP LOCKED)
           UPDATE sessions s SET last_seen_at = greatest(s.last_seen_at, free.now),
                                 seen_counter = greatest(s.seen_counter, free.counter)
           FROM free WHERE s.id = free.id
           RETURNING s.id"#,
        &sessions,
        &nows,
        &counters,
    )
    .fetch_all(db)
    .await?;
    Ok(seen.into_iter().collect())
}
