//! Adding a passkey.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, recent};
use crate::access_token::Claims;
use crate::challenge::Challenge;
use crate::db::Error;
use crate::db::challenges::SWEPT_AT_ONCE;
use crate::db::sessions::checked;
use crate::extract::Caller;
use crate::webauthn::Credential;

/// The constraint that a passkey breaks which is registered already.
pub const CREDENTIAL_TAKEN: &str = "passkeys_credential_taken";

/// Who is about to get a passkey.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// The handle.
    pub username: String,
    /// What people see instead.
    pub display_name: Option<String>,
    /// The ids of the passkeys there are.
    pub credentials: Vec<Vec<u8>>,
}

/// Keeps the challenge of a new passkey; [`Change::Refused`] when there are `most`.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn begin(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    (challenge, until): (&Challenge, OffsetDateTime),
    most: u32,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Change<Owner>, Error> {
    let row = recent!(
        r#", room AS (
            SELECT id FROM recent
            WHERE (SELECT count(*) FROM passkeys p WHERE p.user_id = recent.id) < $7
        ), swept AS (
            DELETE FROM challenges WHERE hash IN (
                SELECT hash FROM challenges WHERE expires_at <= $3
                ORDER BY expires_at LIMIT $8 FOR UPDATE SKIP LOCKED)
        ), asked AS (
            INSERT INTO challenges (hash, kind, user_id, expires_at)
            SELECT $9, 'passkey_enrolment', id, $10 FROM room
        )
        SELECT username, display_name,
               ARRAY(SELECT credential_id FROM passkeys p WHERE p.user_id = caller.id)
                   AS "credentials!",
               EXISTS (SELECT FROM recent) AS "recent!", EXISTS (SELECT FROM room) AS "room!"
        FROM caller"#,
        claims,
        now,
        since,
        i64::from(most),
        SWEPT_AT_ONCE,
        challenge.hash(),
        until,
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.recent, row.room) {
        (false, _) => Change::NotRecent,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(Owner {
            username: row.username,
            display_name: row.display_name,
            credentials: row.credentials,
        }),
    })
}

/// A passkey to be added.
#[derive(Debug)]
pub struct NewPasskey<'a> {
    /// Its id here.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: &'a str,
    /// What verifies it.
    pub credential: &'a Credential,
}

/// Uses the challenge up and adds the passkey, puts a mail into the outbox and writes the audit row;
/// [`Change::Refused`] when there are `most` (two added at the same moment may both get the last place).
///
/// That the sign-in was recent is what the challenge stands for: who gets an app meanwhile loses the
/// session, or has proven the app in it.
///
/// # Errors
/// [`Error::Constraint`] with [`CREDENTIAL_TAKEN`], [`Error::SessionRevoked`], or the statement's.
pub async fn add(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    challenge: &Challenge,
    new: NewPasskey<'_>,
    most: u32,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let credential = new.credential;
    let row = checked!(
        write r#", answered AS (
            DELETE FROM challenges USING caller
            WHERE hash = $6 AND kind = 'passkey_enrolment' AND user_id = caller.id
              AND expires_at > $3
            RETURNING user_id
        ), added AS (
            INSERT INTO passkeys (id, user_id, credential_id, algorithm, public_key, sign_count,
                                  backup_eligible, name, created_at)
            SELECT $8, user_id, $9, $10, $11, $12, $13, $14, $3 FROM answered
            WHERE (SELECT count(*) FROM passkeys p WHERE p.user_id = answered.user_id) < $7
            RETURNING user_id
        ), mail AS (
            INSERT INTO outbox (id, kind, user_id, created_at, next_at)
            SELECT $18, 'passkey_added', user_id, $3, $3
            FROM added JOIN caller ON caller.id = user_id WHERE email IS NOT NULL
        ), logged AS (
            INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                               request_id, detail)
            SELECT $3, 'authn_factor_added', user_id, user_id, $1, $15::text::inet, $16, $17,
                   jsonb_build_object('factor', 'passkey', 'id', $8::uuid)
            FROM added
        )
        SELECT EXISTS (SELECT FROM answered) AS "answered!", EXISTS (SELECT FROM added) AS "added!"
        FROM caller"#,
        claims,
        now,
        challenge.hash(),
        i64::from(most),
        new.id,
        credential.id,
        credential.key.algorithm.id(),
        credential.key.bytes,
        i64::from(credential.sign_count),
        credential.backup_eligible,
        new.name,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        Uuid::now_v7(),
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.answered, row.added) {
        (false, _) => Change::Unknown,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(()),
    })
}
