//! What a command that was carried out is answered: the `ok` of its reply.

use serde::Serialize;
use serde_json::value::RawValue;
use shared::db::members::Role;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Refusal, Sender};

/// The `ok` of a reply.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To whatever has nothing more to tell.
    Done(Done),
    /// To `auth`.
    SignedIn(SignedIn),
    /// To `subscribe`.
    Subscribed(Subscribed),
    /// To whatever is stored in a log.
    Stored(Stored),
    /// To `publish` in an ephemeral room.
    Taken(Taken),
    /// To what was so already.
    Unchanged(Unchanged),
    /// To `history`.
    History(Page),
    /// To `create`.
    Created(Created),
    /// To `rooms` and `search`.
    Rooms(Rooms),
    /// To `invite`.
    Invited(Invited),
    /// To `invitations`.
    Invitations(Invitations),
    /// To `members`.
    Members(Members),
    /// To `mute` and `unmute`.
    Muted(Muted),
    /// To `presence`.
    Here(Here),
}

/// `{}`.
#[derive(Debug, Serialize)]
pub struct Done {}

/// `{"user":{"id":…,"username":…}}`.
#[derive(Debug, Serialize)]
pub struct SignedIn {
    /// Who is signed in now.
    pub user: Sender,
}

/// `{"room":…,"durable":true,"role":…,"epoch":…,"seq":…,"first_seq":…,"last_seq":…}`, without the last four
/// in an ephemeral room.
#[derive(Debug, Serialize)]
pub struct Subscribed {
    /// The room.
    pub room: String,
    /// Whether what is said is kept.
    pub durable: bool,
    /// What the user is there; null: a reader of a public room.
    pub role: Option<Role>,
    /// Where in a log what follows begins.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
}

/// Where what follows in a durable room begins.
#[derive(Debug, Serialize)]
pub struct Start {
    /// The log's epoch: a 64-bit number in a string, as JavaScript's numbers hold less.
    pub epoch: String,
    /// What follows is behind this entry.
    pub seq: u64,
    /// The log's first entry.
    pub first_seq: u64,
    /// Its last one.
    pub last_seq: u64,
}

/// `{"seq":…,"key":…}`, with `"duplicate":true` if it was stored by an earlier try.
#[derive(Debug, Serialize)]
pub struct Stored {
    /// Its place in the log.
    pub seq: u64,
    /// The key it was published with, the client's or the node's.
    pub key: Uuid,
    /// Whether it was there before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// `{"key":…}`.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// The key it was published with, the client's or the node's.
    pub key: Uuid,
}

/// `{"unchanged":true}`.
#[derive(Debug, Serialize)]
pub struct Unchanged {
    unchanged: bool,
}

/// `{"room":…,"epoch":…,"first_seq":…,"last_seq":…,"entries":[…]}`.
///
/// The entries are written as they are: read as JSON values they would not be the bytes that were published.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The room.
    pub room: String,
    /// The log's epoch.
    pub epoch: String,
    /// Its first entry.
    pub first_seq: u64,
    /// Its last one.
    pub last_seq: u64,
    /// Some of them, by seq, each as it was pushed.
    pub entries: Vec<Box<RawValue>>,
}

