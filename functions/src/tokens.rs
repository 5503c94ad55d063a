//! The answer that hands out tokens: what signs them, and how the refresh token travels.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Json;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderName, SET_COOKIE};
use secrecy::ExposeSecret;
use serde::Serialize;
use shared::access_token::{Issuer, Subject};
use shared::problem::{Problem, Result};
use shared::refresh_token;
use shared::secrets::{Signing, WrongKeys};
use shared::settings::Tokens;
use time::OffsetDateTime;

use crate::App;
use crate::cookie::Cookies;
use crate::user::User;

/// What makes tokens, for the endpoints that may read the signing keys. Every copy has the same set.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    settings: Tokens,
    held: Arc<RwLock<Arc<Held>>>,
}

/// A set of keys, the same for the length of a request.
#[derive(Debug)]
pub(crate) struct Held {
    /// Signs access tokens.
    issuer: Issuer,
    /// Makes refresh tokens, which are held against it.
    pub(crate) signing: Signing,
}

/// A session that tokens are made for.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    /// Whom the access token is for.
    pub(crate) subject: Subject,
    /// Half of the refresh token's MAC.
    pub(crate) salt: &'a [u8],
    /// When the session ends without a refresh.
    pub(crate) idle_until: OffsetDateTime,
    /// The account, where the answer shows it.
    pub(crate) user: Option<User>,
}

/// How the refresh token travels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delivery<'a> {
    /// In the body, for apps.
    Body,
    /// In a cookie that no script can read, for pages.
    Cookie(&'a Cookies),
}

/// The tokens (RFC 6749 §5.1) and, after a sign-in, the user.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tokens, examples(crate::openapi::examples::signed_in))]
pub(crate) struct Handed<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
}

impl TokenKeys {
    /// With these keys.
    ///
    /// # Errors
    /// [`WrongKeys`] when they do not hold.
    pub fn new(app: &App, signing: Signing) -> std::result::Result<Self, WrongKeys> {
        let settings = app.settings.tokens.clone();
        let held = Held::new(&settings, signing)?;
        Ok(Self { settings, held: Arc::new(RwLock::new(Arc::new(held))) })
    }

    /// Signs with these keys from now on. Requests under way end with the set they began with.
    ///
    /// # Errors
    /// [`WrongKeys`] when they do not hold; nothing is changed then.
    pub fn replace(&self, signing: Signing) -> std::result::Result<(), WrongKeys> {
        let held = Arc::new(Held::new(&self.settings, signing)?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    /// The set that holds now.
    pub(crate) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// 200 with an access token and the session's refresh token.
    pub(crate) fn hand_out(
        &self,
        granted: Granted<'_>,
        delivery: Delivery<'_>,
        now: OffsetDateTime,
    ) -> Result<Response> {
        let Granted { subject, salt, idle_until, user } = granted;
        let held = self.held();
        let Held { issuer, signing } = &*held;
        let refresh = refresh_token::issue(signing, subject.session, subject.counter, salt, now);
        let access = issuer.issue(subject, now).map_err(|error| Problem::internal(&error))?;
        let (in_body, cookie) = match delivery {
            Delivery::Body => (Some(refresh.expose_secret()), None),
            Delivery::Cookie(cookies) => (None, Some(cookies.set(&refresh, idle_until - now))),
        };
        let body = Json(Handed {
            access_token: access.expose_secret(),
            token_type: "Bearer",
            expires_in: issuer.lifetime(),
            refresh_token: in_body,
            user,
        });
        let no_store: AppendHeaders<[(HeaderName, &str); 1]> =
            AppendHeaders([(CACHE_CONTROL, "no-store")]);
        let mut response = (no_store, body).into_response();
        response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
        Ok(response)
    }
}

impl Held {
    fn new(settings: &Tokens, signing: Signing) -> std::result::Result<Self, WrongKeys> {
        Ok(Self { issuer: Issuer::new(&signing, settings.clone())?, signing })
    }
}
