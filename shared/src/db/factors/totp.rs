//! Adding an authenticator app, and its recovery codes.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Change;
use crate::access_token::Claims;
use crate::db::Error;
use crate::db::sessions::checked;
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
    let row = checked!(
        write r#", recent AS (
            SELECT c.id FROM caller c JOIN sessions s ON s.id = c.session WHERE s.created_at > $6
        ), begun AS (
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

/// The id and the sealed secret of the app that waits for its confirmation, if one does.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn find_pending(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    now: OffsetDateTime,
) -> Result<Option<(Uuid, Vec<u8>)>, Error> {
    let row = checked!(
        read r#" SELECT t.id AS "id?", t.sealed AS "sealed?"
                 FROM caller c LEFT JOIN totp t ON t.user_id = c.id AND t.confirmed_at IS NULL"#,
        claims,
        now
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(row.id.zip(row.sealed))
}

/// Lets the app count, the step of its first code used, with these MACs of recovery codes;
/// [`Change::Refused`] when it no longer waits.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn confirm(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    (id, step): (Uuid, i64),
    macs: &[Vec<u8>],
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let row = checked!(
        write r#", confirmed AS (
            UPDATE totp SET confirmed_at = $3, last_step = $7
            FROM caller WHERE user_id = caller.id AND totp.id = $6 AND confirmed_at IS NULL
            RETURNING user_id
        ), codes AS (
            INSERT INTO recovery_codes (user_id, mac)
            SELECT user_id, mac FROM confirmed, unnest($8::bytea[]) AS mac
        ), logged AS (
            INSERT INTO audit (at, event, actor, subject, session, address, user_agent,
                               request_id, detail)
            SELECT $3, 'authn_factor_added', user_id, user_id, $1, $9::text::inet, $10, $11,
                   jsonb_build_object('factor', 'totp', 'id', $6::uuid)
            FROM confirmed
        )
        SELECT EXISTS (SELECT FROM confirmed) AS "done!" FROM caller"#,
        claims,
        now,
        id,
        step,
        macs,
        caller.address.0.to_string(),
        caller.user_agent,
        caller.request_id,
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(if row.done { Change::Made(()) } else { Change::Refused })
}

/// Puts new recovery codes in the place of all old ones; [`Change::Refused`] without an app.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn renew_recovery_codes(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    macs: &[Vec<u8>],
    since: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Change<()>, Error> {
    let row = checked!(
        write r#", recent AS (
            SELECT c.id FROM caller c JOIN sessions s ON s.id = c.session WHERE s.created_at > $6
        ), app AS (
            SELECT user_id FROM totp
            WHERE user_id IN (SELECT id FROM recent) AND confirmed_at IS NOT NULL
        ), old AS (
            DELETE FROM recovery_codes WHERE user_id IN (SELECT user_id FROM app)
        ), codes AS (
            INSERT INTO recovery_codes (user_id, mac)
            SELECT user_id, mac FROM app, unnest($7::bytea[]) AS mac
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
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(match (row.recent, row.done) {
        (false, _) => Change::NotRecent,
        (true, false) => Change::Refused,
        (true, true) => Change::Made(()),
    })
}
