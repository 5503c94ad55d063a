//! What the browser says of a ceremony (WebAuthn §5.8.1), signed with it by its hash.

use std::borrow::Cow;

use serde::Deserialize;

use super::Refused;
use crate::challenge::Challenge;

/// The members that are looked at; a browser may add others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientData<'a> {
    /// `webauthn.create` or `webauthn.get`.
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    /// base64url of the challenge.
    #[serde(borrow)]
    challenge: Cow<'a, str>,
    /// The page's origin.
    #[serde(borrow)]
    origin: Cow<'a, str>,
    /// Whether the page was in a frame of another origin.
    #[serde(default)]
    cross_origin: bool,
}

impl<'a> ClientData<'a> {
    /// Reads it.
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, Refused> {
        serde_json::from_slice(json).map_err(|_| Refused::ClientData)
    }

    /// Whether it is of this type, from a page of this origin.
    pub(super) fn check(&self, kind: &str, origin: &str) -> Result<(), Refused> {
        if self.r#type != kind {
            return Err(Refused::Type);
        }
        if self.origin != origin || self.cross_origin {
            return Err(Refused::Origin);
        }
        Ok(())
    }

    /// The challenge it answers.
    pub(super) fn challenge(&self) -> Result<Challenge, Refused> {
        Challenge::parse(self.challenge.clone().into_owned()).map_err(|_| Refused::ClientData)
    }
}
