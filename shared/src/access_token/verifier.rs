//! Checking access tokens against the public keys in the database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use quick_cache::sync::Cache as Bounded;
use serde::Deserialize;
use time::OffsetDateTime;

use super::{Claims, TYPE};
use crate::db::{self, Database, signing_keys::PublicKey};
use crate::settings::Tokens;

/// Longest token looked at, in bytes. No setting: ours are under 600, whatever is set.
const MAX_BYTES: usize = 8 * 1024;
/// Longest lifetime believed, in seconds; a later `exp` is not one of ours. No setting: it follows from
/// the longest `ACCESS_TOKEN_LIFETIME` there can be.
const MAX_LIFETIME: i64 = 31 * 24 * 3_600;

/// Tokens whose signature is remembered: those of the clients that call now. No setting: a token beyond
/// it is checked anew.
const REMEMBERED: usize = 10_000;

/// Why a token is refused. Clients only hear `token_invalid`.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: form, header, signature or a claim.
    #[error("{0}")]
    Invalid(&'static str),
    /// Was good until `exp`.
    #[error("expired")]
    Expired,
    /// The keys cannot be read; another try may succeed.
    #[error("the keys cannot be read")]
    Unavailable,
}

/// The header, all of it: any further member (`crit`, `jku`, `jwk`, `x5u`) is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// The payload: our claims, and one that is optional for others and never set by us.
#[derive(Deserialize)]
struct Payload {
    #[serde(flatten)]
    claims: Claims,
    #[serde(default)]
    nbf: Option<i64>,
}

/// Checks tokens; shared by all requests of a process.
#[derive(Clone)]
pub struct Verifier {
    db: Database,
    tokens: Arc<Tokens>,
    keys: Arc<RwLock<Cache>>,
    /// What tokens say whose signature was right, and the id of the key that made it. They are known by
    /// their digest: nobody who reads this memory has a token.
    signed: Arc<Bounded<[u8; SHA256_OUTPUT_LEN], Arc<Signed>>>,
    /// Held while keys are read, so that one reading serves all who wait.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// A token whose signature was right.
struct Signed {
    kid: String,
    payload: Payload,
}

#[derive(Default)]
struct Cache {
    by_kid: HashMap<String, (DecodingKey, Option<OffsetDateTime>)>,
    /// When they were last read or tried to be, and whether that worked.
    tried: Option<(Instant, bool)>,
}

/// What the cache says of a key id.
struct Cached<T> {
    /// What is wanted of the key, if it is known and holds.
    key: Option<T>,
    /// Whether it is time to read the keys again.
    due: bool,
    /// Whether the last reading failed.
    failed: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that reads its keys when the first token comes.
    pub fn new(db: Database, tokens: Tokens) -> Self {
        Self {
            db,
            tokens: Arc::new(tokens),
            keys: Arc::default(),
            signed: Arc::new(Bounded::new(REMEMBERED)),
            reading: Arc::default(),
        }
    }

