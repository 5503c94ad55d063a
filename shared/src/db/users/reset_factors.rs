//! Taking an account's second factors away, for who has lost them.

use time::OffsetDateTime;
use uuid::Uuid;

use super::manage;
use crate::access_token::Claims;
use crate::db::Error;
use crate::db::permitted::{judge, permitted};
use crate::db::pool::Pool;
use crate::extract::Caller;
use crate::role::Permission;

/// What became of the wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The account has none.
    Done,
    /// There is no account of this id.
    NotFound,
    /// The caller's sign-in is too long ago or has not proven the app that they have.
    NotRecent,
}

/// Takes all second factors of an account away, puts a mail into the outbox if there were any, and
/// writes the audit row, if the caller signed in after `since` and has proven the app that they have:
/// whoever finds an administrator's session open takes nobody's factors away, the administrator's own
/// least of all.
///
/// # Errors
/// [`Error::SessionRevoked`], [`Error::Forbidden`], or a statement's.
pub async fn reset_factors(
    db: &Pool,
    claims: &Claims,
    id: Uuid,
    since: OffsetDateTime,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<Reset, Error> {
    let mut connection = db.lend().await?;
    let mut transaction = manage::begin(&mut connection, id).await?;
    let row = permitted!(
        own r#", recent AS (
               -- As for changes of one's own factors, in `factors`.
               SELECT FROM caller c JOIN sessions s ON s.id = c.session JOIN users u ON u.id = c.id
               WHERE s.created_at > $12 AND (s.proven_at IS NOT NULL OR NOT u.second_factor)
           ), target AS (
               SELECT u.id, u.email, EXISTS (SELECT FROM recent) AS may
               FROM users u WHERE u.id = $11 AND EXISTS (SELECT FROM permitted)
               FOR NO KEY UPDATE OF u
           ), app AS (
               -- With its recovery codes.
               DELETE FROM totp USING target WHERE totp.user_id = target.id AND may
               RETURNING totp.user_id
           ), keys AS (
               DELETE FROM passkeys USING target WHERE passkeys.user_id = target.id AND may
               RETURNING passkeys.user_id
           ), begun AS (
               DELETE FROM challenges USING target WHERE challenges.user_id = target.id AND may
           ), mail AS (
               INSERT INTO outbox (id, kind, user_id, created_at, next_at)
               SELECT $13::uuid, 'factors_reset', id, $3, $3 FROM target
               WHERE email IS NOT NULL
                 AND id IN (SELECT user_id FROM app UNION SELECT user_id FROM keys)
           ), logged AS (
               INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id)
               SELECT $3, 'authn_factors_reset', caller.id, target.id, caller.session,
                      $7::text::inet, $8, $9
               FROM caller, target
               WHERE target.id IN (SELECT user_id FROM app UNION SELECT user_id FROM keys)
           )
           SELECT EXISTS (SELECT FROM permitted) AS "permitted!", (SELECT may FROM target) AS may
           FROM caller"#,
        claims,
        now,
        Permission::UsersWrite,
        caller,
        id,
        since,
        Uuid::now_v7()
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    judge(row.as_ref().map(|row| row.permitted))?;
    Ok(match row.and_then(|row| row.may) {
        Some(true) => Reset::Done,
        Some(false) => Reset::NotRecent,
        None => Reset::NotFound,
    })
}
