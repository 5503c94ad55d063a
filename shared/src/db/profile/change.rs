//! How users change their own account, and end it.

use std::time::Duration;

use sqlx::{PgExecutor, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Profile, profile_of};
use crate::access_token::Claims;
use crate::credentials::{Bio, DisplayName};
use crate::db::buckets::{Bucket, taking};
use crate::db::members::inherit;
use crate::db::pool::Pool;
use crate::db::sessions::checked;
use crate::db::{Error, admins, notices, users};
use crate::extract::{Caller, Change};
use crate::password::Stored;

/// How long nobody else may have the name of a deleted account. No setting: it is what people were
/// promised when they deleted it.
const NAME_RESERVED: Duration = Duration::from_hours(30 * 24);

/// Changes the caller's profile, takes one from their bucket and writes the audit row, in one statement;
/// the profile after it. What changes nothing writes and takes nothing. `Err(until)` inside when the bucket
/// is empty; then nothing is changed.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn change(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    (display_name, bio): (&Change<DisplayName>, &Change<Bio>),
    bucket: Bucket<'_>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Result<Profile, OffsetDateTime>, Error> {
    let row = taking!(
        checked write ", wish AS (
               SELECT id, display_name, CASE WHEN $6::bool THEN $7 ELSE display_name END AS new_name,
                      bio, CASE WHEN $8::bool THEN $9 ELSE bio END AS new_bio
               FROM caller
           ), differs AS (
               SELECT id, new_name, new_bio FROM wish
               WHERE new_name IS DISTINCT FROM display_name OR new_bio IS DISTINCT FROM bio
           ), asked AS (
               SELECT $13::bytea AS key, $3::timestamptz AS at, $14::float8 AS seconds,
                      $15::timestamptz AS full_at
               FROM differs
           )",
        r#", changed AS (
               UPDATE users u SET display_name = new_name, bio = new_bio
               FROM differs
               WHERE u.id = differs.id AND EXISTS (SELECT FROM admitted)
               RETURNING u.id
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'user_updated', caller.id, caller.id, session, $10::text::inet, $11, $12
               FROM caller JOIN changed ON changed.id = caller.id
           )
           SELECT caller.id, username, new_name AS display_name, new_bio AS bio, email, roles AS "roles!", created_at,
                  EXISTS (SELECT FROM differs) AND NOT EXISTS (SELECT FROM changed) AS "refused!",
                  (SELECT tat FROM filled) AS tat
           FROM caller JOIN wish ON wish.id = caller.id"#;
        claims,
        now,
        display_name.is_change(),
        display_name.value().map(DisplayName::as_str),
        bio.is_change(),
        bio.value().map(Bio::as_str),
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        bucket.key,
        bucket.seconds(),
        bucket.full_at(now)
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    if row.refused {
        return Ok(Err(bucket.free_at(row.tat, now)));
    }
    Ok(Ok(profile_of!(row)))
}

/// Sets the caller's password, ends their other sessions, voids their links, tells them by mail and the
/// nodes at once, writes the audit row: one transaction. `false`, and nothing done, when the password is
/// no longer the one set at `verified`.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn set_password(
    db: &Pool,
    claims: &Claims,
    verified: OffsetDateTime,
    new: &Stored,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    users::hold(&mut *transaction, claims.sub).await?;
    let row = checked!(
        own r#", changed AS (
               UPDATE passwords p SET scheme = $6, pepper_id = $7, hash = $8, changed_at = $3
               FROM caller WHERE p.user_id = caller.id AND p.changed_at = $9
               RETURNING p.user_id
           ), raised AS (
               UPDATE users SET version = version + 1 WHERE id IN (SELECT user_id FROM changed)
           ), ended AS (
               -- The caller's own stays; it was just seen.
               UPDATE sessions s SET
                   revoked_at = CASE WHEN s.id <> caller.session THEN $3 END,
                   revoked_reason = CASE WHEN s.id <> caller.session THEN 'password_changed' END,
                   seen_counter = CASE WHEN s.id <> caller.session THEN s.seen_counter
                                       ELSE greatest(s.seen_counter, $4) END
               FROM caller JOIN changed ON changed.user_id = caller.id
               WHERE s.user_id = caller.id AND s.revoked_at IS NULL
           ), void AS (
               DELETE FROM one_time_tokens
               WHERE user_id IN (SELECT user_id FROM changed) AND used_at IS NULL
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, created_at, next_at)
               SELECT $14, 'password_changed', id, $3, $3
               FROM caller JOIN changed ON changed.user_id = caller.id WHERE email IS NOT NULL
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'authn_password_change', id, id, session, $10::text::inet, $11, $12
               FROM caller JOIN changed ON changed.user_id = caller.id
           )
           SELECT (SELECT count(pg_notify($13, 'user ' || user_id)) FROM changed) > 0 AS "changed!"
           FROM caller"#,
        claims,
        now,
        new.scheme.as_str(),
        new.pepper_id,
        new.hash,
        verified,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED,
        Uuid::now_v7()
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(row.ok_or(Error::SessionRevoked)?.changed)
}

