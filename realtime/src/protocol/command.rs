//! What a client may say.

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use shared::db::members::Role;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{MAX_ID, ROOM_CHARS, Refusal};

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
    /// `decline {room}`: the user's own invitation.
    Decline(Name),
    /// `uninvite {room, user}`.
    Uninvite(Name, Uuid),
    /// `remove {room, user, key?}`: makes another leave.
    Remove(Name, Uuid, Uuid),
    /// `set_role {room, user, role, key?}`.
    SetRole(Name, Uuid, Role, Uuid),
    /// `members {room, after?}`: who belongs to the room.
    Members(Name, Option<Uuid>),
    /// `mute {room, user, until | seconds}`, and `unmute {room, user}`: `None`.
    Mute(Name, Uuid, Option<Until>),
    /// `invitations {after?}`: rooms the user is invited to.
    Invitations(Option<Name>),
    /// `presence {room, after?}`: who is in the room now.
    Presence(Name, Option<Uuid>),
    /// `typing {room}`: tells who is there that the user types.
    Typing(Name),
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

/// Until when somebody may say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Then.
    Then(OffsetDateTime),
    /// For so long from now on.
    For(Duration),
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

impl Name {
    /// The name, if it is one.
    pub fn parse(name: &str) -> Option<Self> {
        let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let is_first = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        let is_one = is_first && name.len() <= ROOM_CHARS && name.as_bytes().iter().all(is_inner);
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

pub(super) fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seq = u64::deserialize(deserializer)?;
    if seq <= MAX_ID { Ok(seq) } else { Err(D::Error::custom("a position in the log")) }
}
