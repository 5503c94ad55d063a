//! The serving role, which every database of a cluster shares.

use sqlx::PgConnection;

use super::SERVING_ROLE;

/// Makes the serving role, if it is not there, and lets this owner take it on.
///
/// Runs before the migrations, whose grants name it. It cannot log in: an operator gives it a
/// password, an IAM login, or a login role of its own.
///
/// # Errors
/// When the owner may not create roles.
pub async fn create(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for statement in [
        format!("CREATE ROLE {SERVING_ROLE} NOLOGIN NOINHERIT"),
        format!("GRANT {SERVING_ROLE} TO CURRENT_USER"),
    ] {
        match sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *owner).await {
            Err(error) if !exists_already(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Somebody made it before (42710), or is making it now (23505, or XX000 "tuple concurrently
/// updated").
fn exists_already(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("42710" | "23505" | "XX000"))
}
