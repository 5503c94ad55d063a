//! Credentials as browsers write them: `PublicKeyCredential.toJSON()` (WebAuthn §5.1, §5.4.8). Members
//! that are not looked at are passed over.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Assertion, Registration};
use crate::extract::Invalid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential<R> {
    raw_id: Bytes,
    response: R,
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    #[serde(rename = "attestationObject")]
    attestation: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Got {
    #[serde(rename = "clientDataJSON")]
    client_data: Bytes,
    authenticator_data: Bytes,
    signature: Bytes,
    user_handle: Bytes,
}

/// base64url without padding.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

fn read<R: for<'de> Deserialize<'de>>(map: Map<String, Value>) -> Result<Credential<R>, Invalid> {
    let wrong = "Send what the credential's toJSON() gives.";
    serde_json::from_value(Value::Object(map)).map_err(|_| Invalid::new("wrong_format", wrong))
}

impl Registration {
    /// Reads a new passkey.
    ///
    /// # Errors
    /// [`Invalid`] with code `wrong_format`.
    pub fn from_json(map: Map<String, Value>) -> Result<Self, Invalid> {
        let Credential { raw_id: _, response } = read::<Created>(map)?;
        Ok(Self { client_data: response.client_data.0, attestation: response.attestation.0 })
    }
}

impl Assertion {
    /// Reads a sign-in.
    ///
    /// # Errors
    /// [`Invalid`] with code `wrong_format`.
    pub fn from_json(map: Map<String, Value>) -> Result<Self, Invalid> {
        let Credential { raw_id, response } = read::<Got>(map)?;
        Ok(Self {
            credential_id: raw_id.0,
            client_data: response.client_data.0,
            authenticator_data: response.authenticator_data.0,
            signature: response.signature.0,
            user: response.user_handle.0,
        })
    }
}
