//! The second step of a sign-in: a code after a right password.
//!
//! Failures are counted by user: whoever guesses codes knows the password already, and takes the
//! guesses from nobody but this account.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::failures::{Bar, Limits, whole};
use super::{Error, sessions};
use crate::challenge::Challenge;
use crate::extract::Caller;
use crate::role::Role;

/// What a subject of failures begins with: longer than a MAC with the user's id, it is none.
const SUBJECT: &[u8] = b"second factor of ";

/// What failures of this user's codes are counted under.
pub fn subject(user: Uuid) -> Vec<u8> {
    [SUBJECT, user.as_bytes()].concat()
}

/// What a challenge leads to.
#[derive(Debug)]
pub enum Step {
    /// It is unknown, over, or was tried too often.
    Unknown,
    /// A lock or stop.
    Barred(Bar),
    /// On to the code.
    Open(Box<Open>),
}

/// A sign-in that waits for its code.
#[derive(Debug)]
pub struct Open {
    /// The user's id.
    pub user: Uuid,
    /// The handle.
    pub username: String,
    /// What the account signs in with, in lower case.
    pub identifiers: Vec<String>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// When the password was set that was right.
    pub changed_at: OffsetDateTime,
    /// The authenticator app.
    pub totp: Totp,
}

/// An authenticator app.
#[derive(Debug)]
pub struct Totp {
    /// The factor's id.
    pub id: Uuid,
    /// Its secret, sealed.
    pub sealed: Vec<u8>,
    /// The last step whose code was taken.
    pub last_step: Option<i64>,
}

/// Finds what the challenge leads to, and counts a try of it before any code is looked at: tries sent
/// at once are no more than tries in a row. One that is barred is not counted.
///
/// # Errors
/// The statement's.
pub async fn find(
    db: impl PgExecutor<'_>,
    challenge: &Challenge,
    caller: &Caller,
    tries: u32,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Step, Error> {
    let row = sqlx::query!(
        r#"WITH asked AS (
               SELECT $4::bytea || uuid_send(user_id) AS subject FROM challenges
               WHERE hash = $1 AND kind = 'second_factor' AND expires_at > $2
           ), here AS (
               SELECT f.locked_until, f.known_until FROM failures f JOIN asked USING (subject)
               WHERE f.network = $5
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $2) AS locked_until,
                      EXISTS (SELECT FROM failures f JOIN asked USING (subject)
                              WHERE f.network = '' AND f.last_at > $6 AND f.count >= $7::integer)
                      AND NOT EXISTS (SELECT FROM here WHERE known_until > $2) AS stopped
               FROM asked
           ), tried AS (
               UPDATE challenges SET tries = tries + 1
               WHERE hash = $1 AND kind = 'second_factor' AND expires_at > $2 AND tries < $3
                 AND EXISTS (SELECT FROM barred WHERE locked_until IS NULL AND NOT stopped)
               RETURNING user_id, changed_at
           ), account AS (
               SELECT u.id AS user_id, u.username, u.username_key, u.email_key, u.created_at,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles,
                      tried.changed_at, t.id, t.sealed, t.last_step
               FROM tried JOIN users u ON u.id = tried.user_id
                          JOIN totp t ON t.user_id = u.id AND t.confirmed_at IS NOT NULL
           )
           SELECT barred.locked_until, barred.stopped AS "stopped!", user_id AS "user_id?",
                  username AS "username?", username_key AS "username_key?", email_key,
                  created_at AS "created_at?", roles, changed_at AS "changed_at?",
                  id AS "id?", sealed AS "sealed?", last_step
           FROM barred LEFT JOIN account ON true"#,
        challenge.hash(),
        now,
        whole(tries),
        SUBJECT,
        caller.address.network(),
        now - limits.forget,
        limits.lock_stop.map(whole),
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Step::Unknown) };
    if let Some(bar) = Bar::find(row.locked_until, row.stopped) {
        return Ok(Step::Barred(bar));
    }
    // Every column of an account is there, or none.
    let open = || {
        Some(Open {
            user: row.user_id?,
            username: row.username?,
            identifiers: row.username_key.into_iter().chain(row.email_key).collect(),
            created_at: row.created_at?,
            roles: sessions::parse_roles(&row.roles?),
            changed_at: row.changed_at?,
            totp: Totp { id: row.id?, sealed: row.sealed?, last_step: row.last_step },
        })
    };
    Ok(open().map_or(Step::Unknown, |open| Step::Open(Box::new(open))))
}

/// What was right.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// The code of this step of this app.
    Totp {
        /// The factor's id.
        id: Uuid,
        /// The step.
        step: i64,
    },
    /// The recovery code of this MAC.
    RecoveryCode(&'a [u8]),
}

impl Proof<'_> {
    /// As the audit log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totp { .. } => "totp",
            Self::RecoveryCode(_) => "recovery_code",
        }
    }
}

/// Whether a proof was still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was, and is no more; the challenge is gone.
    Taken,
    /// It was used before, or is none of this account's.
    Wrong,
    /// The challenge was used meanwhile.
    Unknown,
}

/// Uses up proof and challenge, in the transaction that then makes the session; what is not
/// [`Taken::Taken`] is to be rolled back. The account's row is locked before theirs, as whoever changes
/// factors locks it, and as the sign-in then does.
///
/// # Errors
/// The statement's.
pub async fn take(
    db: &mut PgConnection,
    (challenge, user): (&Challenge, Uuid),
    proof: Proof<'_>,
    now: OffsetDateTime,
) -> Result<Taken, Error> {
    let marked = match proof {
        Proof::Totp { id, step } => sqlx::query!(
            "WITH account AS (SELECT id FROM users WHERE id = $1 FOR SHARE)
             UPDATE totp SET last_step = $3, last_used_at = $4 FROM account
             WHERE user_id = account.id AND totp.id = $2 AND confirmed_at IS NOT NULL
               AND (last_step IS NULL OR last_step < $3)",
            user,
            id,
            step,
            now,
        )
        .execute(&mut *db),
        Proof::RecoveryCode(mac) => sqlx::query!(
            "WITH account AS (SELECT id FROM users WHERE id = $1 FOR SHARE)
             UPDATE recovery_codes SET used_at = $3 FROM account
             WHERE user_id = account.id AND mac = $2 AND used_at IS NULL",
            user,
            mac,
            now,
        )
        .execute(&mut *db),
    };
    if marked.await?.rows_affected() == 0 {
        return Ok(Taken::Wrong);
    }
    let gone = sqlx::query!(
        "DELETE FROM challenges WHERE hash = $1 AND user_id = $2",
        challenge.hash(),
        user
    );
    let gone = gone.execute(db).await?.rows_affected();
    Ok(if gone == 0 { Taken::Unknown } else { Taken::Taken })
}
