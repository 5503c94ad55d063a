//! Bodies that no handler has as a type of its own: requests, whose fields are parsed one by one, and
//! answers written out where they are made. They exist for the document alone.

mod export;

use shared::role::Role;
use utoipa::ToSchema;

use super::examples;
pub use export::Export;

/// What an account is made with.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::credentials))]
pub struct NewAccount {
    /// ASCII letters, digits, `.`, `_` and `-`, the first a letter or digit; unique without regard to
    /// case. Some names are reserved.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub username: String,
    /// At least `PASSWORD_MIN` characters after Unicode normalisation (NFC), at most 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: String,
    /// An address, which gets a link to confirm it.
    #[schema(required = false)]
    pub email: String,
}

/// What somebody signs in with.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::credentials))]
pub struct Credentials {
    /// A username, or a verified e-mail address; at most 254 bytes.
    #[schema(min_length = 1, max_length = 254, pattern = "^[^\\u0000]*$")]
    pub username: String,
    /// The password; at most 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: String,
    /// How the refresh token comes: in the body, or as a cookie that no script can read.
    #[schema(required = false)]
    pub refresh: Delivery,
}

/// How a refresh token travels.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// In the body; what happens when nothing is said.
    Body,
    /// As a cookie.
    Cookie,
}

/// The refresh token of a session, when it is not a cookie.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::refresh))]
pub struct Refresh {
    /// The newest refresh token.
    pub refresh_token: String,
}

/// Which sessions end.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::sign_out))]
pub struct SignOut {
    /// `local` when left out.
    #[schema(required = false)]
    pub scope: Scope,
}

/// Which of one's sessions.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This one.
    Local,
    /// All but this one.
    Others,
    /// All.
    All,
}

/// What changes; what is left out stays, null takes it away.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::profile_change))]
pub struct ProfileChange {
    /// Any Unicode without control characters, 1 to 64 characters when trimmed and in NFC.
    pub display_name: Option<String>,
    /// Any Unicode, at most 500 characters when trimmed and in NFC.
    pub bio: Option<String>,
}

/// The password once more.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::own_password))]
pub struct OwnPassword {
    /// At most 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: String,
}

/// The password, and what it is to be.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::password_change))]
pub struct PasswordChange {
    /// At most 1,024 bytes.
    #[schema(min_length = 1, max_length = 1024)]
    pub current_password: String,
    /// As at registration.
    #[schema(min_length = 1, max_length = 1024)]
    pub new_password: String,
}

/// The public keys that verify access tokens (RFC 7517 §5).
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::key_set))]
pub struct KeySet {
    /// The current and the next key, and old ones while their tokens are valid.
    pub keys: Vec<PublicKey>,
}

/// A public key (RFC 8037 §2).
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// RFC 7638 thumbprint of the key.
    pub kid: String,
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The public key, base64url.
    pub x: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[schema(rename = "use")]
    pub use_: String,
}

/// That a function answers.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::health))]
pub struct Health {
    /// `ok`.
    pub status: String,
}

/// What changes of an account that one manages; what is left out stays.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::managed_change))]
pub struct ManagedChange {
    /// All its roles; every account is a member.
    #[schema(required = false)]
    pub roles: Vec<Role>,
    /// Whether it may sign in.
    #[schema(required = false)]
    pub status: Status,
}

/// Whether an account may sign in.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It may.
    Active,
    /// It may not, and its sessions have ended.
    Disabled,
}

/// Nothing yet; an empty object says that the request is no form of another page.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::nothing))]
pub struct Nothing {}

/// The challenge of a sign-in, and a code of the app or a recovery code.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::second_factor))]
pub struct SecondFactor {
    /// From the problem `second_factor_required`.
    pub challenge: String,
    /// Six digits.
    #[schema(required = false)]
    pub code: String,
    /// One that was not used.
    #[schema(required = false)]
    pub recovery_code: String,
    /// How the refresh token comes.
    #[schema(required = false)]
    pub refresh: Delivery,
}

/// What the browser made of the options.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::passkey_login))]
pub struct PasskeyLogin {
    /// `toJSON()` of the credential.
    #[schema(value_type = Object)]
    pub credential: serde_json::Value,
    /// How the refresh token comes.
    #[schema(required = false)]
    pub refresh: Delivery,
}

/// What the app shows.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::totp_code))]
pub struct TotpCode {
    /// Six digits.
    pub code: String,
}

/// What the browser made of the options.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::new_passkey))]
pub struct NewPasskey {
    /// For its owner.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// `toJSON()` of the credential.
    #[schema(value_type = Object)]
    pub credential: serde_json::Value,
}

/// Whose password is forgotten.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::forgotten))]
pub struct Forgotten {
    /// The address of the account.
    pub email: String,
}

/// The token of a link, and the new password.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::reset))]
pub struct Reset {
    /// From the link.
    pub token: String,
    /// As at registration.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: String,
}

/// The token of a link.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::link_token))]
pub struct LinkToken {
    /// From the link.
    pub token: String,
}

/// Another address, and the password once more.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(examples::email_change))]
pub struct EmailChange {
    /// The address.
    pub email: String,
    /// The password.
    #[schema(min_length = 1, max_length = 1024)]
    pub password: String,
}
