//! Public keys as COSE has them (RFC 9053 §7.1 and §7.2), of the two kinds that are asked for.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};
use minicbor::Decoder;
use minicbor::decode::Error;

use super::Refused;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Those that are asked for, the preferred one first.
    pub const ALL: [Self; 2] = [Self::EdDsa, Self::Es256];

    /// COSE's number.
    pub fn id(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
        }
    }

    /// The algorithm of this number.
    pub fn of(id: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == id)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_ASN1,
            Self::EdDsa => &ED25519,
        }
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Which algorithm it is for.
    pub algorithm: Algorithm,
    /// 65 bytes of an uncompressed point (SEC 1 §2.3.3), or Ed25519's 32.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// Reads a COSE key: exactly the parameters its kind needs, in CTAP 2's canonical order.
    pub(super) fn parse(cose: &[u8]) -> Result<Self, Refused> {
        let mut decoder = Decoder::new(cose);
        let key = read(&mut decoder).map_err(|_| Refused::Malformed)?.ok_or(Refused::Key)?;
        if decoder.position() != cose.len() {
            return Err(Refused::Malformed);
        }
        match key.algorithm {
            // Says whether the point is on the curve.
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.bytes),
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, &key.bytes),
        }
        .map_err(|_| Refused::Key)?;
        Ok(key)
    }

    /// Whether the signature over the message is this key's.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let key = UnparsedPublicKey::new(self.algorithm.verification(), &self.bytes);
        key.verify(message, signature).map_err(|_| Refused::Signature)
    }
}

/// `{1: kty, 3: alg, -1: crv, -2: x, -3: y}`; `None` for a kind that was not asked for.
fn read(decoder: &mut Decoder<'_>) -> Result<Option<PublicKey>, Error> {
    let length = decoder.map()?;
    let kind = numbered(decoder, 1)?;
    let algorithm = numbered(decoder, 3)?;
    // Only then: the parameters of other kinds have other forms.
    match (length, kind, algorithm) {
        (Some(5), 2, -7) if numbered(decoder, -1)? == 1 => {
            let (x, y) = (coordinate(decoder, -2)?, coordinate(decoder, -3)?);
            let bytes = [&[4], x, y].concat();
            Ok(Some(PublicKey { algorithm: Algorithm::Es256, bytes }))
        }
        (Some(4), 1, -8) if numbered(decoder, -1)? == 6 => {
            let bytes = coordinate(decoder, -2)?.to_vec();
            Ok(Some(PublicKey { algorithm: Algorithm::EdDsa, bytes }))
        }
        _ => Ok(None),
    }
}

fn numbered(decoder: &mut Decoder<'_>, label: i8) -> Result<i32, Error> {
    labelled(decoder, label)?;
    decoder.i32()
}

fn coordinate<'a>(decoder: &mut Decoder<'a>, label: i8) -> Result<&'a [u8], Error> {
    labelled(decoder, label)?;
    let bytes = decoder.bytes()?;
    if bytes.len() == 32 { Ok(bytes) } else { Err(Error::message("a coordinate has 32 bytes")) }
}

fn labelled(decoder: &mut Decoder<'_>, label: i8) -> Result<(), Error> {
    if decoder.i8()? == label { Ok(()) } else { Err(Error::message("another parameter")) }
}
