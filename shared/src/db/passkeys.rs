//! Signing in with a passkey: the statement before its signature is looked at, and those after.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, sessions};
use crate::challenge::Challenge;
use crate::extract::Caller;
use crate::role::Role;
use crate::webauthn::{Algorithm, Credential, PublicKey};

/// A passkey and its account.
#[derive(Debug)]
pub struct Passkey {
    /// The factor's id.
    pub id: Uuid,
    /// What verifies it.
    pub credential: Credential,
    /// The user's id.
    pub user: Uuid,
    /// The handle.
    pub username: String,
    /// Whether the account may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
}

/// What a challenge and a credential lead to.
#[derive(Debug)]
pub enum Found {
    /// The challenge is unknown, used or over.
    NoChallenge,
    /// Nobody has the passkey.
    NoPasskey,
    /// On to its signature.
    Passkey(Box<Passkey>),
}

/// Uses the challenge up and finds the passkey, in one statement.
///
/// # Errors
/// The statement's.
pub async fn find(
    db: impl PgExecutor<'_>,
    challenge: &Challenge,
    credential: &[u8],
    now: OffsetDateTime,
) -> Result<Found, Error> {
    let row = sqlx::query!(
        r#"WITH answered AS (
               DELETE FROM challenges
               WHERE hash = $1 AND kind = 'passkey_login' AND expires_at > $2 RETURNING hash
           ), passkey AS (
               SELECT p.id, p.credential_id, p.algorithm, p.public_key, p.sign_count,
                      p.backup_eligible, u.id AS user_id, u.username, u.status, u.created_at,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
               FROM passkeys p JOIN users u ON u.id = p.user_id WHERE p.credential_id = $3
           )
           SELECT id AS "id?", credential_id AS "credential_id?", algorithm AS "algorithm?",
                  public_key AS "public_key?", sign_count AS "sign_count?",
                  backup_eligible AS "backup_eligible?", user_id AS "user_id?",
                  username AS "username?", status AS "status?", created_at AS "created_at?", roles
           FROM answered LEFT JOIN passkey ON true"#,
        challenge.hash(),
        now,
        credential,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Found::NoChallenge) };
    // Every column is there, or none; the table's CHECK lets no third algorithm in.
    let passkey = || {
        let algorithm = Algorithm::of(row.algorithm?)?;
        Some(Passkey {
            id: row.id?,
            credential: Credential {
                id: row.credential_id?,
                key: PublicKey { algorithm, bytes: row.public_key? },
                sign_count: u32::try_from(row.sign_count?).ok()?,
                backup_eligible: row.backup_eligible?,
            },
            user: row.user_id?,
            username: row.username?,
            active: row.status? == "active",
            created_at: row.created_at?,
            roles: sessions::parse_roles(&row.roles?),
        })
    };
    Ok(passkey().map_or(Found::NoPasskey, |passkey| Found::Passkey(Box::new(passkey))))
}

/// A passkey whose signature held, and the session it makes.
pub struct Success<'a> {
    /// The passkey.
    pub passkey: &'a Passkey,
    /// The authenticator's counter now.
    pub sign_count: u32,
    /// The session's id.
    pub session: Uuid,
    /// Half of its refresh tokens' MAC.
    pub salt: &'a [u8],
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// When it ends in any case.
    pub absolute_until: OffsetDateTime,
}

/// Makes the session, keeps the counter, writes the audit row: one statement. False, and nothing done,
/// when the account was disabled, the passkey removed or its counter raised meanwhile.
///
/// Failures of passwords stay as they are: passkeys are exempt from their locks, and end none.
///
/// # Errors
/// The statement's.
pub async fn succeed(
    db: impl PgExecutor<'_>,
    success: Success<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let row = sqlx::query!(
        r#"WITH account AS (
               SELECT id FROM users WHERE id = $1 AND status = 'active' FOR SHARE
           ), counted AS (
               UPDATE passkeys SET sign_count = $3, last_used_at = $4
               WHERE id = $2 AND user_id IN (SELECT id FROM account)
                 AND (sign_count < $3 OR (sign_count = 0 AND $3 = 0))
               RETURNING user_id
           ), session AS (
               INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at,
                                     idle_until, absolute_until, address, user_agent, proven_at)
               SELECT $5, user_id, $6, $4, $4, $4, $7, $8, $9::text::inet, $10, $4 FROM counted
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                                  request_id, detail)
               SELECT $4, 'authn_login_success', user_id, user_id, $5, $9::text::inet, $10, $11,
                      jsonb_build_object('factor', 'passkey')
               FROM counted
           )
           SELECT EXISTS (SELECT FROM counted) AS "done!""#,
        success.passkey.user,
        success.passkey.id,
        i64::from(success.sign_count),
        now,
        success.session,
        success.salt,
        success.idle_until,
        success.absolute_until,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_one(db)
    .await?;
    Ok(row.done)
}

/// Writes the audit row of a passkey that did not sign in; `why` is a word or two for whoever reads it.
///
/// # Errors
/// The statement's.
pub async fn record_failure(
    db: impl PgExecutor<'_>,
    user: Option<Uuid>,
    why: &str,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO audit (at, event, subject, address, user_agent, request_id, detail)
         VALUES ($1, 'authn_login_fail', $2, $3::text::inet, $4, $5,
                 jsonb_build_object('factor', 'passkey', 'why', $6::text))",
        now,
        user,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        why,
    )
    .execute(db)
    .await?;
    Ok(())
}
