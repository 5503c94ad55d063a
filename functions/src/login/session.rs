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

/// The end of a sign-in's body: what was read of it, and how the refresh token is to travel: `refresh`,
/// which is `cookie`, or `body` as without it. No page of a foreign origin gets a cookie.
pub(super) fn finish<T>(
    mut fields: Fields,
    read: Option<T>,
    cookies: &Cookies,
) -> Result<(T, Delivery<'_>)> {
    let by_cookie = fields.optional_text("refresh", |text: String| match text.as_str() {
        "cookie" => Ok(true),
        "body" => Ok(false),
        _ => Err(Invalid::new("unknown_value", "Send `body` or `cookie`.")),
    });
    let (read, by_cookie) = fields.finish(read.zip(by_cookie))?;
    if by_cookie != Some(true) {
        return Ok((read, Delivery::Body));
    }
    cookies.check_origin()?;
    Ok((read, Delivery::Cookie(cookies)))
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
