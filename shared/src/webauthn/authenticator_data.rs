//! What the authenticator says (WebAuthn §6.1), and the attestation object around it (§6.5.4).
//!
//! RP ID's hash 32 B ‖ flags 1 B ‖ counter 4 B big-endian ‖ [AAGUID 16 B ‖ length of the credential's
//! id 2 B big-endian ‖ id ‖ its key as COSE] ‖ [extensions as CBOR]. Nothing may follow.

use minicbor::Decoder;

use super::{Refused, RelyingParty, sha256};

/// The longest id of a credential, in bytes (§7.1, step 25).
pub const CREDENTIAL_ID_MAX_BYTES: usize = 1_023;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

/// Its parts.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    party: &'a [u8; 32],
    flags: u8,
    /// The counter of signatures; 0 where there is none.
    pub(super) sign_count: u32,
    /// Whether the passkey may be copied.
    pub(super) backup_eligible: bool,
    /// The new credential, in a registration.
    pub(super) attested: Option<Attested<'a>>,
}

/// A new credential.
#[derive(Debug)]
pub(super) struct Attested<'a> {
    /// Its id.
    pub(super) credential_id: &'a [u8],
    /// Its key, as COSE.
    pub(super) key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let (party, rest) = take::<32>(bytes)?;
        let ([flags], rest) = take::<1>(rest)?;
        let (sign_count, mut rest) = take::<4>(rest)?;
        let attested = if flags & ATTESTED == 0 {
            None
        } else {
            let (attested, after) = Attested::parse(rest)?;
            rest = after;
            Some(attested)
        };
        if flags & EXTENSIONS != 0 {
            // None was asked for; one that is there all the same says nothing to us.
            rest = rest.get(item(rest)?..).ok_or(Refused::Malformed)?;
        }
        if !rest.is_empty() {
            return Err(Refused::Malformed);
        }
        Ok(Self {
            party,
            flags: *flags,
            sign_count: u32::from_be_bytes(*sign_count),
            backup_eligible: flags & BACKUP_ELIGIBLE != 0,
            attested,
        })
    }

    /// Whether it was made for this relying party, by a user who was there and proved who they are.
    pub(super) fn check(&self, party: &RelyingParty) -> Result<(), Refused> {
        if *self.party != sha256(party.id().as_bytes()) {
            return Err(Refused::RelyingParty);
        }
        if self.flags & USER_PRESENT == 0 {
            return Err(Refused::UserPresence);
        }
        if self.flags & USER_VERIFIED == 0 {
            return Err(Refused::UserVerification);
        }
        if self.flags & BACKED_UP != 0 && !self.backup_eligible {
            return Err(Refused::Flags);
        }
        Ok(())
    }
}

impl<'a> Attested<'a> {
    /// Reads it, and returns what follows.
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Refused> {
        // The model's id: with attestation `none` it says nothing that could be believed.
        let (_, rest) = take::<16>(bytes)?;
        let (length, rest) = take::<2>(rest)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > CREDENTIAL_ID_MAX_BYTES || length > rest.len() {
            return Err(Refused::Malformed);
        }
        let (credential_id, rest) = rest.split_at(length);
        let (key, rest) = rest.split_at(item(rest)?);
        Ok((Self { credential_id, key }, rest))
    }
}

/// The first `N` bytes, and the rest.
fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Refused> {
    bytes.split_first_chunk().ok_or(Refused::Malformed)
}

/// The length of the first item of CBOR.
fn item(bytes: &[u8]) -> Result<usize, Refused> {
    let mut decoder = Decoder::new(bytes);
    decoder.skip().map_err(|_| Refused::Malformed)?;
    Ok(decoder.position())
}

/// The authenticator data in an attestation object: `{"fmt": "none", "attStmt": {}, "authData": …}`, in
/// this order, as CTAP 2's canonical form has it.
pub(super) fn of_attestation(object: &[u8]) -> Result<&[u8], Refused> {
    let mut decoder = Decoder::new(object);
    let data = read_attestation(&mut decoder);
    let data = data.map_err(|_| Refused::Malformed)?;
    let data = data.ok_or(Refused::Attestation)?;
    if decoder.position() == object.len() { Ok(data) } else { Err(Refused::Malformed) }
}

/// `None` for another format than `none`, or one with a statement.
fn read_attestation<'a>(
    decoder: &mut Decoder<'a>,
) -> Result<Option<&'a [u8]>, minicbor::decode::Error> {
    let wrong = || minicbor::decode::Error::message("not an attestation object");
    let member = |decoder: &mut Decoder<'a>, name: &str| {
        if decoder.str()? == name { Ok(()) } else { Err(wrong()) }
    };
    if decoder.map()? != Some(3) {
        return Err(wrong());
    }
    member(decoder, "fmt")?;
    let format = decoder.str()?;
    member(decoder, "attStmt")?;
    if format != "none" || decoder.map()? != Some(0) {
        return Ok(None);
    }
    member(decoder, "authData")?;
    decoder.bytes().map(Some)
}
