//! Checking and hashing passwords: bcrypt over a peppered MAC, off the async threads, bounded.
//!
//! Stored: bcrypt of base64(HMAC-SHA-384(pepper, password)), 64 bytes, so that bcrypt's cut at 72
//! bytes never matters (OWASP Password Storage, "Using bcrypt"). Hashes made elsewhere are plain
//! bcrypt of the password as sent, cut at 72 bytes as the old app did; they are replaced at sign-in.

mod bcrypt_work;
mod imported;
mod policy;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub use imported::NotTaken;
pub use policy::{Policy, Rules};
use threads::{Failed, Threads};

use crate::credentials::Password;
use crate::extract::Invalid;
use crate::problem::Problem;
use crate::secrets::Pepper;

/// Plain bcrypt reads no further than this; the rest of a longer password was never checked.
const PLAIN_BYTES: usize = 72;

/// How a stored hash was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// bcrypt of the peppered MAC.
    Peppered,
    /// Plain bcrypt, from another app.
    Bcrypt,
}

impl Scheme {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peppered => "peppered",
            Self::Bcrypt => "bcrypt",
        }
    }

    /// The scheme of this name; the table's CHECK lets no third in.
    pub fn of(name: &str) -> Self {
        if name == "bcrypt" { Self::Bcrypt } else { Self::Peppered }
    }
}

/// A hash as the database keeps it. Debug does not show the hash, which can be guessed against.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// How it was made.
    pub scheme: Scheme,
    /// Which pepper it needs; `None` for plain bcrypt.
    pub pepper_id: Option<String>,
    /// `$2b$12$…`, 60 characters.
    pub hash: String,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, pepper_id, hash: _ } = self;
        f.debug_struct("Stored")
            .field("scheme", scheme)
            .field("pepper_id", pepper_id)
            .finish_non_exhaustive()
    }
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is not this one, or none is set.
    Wrong,
    /// It is; the hash, made anew with today's cost and pepper, when it was not.
    Right(Option<Stored>),
}

/// Hashes and checks passwords; shared by all requests of a process.
#[derive(Debug, Clone)]
pub struct Passwords {
    pepper: Arc<Pepper>,
    cost: u32,
    wait: Duration,
    threads: Arc<Threads>,
    rounds: Arc<AtomicU64>,
}

/// What hashing needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Hashing {
    /// `BCRYPT_COST`.
    pub cost: u32,
    /// `BCRYPT_THREADS`: hashes at once.
    pub threads: usize,
    /// `BCRYPT_WAIT`: longest wait for a free thread.
    pub wait: Duration,
}

impl Passwords {
    /// With this pepper.
    pub fn new(pepper: Pepper, hashing: Hashing) -> Self {
        Self {
            pepper: Arc::new(pepper),
            cost: hashing.cost,
            wait: hashing.wait,
            threads: Arc::new(Threads::new(hashing.threads)),
            rounds: Arc::default(),
        }
    }

    /// Hashes a password for storing.
    ///
    /// # Errors
    /// 503 when no thread was free in time.
    pub async fn hash(&self, password: &Password) -> Result<Stored, Problem> {
        let work = self.new_hash(password);
        self.off_thread(work).await?.map_err(|error| Problem::internal(&error))
    }

    /// Checks a password against what is stored. Costs the same for every wrong answer: without a
    /// hash a dummy is computed, and a hash of a lower cost is topped up to today's.
    ///
    /// # Errors
    /// 503 when no thread was free in time; 500 when the pepper of the hash is gone.
    pub async fn verify(
        &self,
        password: &Password,
        stored: Option<&Stored>,
    ) -> Result<Verdict, Problem> {
        let Some(stored) = stored.cloned() else {
            let (cost, rounds) = (self.cost, Arc::clone(&self.rounds));
            self.off_thread(move || bcrypt_work::dummy(cost, &rounds)).await?;
            return Ok(Verdict::Wrong);
        };
        let input = self.input_for(password, &stored)?;
        let (cost, rounds) = (self.cost, Arc::clone(&self.rounds));
        let rehash = self.is_old(password, &stored).then(|| self.new_hash(password));
        // One wait for a thread, also when the hash is made anew.
        let work = move || {
            if !bcrypt_work::check(&input, &stored.hash, cost, &rounds) {
                return Ok(Verdict::Wrong);
            }
            rehash.map_or(Ok(None), |rehash| rehash().map(Some)).map(Verdict::Right)
        };
        self.off_thread(work).await?.map_err(|error| Problem::internal(&error))
    }

