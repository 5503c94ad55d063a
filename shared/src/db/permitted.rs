//! The session check and a permission, in one statement.

/// As [`checked!`](super::sessions::checked), for who has a permission. The CTE `permitted` has one row
/// then; a caller without it gets an audit row of their own, and the statement must select nothing for
/// them. It answers with a row in any case, so that [`judge`] can tell who was refused.
///
/// Of the refusals of one account twenty are written down, and then one a minute, so that nobody fills
/// the log by asking. No setting: it bounds what is kept, not what anybody may do.
///
/// The parameters `$6` to `$10` are the roles that have the permission, the caller's address, agent and
/// request, and the permission; the statement's own begin at `$11`.
macro_rules! permitted {
    ($mode:ident $($sql:literal)+, $claims:expr, $now:expr, $permission:expr, $caller:expr
     $(, $argument:expr)* $(,)?) => {
        $crate::db::buckets::taking!(
            apart $mode ", permitted AS (
                 SELECT FROM caller WHERE roles && $6::text[]
             ), noted AS (
                 SELECT 'denied '::bytea || uuid_send(id) AS key, $3::timestamptz AS at,
                        60.0::float8 AS seconds, $3 + interval '19 minutes' AS full_at
                 FROM caller WHERE NOT EXISTS (SELECT FROM permitted)
             )",
            ", denied AS (
                 INSERT INTO audit (at, event, actor, session, address, user_agent, request_id, detail)
                 SELECT $3, 'authz_fail', id, session, $7::text::inet, $8, $9,
                        jsonb_build_object('permission', $10::text)
                 FROM caller WHERE EXISTS (SELECT FROM noted_taken)
             )" $($sql)+ ;
            $claims,
            $now,
            &$permission.roles(),
            $caller.address.0.to_string(),
            $caller.user_agent,
            $caller.request_id,
            $permission.as_str()
            $(, $argument)*
        )
    };
}
pub(super) use permitted;

use super::Error;

/// The first row's verdict.
///
/// # Errors
/// [`Error::SessionRevoked`] without a row, [`Error::Forbidden`] without the permission.
pub(super) fn judge(permitted: Option<bool>) -> Result<(), Error> {
    match permitted {
        None => Err(Error::SessionRevoked),
        Some(false) => Err(Error::Forbidden),
        Some(true) => Ok(()),
    }
}
