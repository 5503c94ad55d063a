//! Postgres: the pool, its errors, the migrations; all SQL is in the modules below.

mod admins;
pub mod audit;
pub mod buckets;
pub mod challenges;
pub mod cleanup;
pub mod factors;
pub mod failures;
pub mod imports;
pub mod log;
pub mod members;
pub mod notices;
pub mod one_time_tokens;
pub mod outbox;
pub mod passkeys;
pub mod passwords;
mod permitted;
pub mod pool;
pub mod profile;
pub mod recovery;
pub mod roles;
pub mod rooms;
pub mod second_factor;
pub mod sessions;
pub mod sign_in;
pub mod signing_keys;
pub mod users;
pub mod verification;

use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use time::OffsetDateTime;

use pool::Pool;
use profile::Profile;
use sessions::together::Together;

use crate::access_token::Claims;
use crate::problem::{Code, Problem};
use crate::settings;

/// The migrations, in order; applied as the owner.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// The role that serves requests. It owns nothing.
pub const SERVING_ROLE: &str = "keywire_app";

/// What can go wrong with a statement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres is away, starting, full or silent; another try may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The answer did not come within `DATABASE_TIMEOUT`.
    #[error("the database did not answer in time")]
    Silent,
    /// The session behind the token has ended.
    #[error("the session has ended")]
    SessionRevoked,
    /// No role of the caller has the permission.
    #[error("the permission is missing")]
    Forbidden,
    /// A named constraint refused the row.
    #[error("constraint {0} refused the row")]
    Constraint(String),
    /// A fault of ours.
    #[error("the statement failed: {0}")]
    Fault(#[source] sqlx::Error),
}

impl Error {
    /// Whether another try may succeed.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Silent)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Database(database) => {
                let state = database.code().unwrap_or_default();
                match (database.constraint(), database.is_unique_violation()) {
                    (Some(name), true) => Self::Constraint(name.to_owned()),
                    _ if passes(&state) => Self::Unavailable(error),
                    _ => Self::Fault(error),
                }
            }
            _ => Self::Fault(error),
        }
    }
}

/// SQLSTATEs that pass: connection lost (08), out of resources (53), shutting down or starting
/// (57P), cancelled (57014), a lock not had in time (55P03), read-only during a failover (25006),
/// serialisation and deadlock (40).
fn passes(state: &str) -> bool {
    matches!(state.get(..2), Some("08" | "53" | "40"))
        || state.starts_with("57P")
        || matches!(state, "57014" | "55P03" | "25006")
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(_) | Error::Silent => {
                tracing::warn!(%error, "database not available");
                Self::unavailable()
            }
            Error::SessionRevoked => Self::new(Code::SessionRevoked),
            Error::Forbidden => Self::new(Code::Forbidden),
            // A constraint that a caller did not turn into an answer of its own is a fault, too.
            Error::Constraint(_) | Error::Fault(_) => {
                tracing::error!(%error, "statement failed");
                Self::new(Code::Internal)
            }
        }
    }
}

/// The pool, how long an answer may take, and the session checks under way.
#[derive(Debug, Clone)]
pub struct Database {
    pool: Pool,
    timeout: Duration,
    checks: Together,
}

impl Database {
    /// A pool that connects when it is first used. `role` is set on each connection.
    ///
    /// # Errors
    /// When the address cannot be parsed.
    pub fn new(settings: &settings::Database, role: Option<&str>) -> Result<Self, sqlx::Error> {
        let mut options: PgConnectOptions = settings.url.expose_secret().parse()?;
        options = options.application_name("keywire");
        if let Some(role) = role {
            // The server gives a statement up, too, and a transaction in which nobody goes on: both
            // would hold their locks.
            let timeout = settings.timeout.as_millis().to_string();
            let limits = ["statement_timeout", "idle_in_transaction_session_timeout"];
            options =
                options.options([("role", role)]).options(limits.map(|name| (name, &timeout)));
        }
        let pool = Pool::new(options, settings);
        let checks = Together::new(pool.clone(), settings.timeout);
        Ok(Self { pool, timeout: settings.timeout, checks })
    }

    /// The pool, for the functions of the modules below.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether nobody on the way to the server can read along or answer in its place: it is on this
    /// machine, or must show a certificate of its name.
    pub fn is_shielded(&self) -> bool {
        let options = self.pool.options();
        let host = options.get_host();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        options.get_socket().is_some()
            || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull)
            || host == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
    }

    /// The session check alone: whose the session behind a token is, as of now.
    ///
    /// # Errors
    /// [`Error::SessionRevoked`], or the statement's.
    pub async fn check(&self, claims: &Claims, now: OffsetDateTime) -> Result<Profile, Error> {
        self.run(self.checks.check(claims, now)).await
    }

    /// Connects, so that what is wrong with the address shows.
    ///
    /// # Errors
    /// [`Error::Fault`] when the server refuses this role or database.
    pub async fn connect(&self) -> Result<(), Error> {
        self.pool.lend().await?;
        Ok(())
    }

    /// Waits for a statement or transaction, at most `DATABASE_TIMEOUT` in all.
    ///
    /// # Errors
    /// The statement's own, or [`Error::Silent`].
    pub async fn run<T, E: From<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let answered = tokio::time::timeout(self.timeout, work).await;
        answered.unwrap_or_else(|_| Err(Error::Silent.into()))
    }

    /// A pool that is never used, for tests of what needs no database.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        let mut reader = settings::Reader::from_pairs([("", ""); 0]);
        let settings = settings::Database::at("postgres://nowhere".to_owned(), &mut reader);
        Self::new(&settings, None).expect("the address is one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Reader;

    #[tokio::test]
    async fn only_this_machine_is_reached_without_a_verified_certificate() {
        for (address, shielded) in [
            ("postgres://app@db.example.com/keywire", false),
            ("postgres://app@db.example.com/keywire?sslmode=require", false),
            ("postgres://app@db.example.com/keywire?sslmode=verify-ca", false),
            ("postgres://app@10.0.0.5/keywire?sslmode=disable", false),
            ("postgres://app@localhost.example.com/keywire", false),
            ("postgres://app@db.example.com/keywire?sslmode=verify-full", true),
            ("postgres://app@localhost/keywire?host=/run/postgresql", true),
            ("postgres://app@localhost/keywire", true),
            ("postgres://app@127.0.0.1:5433/keywire?sslmode=disable", true),
            ("postgres://app@[::1]/keywire", true),
        ] {
            let mut reader = Reader::from_pairs::<String, String>([]);
            let settings = settings::Database::at(address.to_owned(), &mut reader);
            let database = Database::new(&settings, None).unwrap();
            assert_eq!(database.is_shielded(), shielded, "{address}");
        }
    }
}
