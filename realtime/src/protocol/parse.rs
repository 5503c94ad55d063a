//! From a message to a command.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::db::members::Role;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::command::{Command, Content, Create, History, Name, Parsed, Since, Until, seq};
use super::{DATA_DEPTH, ErrorCode, HISTORY_ENTRIES, MAX_ID, MUTE_SECONDS, Refusal, TEXT_CHARS};

/// The part of a message that every command has.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    command: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Auth {
    token: SecretString,
}

#[derive(Deserialize)]
struct InRoom {
    room: Name,
    #[serde(default)]
    since: Option<Since>,
    #[serde(default)]
    key: Option<Uuid>,
}

#[derive(Deserialize)]
struct Said<'a> {
    room: Name,
    #[serde(default)]
    text: Option<Box<str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    key: Option<Uuid>,
}

#[derive(Deserialize)]
struct About {
    room: Name,
    #[serde(deserialize_with = "seq")]
    of: u64,
    #[serde(default)]
    key: Option<Uuid>,
}

#[derive(Deserialize)]
struct Page {
    room: Name,
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    after: Option<u64>,
    #[serde(default)]
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    query: Box<str>,
    #[serde(default)]
    after: Option<Name>,
}

#[derive(Deserialize)]
struct WithUser {
    room: Name,
    user: Uuid,
    #[serde(default)]
    role: Option<Box<str>>,
    #[serde(default)]
    key: Option<Uuid>,
}

#[derive(Deserialize)]
struct Muting {
    room: Name,
    user: Uuid,
    #[serde(default, with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
    #[serde(default)]
    seconds: Option<i64>,
}

#[derive(Deserialize)]
struct ByName {
    room: Name,
    username: Box<str>,
}

#[derive(Deserialize)]
struct MembersOf {
    room: Name,
    #[serde(default)]
    after: Option<Uuid>,
}

/// Reads one message.
pub fn parse(text: &[u8]) -> Parsed {
    let head: Head<'_> = match serde_json::from_slice(text) {
        Ok(head) => head,
        Err(error) => {
            let refusal = Refusal::of(ErrorCode::InvalidMessage, error.to_string());
            return Parsed { id: None, command: Err(refusal) };
        }
    };
    let id = head.id.and_then(|id| id.get().parse().ok()).filter(|id| *id <= MAX_ID);
    let command = match (id, head.command) {
        (None, _) => {
            let wanted = format!("id must be a whole number from 0 to {MAX_ID}.");
            Err(Refusal::of(ErrorCode::InvalidMessage, wanted))
        }
        (_, None) => Err(Refusal::from(ErrorCode::InvalidMessage)),
        (_, Some(name)) => command(&name, text),
    };
    Parsed { id, command }
}

fn command(name: &str, text: &[u8]) -> Result<Command, Refusal> {
    Ok(match name {
        "auth" => Command::Auth(fields::<Auth>(text)?.token),
        "ping" => Command::Ping,
        "subscribe" => {
            fields(text).map(|InRoom { room, since, .. }| Command::Subscribe(room, since))?
        }
        "unsubscribe" => fields(text).map(|InRoom { room, .. }| Command::Unsubscribe(room))?,
        "publish" => {
            let said: Said<'_> = fields(text)?;
            let content = Content::of(&said)?;
            Command::Publish(said.room, key(said.key), content)
        }
        "edit" => {
            let About { of, .. } = fields(text)?;
            let said: Said<'_> = fields(text)?;
            let content = Content::of(&said)?;
            Command::Edit(said.room, of, key(said.key), content)
        }
        "delete" => {
            fields(text).map(|About { room, of, key: k }| Command::Delete(room, of, key(k)))?
        }
        "history" => history(fields(text)?)?,
        "rooms" => fields(text).map(|Listing { after, .. }| Command::Rooms(after))?,
        "search" => {
            let Listing { query, after } = fields(text)?;
            Command::Search(short(query, "query")?, after)
        }
        "create" => Command::Create(Box::new(create(fields(text)?)?)),
        "join" => fields(text).map(|InRoom { room, key: k, .. }| Command::Join(room, key(k)))?,
        "leave" => fields(text).map(|InRoom { room, key: k, .. }| Command::Leave(room, key(k)))?,
        "invite" => {
            let ByName { room, username } = fields(text)?;
            Command::Invite(room, short(username, "username")?)
        }
        "decline" => fields(text).map(|InRoom { room, .. }| Command::Decline(room))?,
        "uninvite" => {
            fields(text).map(|WithUser { room, user, .. }| Command::Uninvite(room, user))?
        }
        "remove" => fields(text)
            .map(|WithUser { room, user, key: k, .. }| Command::Remove(room, user, key(k)))?,
        "set_role" => {
            let WithUser { room, user, role, key: k } = fields(text)?;
            let role = role.and_then(|role| Role::find(&role));
            let role = role.ok_or_else(|| Refusal::field("role: owner, moderator or member"))?;
            Command::SetRole(room, user, role, key(k))
        }
        "members" => fields(text).map(|MembersOf { room, after }| Command::Members(room, after))?,
        "mute" => mute(fields(text)?)?,
        "unmute" => {
            fields(text).map(|WithUser { room, user, .. }| Command::Mute(room, user, None))?
        }
        "invitations" => fields(text).map(|Listing { after, .. }| Command::Invitations(after))?,
        "presence" => {
            fields(text).map(|MembersOf { room, after }| Command::Presence(room, after))?
        }
        "typing" => fields(text).map(|InRoom { room, .. }| Command::Typing(room))?,
        _ => return Err(ErrorCode::UnknownCommand.into()),
    })
}

