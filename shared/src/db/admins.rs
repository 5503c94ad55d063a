//! The last administrator, whom nobody may take away.

use sqlx::PgExecutor;

use super::Error;

/// Key of the lock below; any number that nothing else in this database uses.
const LOCK: i64 = 0x6b77_6164_6d69_6e73;

/// Lets one transaction at a time change who manages accounts, until its end. The next statement then
/// sees what the one before left: of two administrators who demote each other at once, one remains.
/// Everybody waits in one queue here: let nobody in who was not asked first whether they may.
///
/// # Errors
/// The statement's.
pub(super) async fn hold(transaction: impl PgExecutor<'_>) -> Result<(), Error> {
    sqlx::query!(r#"SELECT pg_advisory_xact_lock($1)::text AS held"#, LOCK)
        .fetch_one(transaction)
        .await?;
    Ok(())
}
