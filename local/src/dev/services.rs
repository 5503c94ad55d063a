//! The servers that the tests use, private to one run and gone with it.

use std::path::PathBuf;

use sqlx::Connection as _;

use super::redis::{self, Redis};
use crate::child::Account;
use crate::places;
use crate::postgres::{Cluster, Durability, Postgres, SOCKET_NAME};
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::settings::Machine;

/// The migrated database that each test copies.
const TEMPLATE: &str = "template";

/// What the names of the directories of runs begin with.
const PREFIX: &str = "keywire-test-";

/// Postgres and Redis, running.
#[derive(Debug)]
pub(super) struct Services {
    /// Restarted if it ends; stopped by [`Services::stop`] or with this process.
    postgres: Postgres,
    /// As Postgres.
    redis: Redis,
    /// Tells the tests where they are.
    variables: Vec<(String, String)>,
    /// The owner's URL of the template.
    database_url: String,
    /// Holds all their files; last, so that it is removed after they have ended.
    scratch: Scratch,
}

impl Services {
    /// Finds or fetches the servers, starts them and prepares the template.
    ///
    /// # Errors
    /// If one cannot be had or started.
    pub(super) async fn start(machine: &Machine) -> anyhow::Result<Self> {
        let progress = Progress::new();
        let scratch = Scratch::new(&scratch_base()?, PREFIX)?;
        let found = machine.postgres.find(scratch.path(), |line| progress.fetching(line));
        let installation = found.await?;
        let server = redis::program(machine.redis.clone(), &machine.cache, &progress).await?;
        drop(progress);
        super::say(&format!(
            "Tests use PostgreSQL {} ({}) and {}",
            installation.version,
            installation.bin.display(),
            server.display()
        ));
        let bindir = installation.bin.display().to_string();
        let dir = scratch.path().join("postgres");
        let cluster = Cluster::new(installation, &dir, Durability::Disposable, machine.waits)?;
        let template = cluster.clone();
        let redis_dir = scratch.path().join("redis");
        let (postgres, redis) =
            tokio::try_join!(Postgres::start(cluster), Redis::start(&server, &redis_dir))?;
        let database_url = template.url(TEMPLATE);
        // Closed at once: a template with a connection cannot be copied.
        crate::database::create(&database_url).await?.close().await?;
        let variables = [
            ("TEST_DATABASE_URL", database_url.clone()),
            ("TEST_REDIS_URL", redis.url()),
            ("TEST_REDIS_BIN", server.display().to_string()),
            ("TEST_PG_BINDIR", bindir),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { postgres, redis, variables, database_url, scratch })
    }

    /// The variables that tell a test where the servers are.
    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The owner's URL of the migrated template.
    pub(super) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Ends the servers and removes their files.
    ///
    /// # Errors
    /// If Redis cannot be ended.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await;
        self.redis.stop().await?;
        drop(self.scratch);
        Ok(())
    }
}

/// The system's temporary directory, or `/tmp` when a server's account cannot enter that or its sockets
/// would not fit.
fn scratch_base() -> anyhow::Result<PathBuf> {
    let base = std::env::temp_dir();
    let run = base.join(format!("{PREFIX}123456"));
    let reached = Account::for_server()?.is_none_or(|account| places::enterable(&run, &account));
    let fits = places::holds_socket(&run.join("postgres/socket"), SOCKET_NAME)
        && places::holds_socket(&run.join("redis"), redis::SOCKET_NAME);
    Ok(if reached && fits { base } else { PathBuf::from("/tmp") })
}
