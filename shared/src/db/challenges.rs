//! Challenges that wait to be brought back. Each that is made takes some that are over with it, so
//! that the table needs nobody else to clean it.

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::Error;
use crate::challenge::Challenge;

/// How many that are over are removed when one is made. No setting: two would hold the table small,
/// and ten catch up after a rush.
pub(super) const SWEPT_AT_ONCE: i64 = 10;

/// Keeps the challenge of a passkey that will sign in.
///
/// # Errors
/// The statement's.
pub async fn create_for_passkey_login(
    db: impl PgExecutor<'_>,
    challenge: &Challenge,
    until: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "WITH swept AS (
             DELETE FROM challenges WHERE hash IN (
                 SELECT hash FROM challenges WHERE expires_at <= $3
                 ORDER BY expires_at LIMIT $4 FOR UPDATE SKIP LOCKED)
         )
         INSERT INTO challenges (hash, kind, expires_at) VALUES ($1, 'passkey_login', $2)",
        challenge.hash(),
        until,
        now,
        SWEPT_AT_ONCE,
    )
    .execute(db)
    .await?;
    Ok(())
}
