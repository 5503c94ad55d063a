//! Each endpoint's router, used unchanged by its Lambda binary and by the local process.

mod attempt;
mod bearer;
mod ceremony;
mod cookie;
pub mod courier;
pub mod discovery;
pub mod keys;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod login;
pub mod openapi;
pub mod profile;
mod reauthenticate;
pub mod recovery;
pub mod register;
pub mod session;
pub mod settings;
mod throttle;
mod tokens;
mod user;
pub mod users;

use std::sync::Arc;

use axum::Router;
use shared::access_token::Verifier;
use shared::clock::Clock;
use shared::db::Database;
use shared::password::Passwords;
use shared::problem::{Code, Problem};
use shared::rate_limit::Refusals;
use shared::second_factor::Vault;
use shared::secrets::{Links, Pepper};
use shared::webauthn::RelyingParty;

use crate::settings::Settings;
pub use crate::tokens::TokenKeys;

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

    /// Whom passkeys are made for.
    ///
    /// # Errors
    /// 404 where there are none: `PUBLIC_URL` is not set, or its host is no name.
    fn relying_party(&self) -> Result<RelyingParty, Problem> {
        let party = self.settings.http.public_url.as_ref().and_then(RelyingParty::of);
        party.ok_or_else(|| {
            Problem::new(Code::NotFound).detail("Passkeys need PUBLIC_URL with a name as its host.")
        })
    }

    /// What hashes and checks passwords, for the endpoints that may read the pepper.
    pub fn passwords(&self, pepper: Pepper) -> Passwords {
        Passwords::new(pepper, self.settings.hashing)
    }
}

/// Every endpoint's routes, as the local process serves them.
pub fn router(
    app: &App,
    passwords: &Passwords,
    vault: &Vault,
    tokens: &TokenKeys,
    links: &Links,
) -> Router {
    Router::new()
        .merge(register::router(app.clone(), passwords.clone()))
        .merge(login::router(app.clone(), passwords.clone(), vault.clone(), tokens.clone()))
        .merge(session::router(app.clone(), tokens.clone()))
        .merge(profile::router(app.clone(), passwords.clone(), vault.clone()))
        .merge(users::router(app.clone(), passwords.clone()))
        .merge(recovery::router(app.clone(), passwords.clone(), links.clone()))
        .merge(discovery::router(app.clone()))
}
