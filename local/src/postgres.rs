//! A private PostgreSQL: found or fetched, prepared once, run as a child, restarted if it ends, stopped
//! with this process. It listens on a unix socket in a directory only its own account may enter.

mod fetch;
mod find;
mod run;
mod server;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

pub use find::{Installation, OLDEST};
pub use run::Postgres;

use crate::child::Account;
use crate::{places, settings};

/// The cluster's superuser, who owns the tables: migrations run as this role.
pub const OWNER: &str = "keywire";

/// The database of the local process.
pub const DATABASE: &str = "keywire";

/// The socket's file name, which clients make from the port.
pub(crate) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Where a PostgreSQL may come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// An installed one, else a fetched one.
    #[default]
    Auto,
    /// Only an installed one: nothing is ever downloaded.
    Installed,
    /// Always the fetched one, whatever is installed.
    Fetched,
}

/// How to look for a PostgreSQL.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Where it may come from.
    pub source: Source,
    /// The directory of `initdb` and `postgres`, if the user names one; then no other is tried.
    pub bindir: Option<PathBuf>,
    /// The `PATH` to look along.
    pub path: Option<OsString>,
    /// Where a fetched one is kept.
    pub cache: PathBuf,
}

impl Search {
    /// Finds or fetches one, preferring a major version for which `data` already holds a directory, so
    /// that installing another PostgreSQL does not hide the data of the one used until then. `announce`
    /// gets a line when one is downloaded. Dropping the future ends the download.
    ///
    /// # Errors
    /// If there is none, saying where it looked and how to install one.
    pub async fn find(&self, data: &Path, announce: impl Fn(&str)) -> anyhow::Result<Installation> {
        if let Some(bindir) = &self.bindir {
            return Installation::at(bindir).context("PG_BINDIR does not name a usable PostgreSQL");
        }
        let account = Account::for_server()?;
        let cache = self.cache.join("postgres");
        let cache = places::reachable(&cache, account.as_ref(), places::SYSTEM_CACHE);
        let mut found = Vec::new();
        if self.source != Source::Fetched {
            found.extend(find::installed(self.path.as_deref(), account.as_ref()));
        }
        if self.source != Source::Installed {
            found.extend(fetch::present(&cache));
        }
        let with_data = found.iter().position(|one| data.join(one.major.to_string()).is_dir());
        if let Some(chosen) = found.into_iter().nth(with_data.unwrap_or(0)) {
            return Ok(chosen);
        }
        if self.source == Source::Installed {
            bail!("no PostgreSQL found{}", how_to_install());
        }
        fetch::fetched(&cache, announce).await.with_context(|| {
            format!("no PostgreSQL found, and none could be fetched{}", how_to_install())
        })
    }
}

fn how_to_install() -> String {
    format!(
        " (looked in {}; {OLDEST} or newer).\n\
         Install one:  apt-get install postgresql  |  brew install postgresql@17\n\
         or name one:  PG_BINDIR=/path/to/bin      |  DATABASE_URL=postgres://owner@host/name",
        find::places()
    )
}

/// What a cluster's data is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is kept: every commit reaches the disk.
    Kept,
    /// It is thrown away with the process: nothing waits for the disk, and there are more connections.
    Disposable,
}

/// How long a server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// `POSTGRES_START_TIMEOUT`: the longest start.
    pub start: Duration,
    /// `POSTGRES_STOP_TIMEOUT`: the longest fast shutdown before the server is killed.
    pub stop: Duration,
}

/// A cluster of databases on this machine: which server runs it, as whom, and where its files are.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The server's programs.
    installation: Installation,
    /// Whom it runs as, if not as this process.
    account: Option<Account>,
    /// The data directory. Its existence means that it was prepared to the end.
    data: PathBuf,
    /// The directory of its socket.
    socket: PathBuf,
    /// What the server says.
    log: PathBuf,
    /// Whether it survives this process.
    durability: Durability,
    /// How long its server is waited for.
    waits: Waits,
}

