//! What a function needs around it: a database with its keys, and the environment that names both.

use shared::db::signing_keys;
use shared::secrets::Keys;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::emulator::Emulator;
use crate::database::TestDatabase;

/// A database of its own, the keys that belong to it and a file of them.
pub(crate) struct Stack {
    /// The keys.
    pub(crate) keys: Keys,
    /// The database, dropped with this.
    database: TestDatabase,
    /// Holds the file of keys.
    dir: TempDir,
}

impl Stack {
    /// Copies the migrated template and registers new keys.
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::create().await;
        let keys = Keys::generate(OffsetDateTime::UNIX_EPOCH).unwrap();
        let mut owner = PgConnection::connect(&database.url).await.unwrap();
        assert!(signing_keys::register_first(&mut owner, &keys.signing).await.unwrap());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keys.json"), keys.to_json().unwrap().as_bytes()).unwrap();
        Self { keys, database, dir }
    }

    /// The serving role's URL.
    pub(crate) fn url(&self) -> String {
        format!("{}&options[role]={}", self.database.url, shared::db::SERVING_ROLE)
    }

    /// The URL of another user or role.
    pub(crate) fn url_as(&self, user: &str, role: &str) -> String {
        let options: PgConnectOptions = self.database.url.parse().unwrap();
        format!("{}&options[role]={role}", options.username(user).to_url_lossy())
    }

    /// What a function is told, as `cargo dev db` tells it: URL and file.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let file = self.dir.path().join("keys.json");
        let mut environment = common();
        environment.push(("DATABASE_URL", self.url()));
        environment.push(("KEYS_FILE", file.to_str().unwrap().to_owned()));
        environment
    }

    /// Starts a function on it.
    pub(crate) async fn start(&self, binary: &str) -> Emulator {
        Emulator::start(binary, &self.environment()).await
    }

    /// Starts a function on it, with more to tell.
    pub(crate) async fn start_with(&self, binary: &str, more: &[(&'static str, &str)]) -> Emulator {
        let mut environment = self.environment();
        environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Emulator::start(binary, &environment).await
    }

    /// A connection as the owner.
    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }
}

/// What every function of the template is told, hashes made quick.
pub(crate) fn common() -> Vec<(&'static str, String)> {
    let pairs = [
        ("BCRYPT_COST", "10"),
        ("CLIENT_ADDRESS", "gateway"),
        ("DATABASE_POOL", "1"),
        ("DATABASE_TIMEOUT", "20s"),
        ("LOG_FORMAT", "json"),
    ];
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}
