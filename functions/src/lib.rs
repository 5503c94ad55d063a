//! Each endpoint's router, used unchanged by its Lambda binary and by the local process.

mod bearer;
pub mod discovery;
pub mod keys;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod login;
pub mod profile;
pub mod register;
pub mod settings;
mod user;

use std::sync::Arc;

use axum::Router;
use shared::access_token::{Issuer, Verifier};
use shared::clock::Clock;
use shared::db::Database;
use shared::password::Passwords;
use shared::rate_limit::Refusals;
use shared::secrets::{Pepper, Signing, WrongKeys};

use crate::settings::Settings;

/// What every endpoint uses.
#[derive(Debug, Clone)]
pub struct App {
    /// Postgres.
    pub db: Database,
    /// The time of day.
    pub clock: Clock,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Checks access tokens.
    pub verifier: Verifier,
    /// Refusals of this process, so that an attack costs no statements.
    pub refusals: Refusals,
}

impl App {
    /// An app on this database.
    pub fn new(db: Database, clock: Clock, settings: Settings) -> Self {
        let refusals = Refusals::new(settings.refusals_remembered);
        let verifier = Verifier::new(db.clone(), settings.tokens.clone());
        Self { db, clock, settings: Arc::new(settings), verifier, refusals }
    }

    /// What hashes and checks passwords, for the endpoints that may read the pepper.
    pub fn passwords(&self, pepper: Pepper) -> Passwords {
        Passwords::new(pepper, self.settings.hashing)
    }
}

/// What makes tokens, for the endpoints that may read the signing keys.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    issuer: Issuer,
    signing: Arc<Signing>,
}

impl TokenKeys {
    /// With these keys.
    ///
    /// # Errors
    /// [`WrongKeys`] when they do not hold.
    pub fn new(app: &App, signing: Signing) -> Result<Self, WrongKeys> {
        let issuer = Issuer::new(&signing, app.settings.tokens.clone())?;
        Ok(Self { issuer, signing: Arc::new(signing) })
    }
}

/// Every endpoint's routes, as the local process serves them.
pub fn router(app: &App, passwords: &Passwords, tokens: &TokenKeys) -> Router {
    Router::new()
        .merge(register::router(app.clone(), passwords.clone()))
        .merge(login::router(app.clone(), passwords.clone(), tokens.clone()))
        .merge(profile::router(app.clone()))
        .merge(discovery::router(app.clone()))
}
