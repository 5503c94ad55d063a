//! Do the keys belong to the database? Asked at start, so that a wrong set fails there and then
//! instead of refusing every password or signing tokens that nobody can verify.

use shared::access_token::thumbprint;
use shared::db::{self, Database};
use shared::secrets::{Pepper, Signing, WrongKeys};

/// Why a process does not start with these keys.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They are not this database's.
    #[error(transparent)]
    Keys(#[from] WrongKeys),
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] db::Error),
}

/// The signing set holds exactly the keys the database says are current and next.
///
/// # Errors
/// [`CheckError::Keys`] when it does not.
pub async fn check_signing(db: &Database, signing: &Signing) -> Result<(), CheckError> {
    let held =
        [signing.current.public_key()?, signing.next.public_key()?].map(|key| thumbprint(&key));
    let published = db.run(db::signing_keys::list(db.pool())).await?;
    let live: Vec<_> = published.iter().filter(|key| key.retire_at.is_none()).collect();
    if !live.iter().any(|key| key.kid == held[0]) {
        return Err(WrongKeys::new(format!(
            "the signing key {} is not published in this database: these keys belong to another one, \
             or were never registered (cargo dev keys FILE --register)",
            held[0]
        ))
        .into());
    }
    match live.iter().find(|key| !held.contains(&key.kid)) {
        None => Ok(()),
        Some(key) => Err(WrongKeys::new(format!(
            "this database signs with key {}, which this set lacks: give the newest set",
            key.kid
        ))
        .into()),
    }
}

/// The signing set's current key verifies: enough to go on signing with it, also while the rest of a
/// rotation is still to be published.
///
/// # Errors
/// [`CheckError::Keys`] when it does not.
pub async fn check_current(db: &Database, signing: &Signing) -> Result<(), CheckError> {
    let kid = thumbprint(&signing.current.public_key()?);
    let published = db.run(db::signing_keys::list(db.pool())).await?;
    let current = published.iter().find(|key| key.kid == kid);
    if current.is_some_and(|key| key.retire_at.is_none()) {
        return Ok(());
    }
    Err(WrongKeys::new(format!(
        "the signing key {kid} is not one that this database has published, or was retired"
    ))
    .into())
}

/// The pepper holds every key that some password needs.
///
/// # Errors
/// [`CheckError::Keys`] when it does not.
pub async fn check_pepper(db: &Database, pepper: &Pepper) -> Result<(), CheckError> {
    let used = db.run(db::passwords::peppers_in_use(db.pool())).await?;
    match used.iter().find(|id| !pepper.keys.contains_key(*id)) {
        None => Ok(()),
        Some(id) => Err(WrongKeys::new(format!(
            "passwords in this database need pepper {id}, which this set lacks: give the set they \
             were made with"
        ))
        .into()),
    }
}
