//! Passkeys: what a relying party checks of WebAuthn (Level 3, §7.1 and §7.2), without an attestation.
//!
//! ES256 and EdDSA, user verification always: a passkey is something one has and, by its PIN or a
//! fingerprint, something one knows or is. No maintained crate does this on aws-lc-rs: each brings
//! OpenSSL or a second provider.

mod authenticator_data;
mod client_data;
mod cose;
mod json;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::{Host, Url};

use authenticator_data::AuthenticatorData;
pub use authenticator_data::CREDENTIAL_ID_MAX_BYTES;
use client_data::ClientData;
pub use cose::{Algorithm, PublicKey};

use crate::challenge::Challenge;
use crate::settings::Origin;

/// The longest attestation object that is read, in bytes. With format `none` one has under 1,300.
pub const ATTESTATION_MAX_BYTES: usize = 2_048;
/// The longest client data that is read, in bytes; browsers send under 300.
pub const CLIENT_DATA_MAX_BYTES: usize = 2_048;
/// The longest authenticator data that is read with an assertion, in bytes: 37 and extensions.
pub const AUTHENTICATOR_DATA_MAX_BYTES: usize = 1_024;
/// The longest signature that is read, in bytes: ECDSA P-256 in DER has 72 at most, Ed25519 64.
pub const SIGNATURE_MAX_BYTES: usize = 80;

/// Whom passkeys are made for: the host of `PUBLIC_URL`, used from its origin alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origin: Origin,
}

impl RelyingParty {
    /// Of the address that users see; `None` where browsers allow no passkeys, at a host that is an IP
    /// address.
    pub fn of(public_url: &Url) -> Option<Self> {
        match public_url.host()? {
            Host::Domain(id) => Some(Self { id: id.to_owned(), origin: Origin::of(public_url) }),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// The RP ID, such as `app.example.com`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Why a passkey was refused: for the log, never for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The client data is too long or not its JSON.
    ClientData,
    /// It is of the other ceremony.
    Type,
    /// It was made on a page of another origin, or in a frame of one.
    Origin,
    /// Authenticator data, attestation or key are too long or not of their form.
    Malformed,
    /// It was made for another relying party.
    RelyingParty,
    /// Nobody touched the authenticator.
    UserPresence,
    /// Nobody proved to it who they are.
    UserVerification,
    /// Its flags contradict each other or what was kept.
    Flags,
    /// It says that it is another user's.
    User,
    /// It signs with something else than was asked for, or its key is none.
    Key,
    /// The attestation has another format than `none`.
    Attestation,
    /// The signature is not of this key.
    Signature,
    /// Its counter did not grow: somebody may have copied it.
    Counter,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientData => "client data",
            Self::Type => "type",
            Self::Origin => "origin",
            Self::Malformed => "malformed",
            Self::RelyingParty => "relying party",
            Self::UserPresence => "user presence",
            Self::UserVerification => "user verification",
            Self::Flags => "flags",
            Self::User => "user",
            Self::Key => "key",
            Self::Attestation => "attestation",
            Self::Signature => "signature",
            Self::Counter => "counter",
        })
    }
}

/// What a browser sends of a new passkey.
#[derive(Debug)]
pub struct Registration {
    /// `response.clientDataJSON`, decoded.
    pub client_data: Vec<u8>,
    /// `response.attestationObject`, decoded.
    pub attestation: Vec<u8>,
}

/// What a browser sends to sign in.
#[derive(Debug)]
pub struct Assertion {
    /// `rawId`, decoded.
    pub credential_id: Vec<u8>,
    /// `response.clientDataJSON`, decoded.
    pub client_data: Vec<u8>,
    /// `response.authenticatorData`, decoded.
    pub authenticator_data: Vec<u8>,
    /// `response.signature`, decoded.
    pub signature: Vec<u8>,
    /// `response.userHandle`, decoded: a discoverable passkey says whose it is.
    pub user: Vec<u8>,
}

/// A passkey, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id, which the authenticator chose.
    pub id: Vec<u8>,
    /// What verifies its signatures.
    pub key: PublicKey,
    /// The authenticator's counter.
    pub sign_count: u32,
    /// Whether it may be copied to other devices.
    pub backup_eligible: bool,
}

/// Client data that was checked but for its challenge, which only the database knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The challenge it answers.
    pub challenge: Challenge,
    hash: [u8; digest::SHA256_OUTPUT_LEN],
}

impl Registration {
    /// Which challenge this answers, its type and origin checked (§7.1, steps 5 to 11).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn answered(&self, party: &RelyingParty) -> Result<Answered, Refused> {
        answered(&self.client_data, "webauthn.create", party)
    }

    /// The passkey, once the challenge was found to be ours (steps 12 to 24).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, party: &RelyingParty) -> Result<Credential, Refused> {
        if self.attestation.len() > ATTESTATION_MAX_BYTES {
            return Err(Refused::Malformed);
        }
        let data = authenticator_data::of_attestation(&self.attestation)?;
        let data = AuthenticatorData::parse(data)?;
        data.check(party)?;
        let attested = data.attested.ok_or(Refused::Malformed)?;
        Ok(Credential {
            id: attested.credential_id.to_vec(),
            key: PublicKey::parse(attested.key)?,
            sign_count: data.sign_count,
            backup_eligible: data.backup_eligible,
        })
    }
}

impl Assertion {
    /// As [`Registration::answered`], for signing in (§7.2, steps 9 to 14).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn answered(&self, party: &RelyingParty) -> Result<Answered, Refused> {
        answered(&self.client_data, "webauthn.get", party)
    }

    /// The authenticator's new counter, once the challenge was found to be ours (steps 6 and 15 to 22);
    /// `user` is the handle that the passkey was made with.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(
        &self,
        answered: &Answered,
        (credential, user): (&Credential, &[u8]),
        party: &RelyingParty,
    ) -> Result<u32, Refused> {
        if self.credential_id != credential.id || self.user != user {
            return Err(Refused::User);
        }
        let signed = &self.authenticator_data;
        if signed.len() > AUTHENTICATOR_DATA_MAX_BYTES || self.signature.len() > SIGNATURE_MAX_BYTES
        {
            return Err(Refused::Malformed);
        }
        let data = AuthenticatorData::parse(signed)?;
        data.check(party)?;
        if data.attested.is_some() {
            return Err(Refused::Malformed);
        }
        if data.backup_eligible != credential.backup_eligible {
            return Err(Refused::Flags);
        }
        credential.key.verify(&[signed.as_slice(), &answered.hash].concat(), &self.signature)?;
        // Two zeros: an authenticator without a counter, as those that copy their keys are.
        let (old, new) = (credential.sign_count, data.sign_count);
        if new > old || (old, new) == (0, 0) { Ok(new) } else { Err(Refused::Counter) }
    }
}

fn answered(client_data: &[u8], kind: &str, party: &RelyingParty) -> Result<Answered, Refused> {
    if client_data.len() > CLIENT_DATA_MAX_BYTES {
        return Err(Refused::ClientData);
    }
    let data = ClientData::parse(client_data)?;
    data.check(kind, party.origin.as_str())?;
    let challenge = data.challenge()?;
    Ok(Answered { challenge, hash: sha256(client_data) })
}

/// Bytes as options and credentials carry them: base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}
