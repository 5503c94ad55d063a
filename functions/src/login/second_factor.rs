//! `POST /login/second-factor`: the code after a right password.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use shared::challenge::Challenge;
use shared::db;
use shared::db::failures::{self, Failed, Place};
use shared::db::second_factor::{self, Open, Proof, Step, Taken};
use shared::db::sign_in::{self, Outcome, RightPassword, Success};
use shared::extract::{Caller, Fields};
use shared::problem::{Code as Kind, Problem, Result};
use shared::second_factor::{Code, RecoveryCode};
use time::OffsetDateTime;

use super::{Login, session};
use crate::attempt;
use crate::cookie::Cookies;
use crate::openapi::bodies;
use crate::throttle;
use crate::tokens::Delivery;
use crate::user::User;

/// What the address's bucket and a 429 are called.
const POLICY: &str = "second-factor";

/// Its routes, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(prove))]
pub(crate) struct Api;

/// The routes of this step.
pub(super) fn router(login: Login) -> Router {
    Router::new().route("/login/second-factor", post(prove)).with_state(login)
}

/// What was typed.
enum Typed {
    /// What the app shows.
    Code(Code),
    /// A recovery code.
    RecoveryCode(RecoveryCode),
}

/// `POST /login/second-factor {"challenge", "code" or "recovery_code"}` → 200
/// `{access_token, token_type, expires_in, refresh_token, user}`, as [`super::login`] answers.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `code_invalid`, `origin_refused`, `challenge_invalid`, `rate_limited`,
/// `unavailable`.
#[utoipa::path(
    post,
    path = "/login/second-factor",
    tag = "login",
    operation_id = "prove_second_factor",
    summary = "Ends a sign-in with a code",
    request_body = bodies::SecondFactor,
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
async fn prove(
    State(login): State<Login>,
    caller: Caller,
    cookies: Cookies,
    mut fields: Fields,
) -> Result<Response> {
    let challenge = fields.text("challenge", Challenge::parse);
    let typed = if fields.has("recovery_code") {
        fields.text("recovery_code", RecoveryCode::parse).map(Typed::RecoveryCode)
    } else {
        fields.text("code", Code::parse).map(Typed::Code)
    };
    let brought = challenge.zip(typed);
    let ((challenge, typed), delivery) = session::finish(fields, brought, &cookies)?;
    let (app, now) = (&login.app, login.app.clock.now());
    throttle::network(app, POLICY, app.settings.sign_in.address, &caller, now).await?;
    let (tries, limits) = (app.settings.factors.second_factor_tries, &app.settings.sign_in);
    let found = second_factor::find(app.db.pool(), &challenge, &caller, tries, limits, now);
    match app.db.run(found).await? {
        Step::Unknown => Err(Problem::new(Kind::ChallengeInvalid)),
        Step::Barred(bar) => Err(attempt::barred(app, POLICY, bar, now)),
        Step::Open(open) => {
            Attempt { login: &login, challenge, open: &open, caller, delivery, now }
                .judge(typed)
                .await
        }
    }
}

/// A try of a challenge that is open.
struct Attempt<'a> {
    login: &'a Login,
    challenge: Challenge,
    open: &'a Open,
    caller: Caller,
    delivery: Delivery<'a>,
    now: OffsetDateTime,
}

impl Attempt<'_> {
    async fn judge(&self, typed: Typed) -> Result<Response> {
        let (vault, open) = (&self.login.vault, self.open);
        match typed {
            Typed::Code(code) => {
                let secret = vault.open(&open.totp.sealed, open.user, open.totp.id);
                let secret = secret.map_err(|error| Problem::internal(&error))?;
                match secret.find_step(&code, open.totp.last_step, self.now) {
                    Some(step) => self.succeed(Proof::Totp { id: open.totp.id, step }).await,
                    None => Err(self.fail().await),
                }
            }
            Typed::RecoveryCode(code) => {
                self.succeed(Proof::RecoveryCode(&vault.recovery_mac(&code, open.user))).await
            }
        }
    }

    async fn fail(&self) -> Problem {
        let (db, limits) = (&self.login.app.db, &self.login.app.settings.sign_in);
        let (subject, network) = (second_factor::subject(self.open.user), self.network());
        let at = (Failed::SecondFactor, Place { subject: &subject, network: &network });
        let (user, caller) = (Some(self.open.user), &self.caller);
        let recorded =
            db.run(failures::record(db.pool(), at, user, limits, caller, self.now)).await;
        attempt::recorded(&self.login.app, POLICY, recorded, Kind::CodeInvalid, self.now)
    }

    fn network(&self) -> Vec<u8> {
        self.caller.address.network()
    }

    /// Uses up what was right and makes the session, both or neither.
    async fn succeed(&self, proof: Proof<'_>) -> Result<Response> {
        let (login, open, now) = (self.login, self.open, self.now);
        let session = login.new_session(now)?;
        let own = second_factor::subject(open.user);
        let mac = |identifier: &String| login.passwords.identifier_mac(identifier);
        let mut subjects: Vec<_> = open.identifiers.iter().map(mac).collect();
        subjects.push(own.clone());
        let (user, changed_at) = (open.user, open.changed_at);
        let success = Success {
            password: RightPassword { user, changed_at, upgrade: None },
            second_factor: Some(proof.name()),
            session: session.id,
            salt: session.salt.bytes(),
            idle_until: session.idle_until,
            absolute_until: session.absolute_until,
            at: Place { subject: &own, network: &self.network() },
            subjects: &subjects,
        };
        let (db, limits) = (&login.app.db, &login.app.settings.sign_in);
        let done = async {
            let mut connection = db.pool().lend().await.map_err(db::Error::from)?;
            let mut transaction = connection.begin().await.map_err(db::Error::from)?;
            let taken =
                second_factor::take(&mut transaction, (&self.challenge, user), proof, now).await?;
            if taken != Taken::Taken {
                return Ok((taken, None));
            }
            let signed_in =
                sign_in::succeed(&mut *transaction, success, limits, &self.caller, now).await?;
            if signed_in == Outcome::SignedIn {
                transaction.commit().await.map_err(db::Error::from)?;
            }
            Ok::<_, db::Error>((taken, Some(signed_in)))
        };
        match db.run(done).await? {
            (Taken::Wrong, _) => Err(self.fail().await),
            (_, Some(Outcome::SignedIn)) => {
                let (id, created_at) = (open.user, open.created_at);
                let (username, roles) = (open.username.clone(), open.roles.clone());
                let user = User { id, username, roles, created_at };
                login.answer(user, &session, self.delivery)
            }
            (_, Some(Outcome::Barred(bar))) => Err(attempt::barred(&login.app, POLICY, bar, now)),
            // The challenge was used or its password changed meanwhile, or the account was disabled.
            _ => Err(Problem::new(Kind::ChallengeInvalid)),
        }
    }
}
