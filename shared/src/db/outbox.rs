//! Mails to be sent: taken by a courier for a while, tried, and ended.
//!
//! A row is never locked while its mail is on the way: a courier that takes it counts the try and puts
//! it off, commits, and only then talks to the mail server. One that dies in between leaves a mail that
//! is tried again; if the server had taken it, it is sent twice.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::mail::letter::Kind;

/// A mail that a courier has taken.
#[derive(Debug)]
pub struct Due {
    /// The row's id.
    pub id: Uuid,
    /// The kind's name, which a newer release may have written.
    pub kind: String,
    /// Tries, with the one now.
    pub attempts: u32,
    /// Whom it is about.
    pub user: Uuid,
    /// Their handle.
    pub username: String,
    /// Their verified address.
    pub email: Option<String>,
    /// The row of [`super::one_time_tokens`] that it is about, as it is now.
    pub token: Token,
}

/// What a mail's token is now.
#[derive(Debug)]
pub enum Token {
    /// The mail is about none.
    None,
    /// It was replaced, voided, or removed.
    Gone,
    /// It is there.
    Row(TokenRow),
}

/// A mail's token.
#[derive(Debug)]
pub struct TokenRow {
    /// Its id.
    pub id: Uuid,
    /// The address it was made for.
    pub target: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Until when it may be used.
    pub expires_at: OffsetDateTime,
    /// Whether it was used.
    pub used: bool,
    /// Another account's handle and address, if the target is that one's own.
    pub owner: Option<Owner>,
}

/// Who owns an address that another account asked for.
#[derive(Debug)]
pub struct Owner {
    /// The handle.
    pub username: String,
    /// The address as its owner wrote it.
    pub email: String,
}

/// How a mail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A server took it.
    Sent,
    /// There was nothing to send any more.
    Obsolete,
    /// No try worked.
    GivenUp,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Obsolete => "obsolete",
            Self::GivenUp => "given_up",
        }
    }
}

/// Takes up to `most` mails that are due; no other courier takes them before `again_at`. Those that
/// another is just taking are passed over.
///
/// # Errors
/// The statement's.
pub async fn take(
    db: impl PgExecutor<'_>,
    most: u32,
    again_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Vec<Due>, Error> {
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT id FROM outbox WHERE ended_at IS NULL AND next_at <= $1
               ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED
           ), taken AS (
               UPDATE outbox SET attempts = attempts + 1, next_at = $3
               WHERE id IN (SELECT id FROM due)
               RETURNING id, kind, attempts, user_id, token_id
           )
           SELECT m.id, m.kind, m.attempts, m.user_id, u.username, u.email, m.token_id,
                  t.target AS "target?", t.created_at AS "created_at?",
                  t.expires_at AS "expires_at?", t.used_at,
                  o.username AS "owner?", o.email AS owner_email
           FROM taken m JOIN users u ON u.id = m.user_id
           LEFT JOIN one_time_tokens t ON t.id = m.token_id
           LEFT JOIN users o ON o.email_key = lower(t.target) AND o.id <> m.user_id
           ORDER BY m.id"#,
        now,
        i64::from(most),
        again_at,
    )
    .fetch_all(db)
    .await?;
    let due = rows.into_iter().map(|row| {
        let dates = row.created_at.zip(row.expires_at);
        let token = match (row.token_id, row.target.zip(dates)) {
            (None, _) => Token::None,
            (Some(_), None) => Token::Gone,
            (Some(id), Some((target, (created_at, expires_at)))) => {
                let owner = row.owner.zip(row.owner_email);
                let owner = owner.map(|(username, email)| Owner { username, email });
                let used = row.used_at.is_some();
                Token::Row(TokenRow { id, target, created_at, expires_at, used, owner })
            }
        };
        Due {
            id: row.id,
            kind: row.kind,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            user: row.user_id,
            username: row.username,
            email: row.email,
            token,
        }
    });
    Ok(due.collect())
}

/// Puts a mail off after a try that failed.
///
/// # Errors
/// The statement's.
pub async fn put_off(
    db: impl PgExecutor<'_>,
    id: Uuid,
    until: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!("UPDATE outbox SET next_at = $2 WHERE id = $1 AND ended_at IS NULL", id, until)
        .execute(db)
        .await?;
    Ok(())
}

/// Ends a mail.
///
/// # Errors
/// The statement's.
pub async fn end(
    db: impl PgExecutor<'_>,
    id: Uuid,
    outcome: Outcome,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE outbox SET ended_at = $3, outcome = $2 WHERE id = $1 AND ended_at IS NULL",
        id,
        outcome.as_str(),
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Puts in a mail about a user, for statements that cannot do it themselves.
///
/// # Errors
/// The statement's.
pub async fn put(
    db: impl PgExecutor<'_>,
    kind: Kind,
    user: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO outbox (id, kind, user_id, created_at, next_at) VALUES ($1, $2, $3, $4, $4)",
        Uuid::now_v7(),
        kind.as_str(),
        user,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}
