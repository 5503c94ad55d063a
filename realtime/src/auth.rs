//! Who is connecting: the access token and the session behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::access_token::{Claims, TokenError, Verifier};
use shared::clock::Clock;
use shared::db::{self, Database};
use shared::problem::{Code, Problem, Result};
use shared::role::Role;
use shared::settings::Tokens;
use uuid::Uuid;

use crate::protocol::Sender;
use crate::revocation::Doubts;
use crate::turns::Turns;

/// Checks tokens and sessions.
#[derive(Debug, Clone)]
pub struct Auth {
    verifier: Verifier,
    db: Database,
    clock: Clock,
    /// How long after `exp` a socket may stay, as clocks differ; the verifier allows the same.
    leeway: Duration,
    /// Which sessions this node is to look at again.
    doubts: Arc<Doubts>,
    /// Which users of this node ask the database.
    turns: Arc<Turns>,
    /// Which sign in: not behind their own commands, which may wait for a log.
    sign_ins: Arc<Turns>,
}

/// A signed-in user, for as long as the token holds.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) user: Uuid,
    /// The session behind the token.
    pub(crate) session: Uuid,
    /// The user's name.
    pub(crate) username: Arc<str>,
    /// Whether a role lets the user moderate every room.
    pub(crate) moderates: bool,
    /// How many notices of revocations had been heard before the session was looked at.
    pub(crate) heard: u32,
    /// When the socket is closed 4401.
    pub(crate) expires: Instant,
}

/// What a second look at a session found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// The user.
    pub(crate) user: Uuid,
    /// The session.
    pub(crate) session: Uuid,
    /// Whether a role lets the user moderate every room now; `None`: the session has ended.
    pub(crate) moderates: Option<bool>,
}

impl Auth {
    /// Keys and sessions are read from this database.
    pub fn new(db: Database, tokens: Tokens, clock: Clock) -> Self {
        let leeway = tokens.leeway;
        let verifier = Verifier::new(db.clone(), tokens);
        let (doubts, turns, sign_ins) = (Arc::default(), Arc::default(), Arc::default());
        Self { verifier, db, clock, leeway, doubts, turns, sign_ins }
    }

    /// The same for one node, with doubts and turns of its own.
    pub(crate) fn of_a_node(self) -> Self {
        let (doubts, turns, sign_ins) = (Arc::default(), Arc::default(), Arc::default());
        Self { doubts, turns, sign_ins, ..self }
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// 401 `token_invalid` or `session_revoked`; 503 `unavailable` while the database is away.
    pub(crate) async fn identify(&self, token: Option<&str>) -> Result<Identity> {
        let invalid = || Problem::new(Code::TokenInvalid);
        let token = token.ok_or_else(invalid)?;
        let claims = match self.verifier.verify(token, self.clock.now()).await {
            Ok(claims) => claims,
            Err(TokenError::Unavailable) => return Err(Problem::unavailable()),
            Err(error) => {
                tracing::debug!(%error, "a token was refused");
                return Err(invalid());
            }
        };
        let _turn = self.sign_ins.take(claims.sub).await;
        let heard = self.doubts.heard();
        let found = self.db.check(&claims, self.clock.now()).await?;
        let (user, username) = (found.id, found.username.into());
        let (moderates, expires) = (moderates(&found.roles), self.until(&claims));
        Ok(Identity { user, session: claims.sid, username, moderates, heard, expires })
    }

    /// Looks at sessions again, in one statement: whether each that was found still holds, and lets its
    /// user moderate every room.
    ///
    /// # Errors
    /// The statement's.
    pub(crate) async fn look_at(
        &self,
        sessions: &[Uuid],
    ) -> std::result::Result<Vec<Verdict>, db::Error> {
        let looking = db::sessions::look_at(self.db.pool(), sessions, self.clock.now());
        let found = self.db.run(looking).await?;
        let verdict = |found: db::sessions::FoundSession| Verdict {
            user: found.user,
            session: found.id,
            moderates: found.roles.as_deref().map(moderates),
        };
        Ok(found.into_iter().map(verdict).collect())
    }

    /// Which sessions are to be looked at again.
    pub(crate) fn doubts(&self) -> &Arc<Doubts> {
        &self.doubts
    }

    /// Which users ask the database.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The database that is asked.
    pub(crate) fn db(&self) -> &Database {
        &self.db
    }

    /// The clock that it goes by.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// When the token ends, by the clock's time of day.
    fn until(&self, claims: &Claims) -> Instant {
        let end = claims.exp.saturating_add_unsigned(self.leeway.as_secs());
        let left = end.saturating_sub(self.clock.now().unix_timestamp());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Instant::now() + left
    }
}

impl Identity {
    /// The user, as others see whose an entry is.
    pub(crate) fn sender(&self) -> Sender {
        Sender { id: self.user, username: (*self.username).to_owned() }
    }
}

/// Whether one of the roles lets its user moderate every room.
fn moderates(roles: &[Role]) -> bool {
    roles.iter().any(|role| *role >= Role::Moderator)
}
