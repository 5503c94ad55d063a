//! Access tokens: JWT signed with Ed25519 (RFC 9068 `at+jwt`, RFC 8037 EdDSA).
//!
//! A token says who signed in and which session stands behind it; whether that session still holds
//! is asked of the database. Roles in it are for outside verifiers, our own routes ask the database.

mod verifier;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

pub use verifier::{TokenError, Verifier};

use crate::role::Role;
use crate::secrets::{Signing, WrongKeys};
use crate::settings::Tokens;

/// Header `typ` (RFC 9068 §2.1): no other kind of token is taken for an access token.
const TYPE: &str = "at+jwt";

/// What a token says. Every claim is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer, setting `TOKEN_ISSUER`.
    pub iss: String,
    /// Audience, setting `TOKEN_AUDIENCE`.
    pub aud: String,
    /// The user's id.
    pub sub: Uuid,
    /// The session's id.
    pub sid: Uuid,
    /// The token's id.
    pub jti: Uuid,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
    /// When the user last proved who they are, seconds since 1970.
    pub auth_time: i64,
    /// The user's roles when the token was issued.
    pub roles: Vec<Role>,
    /// The session's refresh counter when the token was issued.
    pub ctr: u64,
}

/// Whom a token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The user.
    pub user: Uuid,
    /// The session.
    pub session: Uuid,
    /// When the user last proved who they are.
    pub authenticated_at: OffsetDateTime,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The session's refresh counter.
    pub counter: u64,
}

/// Makes tokens with the current signing key.
#[derive(Clone)]
pub struct Issuer {
    kid: String,
    key: EncodingKey,
    tokens: Tokens,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Issuer {
    /// An issuer that signs with the set's current key.
    ///
    /// # Errors
    /// [`WrongKeys`] when that key is not an Ed25519 key.
    pub fn new(keys: &Signing, tokens: Tokens) -> Result<Self, WrongKeys> {
        let kid = thumbprint(&keys.current.public_key()?);
        let key = EncodingKey::from_ed_der(keys.current.private_key.bytes());
        Ok(Self { kid, key, tokens })
    }

    /// Seconds a new token is valid.
    pub fn lifetime(&self) -> u64 {
        self.tokens.access_lifetime.as_secs()
    }

    /// A signed token for a subject.
    ///
    /// # Errors
    /// When the key cannot sign, which [`Issuer::new`] rules out.
    pub fn issue(&self, subject: Subject, now: OffsetDateTime) -> Result<SecretString, WrongKeys> {
        let iat = now.unix_timestamp();
        let claims = Claims {
            iss: self.tokens.issuer.clone(),
            aud: self.tokens.audience.clone(),
            sub: subject.user,
            sid: subject.session,
            jti: Uuid::new_v4(),
            iat,
            exp: iat.saturating_add_unsigned(self.lifetime()),
            auth_time: subject.authenticated_at.unix_timestamp(),
            roles: subject.roles,
            ctr: subject.counter,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.key);
        token.map(SecretString::from).map_err(|error| WrongKeys::new(error.to_string()))
    }
}

/// The key id: RFC 7638 thumbprint of an Ed25519 public key (RFC 8037 §2), base64url of SHA-256.
pub fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    // The members an OKP key requires, in lexical order, without white space (RFC 7638 §3.2).
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// The public key as a JWK (RFC 8037 §2), as the JWKS shows it.
pub fn public_jwk(public_key: &[u8]) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": URL_SAFE_NO_PAD.encode(public_key),
        "use": "sig",
        "alg": "EdDSA",
        "kid": thumbprint(public_key),
    })
}

#[cfg(test)]
mod tests;
