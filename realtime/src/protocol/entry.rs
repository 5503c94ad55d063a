//! An entry of a room's log, as it is pushed, replayed and listed.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// Whose an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// The user.
    pub id: Uuid,
    /// The user's name.
    pub username: String,
}

/// An entry.
#[derive(Debug)]
pub struct Entry<'a> {
    /// `message`, `edited`, `deleted`, `joined`, `left` or `role`.
    pub kind: &'a str,
    /// Its place in the log; `None` in an ephemeral room.
    pub seq: Option<u64>,
    /// When it was stored.
    pub at: OffsetDateTime,
    /// Whose it is; `None` once the account is deleted.
    pub user: Option<&'a Sender>,
    /// The key it was published with.
    pub key: Uuid,
    /// The message that an `edited` or a `deleted` is about.
    pub of: Option<u64>,
    /// A JSON object as it is stored; `None` of a `deleted`, and of what was deleted.
    pub body: Option<&'a str>,
}

/// What stands before the body.
#[derive(Serialize)]
struct Head<'a> {
    push: &'a str,
    room: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    user: Option<&'a Sender>,
    key: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

/// The JSON of an entry.
///
/// Of a message: `{"push":"message","room":…,"seq":…,"at":…,"user":{…},"key":…,"text":…}`, with `data`
/// instead of `text` if that was published, and with `"deleted":true` once it is deleted. What tells of a
/// member has a `subject`: `{"user":…,"username":…,"role":…}`.
///
/// # Panics
/// Never: a head can be written as JSON.
pub fn encode(room: &str, entry: &Entry<'_>) -> Vec<u8> {
    let &Entry { kind, seq, at, user, key, of, body } = entry;
    let head = Head { push: kind, room, seq, at, user, key, of };
    let mut json = serde_json::to_vec(&head).expect("a head is texts, numbers and a time of today");
    // What was published stands beside the head's fields, byte for byte.
    json.pop();
    match (kind, body) {
        ("message" | "edited", Some(body)) => {
            json.push(b',');
            json.extend_from_slice(body.as_bytes().get(1..).unwrap_or(b"}"));
        }
        ("message" | "edited", None) => json.extend_from_slice(br#","deleted":true}"#),
        (_, Some(body)) => {
            json.extend_from_slice(br#","subject":"#);
            json.extend_from_slice(body.as_bytes());
            json.push(b'}');
        }
        (_, None) => json.push(b'}'),
    }
    json
}
