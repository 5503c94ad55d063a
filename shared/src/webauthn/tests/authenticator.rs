//! An authenticator in software, which writes CBOR by hand and signs with keys of its own: what the
//! code under test reads was not written by it. Used by the tests beside it and by `local/tests/it`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Somebody was there and proved who they are.
pub(crate) const PRESENT_AND_VERIFIED: u8 = 0b101;

/// One passkey, and the browser around it. A test changes what it wants to be wrong.
pub(crate) struct Authenticator {
    /// The page's origin.
    pub(crate) origin: String,
    /// The RP ID.
    pub(crate) party: String,
    /// The credential's id.
    pub(crate) id: Vec<u8>,
    /// Flags of the authenticator data, but for `AT`.
    pub(crate) flags: u8,
    /// The counter of the next signature.
    pub(crate) count: u32,
    key: Key,
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Authenticator {
    /// With a key for ECDSA on P-256.
    pub(crate) fn es256(origin: &str, party: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::with(Key::Es256(key), origin, party)
    }

    /// With a key for Ed25519.
    pub(crate) fn eddsa(origin: &str, party: &str) -> Self {
        Self::with(Key::EdDsa(Ed25519KeyPair::generate().unwrap()), origin, party)
    }

    fn with(key: Key, origin: &str, party: &str) -> Self {
        let mut id = vec![0; 32];
        SystemRandom::new().fill(&mut id).unwrap();
        let (origin, party) = (origin.to_owned(), party.to_owned());
        Self { origin, party, id, flags: PRESENT_AND_VERIFIED, count: 1, key }
    }

    /// The client data of `webauthn.create` or `webauthn.get`, as Chromium writes it.
    pub(crate) fn client_data(&self, kind: &str, challenge: &[u8]) -> Vec<u8> {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let origin = &self.origin;
        format!(
            r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false,"other_keys_can_be_added_here":"do not compare"}}"#
        )
        .into_bytes()
    }

    /// Client data and attestation object of a new passkey.
    pub(crate) fn create(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let cose = self.cose();
        let data = [&self.head(1 << 6)[..], &[0; 16], &length, &self.id, &cose].concat();
        (self.client_data("webauthn.create", challenge), attestation("none", &[0xa0], &data))
    }

    /// Client data, authenticator data and signature of a sign-in.
    pub(crate) fn get(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let client_data = self.client_data("webauthn.get", challenge);
        let data = self.head(0);
        let signature = self.sign(&data, &client_data);
        (client_data, data, signature)
    }

    /// The signature over authenticator data and client data.
    pub(crate) fn sign(&self, data: &[u8], client_data: &[u8]) -> Vec<u8> {
        let message = [data, digest(&SHA256, client_data).as_ref()].concat();
        match &self.key {
            Key::Es256(key) => key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(&message).as_ref().to_vec(),
        }
    }

    /// RP ID's hash, flags, counter.
    fn head(&self, more: u8) -> Vec<u8> {
        let hash = digest(&SHA256, self.party.as_bytes());
        [hash.as_ref(), &[self.flags | more], &self.count.to_be_bytes()].concat()
    }

    /// The public key as COSE.
    fn cose(&self) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21][..], &bytes(x), &[0x22], &bytes(y)].concat()
            }
            Key::EdDsa(key) => {
                [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21][..], &bytes(key.public_key().as_ref())]
                    .concat()
            }
        }
    }
}

/// An attestation object around authenticator data.
pub(crate) fn attestation(format: &str, statement: &[u8], data: &[u8]) -> Vec<u8> {
    let (fmt, name, stmt, auth) = (text("fmt"), text(format), text("attStmt"), text("authData"));
    [&[0xa3], &fmt[..], &name, &stmt, statement, &auth, &bytes(data)].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0x60 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    match u8::try_from(length) {
        Ok(length @ 0..24) => [&[0x40 | length], bytes].concat(),
        Ok(length) => [&[0x58, length], bytes].concat(),
        Err(_) => [&[0x59], &length.to_be_bytes()[..], bytes].concat(),
    }
}
