//! `POST /register`: make an account.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use shared::credentials::{Email, Password, Username};
use shared::db::{self, users, verification};
use shared::extract::{Caller, Fields, Invalid};
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::role::Role;
use shared::secret_token;
use uuid::Uuid;

use crate::openapi::bodies;
use crate::settings::Registration;
use crate::user::User;
use crate::{App, throttle};

/// The routes of this endpoint, described.
#[derive(utoipa::OpenApi)]
#[openapi(paths(register))]
pub(crate) struct Api;

/// The routes of this endpoint.
pub fn router(app: App, passwords: Passwords) -> Router {
    Router::new().route("/register", post(register)).with_state(Register { app, passwords })
}

#[derive(Debug, Clone)]
struct Register {
    app: App,
    passwords: Passwords,
}

/// The account asked for.
struct Wish {
    username: Username,
    password: Password,
    email: Option<Email>,
}

/// The account made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(crate::openapi::examples::registered))]
struct Registered {
    user: User,
}

/// `POST /register {"username", "password", "email"?}` → 201 `{user}`. An address gets a link to confirm
/// it; the answer is the same when somebody owns it.
///
/// Problems: `malformed_json`, `unsupported_media_type`, `body_too_large`, `request_timeout`,
/// `validation_failed`, `registration_closed`, `username_taken`, `rate_limited`, `unavailable`.
#[utoipa::path(
    post,
    path = "/register",
    tag = "register",
    operation_id = "register",
    summary = "Makes an account",
    request_body = bodies::NewAccount,
    responses((status = 201, description = "The account", body = Registered))
)]
async fn register(
    State(Register { app, passwords }): State<Register>,
    caller: Caller,
    fields: Fields,
) -> Result<(StatusCode, Json<Registered>)> {
    if app.settings.registration == Registration::Closed {
        return Err(Problem::new(Code::RegistrationClosed));
    }
    let wish = parse(&app, fields)?;
    let now = app.clock.now();
    throttle::network(&app, "register", app.settings.register_address, &caller, now).await?;
    let mut names = vec![wish.username.as_str().to_owned()];
    if let Some(email) = &wish.email {
        throttle::mail(&app, &passwords, email, now).await?;
        names.push(email.as_str().to_owned());
    }
    let strong = passwords.check_strength(app.settings.rules, &wish.password, names).await?;
    strong.map_err(|invalid| Problem::validation(vec![invalid.at("/password")]))?;
    let password = passwords.hash(&wish.password).await?;
    let id = Uuid::now_v7();
    let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
    let expires_at = now + app.settings.mail.verify_lifetime;
    let email = wish.email.as_ref();
    let email = email.map(|email| verification::Wish { email, token, expires_at });
    let new = users::NewUser { id, username: &wish.username, password: &password, email };
    let created = app.db.run(users::create(app.db.pool(), new, &caller, now)).await;
    created.map_err(|error| match error {
        db::Error::Constraint(name) if name == users::USERNAME_TAKEN => taken(),
        error => error.into(),
    })?;
    let username = wish.username.as_str().to_owned();
    let user = User { id, username, roles: vec![Role::Member], created_at: now };
    Ok((StatusCode::CREATED, Json(Registered { user })))
}

fn parse(app: &App, mut fields: Fields) -> Result<Wish> {
    let rules = app.settings.rules;
    let username = fields.text("username", Username::parse);
    let password = fields.text("password", |text| rules.check_length(Password::parse(text)?));
    let email = fields.optional_text("email", Email::parse);
    let ((username, password), email) = fields.finish(username.zip(password).zip(email))?;
    Ok(Wish { username, password, email })
}

fn taken() -> Problem {
    let error = Invalid::new("taken", "This username is taken; choose another.").at("/username");
    Problem { errors: vec![error], ..Problem::new(Code::UsernameTaken) }
}
