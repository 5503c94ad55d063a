//! What a client may say.

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use shared::db::members::Role;
use uuid::Uuid;

use super::{ErrorCode, HISTORY_ENTRIES, MAX_ID, ROOM_CHARS, Refusal};

/// A command and the number of its reply.
#[derive(Debug)]
pub struct Parsed {
    /// The client's number for it; `None` if there is none to answer with.
    pub id: Option<u64>,
    /// The command, or why it is none.
    pub command: Result<Command, Refusal>,
}

/// One command.
#[derive(Debug)]
pub enum Command {
    /// `auth {token}`: signs in, or renews the sign-in of the same user.
    Auth(SecretString),
    /// `ping`: answered at once.
    Ping,
    /// `subscribe {room, since?}`: what is said in the room from now on, or from `since` on.
    Subscribe(Name, Option<Since>),
    /// `unsubscribe {room}`.
    Unsubscribe(Name),
    /// `publish {room, text | data, key?}`.
    Publish(Name, Uuid, Content),
    /// `edit {room, of, text | data, key?}`: another text for one's own message.
    Edit(Name, u64, Uuid, Content),
    /// `delete {room, of, key?}`: empties a message.
    Delete(Name, u64, Uuid),
    /// `history {room, before? | after?, limit?}`: entries of the log.
    History(Name, History),
    /// `rooms`: the rooms the user belongs to.
    Rooms(Option<Name>),
    /// `search {query, after?}`: public rooms whose name or title begins so.
    Search(Box<str>, Option<Name>),
    /// `create {room, title?, durable?, public?}`.
    Create(Box<Create>),
    /// `join {room, key?}`.
    Join(Name, Uuid),
    /// `leave {room, key?}`.
    Leave(Name, Uuid),
    /// `invite {room, username}`.
    Invite(Name, Box<str>),
    /// `remove {room, user, key?}`: makes another leave.
    Remove(Name, Uuid, Uuid),
    /// `set_role {room, user, role, key?}`.
    SetRole(Name, Uuid, Role, Uuid),
    /// `members {room, after?}`: who belongs to the room.
    Members(Name, Option<Uuid>),
}

/// A room's name: 1 to 64 of `a-z`, `0-9`, `.`, `_` and `-`, first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

/// Where a client left off: what it has is everything up to `seq` of the log of this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Since {
    /// The room's epoch, a decimal number in a string, as the node told it.
    #[serde(deserialize_with = "number_in_a_string")]
    pub epoch: i64,
    /// The last entry it has; 0 before the first.
    #[serde(deserialize_with = "seq")]
    pub seq: u64,
}

/// What is published: the JSON text as it is stored and delivered, `{"text":…}` or `{"data":…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(pub Box<str>);

/// Which entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Only those before this one, the newest first to be left in.
    pub before: Option<u64>,
    /// Only those after this one, the oldest first to be left in.
    pub after: Option<u64>,
    /// So many at most.
    pub limit: u32,
}

/// A room to be made.
#[derive(Debug, Deserialize)]
pub struct Create {
    /// Its name.
    pub room: Name,
    /// What people call it; up to 100 characters.
    #[serde(default)]
    pub title: Box<str>,
    /// Whether what is said is kept.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Whether anybody may find it and join.
    #[serde(default)]
    pub public: bool,
}

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
        "search" => fields(text).map(|Listing { query, after }| Command::Search(query, after))?,
        "create" => Command::Create(Box::new(create(fields(text)?)?)),
        "join" => fields(text).map(|InRoom { room, key: k, .. }| Command::Join(room, key(k)))?,
        "leave" => fields(text).map(|InRoom { room, key: k, .. }| Command::Leave(room, key(k)))?,
        "invite" => {
            fields(text).map(|ByName { room, username }| Command::Invite(room, username))?
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

fn create(create: Create) -> Result<Create, Refusal> {
    let is_fine = create.title.chars().count() <= 100 && !create.title.contains('\0');
    if is_fine { Ok(create) } else { Err(Refusal::field("title: up to 100 characters, no U+0000")) }
}

impl Content {
    fn of(said: &Said<'_>) -> Result<Self, Refusal> {
        let content = match (&said.text, said.data) {
            (Some(text), None) if !text.contains('\0') => {
                serde_json::json!({ "text": text }).to_string()
            }
            (None, Some(data)) if !has_nul(data.get()) => format!(r#"{{"data":{}}}"#, data.get()),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Refusal::field("text or data, one of the two"));
            }
            // Postgres keeps no U+0000, neither in a text nor in what is read as JSON later.
            _ => return Err(Refusal::field("U+0000 is not taken")),
        };
        Ok(Self(content.into()))
    }
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

impl Name {
    /// The name, if it is one.
    pub fn parse(name: &str) -> Option<Self> {
        let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let is_first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_one =
            is_first && name.len() <= ROOM_CHARS && name.as_bytes().iter().all(|b| is_inner(b));
        is_one.then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Box::<str>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| {
            D::Error::custom(
                "a room's name is 1 to 64 of a-z, 0-9, '.', '_' and '-', first a letter or a digit",
            )
        })
    }
}

fn yes() -> bool {
    true
}

/// 64 bits are more than JavaScript's numbers hold.
fn number_in_a_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Box::<str>::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("epoch: the string that the node told"))
}

fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seq = u64::deserialize(deserializer)?;
    if seq <= MAX_ID { Ok(seq) } else { Err(D::Error::custom("a position in the log")) }
}