    /// What the token says, if it is one of ours and holds now. The session is not asked.
    ///
    /// # Errors
    /// [`TokenError`]; only `Unavailable` is worth another try.
    pub async fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Claims, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Invalid("size"));
        }
        let mut id = [0; SHA256_OUTPUT_LEN];
        id.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let known = self.signed.get(&id);
        if let Some(signed) = &known {
            // Else its key is gone, and what that has signed holds no more.
            self.look_up(&signed.kid, now, |_| ()).await?;
        }
        let signed = match &known {
            Some(signed) => Arc::clone(signed),
            None => Arc::new(self.check_signature(token, now).await?),
        };
        let Payload { claims, nbf } = &signed.payload;
        self.check_claims(claims, *nbf, now.unix_timestamp())?;
        if known.is_none() {
            self.signed.insert(id, Arc::clone(&signed));
        }
        Ok(claims.clone())
    }

    async fn check_signature(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<Signed, TokenError> {
        let kid = check_header(token)?;
        let key = self.look_up(&kid, now, DecodingKey::clone).await?;
        let mut signature_only = Validation::new(Algorithm::EdDSA);
        // Claims are checked at each use, each one required: the crate takes absent ones for right.
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        signature_only.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Payload>(token, &key, &signature_only);
        let decoded = decoded.map_err(|_| TokenError::Invalid("signature or claims"))?;
        Ok(Signed { kid, payload: decoded.claims })
    }

    fn check_claims(&self, claims: &Claims, nbf: Option<i64>, now: i64) -> Result<(), TokenError> {
        let wrong = |claim| Err(TokenError::Invalid(claim));
        let lifetime = claims.exp.saturating_sub(claims.iat);
        let leeway = self.tokens.leeway.as_secs();
        if claims.iss != self.tokens.issuer {
            return wrong("iss");
        }
        if claims.aud != self.tokens.audience {
            return wrong("aud");
        }
        if claims.iat > now.saturating_add_unsigned(leeway) {
            return wrong("iat");
        }
        if nbf.is_some_and(|nbf| nbf > now.saturating_add_unsigned(leeway)) {
            return wrong("nbf");
        }
        if !(1..=MAX_LIFETIME).contains(&lifetime) {
            return wrong("exp");
        }
        let end = claims.exp.saturating_add_unsigned(leeway);
        if end < now { Err(TokenError::Expired) } else { Ok(()) }
    }

    /// What is wanted of the key of this id, which is read again when it is unknown or the copy is old.
    async fn look_up<T: Send>(
        &self,
        kid: &str,
        now: OffsetDateTime,
        wanted: fn(&DecodingKey) -> T,
    ) -> Result<T, TokenError> {
        let mut cached = self.cached(kid, now, wanted);
        if cached.due {
            // A key that is known does not wait while somebody else reads.
            let reading = match &cached.key {
                Some(_) => self.reading.try_lock().ok(),
                None => Some(self.reading.lock().await),
            };
            // Those who waited find what the first one read, or that it just failed.
            if reading.is_some() && self.cached(kid, now, |_| ()).due {
                self.read().await;
            }
            cached = self.cached(kid, now, wanted);
        }
        match cached {
            Cached { key: Some(key), .. } => Ok(key),
            Cached { failed: true, .. } => Err(TokenError::Unavailable),
            Cached { .. } => Err(TokenError::Invalid("kid")),
        }
    }

    fn cached<T>(
        &self,
        kid: &str,
        now: OffsetDateTime,
        wanted: fn(&DecodingKey) -> T,
    ) -> Cached<T> {
        let cache = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let held = |retire_at: &Option<OffsetDateTime>| retire_at.is_none_or(|at| now < at);
        let key = cache.by_kid.get(kid).filter(|(_, retire_at)| held(retire_at));
        let pause = match (cache.tried, key) {
            (None, _) => Duration::ZERO,
            (Some((_, false)), _) => self.tokens.keys_retry_pause,
            (Some((_, true)), None) => self.tokens.keys_reload_pause,
            (Some((_, true)), Some(_)) => self.tokens.keys_max_age,
        };
        Cached {
            due: cache.tried.is_none_or(|(at, _)| at.elapsed() > pause),
            failed: cache.tried.is_some_and(|(_, read)| !read),
            key: key.map(|(key, _)| wanted(key)),
        }
    }

    async fn read(&self) {
        match self.db.run(db::signing_keys::list(self.db.pool())).await {
            Ok(keys) => self.store(&keys),
            Err(error) => {
                // While the database is away, the keys we know still verify.
                tracing::warn!(%error, "signing keys could not be read");
                let mut cache = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                cache.tried = Some((Instant::now(), false));
            }
        }
    }

    fn store(&self, keys: &[PublicKey]) {
        let by_kid = keys.iter().filter_map(|key| {
            let decoding = DecodingKey::from_ed_components(key.public_jwk.get("x")?.as_str()?);
            Some((key.kid.clone(), (decoding.ok()?, key.retire_at)))
        });
        let mut cache = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *cache = Cache { by_kid: by_kid.collect(), tried: Some((Instant::now(), true)) };
    }
}

/// The key id, if the header is exactly one of ours.
fn check_header(token: &str) -> Result<String, TokenError> {
    let part = token.split('.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Invalid("form"))?;
    let header: Header =
        serde_json::from_slice(&json).map_err(|_| TokenError::Invalid("header"))?;
    // Exact text: `eddsa` or `none` is another algorithm.
    if header.alg != "EdDSA" {
        return Err(TokenError::Invalid("alg"));
    }
    if header.typ != TYPE {
        return Err(TokenError::Invalid("typ"));
    }
    Ok(header.kid)
}

#[cfg(test)]
impl Verifier {
    /// A verifier that knows these keys and never asks a database.
    pub(super) fn with_keys(tokens: Tokens, keys: &[PublicKey]) -> Self {
        let verifier = Self::new(Database::never(), tokens);
        verifier.store(keys);
        verifier
    }
}
