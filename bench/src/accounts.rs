//! The accounts that the logins use.

use http::StatusCode;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::client::Client;
use crate::keywire::Keywire;

/// Every account's password.
pub(crate) const PASSWORD: &str = "password123";

/// Registers the account.
///
/// # Errors
/// If it is refused.
pub(crate) async fn register(client: &mut Client, name: &str) -> anyhow::Result<()> {
    client.post("/register", name, PASSWORD).await?.expect(StatusCode::CREATED)?;
    Ok(())
}

/// Disables the account, for which there is no request yet.
///
/// # Errors
/// The statement's.
pub(crate) async fn disable(keywire: &Keywire, name: &str) -> anyhow::Result<()> {
    run(keywire, "UPDATE users SET status = 'disabled' WHERE username = $1", name).await
}

/// Takes the account's password away, as for one that signs in by passkey alone.
///
/// # Errors
/// The statement's.
pub(crate) async fn remove_password(keywire: &Keywire, name: &str) -> anyhow::Result<()> {
    let statement = "DELETE FROM passwords USING users WHERE id = user_id AND username = $1";
    run(keywire, statement, name).await
}

async fn run(keywire: &Keywire, statement: &'static str, name: &str) -> anyhow::Result<()> {
    let mut owner = PgConnection::connect(&keywire.database_url).await?;
    let done = sqlx::query(statement).bind(name).execute(&mut owner).await?;
    anyhow::ensure!(done.rows_affected() == 1, "there is no account {name}");
    owner.close().await?;
    Ok(())
}
