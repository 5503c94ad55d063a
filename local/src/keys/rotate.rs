//! Rotating the signing keys: first in the file, then in the database.
//!
//! A process killed in between leaves a file that is ahead of the database. What signs then was
//! published by the rotation before, so its tokens verify; the next rotation, or the next start,
//! publishes the rest. The other order would leave a published key that nobody has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use shared::clock::Clock;
use shared::db::signing_keys::{Rotation, Standing};
use shared::secrets::rotation::REFRESH_KEPT;
use shared::secrets::{Keys, Signing};
use sqlx::PgConnection;

/// The next key signs no sooner than this after it was published: by then whoever verifies has read
/// it. Three times the longest `JWKS_MAX_AGE`.
const NEXT_KNOWN: Duration = Duration::from_mins(15);
/// Beyond the life of its last token a key verifies this much longer: a process signs with it until it
/// has looked at the file again. Twice the longest `KEYS_FILE_INTERVAL`.
const RETIRED_LATER: Duration = Duration::from_mins(10);
/// A refresh key outlives the longest session that its tokens renew by this much.
const REFRESH_SLACK: Duration = Duration::from_hours(24);

/// How long old keys are needed, by the settings of the processes that use them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lives {
    /// From a rotation until the key that signed before no longer verifies.
    retired_after: Duration,
    /// From one refresh key to the end of the one before.
    refresh_kept: Duration,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// The next key is current, and a new next one is published.
    Anew,
    /// A rotation that had been interrupted is published now.
    Finished,
}

impl Lives {
    /// As these settings have it.
    pub(crate) fn of(settings: &functions::settings::Settings) -> Self {
        let token = settings.tokens.access_lifetime + settings.tokens.leeway;
        let session = settings.session_idle.min(settings.session_absolute);
        Self {
            retired_after: token + RETIRED_LATER,
            refresh_kept: REFRESH_KEPT.max(session + REFRESH_SLACK),
        }
    }
}

/// Rotates the keys in `file`, which belong to the owner's database.
///
/// # Errors
/// If the next key is too young, the keys are not this database's, or file or database cannot be
/// written.
pub(crate) async fn rotate(
    owner: &mut PgConnection,
    file: &Path,
    lives: Lives,
) -> anyhow::Result<Rotated> {
    let rotation = Rotation::begin(owner).await?;
    // After the wait for others: one of them may have written it.
    let keys = Keys::read(file)?;
    let now = Clock::System.now();
    let retire_at = now + lives.retired_after;
    let next_since = match rotation.standing(&keys.signing)? {
        Standing::Settled { next_since } => next_since,
        Standing::Ahead => {
            rotation.publish(&keys.signing, retire_at, now).await?;
            return Ok(Rotated::Finished);
        }
        Standing::Other(why) => bail!("{}: {why}", file.display()),
    };
    let due = next_since + NEXT_KNOWN;
    ensure!(
        due <= now,
        "the next signing key was published less than {} minutes ago, and whoever verifies tokens may \
         not have read it yet: try again in {} minutes; nothing was changed",
        NEXT_KNOWN.as_secs() / 60,
        (due - now).whole_minutes() + 1
    );
    let signing = keys.signing.rotated(now, lives.refresh_kept)?;
    let keys = Keys { signing, ..keys };
    super::replace(file, &keys)?;
    let published = rotation.publish(&keys.signing, retire_at, now).await;
    published.with_context(|| {
        format!("{} is rotated, but not the database: run this again", file.display())
    })?;
    Ok(Rotated::Anew)
}

/// Publishes what an interrupted rotation left in the file only. Whatever else is wrong with the keys
/// is told by the checks of the start.
///
/// # Errors
/// If the database cannot be written.
pub(crate) async fn finish(
    owner: &mut PgConnection,
    signing: &Signing,
    lives: Lives,
) -> anyhow::Result<()> {
    let rotation = Rotation::begin(owner).await?;
    if rotation.standing(signing)? == Standing::Ahead {
        let now = Clock::System.now();
        rotation.publish(signing, now + lives.retired_after, now).await?;
    }
    Ok(())
}
