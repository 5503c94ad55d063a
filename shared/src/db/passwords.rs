//! Stored passwords.

use sqlx::PgExecutor;

use super::Error;

/// Every pepper id that some password needs.
///
/// Hops along the index from one id to the next, so its cost is that of the number of peppers.
///
/// # Errors
/// The statement's.
pub async fn peppers_in_use(db: impl PgExecutor<'_>) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar!(
        r#"WITH RECURSIVE used AS (
               (SELECT pepper_id FROM passwords WHERE pepper_id IS NOT NULL ORDER BY pepper_id LIMIT 1)
               UNION ALL
               SELECT (SELECT p.pepper_id FROM passwords p
                       WHERE p.pepper_id > used.pepper_id ORDER BY p.pepper_id LIMIT 1)
               FROM used WHERE used.pepper_id IS NOT NULL
           )
           SELECT pepper_id AS "pepper_id!" FROM used WHERE pepper_id IS NOT NULL"#
    )
    .fetch_all(db)
    .await?;
    Ok(ids)
}
