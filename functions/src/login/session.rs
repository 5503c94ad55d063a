//! The session that a sign-in makes, and the answer that carries its tokens.

use axum::response::Response;
use shared::access_token::Subject;
use shared::extract::{Fields, Invalid};
use shared::problem::{Problem, Result};
use shared::secrets::Key;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Login;
use crate::cookie::Cookies;
use crate::tokens::{Delivery, Granted};
use crate::user::User;

/// A session that is about to be made.
pub(super) struct NewSession {
    /// Its id.
    pub(super) id: Uuid,
    /// Half of its refresh tokens' MAC.
    pub(super) salt: Key,
    /// When it ends without a refresh.
    pub(super) idle_until: OffsetDateTime,
    /// When it ends in any case.
    pub(super) absolute_until: OffsetDateTime,
    now: OffsetDateTime,
}

/// Whether the refresh token is to travel as a cookie: `refresh` in the body, `cookie`, or `body` as
/// without it.
pub(super) fn take_delivery(fields: &mut Fields) -> Option<bool> {
    let given = fields.optional_text("refresh", |text: String| match text.as_str() {
        "cookie" => Ok(true),
        "body" => Ok(false),
        _ => Err(Invalid::new("unknown_value", "Send `body` or `cookie`.")),
    });
    given.map(Option::unwrap_or_default)
}

/// What that means for this request.
pub(super) fn delivery(by_cookie: bool, cookies: &Cookies) -> Result<Delivery<'_>> {
    if by_cookie {
        cookies.check_origin()?;
        return Ok(Delivery::Cookie(cookies));
    }
    Ok(Delivery::Body)
}

impl Login {
    /// A session as one would begin now.
    pub(super) fn new_session(&self, now: OffsetDateTime) -> Result<NewSession> {
        let absolute_until = now + self.app.settings.session_absolute;
        Ok(NewSession {
            id: Uuid::now_v7(),
            salt: Key::generate().map_err(|error| Problem::internal(&error))?,
            idle_until: absolute_until.min(now + self.app.settings.session_idle),
            absolute_until,
            now,
        })
    }

    /// 200 with the tokens of a session that was made.
    pub(super) fn answer(
        &self,
        user: User,
        session: &NewSession,
        delivery: Delivery<'_>,
    ) -> Result<Response> {
        let subject = Subject {
            user: user.id,
            session: session.id,
            authenticated_at: session.now,
            roles: user.roles.clone(),
            counter: 0,
        };
        let (salt, idle_until) = (session.salt.bytes(), session.idle_until);
        let granted = Granted { subject, salt, idle_until, user: Some(user) };
        self.tokens.hand_out(granted, delivery, session.now)
    }
}
