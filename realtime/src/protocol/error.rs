//! What a command can be refused with.

use serde::{Serialize, Serializer};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $retry:literal, $detail:literal;)*) => {
        /// The `code` of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word on the wire.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Whether the same command may succeed later without being changed.
            pub fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry),* }
            }

            /// What it says to a person, unless the case says something closer.
            pub fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail),* }
            }
        }
    };
}

error_codes! {
    /// The message is no JSON object, or has no usable `id` or `command`.
    InvalidMessage = "invalid_message", false, "A message is a JSON object with an id and a command.";
    /// The node does not know the command.
    UnknownCommand = "unknown_command", false, "There is no such command.";
    /// A field is missing, or its value is not one.
    InvalidField = "invalid_field", false, "A field is missing or wrong.";
    /// Only `auth` and `ping` are carried out before a sign-in.
    NotSignedIn = "not_signed_in", false, "Sign in first, with auth.";
    /// The token is not valid, or it has ended.
    TokenInvalid = "token_invalid", false, "The access token is not valid, or it has ended.";
    /// The session behind the token has ended.
    SessionRevoked = "session_revoked", false, "The session has ended; sign in again.";
    /// There is no such room, or it is a private one of others.
    RoomNotFound = "room_not_found", false, "There is no such room, or it is not open to you.";
    /// The name is another room's.
    RoomTaken = "room_taken", false, "A room of this name exists.";
    /// The room is public, but only members may do this.
    NotAMember = "not_a_member", false, "Join the room first.";
    /// The role in the room does not allow it.
    Forbidden = "forbidden", false, "Your role in the room does not allow this.";
    /// A moderator muted the user.
    Muted = "muted", false, "You are muted in this room.";
    /// The connection is not subscribed to the room.
    NotSubscribed = "not_subscribed", false, "Subscribe to the room first.";
    /// `ROOMS_PER_USER` is reached.
    TooManyRooms = "too_many_rooms", false, "You own as many rooms as you may.";
    /// As many of the user's invitations are open as may be.
    TooManyInvitations = "too_many_invitations", false, "Too many of your invitations are open; withdraw some.";
    /// `SUBSCRIPTIONS_PER_CONNECTION` is reached.
    TooManySubscriptions = "too_many_subscriptions", false, "Unsubscribe from another room first.";
    /// The room keeps no log: it has no positions and no history.
    NotDurable = "not_durable", false, "The room is ephemeral: it keeps nothing.";
    /// The key was used for something else.
    KeyReused = "key_reused", false, "This key was used for another message; take a new one.";
    /// There is no such message, or it was deleted.
    MessageNotFound = "message_not_found", false, "There is no such message, or it was deleted.";
    /// There is no such user, or not in this room.
    UserNotFound = "user_not_found", false, "There is no such user here.";
    /// The last owner cannot leave or step down while others are in the room.
    LastOwner = "last_owner", false, "Make somebody else an owner first.";
    /// Too many commands; ten within a minute close the connection.
    RateLimited = "rate_limited", true, "Too many commands; wait and try again.";
    /// The store is away, or the outcome is not known. Try again, a publish with the same key.
    Unavailable = "unavailable", true, "The node cannot reach its store; try again, with the same key.";
    /// A fault of ours.
    Internal = "internal", false, "Something went wrong here.";
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// Why a command was not carried out: the `error` of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What a program looks at.
    pub code: ErrorCode,
    /// What a person reads.
    pub detail: String,
    /// Whether the same command may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// When to try again, in milliseconds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl Refusal {
    /// With words for this case.
    pub fn of(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry: code.is_retryable(), retry_ms: None }
    }

    /// A field that is missing or wrong, and what it must be.
    pub fn field(detail: impl Into<String>) -> Self {
        Self::of(ErrorCode::InvalidField, detail)
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::of(code, code.detail())
    }
}