/// A room: `{"room":…,"title":…,"durable":true,"public":false,"role":…}`, and what is said of the user's mute
/// and of the log where it is known.
#[derive(Debug, Serialize)]
pub struct Room {
    /// Its name.
    pub room: String,
    /// What people call it.
    pub title: String,
    /// Whether what is said is kept.
    pub durable: bool,
    /// Whether anybody may find it and join.
    pub public: bool,
    /// What the user is there; null: nothing.
    pub role: Option<Role>,
    /// Until when the user may say nothing there.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<OffsetDateTime>,
    /// To `rooms`, of a durable one: where its log is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// A room, with `"unchanged":true` if it was there before, just so.
#[derive(Debug, Serialize)]
pub struct Created {
    /// The room.
    #[serde(flatten)]
    pub room: Room,
    /// Whether an earlier try made it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

/// Where a log begins and ends.
#[derive(Debug, Serialize)]
pub struct Log {
    /// Its epoch.
    pub epoch: String,
    /// Its first entry.
    pub first_seq: u64,
    /// Its last one.
    pub last_seq: u64,
}

/// `{"rooms":[…],"more":false}`.
#[derive(Debug, Serialize)]
pub struct Rooms {
    /// By name.
    pub rooms: Vec<Room>,
    /// Whether others follow the last of them.
    pub more: bool,
}

/// `{"user":…}`, with `"unchanged":true` if that is a member already.
#[derive(Debug, Serialize)]
pub struct Invited {
    /// The id of who is invited.
    pub user: Uuid,
    /// Whether it was so already.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

/// `{"invitations":[…],"more":false}`.
#[derive(Debug, Serialize)]
pub struct Invitations {
    /// By the rooms' names.
    pub invitations: Vec<Invitation>,
    /// Whether others follow the last of them.
    pub more: bool,
}

/// `{"room":…,"title":…,"durable":true,"public":false,"invited_by":…,"at":…}`.
#[derive(Debug, Serialize)]
pub struct Invitation {
    /// The room's name.
    pub room: String,
    /// What people call it.
    pub title: String,
    /// Whether what is said is kept.
    pub durable: bool,
    /// Whether anybody may find it and join.
    pub public: bool,
    /// The name of whoever invited.
    pub invited_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// `{"members":[…],"more":false}`.
#[derive(Debug, Serialize)]
pub struct Members {
    /// By id.
    pub members: Vec<Member>,
    /// Whether others follow the last of them.
    pub more: bool,
}

/// `{"id":…,"username":…,"display_name":…,"role":…,"muted_until":…}`.
#[derive(Debug, Serialize)]
pub struct Member {
    /// The user.
    pub id: Uuid,
    /// The user's name.
    pub username: String,
    /// What people see instead of it; null: nothing else.
    pub display_name: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// Until when the user may say nothing; null: may speak.
    #[serde(with = "time::serde::rfc3339::option")]
    pub muted_until: Option<OffsetDateTime>,
}

/// `{"user":…,"muted_until":…}`.
#[derive(Debug, Serialize)]
pub struct Muted {
    /// The id of whom it is about.
    pub user: Uuid,
    /// Until when they may say nothing; null: they may speak.
    #[serde(with = "time::serde::rfc3339::option")]
    pub muted_until: Option<OffsetDateTime>,
}

/// `{"room":…,"count":…,"told":true,"users":[…],"more":false}`.
#[derive(Debug, Serialize)]
pub struct Here {
    /// The room.
    pub room: String,
    /// How many are there.
    pub count: u32,
    /// Whether `present` and `absent` are told.
    pub told: bool,
    /// Some of them, by id.
    pub users: Vec<Sender>,
    /// Whether others follow the last of these.
    pub more: bool,
}

/// A reply as a whole.
#[derive(Serialize)]
struct Ok<'a> {
    id: u64,
    ok: &'a Reply,
}

#[derive(Serialize)]
struct Error<'a> {
    id: Option<u64>,
    error: &'a Refusal,
}

impl Reply {
    /// `{}`.
    pub const DONE: Self = Self::Done(Done {});
    /// `{"unchanged":true}`.
    pub const UNCHANGED: Self = Self::Unchanged(Unchanged { unchanged: true });
}

/// The reply to a command that was carried out.
///
/// # Panics
/// Never: what replies are made of can be written as JSON.
pub fn reply_ok(id: u64, ok: &Reply) -> Vec<u8> {
    serde_json::to_vec(&Ok { id, ok }).expect("replies have no map with keys that are no strings")
}

/// The reply to one that was not; `id` is null if the client gave none.
///
/// # Panics
/// Never, as above.
pub fn reply_error(id: Option<u64>, error: &Refusal) -> Vec<u8> {
    serde_json::to_vec(&Error { id, error }).expect("a refusal is texts and numbers")
}
