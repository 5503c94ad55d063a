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

/// Checks tokens and sessions.
#[derive(Debug, Clone)]
pub struct Auth {
    verifier: Verifier,
    db: Database,
    clock: Clock,
    /// How long after `exp` a socket may stay, as clocks differ; the verifier allows the same.
    leeway: Duration,
}

/// A signed-in user, for as long as the token holds.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The user.
    pub(crate) user: Uuid,
    /// The user's name.
    pub(crate) username: Arc<str>,
    /// Whether a role lets the user moderate every room.
    pub(crate) moderates: bool,
    /// When the socket is closed 4401.
    pub(crate) expires: Instant,
}

impl Auth {
    /// Keys and sessions are read from this database.
    pub fn new(db: Database, tokens: Tokens, clock: Clock) -> Self {
        let leeway = tokens.leeway;
        Self { verifier: Verifier::new(db.clone(), tokens), db, clock, leeway }
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
        let check = db::sessions::check(self.db.pool(), &claims, self.clock.now());
        let session = self.db.run(check).await?;
        let moderates = session.roles.iter().any(|role| *role >= Role::Moderator);
        let (user, username) = (session.user, session.username.into());
        Ok(Identity { user, username, moderates, expires: self.until(&claims) })
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