    /// Whether the rules let a new password pass beside these names. Estimating takes milliseconds,
    /// so it waits for a hashing thread.
    ///
    /// # Errors
    /// 503 when no thread was free in time.
    pub async fn check_strength(
        &self,
        rules: Rules,
        password: &Password,
        names: Vec<String>,
    ) -> Result<Result<(), Invalid>, Problem> {
        if rules.policy == Policy::Basic {
            return Ok(Ok(()));
        }
        let password = password.clone();
        self.off_thread(move || policy::check_strength(&password, &names)).await
    }

    /// bcrypt work done so far, 2^cost for each hash: what must be equal for equal answers.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// The MAC of an identifier, under which its failures are counted: what people type by mistake, a
    /// password say, is not kept in readable form.
    pub fn identifier_mac(&self, identifier: &str) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.pepper.identifiers.bytes());
        hmac::sign(&key, identifier.as_bytes()).as_ref().to_vec()
    }

    fn new_hash(
        &self,
        password: &Password,
    ) -> impl FnOnce() -> Result<Stored, bcrypt::BcryptError> + use<> {
        let id = self.pepper.current.clone();
        let input = self.peppered(password, &id).expect("Pepper::check wants the current key");
        let (cost, rounds) = (self.cost, Arc::clone(&self.rounds));
        move || {
            let hash = bcrypt_work::hash(&input, cost, &rounds)?;
            Ok(Stored { scheme: Scheme::Peppered, pepper_id: Some(id), hash })
        }
    }

    fn input_for(
        &self,
        password: &Password,
        stored: &Stored,
    ) -> Result<Zeroizing<Vec<u8>>, Problem> {
        if let (Scheme::Peppered, Some(id)) = (&stored.scheme, &stored.pepper_id) {
            return self.peppered(password, id).ok_or_else(|| {
                Problem::internal(&format!("a password needs pepper {id}, which is not in the set"))
            });
        }
        let sent = password.as_sent();
        Ok(Zeroizing::new(sent[..sent.len().min(PLAIN_BYTES)].to_vec()))
    }

    fn peppered(&self, password: &Password, pepper: &str) -> Option<Zeroizing<Vec<u8>>> {
        let key = hmac::Key::new(hmac::HMAC_SHA384, self.pepper.keys.get(pepper)?.bytes());
        let mac = hmac::sign(&key, password.normalised().as_bytes());
        Some(Zeroizing::new(STANDARD.encode(mac).into_bytes()))
    }

    /// Whether a hash should be made anew, now that the password is known. Of a longer password only
    /// 72 bytes were ever checked: the rest may be a slip, so such a hash stays until it is changed.
    fn is_old(&self, password: &Password, stored: &Stored) -> bool {
        match stored.scheme {
            Scheme::Bcrypt => password.as_sent().len() <= PLAIN_BYTES,
            Scheme::Peppered => {
                stored.pepper_id.as_ref() != Some(&self.pepper.current)
                    || bcrypt_work::cost_of(&stored.hash) != Some(self.cost)
            }
        }
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.threads.run(self.wait, work).await.map_err(|failed| match failed {
            Failed::Busy => {
                tracing::warn!("every hashing thread is busy: BCRYPT_WAIT is over");
                Problem::unavailable()
            }
            Failed::Panicked(error) => Problem::internal(&error),
        })
    }
}

#[cfg(test)]
mod tests;