/// What became of a wish to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The account is gone.
    Done,
    /// The password changed meanwhile.
    Changed,
    /// It is the last administrator's.
    LastAdmin,
}

/// Deletes the caller's account and all that hangs on it, keeps the name from others, gives the rooms they
/// alone owned another owner or ends them, tells the nodes, writes the audit row, in one transaction. Only
/// who manages accounts waits for others who do.
///
/// # Errors
/// [`Error::SessionRevoked`], or a statement's.
pub async fn delete(
    db: &Pool,
    claims: &Claims,
    verified: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Deletion, Error> {
    let (user, mut manages) = (claims.sub, false);
    let mut connection = db.lend().await?;
    let (mut transaction, mut rooms) = loop {
        let mut transaction = connection.begin().await?;
        if manages {
            admins::hold(&mut *transaction).await?;
        }
        let rooms = inherit::hold_logs(&mut *transaction, user).await?;
        users::hold_whole(&mut *transaction, user).await?;
        // Roles change only under the lock of the account's row, those in rooms too, so what is told here
        // stays so. Whoever manages accounts, or owns another room by now, begins anew: the administrators'
        // lock and those of logs come before any account's.
        let must_hold = !manages && admins::concerns(&mut *transaction, user).await?;
        if !must_hold && !inherit::owns_others(&mut *transaction, user, &rooms).await? {
            break (transaction, rooms);
        }
        manages |= must_hold;
        transaction.rollback().await?;
    };
    rooms.extend(inherit::hold_rooms(&mut *transaction, user).await?);
    let deleted = remove(&mut transaction, claims, verified, caller, now).await?;
    if deleted == Deletion::Done && !rooms.is_empty() {
        inherit::hand_over(&mut *transaction, &rooms, user, now).await?;
    }
    transaction.commit().await?;
    Ok(deleted)
}

async fn remove(
    transaction: &mut Transaction<'_, Postgres>,
    claims: &Claims,
    verified: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Deletion, Error> {
    let row = checked!(
        own r#", last AS (
               SELECT FROM caller WHERE 'admin' = ANY(roles) AND NOT EXISTS (
                   SELECT FROM user_roles r JOIN users u ON u.id = r.user_id
                   WHERE r.role = 'admin' AND u.status = 'active' AND u.id <> caller.id)
           ), gone AS (
               DELETE FROM users u USING caller, passwords p
               WHERE u.id = caller.id AND p.user_id = u.id AND p.changed_at = $6
                 AND NOT EXISTS (SELECT FROM last)
               RETURNING u.id, u.username_key
           ), reserved AS (
               INSERT INTO reserved_names (username_key, free_at) SELECT username_key, $7 FROM gone
               ON CONFLICT (username_key) DO UPDATE SET free_at = excluded.free_at
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'user_deleted', id, id, $1, $8::text::inet, $9, $10 FROM gone
           )
           SELECT (SELECT count(pg_notify($11, 'user ' || id)) FROM gone) > 0 AS "gone!",
                  EXISTS (SELECT FROM last) AS "last!"
           FROM caller"#,
        claims,
        now,
        verified,
        now + NAME_RESERVED,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        notices::REVOKED
    )
    .fetch_optional(&mut **transaction)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match row {
        row if row.gone => Deletion::Done,
        row if row.last => Deletion::LastAdmin,
        _ => Deletion::Changed,
    })
}
