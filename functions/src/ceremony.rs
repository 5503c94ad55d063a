//! What a browser is asked for a passkey: to make one, and to sign in with one (WebAuthn §5).

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Serialize;
use shared::challenge::Challenge;
use shared::db::factors::passkeys::Owner;
use shared::webauthn::{self, Algorithm, RelyingParty};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::openapi::examples;

/// What kind of credential all of ours are.
const KIND: &str = "public-key";
/// What all of our ceremonies want of the user's verification, and of the passkey's being found without
/// a name.
const REQUIRED: &str = "required";

/// For `navigator.credentials.get`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeyRequestOptions, examples(examples::request_options))]
pub(crate) struct RequestOptions {
    public_key: Request,
}

/// `PublicKeyCredentialRequestOptions` as JSON (WebAuthn §5.5).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeyRequest)]
struct Request {
    /// 32 bytes, base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    challenge: String,
    /// The host of `PUBLIC_URL`.
    rp_id: String,
    /// Milliseconds.
    timeout: u64,
    /// `required`.
    #[schema(pattern = "^required$")]
    user_verification: &'static str,
    /// Empty: the authenticator shows the passkeys it has, and nobody says who they are before.
    #[schema(value_type = Vec<Descriptor>, max_items = 0)]
    allow_credentials: [Descriptor; 0],
}

impl RequestOptions {
    /// Of a sign-in with this challenge.
    pub(crate) fn new(app: &App, party: &RelyingParty, challenge: &Challenge) -> Self {
        let public_key = Request {
            challenge: challenge.text().expose_secret().to_owned(),
            rp_id: party.id().to_owned(),
            timeout: millis(app.settings.factors.challenge_lifetime),
            user_verification: REQUIRED,
            allow_credentials: [],
        };
        Self { public_key }
    }
}

/// For `navigator.credentials.create`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeyCreationOptions, examples(examples::creation_options))]
pub(crate) struct CreationOptions {
    public_key: Creation,
}

/// `PublicKeyCredentialCreationOptions` as JSON (WebAuthn §5.4).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeyCreation)]
struct Creation {
    rp: Party,
    user: Owned,
    /// 32 bytes, base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{43}$")]
    challenge: String,
    pub_key_cred_params: Vec<Parameters>,
    /// Milliseconds.
    timeout: u64,
    /// The passkeys that there are.
    exclude_credentials: Vec<Descriptor>,
    authenticator_selection: Selection,
    /// `none`: which make of authenticator it is does not matter.
    #[schema(pattern = "^none$")]
    attestation: &'static str,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasskeyParty)]
struct Party {
    /// The host of `PUBLIC_URL`.
    id: String,
    /// `SERVICE_NAME`.
    name: String,
}

/// Whose it will be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeyUser)]
struct Owned {
    /// The account's id, 16 bytes, base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    id: String,
    /// The handle.
    name: String,
    display_name: String,
}

/// A passkey that there is.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasskeyDescriptor)]
struct Descriptor {
    /// `public-key`.
    #[serde(rename = "type")]
    #[schema(pattern = "^public-key$")]
    kind: &'static str,
    /// The credential's id, base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]+$")]
    id: String,
}

/// What a key may be made by.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasskeyParameters)]
struct Parameters {
    /// `public-key`.
    #[serde(rename = "type")]
    #[schema(pattern = "^public-key$")]
    kind: &'static str,
    /// COSE's number: -8 for `EdDSA`, -7 for ES256.
    #[schema(minimum = -8, maximum = -7)]
    alg: i32,
}

/// What an authenticator must be able to do.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PasskeySelection)]
struct Selection {
    /// `required`.
    #[schema(pattern = "^required$")]
    resident_key: &'static str,
    /// The same for browsers of level 1.
    require_resident_key: bool,
    /// `required`.
    #[schema(pattern = "^required$")]
    user_verification: &'static str,
}

impl CreationOptions {
    /// Of a passkey for this user, with this challenge.
    pub(crate) fn new(
        app: &App,
        party: &RelyingParty,
        (user, owner): (Uuid, Owner),
        challenge: &Challenge,
    ) -> Self {
        let Owner { username: name, display_name, credentials } = owner;
        let there = credentials.iter();
        let there = there.map(|id| Descriptor { kind: KIND, id: webauthn::encode(id) });
        let display_name = display_name.unwrap_or_else(|| name.clone());
        let selection = Selection {
            resident_key: REQUIRED,
            require_resident_key: true,
            user_verification: REQUIRED,
        };
        let service = app.settings.factors.service_name.clone();
        let public_key = Creation {
            rp: Party { id: party.id().to_owned(), name: service },
            user: Owned { id: webauthn::encode(user.as_bytes()), name, display_name },
            challenge: challenge.text().expose_secret().to_owned(),
            pub_key_cred_params: Algorithm::ALL
                .map(|one| Parameters { kind: KIND, alg: one.id() })
                .into(),
            timeout: millis(app.settings.factors.challenge_lifetime),
            exclude_credentials: there.collect(),
            authenticator_selection: selection,
            attestation: "none",
        };
        Self { public_key }
    }
}

/// As WebAuthn writes times.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
