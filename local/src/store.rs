//! The database of the local process and the keys that belong to it: private ones, or given ones.

use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use shared::db::signing_keys;
use shared::secrets::Keys;
use shared::settings::Reader;
use sqlx::Connection as _;

use crate::child::Account;
use crate::keys::rotate::{self, Lives};
use crate::lock::Lock;
use crate::postgres::{Cluster, DATABASE, Durability, Postgres};
use crate::progress::Progress;
use crate::settings::Machine;
use crate::{database, keys, places, settings};

/// The file with the keys of the private database, beside its data.
const PRIVATE_KEYS: &str = "keys.json";

/// Which database and keys to use.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// What there is on this machine, for a private database.
    pub(crate) machine: Machine,
    /// `DATABASE_URL`: the owner's address of a given one.
    pub(crate) database_url: Option<SecretString>,
    /// `KEYS_FILE`: the keys of the given one.
    pub(crate) keys_file: Option<PathBuf>,
}

impl Choice {
    /// Reads the group.
    pub(crate) fn read(reader: &mut Reader) -> Self {
        let choice = Self {
            machine: Machine::read(reader),
            database_url: reader.optional(
                "DATABASE_URL",
                "Address of Postgres, such as `postgres://user:password@host/name`.",
            ),
            keys_file: reader.optional(
                "KEYS_FILE",
                "The file with the keys of the database in `DATABASE_URL`; `cargo dev keys FILE` makes one.",
            ),
        };
        if choice.database_url.is_none() && choice.keys_file.is_some() {
            reader.refuse("KEYS_FILE is for the database in DATABASE_URL, which is not set");
        }
        choice
    }

    /// Where the private database is, with its keys and its lock: the directory for them, or, when the
    /// account of a server started by root cannot enter that, one that it can. All of it moves, so that
    /// a checkout that is removed and cloned again finds the keys with the data.
    fn home(&self) -> anyhow::Result<PathBuf> {
        let account = Account::for_server()?;
        let local = &self.machine.local_dir;
        Ok(places::reachable(local, account.as_ref(), places::SYSTEM_DATA))
    }

    /// Where the keys are: beside the private database, or in `KEYS_FILE`.
    ///
    /// # Errors
    /// If there is a given database and no `KEYS_FILE`.
    pub(crate) fn keys_path(&self) -> anyhow::Result<PathBuf> {
        if self.database_url.is_none() {
            return Ok(self.home()?.join(PRIVATE_KEYS));
        }
        self.keys_file.clone().context(
            "DATABASE_URL needs KEYS_FILE, the keys of that database; `cargo dev keys FILE --register` makes the first set",
        )
    }

    /// The private cluster, found but not started.
    ///
    /// # Errors
    /// If there is no PostgreSQL to be had.
    pub(crate) async fn cluster(&self, progress: &Progress) -> anyhow::Result<Cluster> {
        let dir = self.home()?.join("postgres");
        let found = self.machine.postgres.find(&dir, |line| progress.fetching(line));
        let installation = found.await?;
        Cluster::new(installation, &dir, Durability::Kept, self.machine.waits)
    }
}

/// An open database, its tables up to date.
#[derive(Debug)]
pub(crate) struct Store {
    /// The owner's address.
    pub(crate) url: SecretString,
    /// The keys that belong to it.
    pub(crate) keys: Keys,
    /// Where the keys are.
    pub(crate) keys_file: PathBuf,
    /// Which one it is, for people.
    pub(crate) description: String,
    /// The server, when it is private, and the lock of its data, let go after it.
    private: Option<(Postgres, Lock)>,
}

impl Store {
    /// Opens the given database, or starts the private one.
    ///
    /// # Errors
    /// If there is none to be had, it cannot be brought up to date, or its keys are missing.
    pub(crate) async fn open(choice: &Choice, progress: &Progress) -> anyhow::Result<Self> {
        match &choice.database_url {
            Some(url) => Self::given(url, choice.keys_path()?, progress).await,
            None => Self::private(choice, progress).await,
        }
    }

    async fn given(
        url: &SecretString,
        keys_file: PathBuf,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let keys = Keys::read(&keys_file)?;
        progress.step("Bringing the database up to date");
        let mut owner = database::migrate(url.expose_secret()).await?;
        rotate::finish(&mut owner, &keys.signing, Lives::of(&settings::of_functions()?)).await?;
        owner.close().await?;
        let description = "the one in DATABASE_URL".to_owned();
        Ok(Self { url: url.clone(), keys, keys_file, description, private: None })
    }

    async fn private(choice: &Choice, progress: &Progress) -> anyhow::Result<Self> {
        let home = choice.home()?;
        places::create_open(&home)?;
        let lock = Lock::take(&home)?;
        let cluster = choice.cluster(progress).await?;
        let keys_file = home.join(PRIVATE_KEYS);
        let keys = keys::of_cluster(&keys_file, cluster.data())?;
        let server = cluster.installation();
        let server = format!("PostgreSQL {} ({})", server.version, server.bin.display());
        if cluster.exists() {
            progress.step(&format!("Starting {server}"));
        } else {
            progress.step(&format!("Preparing a database for {server}"));
            for other in cluster.others() {
                progress.note(&format!(
                    "{} holds data of another PostgreSQL version; it stays there, unused",
                    other.display()
                ));
            }
        }
        let url = cluster.url(DATABASE);
        let description = format!("{server}, data in {}", cluster.data().display());
        let postgres = Postgres::start(cluster).await?;
        let mut owner = database::create(&url).await?;
        signing_keys::register_first(&mut owner, &keys.signing).await?;
        rotate::finish(&mut owner, &keys.signing, Lives::of(&settings::of_functions()?)).await?;
        owner.close().await?;
        let private = Some((postgres, lock));
        Ok(Self { url: url.into(), keys, keys_file, description, private })
    }

    /// Says to other copies what this one does.
    ///
    /// # Errors
    /// If the lock cannot be written.
    pub(crate) fn say(&mut self, what: &str) -> std::io::Result<()> {
        self.private.as_mut().map_or(Ok(()), |(_, lock)| lock.say(what))
    }

    /// Waits until the private server has ended for good, and says why; for ever with a given one.
    pub(crate) async fn given_up(&mut self) -> String {
        match &mut self.private {
            Some((postgres, _)) => postgres.given_up().await,
            None => std::future::pending().await,
        }
    }

    /// Stops the private server.
    pub(crate) async fn stop(self) {
        if let Some((postgres, lock)) = self.private {
            postgres.stop().await;
            drop(lock);
        }
    }
}
