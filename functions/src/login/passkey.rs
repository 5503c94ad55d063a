//! `POST /login/passkey`: sign in with a passkey, which is both factors: one has it, and proves to it who
//! one is.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, HeaderName};
use shared::challenge::Challenge;
use shared::db::challenges;
use shared::db::passkeys::{self, Found, Passkey, Success};
use shared::extract::{Caller, Fields};
use shared::problem::{Code, Problem, Result};
use shared::webauthn::{Assertion, Refused};
use time::OffsetDateTime;

use super::{Login, session};
use crate::ceremony::RequestOptions;
use crate::cookie::Cookies;
use crate::openapi::bodies;
use crate::throttle;
use crate::tokens::Delivery;
use crate::user::User;

/// What the address's bucket and a 429 are called: apart from that of passwords.
const POLICY: &str = "passkey";

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(options, passkey))]
pub(crate) struct Api;

/// The routes of passkeys.
pub(super) fn router(login: Login) -> Router {
    Router::new()
        .route("/login/passkey/options", post(options))
        .route("/login/passkey", post(passkey))
        .with_state(login)
}

/// `POST /login/passkey/options {}` → 200 `{publicKey}`, for `navigator.credentials.get`.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/login/passkey/options",
    tag = "login",
    operation_id = "begin_passkey_login",
    summary = "Begins a sign-in with a passkey",
    request_body = bodies::Nothing,
    responses((
        status = 200,
        description = "For `navigator.credentials.get`",
        body = RequestOptions,
        headers(("Cache-Control", description = "`no-store`"))
    ))
)]
async fn options(State(login): State<Login>, caller: Caller, fields: Fields) -> Result<Response> {
    fields.finish(Some(()))?;
    let (app, now) = (&login.app, login.app.clock.now());
    let party = app.relying_party()?;
    throttle::network(app, POLICY, app.settings.factors.passkey_address, &caller, now).await?;
    let challenge = Challenge::generate().map_err(|error| Problem::internal(&error))?;
    let until = now + app.settings.factors.challenge_lifetime;
    let kept = challenges::create_for_passkey_login(app.db.pool(), &challenge, until, now);
    app.db.run(kept).await?;
    let body = Json(RequestOptions::new(app, &party, &challenge));
    let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
        AppendHeaders([(CACHE_CONTROL, "no-store")]);
    Ok((no_store, body).into_response())
}

/// `POST /login/passkey {"credential"}` → 200
/// `{access_token, token_type, expires_in, refresh_token, user}`, as [`super::login`] answers.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `passkey_invalid`, `account_disabled`, `origin_refused`, `challenge_invalid`,
/// `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/login/passkey",
    tag = "login",
    operation_id = "passkey_login",
    summary = "Signs in with a passkey",
    request_body = bodies::PasskeyLogin,
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
async fn passkey(
    State(login): State<Login>,
    caller: Caller,
    cookies: Cookies,
    mut fields: Fields,
) -> Result<Response> {
    let assertion = fields.object("credential", Assertion::from_json);
    let (assertion, delivery) = session::finish(fields, assertion, &cookies)?;
    let now = login.app.clock.now();
    let (app, party) = (&login.app, login.app.relying_party()?);
    throttle::network(app, POLICY, app.settings.factors.passkey_address, &caller, now).await?;
    let attempt = Attempt { login: &login, caller, delivery, now };
    let answered = match assertion.answered(&party) {
        Ok(answered) => answered,
        Err(refused) => return Err(attempt.fail(None, refused).await),
    };
    let id = &assertion.credential_id;
    let found = passkeys::find(app.db.pool(), &answered.challenge, id, now);
    let passkey = match app.db.run(found).await? {
        Found::NoChallenge => return Err(Problem::new(Code::ChallengeInvalid)),
        Found::NoPasskey => return Err(attempt.fail(None, Refused::User).await),
        Found::Passkey(passkey) => passkey,
    };
    let credential = (&passkey.credential, passkey.user.as_bytes().as_slice());
    match assertion.verify(&answered, credential, &party) {
        Ok(count) => attempt.succeed(*passkey, count).await,
        Err(refused) => Err(attempt.fail(Some(&passkey), refused).await),
    }
}

/// A try.
struct Attempt<'a> {
    login: &'a Login,
    caller: Caller,
    delivery: Delivery<'a>,
    now: OffsetDateTime,
}

impl Attempt<'_> {
    /// One answer for whatever was wrong: only the log and the audit log say what.
    async fn fail(&self, passkey: Option<&Passkey>, why: Refused) -> Problem {
        tracing::info!(%why, "a passkey was refused");
        let user = passkey.map(|passkey| passkey.user);
        self.record(user, &why.to_string(), Code::PasskeyInvalid).await
    }

    async fn record(&self, user: Option<uuid::Uuid>, why: &str, code: Code) -> Problem {
        let db = &self.login.app.db;
        let recorded = passkeys::record_failure(db.pool(), user, why, &self.caller, self.now);
        match db.run(recorded).await {
            Ok(()) => Problem::new(code),
            Err(error) => error.into(),
        }
    }

    async fn succeed(&self, passkey: Passkey, sign_count: u32) -> Result<Response> {
        if !passkey.active {
            return Err(self.record(Some(passkey.user), "disabled", Code::AccountDisabled).await);
        }
        let session = self.login.new_session(self.now)?;
        let success = Success {
            passkey: &passkey,
            sign_count,
            session: session.id,
            salt: session.salt.bytes(),
            idle_until: session.idle_until,
            absolute_until: session.absolute_until,
        };
        let db = &self.login.app.db;
        let done = passkeys::succeed(db.pool(), success, &self.caller, self.now);
        if !db.run(done).await? {
            // Disabled, removed, or used with a higher counter meanwhile.
            return Err(self.fail(Some(&passkey), Refused::Counter).await);
        }
        let Passkey { user: id, username, roles, created_at, .. } = passkey;
        let user = User { id, username, roles, created_at };
        self.login.answer(user, &session, self.delivery)
    }
}
