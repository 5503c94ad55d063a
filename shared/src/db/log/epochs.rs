//! Other epochs, after a backup was restored.

use sqlx::PgExecutor;

use crate::db::Error;

/// Gives every log another epoch: positions that clients took from it before mean nothing any more. By the
/// owner: nobody who serves requests may. How many logs there are.
///
/// # Errors
/// The statement's.
pub async fn renew_epochs(db: impl PgExecutor<'_>) -> Result<u64, Error> {
    // The first 64 bits of a random UUID, of which 58 are random.
    let renewed = sqlx::query!(
        "UPDATE room_heads
         SET epoch = ('x' || left(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint"
    );
    Ok(renewed.execute(db).await?.rows_affected())
}
