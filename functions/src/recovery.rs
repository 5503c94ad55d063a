//! `POST /password/forgot`, `POST /password/reset`, `POST /email/verify`, `POST /email/verification`: what
//! links in mails are for.
//!
//! A known and an unknown address cost the same statements and get the same answer; the mail itself is
//! the courier's work. A token is judged by its row and its MAC before anything is hashed.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::post;
use http::StatusCode;
use shared::credentials::{Email, Password};
use shared::db::one_time_tokens::{self, Live};
use shared::db::recovery::{self, NewPassword, Wish};
use shared::db::{self, verification};
use shared::extract::{Caller, Fields};
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::secret_token::{self, Purpose, SecretToken};
use shared::secrets::Links;

use crate::bearer::Bearer;
use crate::openapi::bodies;
use crate::{App, throttle};

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(forgot, reset, verify, verify_again))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords, links: Links) -> Router {
    Router::new()
        .route("/password/forgot", post(forgot))
        .route("/password/reset", post(reset))
        .route("/email/verify", post(verify))
        .route("/email/verification", post(verify_again))
        .with_state(Recovery { app, passwords, links: Arc::new(links) })
}

#[derive(Debug, Clone)]
struct Recovery {
    app: App,
    passwords: Passwords,
    links: Arc<Links>,
}

impl FromRef<Recovery> for App {
    fn from_ref(recovery: &Recovery) -> Self {
        recovery.app.clone()
    }
}

/// `POST /password/forgot {"email"}` → 202, whether or not somebody has the address.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/password/forgot",
    tag = "recovery",
    operation_id = "forgot_password",
    summary = "Mails a link to set a new password",
    request_body = bodies::Forgotten,
    responses((status = 202, description = "Whoever has the address gets a mail"))
)]
async fn forgot(
    State(Recovery { app, passwords, .. }): State<Recovery>,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let email = fields.text("email", Email::parse);
    let email = fields.finish(email)?;
    let now = app.clock.now();
    throttle::network(&app, "recovery", app.settings.mail.network, &caller, now).await?;
    let rate = app.settings.mail.address;
    let bucket = throttle::mail_bucket(&passwords, &email.key());
    throttle::remembered(&app, "mail", rate, &bucket, now)?;
    let wish = Wish {
        email: &email,
        token: secret_token::new_id().map_err(|error| Problem::internal(&error))?,
        expires_at: now + app.settings.mail.reset_lifetime,
        bucket: &bucket,
        rate,
    };
    match app.db.run(recovery::ask(app.db.pool(), wish, &caller, now)).await? {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(until) => Err(throttle::empty(&app, "mail", rate, bucket, (until, now))),
    }
}

/// `POST /password/reset {"token", "password"}` → 204. It does not sign in.
///
/// Problems: `malformed_json`, `link_invalid`, `unsupported_media_type`, `body_too_large`,
/// `request_timeout`, `validation_failed`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/password/reset",
    tag = "recovery",
    operation_id = "reset_password",
    summary = "Sets a new password by that link",
    request_body = bodies::Reset,
    responses((status = 204, description = "The password is set, and every session has ended"))
)]
async fn reset(
    State(recovery): State<Recovery>,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let Recovery { app, passwords, .. } = &recovery;
    let rules = app.settings.rules;
    let token = fields.text("token", SecretToken::field);
    let password = fields.text("password", |text| rules.check_length(Password::parse(text)?));
    let (token, password) = fields.finish(token.zip(password))?;
    let now = app.clock.now();
    throttle::network(app, "recovery", app.settings.mail.network, &caller, now).await?;
    let live = recovery.find(token, &[Purpose::Reset, Purpose::Invite]).await?;
    let names = live.identifiers.clone();
    let strong = passwords.check_strength(rules, &password, names).await?;
    strong.map_err(|invalid| Problem::validation(vec![invalid.at("/password")]))?;
    let hashed = passwords.hash(&password).await?;
    let subjects =
        live.identifiers.iter().map(|one| passwords.identifier_mac(one)).collect::<Vec<_>>();
    let new = NewPassword { token: live.id, password: &hashed, subjects: &subjects };
    let now = app.clock.now();
    let done = app.db.run(recovery::reset(app.db.pool(), new, &caller, now)).await?;
    if done { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::new(Code::LinkInvalid)) }
}

/// `POST /email/verify {"token"}` → 204. The address is the account's own from now on.
///
/// Problems: `malformed_json`, `link_invalid`, `unsupported_media_type`, `body_too_large`,
/// `request_timeout`, `validation_failed`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/email/verify",
    tag = "recovery",
    operation_id = "verify_email",
    summary = "Makes an address one's own by a link",
    request_body = bodies::LinkToken,
    responses((status = 204, description = "The address is the account's own"))
)]
async fn verify(
    State(recovery): State<Recovery>,
    caller: Caller,
    mut fields: Fields,
) -> Result<StatusCode> {
    let app = &recovery.app;
    let token = fields.text("token", SecretToken::field);
    let token = fields.finish(token)?;
    let now = app.clock.now();
    throttle::network(app, "recovery", app.settings.mail.network, &caller, now).await?;
    let live = recovery.find(token, &[Purpose::Verify]).await?;
    let key = live.target.to_ascii_lowercase();
    let verified = verification::verify(app.db.pool(), live.id, &key, &caller, now);
    match app.db.run(verified).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(Problem::new(Code::LinkInvalid)),
        // Another account was first.
        Err(db::Error::Constraint(name)) if name == verification::EMAIL_TAKEN => {
            Err(Problem::new(Code::LinkInvalid))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /email/verification` → 202: a new link to the address that the caller has asked for.
///
/// Problems: `token_invalid`, `session_revoked`, `no_pending_email`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/email/verification",
    tag = "recovery",
    operation_id = "verify_email_again",
    summary = "Mails the link that confirms an address again",
    security(("access_token" = [])),
    responses((status = 202, description = "A new link is on its way"))
)]
async fn verify_again(
    State(Recovery { app, passwords, .. }): State<Recovery>,
    Bearer(claims): Bearer,
    caller: Caller,
) -> Result<StatusCode> {
    let none = || Problem::new(Code::NoPendingEmail);
    let (db, now) = (app.db.pool(), app.clock.now());
    let pending = app.db.run(verification::find_pending(db, &claims, now)).await?;
    let email = pending.and_then(|text| Email::parse(text).ok()).ok_or_else(none)?;
    throttle::mail(&app, &passwords, &email, now).await?;
    let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
    let expires_at = now + app.settings.mail.verify_lifetime;
    let wish = verification::Wish { email: &email, token, expires_at };
    let asked = verification::ask_again(db, &claims, wish, &caller, now);
    if app.db.run(asked).await? { Ok(StatusCode::ACCEPTED) } else { Err(none()) }
}

impl Recovery {
    /// The row of a token that may be used for one of these.
    async fn find(&self, token: Option<SecretToken>, purposes: &[Purpose]) -> Result<Live> {
        let invalid = || Problem::new(Code::LinkInvalid);
        let token = token.ok_or_else(invalid)?;
        let (db, now) = (&self.app.db, self.app.clock.now());
        let live = db.run(one_time_tokens::find_live(db.pool(), token.id, now)).await?;
        let genuine = |live: &Live| {
            purposes.contains(&live.purpose) && token.is_genuine(&self.links, live.row())
        };
        live.filter(genuine).ok_or_else(invalid)
    }
}
