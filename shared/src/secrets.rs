//! The three secrets: keys that sign, the pepper, keys of links. Each is read only by who needs it.
//!
//! On AWS each is a secret in Secrets Manager, named by its ARN; elsewhere all three are one file.
//! There is no default: a process without its keys does not start.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[cfg(feature = "aws")]
pub mod aws;
mod file;
pub mod rotation;

/// Bytes of a symmetric key.
const KEY_BYTES: usize = 32;

/// Key bytes: base64url without padding in JSON, never shown by Debug, overwritten when dropped. The
/// default holds none: a key that is missing, which no set may have.
#[derive(Clone, Default)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_missing(&self) -> bool {
        self.0.is_empty()
    }

    /// 256 random bits from the operating system.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, WrongKeys> {
        let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes());
        // serde's own message would repeat the text, which is the key.
        let bytes = bytes.map_err(|_| serde::de::Error::custom("a key is not base64url"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Why a set of keys cannot be used. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongKeys(String);

impl WrongKeys {
    /// A reason, in a sentence.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A secret that can be read from its JSON text.
pub trait Secret: for<'de> Deserialize<'de> {
    /// What the secret is called in error messages and in the keys file.
    const NAME: &'static str;

    /// Checks what serde cannot.
    ///
    /// # Errors
    /// [`WrongKeys`] that says what does not fit.
    fn check(&self) -> Result<(), WrongKeys>;

    /// Reads the secret from its JSON text.
    ///
    /// # Errors
    /// [`WrongKeys`] when the text is not this secret, or its keys do not hold.
    fn parse(text: &str) -> Result<Self, WrongKeys> {
        let secret = Self::parse_unchecked(text)?;
        secret.check()?;
        Ok(secret)
    }

    /// As [`Secret::parse`], without the check.
    ///
    /// # Errors
    /// [`WrongKeys`] when the text is not this secret.
    fn parse_unchecked(text: &str) -> Result<Self, WrongKeys> {
        // Only line and column are told: serde's message may quote the text.
        serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            WrongKeys(format!("not a {} secret: see line {line}, column {column}", Self::NAME))
        })
    }
}

/// The keys that sign: access tokens (Ed25519) and refresh tokens (HMAC). Read by login and session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// Signs access tokens.
    pub current: SigningKey,
    /// Signs after the next rotation; its public half is already published.
    pub next: SigningKey,
    /// Keys of refresh tokens by id (1 to 32 bytes); [`Signing::refresh_key`] makes new ones.
    pub refresh: BTreeMap<String, RefreshKey>,
}

/// An Ed25519 key pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// PKCS #8 v2 DER (RFC 8410).
    pub private_key: Key,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A key of refresh tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshKey {
    /// 256 bits.
    pub key: Key,
    /// When it was made; kept [`rotation::REFRESH_KEPT`] after a newer one.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The pepper: read by what checks or sets passwords. Append-only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pepper {
    /// Id of the key for new hashes.
    pub current: String,
    /// Keys by id, none ever removed.
    pub keys: BTreeMap<String, Key>,
    /// Key of the MACs under which failed sign-ins are counted. It never changes: with another one,
    /// every lock would end and no network be known.
    pub identifiers: Key,
    /// Key of what second factors keep: seals the secrets of authenticator apps, makes the MACs of
    /// recovery codes. It never changes: with another one, no code would be right any more.
    #[serde(default)]
    pub factors: Key,
}

/// The key of links in mails: read by recovery and courier.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// 256 bits.
    pub key: Key,
}

/// All three, as one file holds them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The keys that sign.
    pub signing: Signing,
    /// The pepper.
    pub pepper: Pepper,
    /// The key of links.
    pub links: Links,
}

impl SigningKey {
    fn generate(now: OffsetDateTime) -> Result<Self, WrongKeys> {
        let failed = |_| WrongKeys::new("no Ed25519 key could be made");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V2Der<'_>>::as_der(&pair).map_err(failed)?;
        Ok(Self { private_key: Key(Zeroizing::new(der.as_ref().to_vec())), created_at: now })
    }

    /// The public half, 32 bytes.
    ///
    /// # Errors
    /// [`WrongKeys`] when the private key is not an Ed25519 key.
    pub fn public_key(&self) -> Result<Vec<u8>, WrongKeys> {
        let pair = Ed25519KeyPair::from_pkcs8(self.private_key.bytes())
            .map_err(|_| WrongKeys::new("a signing key is not an Ed25519 key in PKCS #8 form"))?;
        Ok(pair.public_key().as_ref().to_vec())
    }
}

impl Secret for Signing {
    const NAME: &'static str = "signing";

    fn check(&self) -> Result<(), WrongKeys> {
        let (current, next) = (self.current.public_key()?, self.next.public_key()?);
        if current == next {
            return Err(WrongKeys::new("signing: current and next are the same key"));
        }
        if self.refresh.is_empty() {
            return Err(WrongKeys::new("signing: there is no refresh key"));
        }
        self.refresh.iter().try_for_each(|(id, refresh)| check_key(id, &refresh.key))
    }
}

impl Secret for Pepper {
    const NAME: &'static str = "pepper";

    fn check(&self) -> Result<(), WrongKeys> {
        if !self.keys.contains_key(&self.current) {
            return Err(WrongKeys::new("pepper: the current id is not among the keys"));
        }
        check_key("identifiers", &self.identifiers)?;
        if self.factors.is_missing() {
            return Err(WrongKeys::new(
                "pepper: the key `factors` is missing, as in every set made before second factors; \
                 `cargo dev keys FILE` adds one to a file",
            ));
        }
        check_key("factors", &self.factors)?;
        self.keys.iter().try_for_each(|(id, key)| check_key(id, key))
    }
}

impl Secret for Links {
    const NAME: &'static str = "links";

    fn check(&self) -> Result<(), WrongKeys> {
        check_key("links", &self.key)
    }
}

impl Secret for Keys {
    const NAME: &'static str = "keys";

    fn check(&self) -> Result<(), WrongKeys> {
        self.signing.check()?;
        self.pepper.check()?;
        self.links.check()
    }
}

fn check_key(id: &str, key: &Key) -> Result<(), WrongKeys> {
    if key.bytes().len() < KEY_BYTES {
        return Err(WrongKeys(format!("key {id}: under 256 bits")));
    }
    if id.is_empty() || id.len() > 32 {
        return Err(WrongKeys(format!("key {id}: an id has 1 to 32 bytes")));
    }
    Ok(())
}

impl Keys {
    /// A new set, every key random.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate(now: OffsetDateTime) -> Result<Self, WrongKeys> {
        let refresh = RefreshKey { key: Key::generate()?, created_at: now };
        let signing = Signing {
            current: SigningKey::generate(now)?,
            next: SigningKey::generate(now)?,
            refresh: BTreeMap::from([(new_id("r")?, refresh)]),
        };
        let current = new_id("p")?;
        let keys = BTreeMap::from([(current.clone(), Key::generate()?)]);
        let (identifiers, factors) = (Key::generate()?, Key::generate()?);
        let pepper = Pepper { current, keys, identifiers, factors };
        Ok(Self { signing, pepper, links: Links { key: Key::generate()? } })
    }
}

/// An id that no other set has, such as `p3kX9_w`: with counted ones, the pepper of another database
/// would pass for this one's and refuse every password.
fn new_id(kind: &str) -> Result<String, WrongKeys> {
    let mut bytes = [0; 4];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| WrongKeys::new("the system's random generator failed"))?;
    Ok(format!("{kind}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests;
