//! A running process takes on the keys that a rotation wrote.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use functions::TokenKeys;
use functions::keys::{CheckError, check_current};
use shared::db::Database;
use shared::secrets::Keys;

/// What changes with every new file: its number, its size, and when it was written.
type Stamp = (u64, u64, i64, i64);

/// The keys file of a running process.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// `KEYS_FILE_INTERVAL`: how often it is looked at.
    pub(crate) every: Duration,
    /// Says which keys are this database's.
    pub(crate) db: Database,
    /// Who signs with the keys.
    pub(crate) tokens: TokenKeys,
}

impl Watch {
    /// Looks for ever. A file that cannot be used is told once, and the keys stay as they are.
    pub(crate) async fn run(self) {
        let (mut taken, mut told) = (None, String::new());
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.look(taken).await {
                Ok(stamp) => {
                    if taken.is_some_and(|before| before != stamp) {
                        tracing::info!("signing with the keys that were just written");
                    }
                    taken = Some(stamp);
                    told.clear();
                }
                Err(error) => {
                    let is_passing = is_passing(&error);
                    let error = format!("{error:#}");
                    if error != told {
                        if is_passing {
                            tracing::warn!(error, "the keys file waits for the database");
                        } else {
                            tracing::error!(
                                error,
                                "the keys file cannot be used; the old keys sign"
                            );
                        }
                        told = error;
                    }
                }
            }
        }
    }

    /// Takes the keys on if the file is not the one that was `taken`, and returns its stamp.
    async fn look(&self, taken: Option<Stamp>) -> anyhow::Result<Stamp> {
        // Before the reading: a file written in between is read again the next time.
        let stamp = stamp(&self.file).context("cannot look at it")?;
        if taken != Some(stamp) {
            let keys = Keys::read(&self.file)?;
            check_current(&self.db, &keys.signing).await?;
            self.tokens.replace(keys.signing)?;
        }
        Ok(stamp)
    }
}

/// Whether only the database is away.
fn is_passing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CheckError::Store(error)) if error.is_passing())
}

fn stamp(file: &Path) -> std::io::Result<Stamp> {
    let found = std::fs::metadata(file)?;
    Ok((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}
