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
use shared::db::failures::{self, Bar, Failed, Place};
use shared::db::sign_in::{
    self, Account, Admission, CurrentPassword, Outcome, RightPassword, Success,
};
use shared::extract::{Caller, Fields};
use shared::password::{Passwords, Stored, Verdict};
use shared::problem::{Code, Problem, Result};
use shared::rate_limit::{self, Refusal};
use shared::second_factor::Vault;
use time::OffsetDateTime;

use crate::App;
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

/// What was typed.
struct Typed {
    identifier: Identifier,
    password: Password,
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
    let by_cookie = session::take_delivery(&mut fields);
    let (typed, by_cookie) = fields.finish(identifier.zip(password).zip(by_cookie))?;
    let (identifier, password) = typed;
    let delivery = session::delivery(by_cookie, &cookies)?;
    let typed = Typed { identifier, password };
    let attempt = login.attempt(&typed, &caller);
    let account = login.admit(&attempt).await?;
    let current = account.as_ref().and_then(|account| account.password.as_ref());
    let stored = current.map(|current| &current.stored);
    let verdict = login.passwords.verify(&typed.password, stored).await?;
    match (verdict, &account, current) {
        (Verdict::Right(upgrade), Some(account), Some(current)) if account.active => {
            login.succeed(&attempt, (account, current), upgrade, (&caller, delivery)).await
        }
        (Verdict::Right(_), Some(account), _) => {
            Err(login.refuse_disabled(&attempt, account, &caller).await)
        }
        _ => Err(login.fail(&attempt, account.as_ref(), &caller).await),
    }
}

/// An attempt, as failures and limits count it.
struct Attempt<'a> {
    identifier: &'a Identifier,
    subject: Vec<u8>,
    network: Vec<u8>,
}

impl Attempt<'_> {
    fn place(&self) -> Place<'_> {
        Place { subject: &self.subject, network: &self.network }
    }

    /// What a refusal by lock or stop is remembered under.
    fn lock(&self) -> Vec<u8> {
        [b"lock\0".as_slice(), &self.subject, &self.network].concat()
    }
}

impl Login {
    fn attempt<'a>(&self, typed: &'a Typed, caller: &Caller) -> Attempt<'a> {
        let identifier = &typed.identifier;
        let subject = self.passwords.identifier_mac(identifier.key());
        Attempt { identifier, subject, network: caller.address.network() }
    }

    /// Every refusal that comes before the hash, and the account's row.
    async fn admit(&self, attempt: &Attempt<'_>) -> Result<Option<Account>> {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let settings = &self.app.settings;
        let limits = &settings.sign_in;
        let bucket = [b"login\0".as_slice(), &attempt.network].concat();
        let lock = attempt.lock();
        let known = [&bucket, &lock].into_iter().find_map(|key| self.app.refusals.find(key, now));
        if let Some(until) = known {
            return Err(self.refuse(until, now));
        }
        let (identifier, at) = (attempt.identifier, attempt.place());
        let admission =
            db.run(sign_in::admit(db.pool(), identifier, at, &bucket, limits, now)).await?;
        let (key, until, ask_again) = match admission {
            Admission::Admitted(account) => return Ok(account),
            Admission::BucketEmpty(until) => (bucket, until, until),
            Admission::Barred(bar) => {
                let until = self.until(bar, now);
                (lock, until, until.min(now + settings.lock_remembered))
            }
        };
        tracing::info!("sign-in refused by a limit");
        self.app.refusals.remember(key, Refusal { until, ask_again }, now);
        Err(self.refuse(until, now))
    }

    /// A lock, a stop and an empty bucket answer alike, for known and unknown identifiers.
    fn refuse(&self, until: OffsetDateTime, now: OffsetDateTime) -> Problem {
        rate_limit::refused("login", self.app.settings.sign_in.address, until, now)
    }

    /// When a client is told to come back.
    fn until(&self, bar: Bar, now: OffsetDateTime) -> OffsetDateTime {
        match bar {
            Bar::Locked(until) => until,
            Bar::Stopped => now + self.app.settings.lock_stop_retry,
        }
    }

    async fn fail(
        &self,
        attempt: &Attempt<'_>,
        account: Option<&Account>,
        caller: &Caller,
    ) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (at, limits) = (attempt.place(), &self.app.settings.sign_in);
        let (user, at) = (account.map(|account| account.id), (Failed::Password, at));
        match db.run(failures::record(db.pool(), at, user, limits, caller, now)).await {
            Ok(None) => Problem::new(Code::InvalidCredentials),
            Ok(Some(bar)) => self.refuse(self.until(bar, now), now),
            Err(error) => error.into(),
        }
    }

    async fn refuse_disabled(
        &self,
        attempt: &Attempt<'_>,
        account: &Account,
        caller: &Caller,
    ) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (at, limits) = (attempt.place(), &self.app.settings.sign_in);
        let recorded = sign_in::record_disabled(db.pool(), account.id, at, limits, caller, now);
        match db.run(recorded).await {
            Ok(None) => Problem::new(Code::AccountDisabled),
            Ok(Some(bar)) => self.refuse(self.until(bar, now), now),
            Err(error) => error.into(),
        }
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
            Err(Outcome::Barred(bar)) => Err(self.refuse(self.until(bar, now), now)),
            // What was typed no longer signs in an active account.
            Err(_) => Err(self.fail(attempt, Some(account), caller).await),
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
