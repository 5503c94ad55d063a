//! `POST /login`: sign in with a password; its parts, with a second factor or a passkey.
//!
//! Before the hash comes every refusal, after it one statement: an unknown name, a wrong password, an
//! account without one and a disabled account cost the same work and get the same answer.

pub(crate) mod passkey;
pub(crate) mod second_factor;
mod session;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use shared::challenge::Challenge;
use shared::credentials::{Identifier, Password};
use shared::db::sign_in::{self, Account, CurrentPassword, Outcome, RightPassword, Success};
use shared::extract::{Caller, Fields};
use shared::password::{Passwords, Stored, Verdict};
use shared::problem::{Code, Problem, Result};
use shared::second_factor::Vault;
use time::OffsetDateTime;

use crate::App;
use crate::attempt::Attempt;
use crate::cookie::Cookies;
use crate::openapi::bodies;
use crate::tokens::{Delivery, TokenKeys};
use crate::user::User;

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(login))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords, vault: Vault, tokens: TokenKeys) -> Router {
    let state = Login { app, passwords, vault, tokens };
    let password = Router::new().route("/login", post(login)).with_state(state.clone());
    password.merge(second_factor::router(state.clone())).merge(passkey::router(state))
}

#[derive(Debug, Clone)]
struct Login {
    app: App,
    passwords: Passwords,
    vault: Vault,
    tokens: TokenKeys,
}

/// `POST /login {"username", "password"}` → 200
/// `{access_token, token_type, expires_in, refresh_token, user}`; with `"refresh": "cookie"` the refresh
/// token is a cookie instead.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `invalid_credentials`, `account_disabled`, `second_factor_required`,
/// `origin_refused`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/login",
    tag = "login",
    operation_id = "login",
    summary = "Signs in with a password",
    request_body = bodies::Credentials,
    responses((
        status = 200,
        description = "A new session",
        body = crate::tokens::Handed<'_>,
        headers(
            ("Cache-Control", description = "`no-store`"),
            ("Set-Cookie", description = "`keywire_refresh`, when the refresh token is to be a cookie")
        )
    ))
)]
async fn login(
    State(login): State<Login>,
    caller: Caller,
    cookies: Cookies,
    mut fields: Fields,
) -> Result<Response> {
    let identifier = fields.text("username", Identifier::parse);
    let password = fields.text("password", Password::parse);
    let typed = identifier.zip(password);
    let ((identifier, password), delivery) = session::finish(fields, typed, &cookies)?;
    let attempt = Attempt::new(&login.app, &login.passwords, &identifier, &caller);
    let account = attempt.admit().await?;
    let current = account.as_ref().and_then(|account| account.password.as_ref());
    let stored = current.map(|current| &current.stored);
    let verdict = login.passwords.verify(&password, stored).await?;
    match (verdict, &account, current) {
        (Verdict::Right(upgrade), Some(account), Some(current)) if account.active => {
            login.succeed(&attempt, (account, current), upgrade, (&caller, delivery)).await
        }
        (Verdict::Right(_), Some(account), _) => {
            Err(login.refuse_disabled(&attempt, account, &caller).await)
        }
        _ => {
            let user = account.as_ref().map(|account| account.id);
            Err(attempt.fail(user, Code::InvalidCredentials, &caller).await)
        }
    }
}

impl Login {
    async fn refuse_disabled(
        &self,
        attempt: &Attempt<'_>,
        account: &Account,
        caller: &Caller,
    ) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (at, limits) = (attempt.place(), &self.app.settings.sign_in);
        let recorded = sign_in::record_disabled(db.pool(), account.id, at, limits, caller, now);
        attempt.recorded(db.run(recorded).await, Code::AccountDisabled, now)
    }

    async fn succeed(
        &self,
        attempt: &Attempt<'_>,
        (account, verified): (&Account, &CurrentPassword),
        upgrade: Option<Stored>,
        (caller, delivery): (&Caller, Delivery<'_>),
    ) -> Result<Response> {
        let now = self.app.clock.now();
        let upgrade = upgrade.as_ref().map(|new| (&verified.stored, new));
        let password = RightPassword { user: account.id, changed_at: verified.changed_at, upgrade };
        let outcome = if account.second_factor {
            self.ask_second_factor(attempt, password, caller, now).await?
        } else {
            self.sign_in(attempt, (account, password), (caller, delivery), now).await?
        };
        match outcome {
            Ok(response) => Ok(response),
            Err(Outcome::Barred(bar)) => Err(attempt.barred(bar, now)),
            // What was typed no longer signs in an active account.
            Err(_) => Err(attempt.fail(Some(account.id), Code::InvalidCredentials, caller).await),
        }
    }

    /// The tokens, or what stands against them.
    async fn sign_in(
        &self,
        attempt: &Attempt<'_>,
        (account, password): (&Account, RightPassword<'_>),
        (caller, delivery): (&Caller, Delivery<'_>),
        now: OffsetDateTime,
    ) -> Result<std::result::Result<Response, Outcome>> {
        let (db, session) = (&self.app.db, self.new_session(now)?);
        let mac = |identifier: &String| self.passwords.identifier_mac(identifier);
        let subjects: Vec<_> = account.identifiers.iter().map(mac).collect();
        let success = Success {
            password,
            second_factor: None,
            session: session.id,
            salt: session.salt.bytes(),
            idle_until: session.idle_until,
            absolute_until: session.absolute_until,
            at: attempt.place(),
            subjects: &subjects,
        };
        let limits = &self.app.settings.sign_in;
        match db.run(sign_in::succeed(db.pool(), success, limits, caller, now)).await? {
            Outcome::SignedIn => self.answer(User::of(account), &session, delivery).map(Ok),
            other => Ok(Err(other)),
        }
    }

    /// The 403 that asks for a second factor, or what stands against it.
    async fn ask_second_factor(
        &self,
        attempt: &Attempt<'_>,
        password: RightPassword<'_>,
        caller: &Caller,
        now: OffsetDateTime,
    ) -> Result<std::result::Result<Response, Outcome>> {
        let (db, settings) = (&self.app.db, &self.app.settings);
        let challenge = Challenge::generate().map_err(|error| Problem::internal(&error))?;
        let (at, limits) = (attempt.place(), &settings.sign_in);
        let given = (&challenge, now + settings.factors.challenge_lifetime);
        let asked = sign_in::ask_second_factor(db.pool(), password, given, at, limits, caller, now);
        match db.run(asked).await? {
            Outcome::SecondFactorAsked => Err(Problem::second_factor_required(challenge.text())),
            other => Ok(Err(other)),
        }
    }
}
