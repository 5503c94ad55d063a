//! Everything that is held about a user.

use serde_json::Value;
use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::access_token::Claims;
use crate::db::Error;
use crate::db::sessions::checked;

/// Most rows of the audit log in an export, the newest ones. No setting: with [`ROWS`] it keeps the answer
/// under what a Lambda function may send, 6 MB.
const AUDIT_ROWS: i64 = 2_500;
/// Most sessions, networks, links, mails, rooms, invitations and messages, the newest of each.
const ROWS: i64 = 500;
/// Most bytes of texts of messages, the newest ones, for the same reason: a quote in one is eight bytes of
/// the answer.
const TEXT_BYTES: i64 = 150 << 10;

/// All of it as JSON, secrets left out: the salt of a session and the hash of a password are what we
/// check others by, and tell nothing of the user. `subjects` are the MACs of all that the account signs
/// in with.
///
/// # Errors
/// [`Error::SessionRevoked`], or the statement's.
pub async fn export(
    db: impl PgExecutor<'_>,
    claims: &Claims,
    subjects: &[Vec<u8>],
    now: OffsetDateTime,
) -> Result<Value, Error> {
    let row = checked!(
        read r#" SELECT jsonb_build_object(
                   'exported_at', $3::timestamptz,
                   'user', (SELECT to_jsonb(u) FROM users u WHERE u.id = caller.id),
                   'password', (SELECT jsonb_build_object('changed_at', p.changed_at)
                                FROM passwords p WHERE p.user_id = caller.id),
                   'roles', (SELECT coalesce(jsonb_agg(to_jsonb(r) - 'user_id' ORDER BY r.role), '[]')
                             FROM user_roles r WHERE r.user_id = caller.id),
                   'sessions', (SELECT coalesce(jsonb_agg(to_jsonb(s) - 'salt' - 'user_id'
                                                          ORDER BY s.created_at), '[]')
                                FROM (SELECT * FROM sessions WHERE user_id = caller.id
                                      ORDER BY created_at DESC LIMIT $8) s),
                   'authenticator_app', (SELECT to_jsonb(t) - 'sealed' - 'user_id' || jsonb_build_object(
                                             'recovery_codes_left', (
                                                 SELECT count(*) FROM recovery_codes c
                                                 WHERE c.user_id = t.user_id AND c.used_at IS NULL))
                                         FROM totp t WHERE t.user_id = caller.id),
                   'passkeys', (SELECT coalesce(jsonb_agg(to_jsonb(k) - 'user_id'
                                                          ORDER BY k.created_at), '[]')
                                FROM passkeys k WHERE k.user_id = caller.id),
                   'sign_ins', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                           'network', encode(f.network, 'hex'), 'failures', f.count,
                                           'last_at', f.last_at, 'locked_until', f.locked_until,
                                           'known_until', f.known_until) ORDER BY f.last_at), '[]')
                                FROM (SELECT * FROM failures WHERE subject = ANY($6::bytea[])
                                      ORDER BY last_at DESC LIMIT $8) f),
                   'links', (SELECT coalesce(jsonb_agg(to_jsonb(t) - 'id' - 'user_id'
                                                       ORDER BY t.created_at), '[]')
                             FROM (SELECT * FROM one_time_tokens WHERE user_id = caller.id
                                   ORDER BY created_at DESC LIMIT $8) t),
                   'mails', (SELECT coalesce(jsonb_agg(to_jsonb(m) - 'token_id' - 'user_id'
                                                       ORDER BY m.created_at), '[]')
                             FROM (SELECT * FROM outbox WHERE user_id = caller.id
                                   ORDER BY created_at DESC LIMIT $8) m),
                   'rooms', (SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.joined_at), '[]')
                             FROM (SELECT r.name AS room, m.role, m.muted_until, m.joined_at
                                   FROM room_members m JOIN rooms r ON r.id = m.room
                                   WHERE m.user_id = caller.id ORDER BY m.joined_at DESC LIMIT $8) m),
                   'invitations', (SELECT coalesce(jsonb_agg(to_jsonb(i) ORDER BY i.created_at), '[]')
                                   FROM (SELECT r.name AS room, i.created_at
                                         FROM room_invitations i JOIN rooms r ON r.id = i.room
                                         WHERE i.user_id = caller.id
                                         ORDER BY i.created_at DESC LIMIT $8) i),
                   'messages', (SELECT coalesce(jsonb_agg(to_jsonb(m) - 'bytes' ORDER BY m.at, m.seq), '[]')
                                FROM (SELECT r.name AS room, m.seq, m.kind, m.of_seq, m.body, m.key, m.at,
                                             sum(octet_length(m.body)) OVER newest AS bytes
                                      FROM messages m JOIN rooms r ON r.id = m.room
                                      WHERE m.user_id = caller.id AND r.ended_at IS NULL
                                      WINDOW newest AS (ORDER BY m.at DESC, m.room, m.seq DESC)
                                      ORDER BY m.at DESC, m.room, m.seq DESC LIMIT $8) m
                                WHERE coalesce(m.bytes, 0) <= $9),
                   'audit', (SELECT coalesce(jsonb_agg(
                                 -- Where others acted, from where they did is theirs.
                                 CASE WHEN a.actor <> caller.id
                                      THEN to_jsonb(a) - '{address,user_agent,session,request_id}'::text[]
                                      ELSE to_jsonb(a) END ORDER BY a.id DESC), '[]')
                             FROM (SELECT * FROM audit
                                   WHERE subject = caller.id OR actor = caller.id
                                   ORDER BY id DESC LIMIT $7) a)
                 ) AS "all!" FROM caller"#,
        claims,
        now,
        subjects,
        AUDIT_ROWS,
        ROWS,
        TEXT_BYTES
    )
    .fetch_optional(db)
    .await?
    .ok_or(Error::SessionRevoked)?;
    Ok(row.all)
}
