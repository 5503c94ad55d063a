//! `POST /login`: sign in with a password.
//!
//! Before the hash comes every refusal, after it one statement: an unknown name, a wrong password, an
//! account without one and a disabled account cost the same work and get the same answer.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::access_token::Subject;
use shared::credentials::{Identifier, Password};
use shared::db::audit::{self, Event};
use shared::db::sign_in::{self, Account, Admission, Admitted, Attempt, NewSession};
use shared::extract::{Caller, Fields};
use shared::password::{Passwords, Stored, Verdict};
use shared::problem::{Code, Problem, Result};
use shared::secrets::Key;
use shared::{rate_limit, refresh_token};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::user::User;
use crate::{App, TokenKeys};

/// Retry-After of a stopped identifier; the stop itself lasts up to a day.
const STOP_RETRY: time::Duration = time::Duration::HOUR;
/// A lock is remembered in process for no longer, so that an administrator's unlock is soon seen.
const LOCK_REMEMBERED: time::Duration = time::Duration::seconds(5);

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

/// The answer to a right password (RFC 6749 §5.1 and the user).
#[derive(Serialize)]
struct SignedIn<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: &'a str,
    user: User,
}

/// `POST /login {"username", "password"}` → 200
/// `{access_token, token_type, expires_in, refresh_token, user}`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `invalid_credentials`, `account_disabled`, `rate_limited`, `unavailable`.
async fn login(State(login): State<Login>, caller: Caller, mut fields: Fields) -> Result<Response> {
    let identifier = fields.text("username", Identifier::parse);
    let password = fields.text("password", Password::parse);
    let (identifier, password) = fields.finish(identifier.zip(password))?;
    let typed = Typed { identifier, password };
    let admitted = login.admit(&typed, &caller).await?;
    let stored = admitted.account.as_ref().and_then(|account| account.password.as_ref());
    let verdict = login.passwords.verify(&typed.password, stored).await?;
    match (verdict, &admitted.account, stored) {
        (Verdict::Right(upgrade), Some(account), Some(stored)) if account.active => {
            login.succeed((account, stored), upgrade, &caller).await
        }
        (Verdict::Right(_), Some(account), _) => Err(login.refuse_disabled(account, &caller).await),
        _ => Err(login.fail(&admitted, &caller).await),
    }
}

impl Login {
    /// Every refusal that comes before the hash, and the account's row.
    async fn admit(&self, typed: &Typed, caller: &Caller) -> Result<Admitted> {
        let now = self.app.clock.now();
        let limits = &self.app.settings.sign_in;
        let network = caller.address.network();
        let mac = self.passwords.identifier_mac(typed.identifier.key());
        let bucket = [b"login\0".as_slice(), &network].concat();
        let lock = [b"lock\0".as_slice(), &mac, &network].concat();
        let known = [&bucket, &lock].into_iter().find_map(|key| self.app.refusals.find(key, now));
        if let Some(until) = known {
            return Err(self.refuse(until, now));
        }
        let attempt = Attempt {
            identifier: &typed.identifier,
            identifier_mac: &mac,
            bucket: &bucket,
            network: &network,
        };
        let db = &self.app.db;
        let admission = db.run(sign_in::admit(db.pool(), attempt, limits, now)).await?;
        let (key, until, remembered) = match admission {
            Admission::Admitted(admitted) => return Ok(admitted),
            Admission::BucketEmpty(until) => (bucket, until, until),
            Admission::Locked(until) => (lock, until, until.min(now + LOCK_REMEMBERED)),
            Admission::Stopped => (lock, now + STOP_RETRY, now + LOCK_REMEMBERED),
        };
        self.app.refusals.remember(key, remembered, now);
        Err(self.refuse(until, now))
    }

    /// A lock, a stop and an empty bucket answer alike, for known and unknown identifiers.
    fn refuse(&self, until: OffsetDateTime, now: OffsetDateTime) -> Problem {
        rate_limit::refused("login", self.app.settings.sign_in.address, until, now)
    }

    async fn fail(&self, admitted: &Admitted, caller: &Caller) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (network, limits) = (caller.address.network(), &self.app.settings.sign_in);
        let record = sign_in::record_failure(db.pool(), admitted, &network, limits, caller, now);
        match db.run(record).await {
            Ok(()) => Problem::new(Code::InvalidCredentials),
            Err(error) => error.into(),
        }
    }

    async fn refuse_disabled(&self, account: &Account, caller: &Caller) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let write = audit::write(db.pool(), Event::LoginDisabled, Some(account.id), caller, now);
        match db.run(write).await {
            Ok(()) => Problem::new(Code::AccountDisabled),
            Err(error) => error.into(),
        }
    }

    async fn succeed(
        &self,
        verified: (&Account, &Stored),
        upgrade: Option<Stored>,
        caller: &Caller,
    ) -> Result<Response> {
        let (account, _) = verified;
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (id, salt) =
            (Uuid::now_v7(), Key::generate().map_err(|error| Problem::internal(&error))?);
        let salt = salt.bytes();
        let absolute_until = now + self.app.settings.session_absolute;
        let idle_until = absolute_until.min(now + self.app.settings.session_idle);
        let session = NewSession { id, salt, idle_until, absolute_until };
        let network = caller.address.network();
        let work = (session, upgrade.as_ref());
        let succeed = sign_in::succeed(db.pool(), verified, work, &network, caller, now);
        if !db.run(succeed).await? {
            // The password or the status changed while the hash was computed.
            return Err(Problem::new(Code::InvalidCredentials));
        }
        self.answer(account, id, salt, now)
    }

    fn answer(
        &self,
        account: &Account,
        session: Uuid,
        salt: &[u8],
        now: OffsetDateTime,
    ) -> Result<Response> {
        let roles = account.roles.clone();
        let subject =
            Subject { user: account.id, session, authenticated_at: now, roles, counter: 0 };
        let access: SecretString =
            self.tokens.issuer.issue(subject, now).map_err(|error| Problem::internal(&error))?;
        let refresh = refresh_token::issue(&self.tokens.signing, session, 0, salt);
        let user = User {
            id: account.id,
            username: account.username.clone(),
            roles: account.roles.clone(),
            created_at: account.created_at,
        };
        let body = Json(SignedIn {
            access_token: access.expose_secret(),
            token_type: "Bearer",
            expires_in: self.tokens.issuer.lifetime(),
            refresh_token: refresh.expose_secret(),
            user,
        });
        let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
            AppendHeaders([(CACHE_CONTROL, "no-store")]);
        Ok((no_store, body).into_response())
    }
}
