//! Everything that is held about a user, which `shared/src/db/profile/export.rs` writes out as JSON.

mod rooms;

use serde_json::Value;
use shared::role::Role;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use rooms::{ExportedInvitation, ExportedMessage, ExportedRoom};

use super::Status;
use crate::openapi::examples;

/// All of it, secrets left out.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::export))]
pub struct Export {
    /// When this was read.
    pub exported_at: OffsetDateTime,
    /// The account.
    pub user: ExportedUser,
    /// The password without its hash, if one is set.
    pub password: Option<ExportedPassword>,
    /// The roles.
    pub roles: Vec<ExportedRole>,
    /// The newest sessions.
    #[schema(max_items = 500)]
    pub sessions: Vec<ExportedSession>,
    /// The app, if there is one.
    pub authenticator_app: Option<ExportedApp>,
    /// The passkeys.
    pub passkeys: Vec<ExportedPasskey>,
    /// From which networks somebody tried to sign in, the newest.
    #[schema(max_items = 500)]
    pub sign_ins: Vec<ExportedSignIns>,
    /// The newest links.
    #[schema(max_items = 500)]
    pub links: Vec<ExportedLink>,
    /// The newest mails.
    #[schema(max_items = 500)]
    pub mails: Vec<ExportedMail>,
    /// The rooms that one is in, the newest.
    #[schema(max_items = 500)]
    pub rooms: Vec<ExportedRoom>,
    /// The newest invitations.
    #[schema(max_items = 500)]
    pub invitations: Vec<ExportedInvitation>,
    /// The newest entries of one's own in the logs of rooms.
    #[schema(max_items = 500)]
    pub messages: Vec<ExportedMessage>,
    /// The newest rows of the audit log by or about the account.
    #[schema(max_items = 2500)]
    pub audit: Vec<ExportedEvent>,
}

/// The account.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedUser {
    /// Its id.
    pub id: Uuid,
    /// Its public handle.
    pub username: String,
    /// The handle in lower case.
    pub username_key: String,
    /// What people see instead of the handle.
    pub display_name: Option<String>,
    /// What its owner says of themselves.
    pub bio: Option<String>,
    /// Its verified address.
    pub email: Option<String>,
    /// The address in lower case.
    pub email_key: Option<String>,
    /// Whether it may sign in.
    pub status: Status,
    /// How often open sockets had to notice a change.
    pub version: i64,
    /// Whether the password alone does not sign in.
    pub second_factor: bool,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// The password.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedPassword {
    /// When it was set.
    pub changed_at: OffsetDateTime,
}

/// A role.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedRole {
    /// Which.
    pub role: Role,
    /// Who gave it, if a person did.
    pub granted_by: Option<Uuid>,
    /// When.
    pub granted_at: OffsetDateTime,
}

/// A session.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedSession {
    /// Its id.
    pub id: Uuid,
    /// How often it was refreshed.
    pub counter: i64,
    /// The newest refresh that its client has shown it has.
    pub seen_counter: i64,
    /// When it was last refreshed.
    pub rotated_at: OffsetDateTime,
    /// When it was signed in.
    pub created_at: OffsetDateTime,
    /// When it last called.
    pub last_seen_at: OffsetDateTime,
    /// When it ends without a refresh.
    pub idle_until: OffsetDateTime,
    /// When it ends.
    pub absolute_until: OffsetDateTime,
    /// From where it was signed in.
    pub address: String,
    /// With what.
    pub user_agent: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// Why.
    pub revoked_reason: Option<String>,
    /// When it proved a second factor.
    pub proven_at: Option<OffsetDateTime>,
}

/// The authenticator app.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedApp {
    /// Its id.
    pub id: Uuid,
    /// The step of the last code that was taken.
    pub last_step: Option<i64>,
    /// When it was begun.
    pub created_at: OffsetDateTime,
    /// Since when it counts.
    pub confirmed_at: Option<OffsetDateTime>,
    /// When it last signed in.
    pub last_used_at: Option<OffsetDateTime>,
    /// Recovery codes that were not used.
    #[schema(minimum = 0, maximum = 10)]
    pub recovery_codes_left: i64,
}

/// A passkey.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedPasskey {
    /// Its id.
    pub id: Uuid,
    /// What its authenticator calls it, `\x` and hexadecimal.
    #[schema(pattern = r"^\\x([0-9a-f]{2})+$")]
    pub credential_id: String,
    /// COSE's number.
    #[schema(minimum = -8, maximum = -7)]
    pub algorithm: i32,
    /// `\x` and hexadecimal.
    #[schema(pattern = r"^\\x([0-9a-f]{2})+$")]
    pub public_key: String,
    /// The authenticator's counter.
    pub sign_count: i64,
    /// Whether it may be on several devices.
    pub backup_eligible: bool,
    /// What its owner calls it.
    pub name: String,
    /// When it was added.
    pub created_at: OffsetDateTime,
    /// When it last signed in.
    pub last_used_at: Option<OffsetDateTime>,
}

/// Sign-ins that failed, and whether the network is known.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedSignIns {
    /// The network in hexadecimal; empty for all that the account does not know.
    #[schema(pattern = "^([0-9a-f]{2})*$")]
    pub network: String,
    /// How many failed one after the other.
    pub failures: i32,
    /// When the last one was.
    pub last_at: OffsetDateTime,
    /// Until when further ones are refused.
    pub locked_until: Option<OffsetDateTime>,
    /// Until when this is a network that the account signed in from.
    pub known_until: Option<OffsetDateTime>,
}

/// A link of a mail.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedLink {
    /// What it is for.
    pub kind: String,
    /// The address.
    pub target: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Until when it may be used.
    pub expires_at: OffsetDateTime,
    /// When it was.
    pub used_at: Option<OffsetDateTime>,
}

/// A mail.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedMail {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub kind: String,
    /// When it was put in the queue.
    pub created_at: OffsetDateTime,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next.
    pub next_at: OffsetDateTime,
    /// When it left the queue.
    pub ended_at: Option<OffsetDateTime>,
    /// What became of it.
    pub outcome: Option<String>,
}

/// An event of the audit log. Where others acted, from where they did is theirs and not in it.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedEvent {
    /// Its number.
    pub id: i64,
    /// When it was.
    pub at: OffsetDateTime,
    /// What happened.
    pub event: String,
    /// Who did it.
    pub actor: Option<Uuid>,
    /// Whom it is about.
    pub subject: Option<Uuid>,
    /// In which session.
    pub session: Option<Uuid>,
    /// From where.
    pub address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
    /// What else there is to say.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Value>,
}
