//! A database of a test's own, given to the programs by `DATABASE_URL`, with its keys in a file.

use std::path::PathBuf;

use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

use super::dev::{dev, output, text};
use super::keywire::Start;
use super::open_dir;
use crate::database::TestDatabase;

/// The database and the file.
pub(crate) struct Given {
    /// Where the file is.
    pub(crate) dir: tempfile::TempDir,
    /// The keys.
    pub(crate) file: PathBuf,
    /// The owner's connection.
    pub(crate) owner: PgConnection,
    database: TestDatabase,
}

impl Given {
    /// Made by `cargo dev keys FILE --register`.
    pub(crate) async fn new() -> Self {
        let dir = open_dir();
        let database = TestDatabase::create().await;
        let file = dir.path().join("keys.json");
        let owner = PgConnection::connect(&database.url).await.unwrap();
        let given = Self { dir, file, owner, database };
        given.succeed(&["keys", given.file.to_str().unwrap(), "--register"]).await;
        given
    }

    /// The owner's URL.
    pub(crate) fn url(&self) -> &str {
        &self.database.url
    }

    /// A `cargo dev` command.
    pub(crate) fn dev(&self) -> Command {
        let mut command = dev(self.dir.path());
        command.env("DATABASE_URL", &self.database.url).env("KEYS_FILE", &self.file);
        command
    }

    /// Runs one that must succeed.
    pub(crate) async fn succeed(&self, words: &[&str]) {
        let mut command = self.dev();
        command.args(words);
        let output = output(command).await;
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    }

    /// A copy of the program on this database.
    pub(crate) fn start(&self) -> Start {
        let start = Start::in_dir(self.dir.path()).env("KEYS_FILE", &self.file);
        start
            .env("DATABASE_URL", &self.database.url)
            // The tests' Postgres need not outlive a crash.
            .env("LOG_DURABLE", "off")
    }
}
