//! Adding an authenticator app, and its recovery codes.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, recent};
use crate::access_token::Claims;
use crate::db::pool::Pool;
use crate::db::sessions::checked;
use crate::db::{Error, notices, users};
use crate::extract::Caller;

/// Keeps the sealed secret of an app that is to be confirmed, in place of one that never was; gives the
/// handle. [`Change::Refused`] when the account has an app.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn begin(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    (id, sealed): (Uuid, &[u8]),
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Change<String>, Error> {
    let row = recent!(
        r#", begun AS (
            INSERT INTO totp (user_id, id, sealed, created_at) SELECT id, $7, $8, $3 FROM recent
            ON CONFLICT (user_id) DO UPDATE
            SET id = excluded.id, sealed = excluded.sealed, created_at = excluded.created_at
            WHERE totp.confirmed_at IS NULL
            RETURNING user_id
        )
        SELECT username, EXISTS (SELECT FROM recent) AS "recent!",
               EXISTS (SELECT FROM begun) AS "begun!"
        FROM caller"#,
        claims,
        now,
        since,
        id,
        sealed,
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.recent, row.begun) {
        (false, _) => Change::NotRecent,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(row.username),
    })
}

/// The id and the sealed secret of the app that waits for its confirmation; [`Change::Refused`] when
/// none does. Who may not begin one may not try codes of one: they would be guessed by a session of old.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn find_pending(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Change<(Uuid, Vec<u8>)>, Error> {
    let row = recent!(
        r#" SELECT EXISTS (SELECT FROM recent) AS "recent!", t.id AS "id?", t.sealed AS "sealed?"
            FROM caller c LEFT JOIN totp t ON t.user_id = c.id AND t.confirmed_at IS NULL"#,
        claims,
        now,
        since,
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.recent, row.id.zip(row.sealed)) {
        (false, _) => Change::NotRecent,
        (true, None) => Change::Refused,
        (true, Some(pending)) => Change::Made(pending),
    })
}

/// Lets the app count, the step of its first code used, with these MACs of recovery codes. The caller's
/// session has proven it by that code; the others end, as the password alone may have made them. Raises
/// the version, tells the nodes at once and the owner by mail, writes the audit row: one transaction.
/// [`Change::Refused`], and nothing done, when the app no longer waits.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn confirm(
    db: &Pool,
    claims: &Claims,
    (id, step): (Uuid, i64),
    macs: &[Vec<u8>],
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    users::hold(&mut *transaction, claims.sub).await?;
    let row = checked!(
        own r#", confirmed AS (
            UPDATE totp SET confirmed_at = $3, last_step = $7
            FROM caller WHERE user_id = caller.id AND totp.id = $6 AND confirmed_at IS NULL
            RETURNING user_id
        ), codes AS (
            INSERT INTO recovery_codes (user_id, mac)
            SELECT user_id, mac FROM confirmed, unnest($8::bytea[]) AS mac
        ), raised AS (
            UPDATE users SET version = version + 1 WHERE id IN (SELECT user_id FROM confirmed)
        ), ended AS (
            UPDATE sessions s SET
                revoked_at = CASE WHEN s.id <> caller.session THEN $3 END,
                revoked_reason = CASE WHEN s.id <> caller.session THEN 'factor_added' END,
                proven_at = CASE WHEN s.id <> caller.session THEN s.proven_at ELSE $3 END,
                seen_counter = CASE WHEN s.id <> caller.session THEN s.seen_counter
                                    ELSE greatest(s.seen_counter, $4) END
            FROM caller JOIN confirmed ON confirmed.user_id = caller.id
            WHERE s.user_id = caller.id AND s.revoked_at IS NULL
        ), mail AS (
            INSERT INTO outbox (id, kind, user_id, created_at, next_at)
            SELECT $12, 'totp_added', user_id, $3, $3
            FROM confirmed JOIN caller ON caller.id = user_id WHERE email IS NOT NULL
        ), logged AS (
            INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                               request_id, detail)
            SELECT $3, 'authn_factor_added', user_id, user_id, $1, $9::text::inet, $10, $11,
                   jsonb_build_object('factor', 'totp', 'id', $6::uuid)
            FROM confirmed
        )
        SELECT (SELECT count(pg_notify($13, 'user ' || user_id)) FROM confirmed) > 0 AS "done!"
        FROM caller"#,
        claims,
        now,
        id,
        step,
        macs,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        Uuid::now_v7(),
        notices::REVOKED,
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(Error::SessionRevoked)?;
    transaction.commit().await?;
    Ok(if row.done { Change::Made(()) } else { Change::Refused })
}

/// Puts new recovery codes in the place of all old ones, a mail into the outbox, and writes the audit
/// row; [`Change::Refused`] without an app.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn renew_recovery_codes(
    db: &Pool,
    claims: &Claims,
    macs: &[Vec<u8>],
    since: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = connection.begin().await?;
    // In a statement of its own: of two at once the second must see the codes of the first, to void them.
    users::hold(&mut *transaction, claims.sub).await?;
    let row = recent!(
        r#", app AS (
            SELECT user_id, email FROM totp JOIN recent ON recent.id = user_id
            WHERE confirmed_at IS NOT NULL
        ), old AS (
            DELETE FROM recovery_codes WHERE user_id IN (SELECT user_id FROM app)
        ), codes AS (
            INSERT INTO recovery_codes (user_id, mac)
            SELECT user_id, mac FROM app, unnest($7::bytea[]) AS mac
        ), mail AS (
            INSERT INTO outbox (id, kind, user_id, created_at, next_at)
            SELECT $11, 'recovery_codes_renewed', user_id, $3, $3 FROM app WHERE email IS NOT NULL
        ), logged AS (
            INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
            SELECT $3, 'authn_recovery_codes_renewed', user_id, user_id, $1, $8::text::inet, $9, $10
            FROM app
        )
        SELECT EXISTS (SELECT FROM recent) AS "recent!", EXISTS (SELECT FROM app) AS "done!"
        FROM caller"#,
        claims,
        now,
        since,
        macs,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
        Uuid::now_v7(),
    )
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or(Error::SessionRevoked)?;
    transaction.commit().await?;
    Ok(match (row.recent, row.done) {
        (false, _) => Change::NotRecent,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(()),
    })
}
