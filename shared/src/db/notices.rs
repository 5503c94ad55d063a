//! What every node is told at once, by `NOTIFY` in the statement that changes it.
//!
//! A payload is a kind and an id, like `session 01a204df-…`. It only says what to look at again: the
//! rows decide, so that a notice that is lost, late or doubled does no harm.

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Acquire as _, Connection as _};
use uuid::Uuid;

use super::{Database, Error};

/// The channel: a session has ended (`session` and its id), or a user's sessions, roles, status or
/// password changed (`user` and the id).
pub const REVOKED: &str = "keywire_revoked";

/// What is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A session.
    Session(Uuid),
    /// A user, with all sessions.
    User(Uuid),
}

impl Notice {
    /// `None`: a kind that only a later version knows.
    fn read(payload: &str) -> Option<Self> {
        let (kind, id) = payload.split_once(' ')?;
        let id = id.parse().ok()?;
        match kind {
            "session" => Some(Self::Session(id)),
            "user" => Some(Self::User(id)),
            _ => None,
        }
    }
}

/// Hears the notices, on a connection of its own.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Hears what is told from now on.
    ///
    /// # Errors
    /// When the server is away, or refuses.
    pub async fn connect(database: &Database) -> Result<Self, Error> {
        // sqlx listens only on connections of a pool of its own. The one is given up with the listener: back
        // there it would be tried, and where the server ends, too, complain.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.after_release(|_, _| Box::pin(async { Ok(false) }));
        let pool = pool.connect_lazy_with(database.pool().options().clone());
        let mut listener = Box::pin(PgListener::connect_with(&pool)).await?;
        // Another connection is made by the caller, who must know that notices were lost.
        listener.eager_reconnect(false);
        listener.listen(REVOKED).await?;
        Ok(Self(listener))
    }

    /// The next notice; `None` when the connection is lost, after which there are no more. It may be
    /// given up while it waits, and loses nothing by that.
    ///
    /// # Errors
    /// The connection's.
    pub async fn next(&mut self) -> Result<Option<Notice>, Error> {
        while let Some(notice) = self.0.try_recv().await? {
            if let Some(notice) = Notice::read(notice.payload()) {
                return Ok(Some(notice));
            }
            tracing::debug!(payload = notice.payload(), "a notice of another version");
        }
        Ok(None)
    }

    /// Asks the server for a sign of life: nothing else shows that a silent connection leads nowhere.
    ///
    /// # Errors
    /// The connection's.
    pub async fn probe(&mut self) -> Result<(), Error> {
        self.0.acquire().await?.ping().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_a_session_or_a_user_and_others_are_left_to_who_knows_them() {
        let id = Uuid::from_u128(7);
        assert_eq!(Notice::read(&format!("session {id}")), Some(Notice::Session(id)));
        assert_eq!(Notice::read(&format!("user {id}")), Some(Notice::User(id)));
        for other in ["", "user", "user ann", &format!("room {id}"), &format!("user  {id}")] {
            assert_eq!(Notice::read(other), None, "{other}");
        }
    }
}
