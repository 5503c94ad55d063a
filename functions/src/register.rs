//! `POST /register`: make an account.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use shared::credentials::{Email, Password, Username};
use shared::db::buckets::Bucket;
use shared::db::{self, users, verification};
use shared::extract::{Caller, Fields, Invalid};
use shared::password::{Passwords, Stored};
use shared::problem::{Code, Problem, Result};
use shared::role::Role;
use shared::secret_token;
use time::OffsetDateTime;
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
    State(register): State<Register>,
    caller: Caller,
    fields: Fields,
) -> Result<(StatusCode, Json<Registered>)> {
    let app = &register.app;
    if app.settings.registration == Registration::Closed {
        return Err(Problem::new(Code::RegistrationClosed));
    }
    let wish = parse(app, fields)?;
    let now = app.clock.now();
    throttle::network(app, "register", app.settings.register_address, &caller, now).await?;
    let bucket = register.look_at_bucket(&wish, now).await?;
    let password = register.hash(&wish).await?;
    let id = Uuid::now_v7();
    register.create(id, &wish, &password, bucket, &caller, now).await?;
    let username = wish.username.as_str().to_owned();
    let user = User { id, username, roles: vec![Role::Member], created_at: now };
    Ok((StatusCode::CREATED, Json(Registered { user })))
}

impl Register {
    /// The key of the address's bucket, if there is an address, unless that is empty. The statement that
    /// makes the account takes from it: else whoever sends taken names would use somebody's mails up.
    async fn look_at_bucket(&self, wish: &Wish, now: OffsetDateTime) -> Result<Option<Vec<u8>>> {
        let Some(email) = &wish.email else { return Ok(None) };
        let key = throttle::mail_bucket(&self.passwords, &email.key());
        throttle::look(&self.app, "mail", self.app.settings.mail.address, &key, now).await?;
        Ok(Some(key))
    }

    async fn hash(&self, wish: &Wish) -> Result<Stored> {
        let names = [Some(wish.username.as_str()), wish.email.as_ref().map(Email::as_str)];
        let names = names.into_iter().flatten().map(str::to_owned).collect();
        let rules = self.app.settings.rules;
        let strong = self.passwords.check_strength(rules, &wish.password, names).await?;
        strong.map_err(|invalid| Problem::validation(vec![invalid.at("/password")]))?;
        self.passwords.hash(&wish.password).await
    }

    async fn create(
        &self,
        id: Uuid,
        wish: &Wish,
        password: &Stored,
        bucket: Option<Vec<u8>>,
        caller: &Caller,
        now: OffsetDateTime,
    ) -> Result<()> {
        let (app, rate) = (&self.app, self.app.settings.mail.address);
        let token = secret_token::new_id().map_err(|error| Problem::internal(&error))?;
        let expires_at = now + app.settings.mail.verify_lifetime;
        let email = wish.email.as_ref().zip(bucket.as_deref()).map(|(email, key)| {
            (verification::Wish { email, token, expires_at }, Bucket { key, rate })
        });
        let new = users::NewUser { id, username: &wish.username, password, email };
        let created = app.db.run(users::create(app.db.pool(), new, caller, now)).await;
        let created = created.map_err(|error| match error {
            db::Error::Constraint(name) if name == users::USERNAME_TAKEN => taken(),
            error => error.into(),
        })?;
        let key = bucket.unwrap_or_default();
        created.map_err(|until| throttle::empty(app, "mail", rate, key, (until, now)))
    }
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
