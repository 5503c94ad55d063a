//! Public halves of the signing keys: what verifies tokens, without any secret.

mod rotation;

use serde_json::Value;
use sqlx::{Acquire, PgExecutor, Postgres};
use time::OffsetDateTime;

pub use rotation::{Rotation, Standing};

use super::Error;
use crate::access_token::{public_jwk, thumbprint};
use crate::secrets::{Signing, WrongKeys};

/// A public key.
#[derive(Debug, Clone)]
pub struct PublicKey {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// The JWK, public members only.
    pub public_jwk: Value,
    /// When it was published; for the first keys, when they were made.
    pub created_at: OffsetDateTime,
    /// From when its tokens no longer verify; `None` for the current and the next key.
    pub retire_at: Option<OffsetDateTime>,
}

/// Every key, oldest first.
///
/// # Errors
/// The statement's.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<PublicKey>, Error> {
    let keys = sqlx::query_as!(
        PublicKey,
        "SELECT kid, public_jwk, created_at, retire_at FROM signing_keys ORDER BY created_at, kid"
    );
    Ok(keys.fetch_all(db).await?)
}

/// Publishes the current and the next key of a set, as the owner, when no key is published yet.
/// Returns whether it did; of two that try at once, one does.
///
/// # Errors
/// The statement's, or [`WrongKeys`] as a fault.
pub async fn register_first(
    db: impl Acquire<'_, Database = Postgres>,
    keys: &Signing,
) -> Result<bool, RegisterError> {
    let (current, next) = (keys.current.public_key()?, keys.next.public_key()?);
    let mut transaction = db.begin().await.map_err(Error::from)?;
    // Nobody writes between the look and the insertion; readers are not kept waiting. On its own the
    // statement would not see keys that another is about to commit.
    let lock = sqlx::raw_sql("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE");
    lock.execute(&mut *transaction).await.map_err(Error::from)?;
    let inserted = sqlx::query!(
        "INSERT INTO signing_keys (kid, public_jwk, created_at)
         SELECT new.kid, new.public_jwk, new.created_at
         FROM (VALUES ($1::text, $2::jsonb, $3::timestamptz), ($4, $5, $6))
              AS new (kid, public_jwk, created_at)
         WHERE NOT EXISTS (SELECT FROM signing_keys)",
        thumbprint(&current),
        public_jwk(&current),
        keys.current.created_at,
        thumbprint(&next),
        public_jwk(&next),
        keys.next.created_at,
    )
    .execute(&mut *transaction)
    .await
    .map_err(Error::from)?;
    transaction.commit().await.map_err(Error::from)?;
    Ok(inserted.rows_affected() > 0)
}

/// Why keys could not be published.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The set's keys do not hold.
    #[error(transparent)]
    Keys(#[from] WrongKeys),
    /// The statement failed.
    #[error(transparent)]
    Store(#[from] Error),
}
