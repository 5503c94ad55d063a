//! What an export holds of rooms.

use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A room that one is in.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedRoom {
    /// Its name.
    pub room: String,
    /// One's role in it.
    #[schema(pattern = "^(owner|moderator|member)$")]
    pub role: String,
    /// Until when one may not speak.
    pub muted_until: Option<OffsetDateTime>,
    /// Since when one is in it.
    pub joined_at: OffsetDateTime,
}

/// An invitation to a room.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedInvitation {
    /// Its name.
    pub room: String,
    /// When it was sent.
    pub created_at: OffsetDateTime,
}

/// An entry in the log of a room.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedMessage {
    /// The room's name.
    pub room: String,
    /// Its place in the log.
    #[schema(minimum = 1)]
    pub seq: i64,
    /// What it is.
    #[schema(pattern = "^(message|edited|deleted|joined|left|role)$")]
    pub kind: String,
    /// What it is about.
    pub of_seq: Option<i64>,
    /// What was said, as JSON in a text.
    pub body: Option<String>,
    /// The sender's name for it.
    pub key: Uuid,
    /// When it was stored.
    pub at: OffsetDateTime,
}
