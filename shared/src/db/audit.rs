//! The audit log: what happened to accounts. Rows hold ids, never names or addresses of e-mail.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::extract::Caller;

/// What happened (OWASP Logging Vocabulary).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A sign-in failed.
    LoginFail,
    /// A sign-in with the right password of a disabled account.
    LoginDisabled,
    /// An administrator was appointed from the command line.
    RoleGranted,
}

impl Event {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoginFail => "authn_login_fail",
            Self::LoginDisabled => "authn_login_fail_disabled",
            Self::RoleGranted => "privilege_permissions_changed",
        }
    }
}

/// Writes one row.
///
/// # Errors
/// The statement's.
pub async fn write(
    db: impl PgExecutor<'_>,
    event: Event,
    subject: Option<Uuid>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO audit (at, event, actor, subject, address, user_agent, request_id)
         VALUES ($1, $2, $3, $3, $4::text::inet, $5, $6)",
        now,
        event.as_str(),
        subject,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}
