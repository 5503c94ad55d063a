//! `POST /login`: sign in with a password.
//!
//! Before the hash comes every refusal, after it one statement: an unknown name, a wrong password, an
//! account without one and a disabled account cost the same work and get the same answer.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use shared::access_token::Subject;
use shared::credentials::{Identifier, Password};
use shared::db::failures::{self, Bar, Place};
use shared::db::sign_in::{self, Account, Admission, CurrentPassword, Outcome, Success};
use shared::extract::{Caller, Fields, Invalid};
use shared::password::{Passwords, Stored, Verdict};
use shared::problem::{Code, Problem, Result};
use shared::rate_limit::{self, Refusal};
use shared::secrets::Key;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::App;
use crate::cookie::Cookies;
use crate::tokens::{Delivery, Granted, TokenKeys};
use crate::user::User;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords, tokens: TokenKeys) -> Router {
    Router::new().route("/login", post(login)).with_state(Login { app, passwords, tokens })
}

#[derive(Debug, Clone)]
struct Login {
    app: App,
    passwords: Passwords,
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
/// `validation_failed`, `invalid_credentials`, `account_disabled`, `origin_refused`, `rate_limited`,
/// `unavailable`.
async fn login(
    State(login): State<Login>,
    caller: Caller,
    cookies: Cookies,
    mut fields: Fields,
) -> Result<Response> {
    let identifier = fields.text("username", Identifier::parse);
    let password = fields.text("password", Password::parse);
    let by_cookie = fields.optional_text("refresh", parse_refresh);
    let (typed, by_cookie) = fields.finish(identifier.zip(password).zip(by_cookie))?;
    let (identifier, password) = typed;
    let delivery = if by_cookie.unwrap_or(false) {
        cookies.check_origin()?;
        Delivery::Cookie(&cookies)
    } else {
        Delivery::Body
    };
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

#[expect(clippy::needless_pass_by_value, reason = "the shape that Fields::text calls")]
fn parse_refresh(text: String) -> std::result::Result<bool, Invalid> {
    match text.as_str() {
        "cookie" => Ok(true),
        "body" => Ok(false),
        _ => Err(Invalid::new("unknown_value", "Send `body` or `cookie`.")),
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
        let user = account.map(|account| account.id);
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
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (settings, session) = (&self.app.settings, Uuid::now_v7());
        let salt = Key::generate().map_err(|error| Problem::internal(&error))?;
        let absolute_until = now + settings.session_absolute;
        let idle_until = absolute_until.min(now + settings.session_idle);
        let mac = |identifier: &String| self.passwords.identifier_mac(identifier);
        let subjects: Vec<_> = account.identifiers.iter().map(mac).collect();
        let success = Success {
            account,
            verified,
            upgrade: upgrade.as_ref(),
            session,
            salt: salt.bytes(),
            idle_until,
            absolute_until,
            at: attempt.place(),
            subjects: &subjects,
        };
        match db.run(sign_in::succeed(db.pool(), success, &settings.sign_in, caller, now)).await? {
            Outcome::SignedIn => {
                let subject = Subject {
                    user: account.id,
                    session,
                    authenticated_at: now,
                    roles: account.roles.clone(),
                    counter: 0,
                };
                let user = Some(User::of(account));
                let granted = Granted { subject, salt: salt.bytes(), idle_until, user };
                self.tokens.hand_out(granted, delivery, now)
            }
            Outcome::Barred(bar) => Err(self.refuse(self.until(bar, now), now)),
            // What was typed is no longer the password of an active account.
            Outcome::Changed => Err(self.fail(attempt, Some(account), caller).await),
        }
    }
}
