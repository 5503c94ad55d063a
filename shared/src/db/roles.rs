//! The serving role, which every database of a cluster shares.

use sqlx::PgConnection;

use super::SERVING_ROLE;

/// Makes the serving role, if it is not there, and lets this owner take it on.
///
/// Runs before the migrations, whose grants name it. It cannot log in: an operator gives it a
/// password, an IAM login, or a login role of its own.
///
/// # Errors
/// When it is not there and the owner may not create roles.
pub async fn create(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    // From PostgreSQL 16 on, whoever makes a role is its member only to administer it, and may not
    // take it on without another grant.
    let (exists, may_take_on): (bool, bool) = sqlx::query_as(
        "SELECT to_regrole($1) IS NOT NULL,
                coalesce(pg_has_role(to_regrole($1)::oid,
                    CASE WHEN current_setting('server_version_num')::integer < 160000
                         THEN 'MEMBER' ELSE 'SET' END), false)",
    )
    .bind(SERVING_ROLE)
    .fetch_one(&mut *owner)
    .await?;
    if !exists {
        run(owner, format!("CREATE ROLE {SERVING_ROLE} NOLOGIN NOINHERIT")).await?;
    }
    if !may_take_on {
        run(owner, format!("GRANT {SERVING_ROLE} TO CURRENT_USER")).await?;
    }
    Ok(())
}

async fn run(owner: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    match sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(owner).await {
        Err(error) if !made_meanwhile(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Another start of this cluster's databases made it since we asked: it exists (42710), or its row was
/// being written (23505, or XX000 "tuple concurrently updated").
fn made_meanwhile(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("42710" | "23505" | "XX000"))
}
