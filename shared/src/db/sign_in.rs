//! Signing in: the statement before the hash, and the one after a right password.
//!
//! Every attempt that fails runs the same two statements, [`admit`] and [`super::failures::record`],
//! whatever the reason: what they cost tells nothing about the account.

mod success;

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

pub use success::{Outcome, RightPassword, Success, ask_second_factor, record_disabled, succeed};

use super::failures::{Bar, Limits, Place, whole};
use super::{Error, buckets, sessions};
use crate::credentials::Identifier;
use crate::password::{Scheme, Stored};
use crate::role::Role;

/// Whether an attempt goes on.
#[derive(Debug)]
pub enum Admission {
    /// On to the hash, with the account, if there is one.
    Admitted(Option<Account>),
    /// The address's bucket is empty until then.
    BucketEmpty(OffsetDateTime),
    /// A lock or stop.
    Barred(Bar),
}

/// An account, as sign-in needs it.
#[derive(Debug)]
pub struct Account {
    /// The user's id.
    pub id: Uuid,
    /// The handle.
    pub username: String,
    /// What the account signs in with, in lower case: its name and, when verified, its address.
    pub identifiers: Vec<String>,
    /// Whether the account may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The password, if one is set.
    pub password: Option<CurrentPassword>,
    /// Whether the password alone does not sign in.
    pub second_factor: bool,
}

/// An account's password.
#[derive(Debug)]
pub struct CurrentPassword {
    /// Its hash.
    pub stored: Stored,
    /// When it was set; making the hash anew does not change it.
    pub changed_at: OffsetDateTime,
}

/// Whose sign-in it is.
#[derive(Debug, Clone, Copy)]
pub enum Whom<'a> {
    /// Of whoever has this name or address.
    Identifier(&'a Identifier),
    /// Of this account, which has a session and types its password once more.
    Account(Uuid),
}

impl Whom<'_> {
    /// The username, the address or the id to look for.
    fn keys(&self) -> (Option<&str>, Option<&str>, Option<Uuid>) {
        match self {
            Self::Identifier(identifier) => {
                (identifier.username_key(), identifier.email_key(), None)
            }
            Self::Account(id) => (None, None, Some(*id)),
        }
    }
}

/// Looks up the account, checks lock and stop, and takes one from the address's bucket, in one
/// statement. A refusal writes nothing.
///
/// # Errors
/// The statement's.
pub async fn admit(
    db: impl PgExecutor<'_>,
    whom: Whom<'_>,
    at: Place<'_>,
    bucket: &[u8],
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Admission, Error> {
    let (username, email, id) = whom.keys();
    let row = sqlx::query_as!(
        Row,
        r#"WITH account AS (
               SELECT u.id, u.username, u.username_key, u.email_key, u.status, u.created_at,
                      u.second_factor, p.scheme, p.pepper_id, p.hash, p.changed_at,
                      ARRAY(SELECT role FROM user_roles WHERE user_id = u.id ORDER BY role) AS roles
               FROM users u LEFT JOIN passwords p ON p.user_id = u.id
               WHERE u.username_key = $1 OR u.email_key = $2 OR u.id = $11
           ), here AS (
               SELECT locked_until, known_until FROM failures WHERE subject = $3 AND network = $4
           ), barred AS (
               SELECT (SELECT locked_until FROM here WHERE locked_until > $6) AS locked_until,
                      EXISTS (SELECT FROM failures WHERE subject = $3 AND network = ''
                              AND last_at > $5 AND count >= $7::integer)
                      AND NOT EXISTS (SELECT FROM here WHERE known_until > $6) AS stopped
           ), seen AS (
               SELECT tat FROM buckets WHERE key = $8
           ), taken AS (
               INSERT INTO buckets AS bucket (key, tat)
               SELECT $8, $6 + $9::float8 * interval '1 second' FROM barred
               WHERE $9::float8 IS NOT NULL AND locked_until IS NULL AND NOT stopped
                 AND NOT EXISTS (SELECT FROM seen WHERE tat > $10)
               ON CONFLICT (key) DO UPDATE
               SET tat = greatest(bucket.tat, $6) + $9::float8 * interval '1 second'
               WHERE bucket.tat <= $10
               RETURNING tat
           )
           SELECT barred.locked_until, barred.stopped AS "stopped!",
                  EXISTS (SELECT FROM taken) AS "taken!", (SELECT tat FROM seen) AS tat,
                  account.id AS "id?", username AS "username?", username_key AS "username_key?",
                  email_key, status AS "status?", created_at AS "created_at?", roles,
                  scheme AS "scheme?", pepper_id, hash AS "hash?", changed_at AS "changed_at?",
                  second_factor AS "second_factor?"
           FROM barred LEFT JOIN account ON true"#,
        username,
        email,
        at.subject,
        at.network,
        now - limits.forget,
        now,
        limits.lock_stop.map(whole),
        bucket,
        limits.address.map(|rate| rate.interval().as_secs_f64()),
        limits.address.map(|rate| buckets::full_at(rate, now)),
        id,
    )
    .fetch_one(db)
    .await?;
    Ok(row.admission(limits, now))
}

/// The answer of [`admit`]'s statement.
struct Row {
    locked_until: Option<OffsetDateTime>,
    stopped: bool,
    taken: bool,
    tat: Option<OffsetDateTime>,
    id: Option<Uuid>,
    username: Option<String>,
    username_key: Option<String>,
    email_key: Option<String>,
    status: Option<String>,
    created_at: Option<OffsetDateTime>,
    roles: Option<Vec<String>>,
    scheme: Option<String>,
    pepper_id: Option<String>,
    hash: Option<String>,
    changed_at: Option<OffsetDateTime>,
    second_factor: Option<bool>,
}

impl Row {
    fn admission(self, limits: &Limits, now: OffsetDateTime) -> Admission {
        if let Some(bar) = Bar::find(self.locked_until, self.stopped) {
            return Admission::Barred(bar);
        }
        match limits.address {
            Some(rate) if !self.taken => {
                Admission::BucketEmpty(buckets::free_at(self.tat, rate, now))
            }
            _ => Admission::Admitted(self.account()),
        }
    }

    /// The account; every column of `users` is there, or none.
    fn account(self) -> Option<Account> {
        let password = self.hash.zip(self.scheme).zip(self.changed_at);
        let password = password.map(|((hash, scheme), changed_at)| CurrentPassword {
            stored: Stored { scheme: Scheme::of(&scheme), pepper_id: self.pepper_id, hash },
            changed_at,
        });
        Some(Account {
            id: self.id?,
            username: self.username?,
            identifiers: self.username_key.into_iter().chain(self.email_key).collect(),
            active: self.status? == "active",
            created_at: self.created_at?,
            roles: sessions::parse_roles(&self.roles?),
            password,
            second_factor: self.second_factor?,
        })
    }
}
