//! Accounts of another app, many in one statement.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Error;
use crate::credentials::Username;
use crate::password::Stored;

/// An account to be imported.
#[derive(Debug)]
pub struct Import {
    /// Where it stands in the file.
    pub line: i64,
    /// Its name.
    pub username: Username,
    /// Its address, which the other app has verified.
    pub email: Option<String>,
    /// Its password.
    pub password: Stored,
    /// When it was made there.
    pub created_at: OffsetDateTime,
}

/// An account that was not imported, because somebody has what must be unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// Where it stands in the file.
    pub line: i64,
    /// What is taken.
    pub taken: Taken,
    /// The earlier line of the same import that has it, if it was none before.
    pub by_line: Option<i64>,
}

/// What can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The username.
    Username,
    /// The username, by an account that was deleted lately.
    Reserved,
    /// The e-mail address.
    Email,
}

/// Makes the accounts, with role `member` and an audit row each, as the owner; those whose name or
/// address is taken are left out and returned. `now` is the same for a whole import.
///
/// # Errors
/// The statements'.
pub async fn insert(
    owner: &mut PgConnection,
    imports: &[Import],
    now: OffsetDateTime,
) -> Result<Vec<Clash>, Error> {
    let ids: Vec<Uuid> = imports.iter().map(|_| Uuid::now_v7()).collect();
    let lines: Vec<i64> = imports.iter().map(|import| import.line).collect();
    let names: Vec<_> = imports.iter().map(|import| import.username.as_str().to_owned()).collect();
    let keys: Vec<_> = imports.iter().map(|import| import.username.key()).collect();
    let emails: Vec<_> = imports.iter().map(|import| import.email.clone()).collect();
    let email_keys: Vec<_> =
        emails.iter().map(|email| email.as_deref().map(str::to_lowercase)).collect();
    let hashes: Vec<_> = imports.iter().map(|import| import.password.hash.clone()).collect();
    let times: Vec<_> = imports.iter().map(|import| import.created_at).collect();
    let left_out = sqlx::query!(
        r#"WITH new AS (
               SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[],
                                    $6::text[], $7::text[], $8::timestamptz[])
                   AS new (id, line, username, username_key, email, email_key, hash, created_at)
           ), account AS (
               INSERT INTO users (id, username, username_key, email, email_key, created_at)
               SELECT id, username, username_key, email, email_key, created_at
               FROM new
               -- Here, because the trigger that refuses them would end the whole import.
               WHERE NOT EXISTS (SELECT FROM reserved_names taken
                                 WHERE taken.username_key = new.username_key
                                   AND taken.free_at > now())
               ORDER BY line
               ON CONFLICT DO NOTHING RETURNING id
           ), secret AS (
               INSERT INTO passwords (user_id, scheme, hash, changed_at)
               SELECT id, 'bcrypt', hash, $9 FROM new JOIN account USING (id)
           ), role AS (
               INSERT INTO user_roles (user_id, role, granted_at)
               SELECT id, 'member', $9 FROM account
           ), logged AS (
               INSERT INTO audit (at, event, subject, detail)
               SELECT $9, 'user_created', id, jsonb_build_object('imported_line', line)
               FROM new JOIN account USING (id)
           )
           SELECT line AS "line!", username_key AS "username_key!", email_key
           FROM new WHERE id NOT IN (SELECT id FROM account) ORDER BY line"#,
        &ids,
        &lines,
        &names,
        &keys,
        &emails as &[Option<String>],
        &email_keys as &[Option<String>],
        &hashes,
        &times,
        now,
    )
    .fetch_all(&mut *owner)
    .await?;
    if left_out.is_empty() {
        return Ok(Vec::new());
    }
    // A second statement: the first does not see what it inserts.
    let lines: Vec<i64> = left_out.iter().map(|row| row.line).collect();
    let keys: Vec<_> = left_out.iter().map(|row| row.username_key.clone()).collect();
    let email_keys: Vec<_> = left_out.iter().map(|row| row.email_key.clone()).collect();
    let clashes = sqlx::query!(
        r#"SELECT clash.line AS "line!", named.id IS NOT NULL AS "named!",
                  mailed.id IS NOT NULL AS "mailed!",
                  (SELECT (detail ->> 'imported_line')::bigint FROM audit
                   WHERE subject = coalesce(named.id, mailed.id) AND at = $4
                     AND event = 'user_created') AS by_line
           FROM unnest($1::bigint[], $2::text[], $3::text[])
                AS clash (line, username_key, email_key)
           LEFT JOIN users named ON named.username_key = clash.username_key
           LEFT JOIN users mailed ON mailed.email_key = clash.email_key
           ORDER BY clash.line"#,
        &lines,
        &keys,
        &email_keys as &[Option<String>],
        now,
    )
    .fetch_all(owner)
    .await?;
    let clash = |line, named, mailed, by_line| {
        let taken = match (named, mailed) {
            (true, _) => Taken::Username,
            (false, true) => Taken::Email,
            (false, false) => Taken::Reserved,
        };
        Clash { line, taken, by_line }
    };
    let clashes = clashes.into_iter();
    Ok(clashes.map(|row| clash(row.line, row.named, row.mailed, row.by_line)).collect())
}