impl Cluster {
    /// The cluster of that installation's major version under `dir`, which is created as needed.
    ///
    /// # Errors
    /// If a directory cannot be made or belongs to somebody else, or `PGOPTIONS` is set.
    pub fn new(
        installation: Installation,
        dir: &Path,
        durability: Durability,
        waits: Waits,
    ) -> anyhow::Result<Self> {
        ensure!(
            !settings::has_stray_options(),
            "PGOPTIONS is set, and would change the private database too: unset it"
        );
        let account = Account::for_server()?;
        if let Some(parent) = dir.parent() {
            places::create_open(parent)?;
        }
        places::create_private(dir, account.as_ref())?;
        let socket = short_enough(dir.join("socket"));
        places::create_private(&socket, account.as_ref())?;
        let data = dir.join(installation.major.to_string());
        let log = data.with_extension("log");
        Ok(Self { installation, account, data, socket, log, durability, waits })
    }

    /// Whether its data directory was prepared before.
    pub fn exists(&self) -> bool {
        self.data.is_dir()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The server that runs it.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The owner's URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let socket: String = url_encoded(&self.socket.to_string_lossy());
        // Port and TLS mode are said too: else a stray PGPORT or PGSSLMODE would decide them. Nothing
        // can be said against a PGOPTIONS, which is refused.
        format!("postgres://{OWNER}@localhost:5432/{database}?host={socket}&sslmode=disable")
    }

    /// What interrupted attempts to prepare it left beside it.
    fn unfinished(&self) -> impl Iterator<Item = PathBuf> {
        let start = format!("{}.new", self.data.display());
        self.neighbours().filter(move |path| path.to_string_lossy().starts_with(&start))
    }

    /// Everything beside the data directory, and that itself.
    fn neighbours(&self) -> impl Iterator<Item = PathBuf> {
        let dir = self.data.parent().into_iter().filter_map(|dir| std::fs::read_dir(dir).ok());
        dir.flatten().filter_map(Result::ok).map(|entry| entry.path())
    }

    /// Directories of other major versions beside it, whose data this one does not see.
    pub fn others(&self) -> Vec<PathBuf> {
        self.neighbours()
            .filter(|path| {
                *path != self.data
                    && path.join("PG_VERSION").is_file()
                    && path.extension().is_none()
            })
            .collect()
    }
}

/// The directory itself, or a short one in `/tmp` named by its hash when it cannot hold the socket.
fn short_enough(dir: PathBuf) -> PathBuf {
    if places::holds_socket(&dir, SOCKET_NAME) {
        return dir;
    }
    // Not TMPDIR, which is a long path on macOS.
    PathBuf::from(format!("/tmp/keywire-{}", places::short_hash(dir.as_os_str().as_bytes())))
}

/// Percent-encodes a path for a URL's query.
fn url_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_socket_path_falls_back_to_a_short_one_of_its_own() {
        let short = PathBuf::from("/srv/app/.local/postgres/socket");
        assert_eq!(short_enough(short.clone()), short);
        let long = |c: &str| PathBuf::from(format!("/{}/socket", c.repeat(100)));
        assert!(places::holds_socket(&short_enough(long("a")), SOCKET_NAME));
        assert_ne!(short_enough(long("a")), short_enough(long("b")));
    }

    #[test]
    fn a_path_with_spaces_survives_the_url() {
        assert_eq!(url_encoded("/a b/ü?&"), "/a%20b/%C3%BC%3F%26");
    }

    #[tokio::test]
    async fn with_downloads_forbidden_a_missing_postgres_says_how_to_install_one() {
        let search = Search { source: Source::Installed, ..Search::default() };
        let nothing = Path::new("/nonexistent");
        // The machine of this test may have one in the usual directories; then it is found.
        match search.find(nothing, |line| panic!("announced {line}")).await {
            Ok(found) => assert!(found.major >= OLDEST),
            Err(error) => assert!(error.to_string().contains("apt-get install postgresql")),
        }
    }
}
