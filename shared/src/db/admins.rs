//! The last administrator, whom nobody may take away.

use sqlx::PgExecutor;
use uuid::Uuid;

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

/// Whether the end of this account needs that lock: it is an administrator's, or its id stands at roles
/// that it gave, of which whoever changes those accounts may hold some.
///
/// # Errors
/// The statement's.
pub(super) async fn concerns(transaction: impl PgExecutor<'_>, id: Uuid) -> Result<bool, Error> {
    let concerns = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM user_roles WHERE user_id = $1 AND role = 'admin')
               OR EXISTS (SELECT FROM user_roles WHERE granted_by = $1) AS "concerns!""#,
        id
    );
    Ok(concerns.fetch_one(transaction).await?)
}