fn fields<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal::field(error.to_string()))
}

/// The client's key, or one of the node's: then a second try is another message.
fn key(given: Option<Uuid>) -> Uuid {
    given.unwrap_or_else(Uuid::new_v4)
}

fn history(Page { room, before, after, limit }: Page) -> Result<Command, Refusal> {
    if before.is_some() && after.is_some() {
        return Err(Refusal::field("before or after, not both"));
    }
    let limit = limit.unwrap_or(HISTORY_ENTRIES);
    if !(1..=HISTORY_ENTRIES).contains(&limit) {
        return Err(Refusal::field(format!("limit: 1 to {HISTORY_ENTRIES}")));
    }
    Ok(Command::History(room, History { before, after, limit }))
}

fn mute(Muting { room, user, until, seconds }: Muting) -> Result<Command, Refusal> {
    let until = match (until, seconds) {
        (Some(until), None) => Until::Then(until),
        (None, Some(seconds)) if (1..=MUTE_SECONDS).contains(&seconds) => {
            Until::For(Duration::seconds(seconds))
        }
        (None, Some(_)) => return Err(Refusal::field(format!("seconds: 1 to {MUTE_SECONDS}"))),
        _ => return Err(Refusal::field("until or seconds, one of the two")),
    };
    Ok(Command::Mute(room, user, Some(until)))
}

fn create(create: Create) -> Result<Create, Refusal> {
    let title = short(create.title, "title")?;
    Ok(Create { title, ..create })
}

/// A text for people, of at most [`TEXT_CHARS`] characters.
fn short(text: Box<str>, field: &str) -> Result<Box<str>, Refusal> {
    if text.chars().count() <= TEXT_CHARS && !text.contains('\0') {
        return Ok(text);
    }
    Err(Refusal::field(format!("{field}: up to {TEXT_CHARS} characters, no U+0000")))
}

impl Content {
    fn of(said: &Said<'_>) -> Result<Self, Refusal> {
        let content = match (&said.text, said.data) {
            (Some(text), None) if !text.contains('\0') => {
                serde_json::json!({ "text": text }).to_string()
            }
            (None, Some(data)) if is_plain(data.get()) => {
                format!(r#"{{"data":{}}}"#, data.get())
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(Refusal::field("text or data, one of the two"));
            }
            (None, Some(data)) if depth(data.get()) > DATA_DEPTH => {
                let detail =
                    format!("data: at most {DATA_DEPTH} arrays and objects within each other");
                return Err(Refusal::field(detail));
            }
            // Postgres keeps no U+0000, neither in a text nor in what is read as JSON later.
            _ => {
                let detail = "no U+0000, no half of a surrogate pair, no number out of range";
                return Err(Refusal::field(detail));
            }
        };
        Ok(Self(content.into()))
    }
}

/// Whether every reader of JSON can read it: what is stored is pushed to all as it came.
fn is_plain(json: &str) -> bool {
    !has_nul(json)
        && depth(json) <= DATA_DEPTH
        && serde_json::from_str::<serde_json::Value>(json).is_ok()
}

/// How many arrays and objects of a JSON text are within each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut most, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Whether a JSON text has the escape of U+0000 in it: a backslash that is not itself escaped, and `u0000`.
fn has_nul(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}
