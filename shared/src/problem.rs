//! Every error a client sees: status, stable code, words (RFC 9457 problem details).
//!
//! A handler returns a [`Problem`]; `front` renders it, so that each carries the request's id
//! and no response leaves without this shape. `docs/problems.md` lists each code, held by a test.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

/// Result of a handler.
pub type Result<T> = std::result::Result<T, Problem>;

/// What went wrong, as the client may know it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The kind, which decides status, code and title.
    pub code: Code,
    /// What to do about this occurrence, when the title does not say it.
    pub detail: Option<String>,
    /// One for each wrong field.
    pub errors: Vec<FieldError>,
    /// What to bring back with a second factor; with [`Code::SecondFactorRequired`] only.
    pub challenge: Option<SecretString>,
    /// Further headers, like Retry-After.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A wrong field of the request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the body (RFC 6901), like `/username`.
    pub pointer: String,
    /// Stable code, like `too_short`.
    pub code: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problem. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[doc = $doc])+ $name,)* }

        impl Code {
            /// Every kind, for the documentation's test.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable code, like `invalid_credentials`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// One sentence for people, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    /// The request is not understood, for a reason no other code names.
    BadRequest = "bad_request", BAD_REQUEST, "The request cannot be understood.";
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, "The body is not valid JSON.";
    /// The token of a link was used, replaced, is too old, or was never ours.
    LinkInvalid = "link_invalid", BAD_REQUEST, "This link does not work any more; ask for a new one.";
    /// Username and password do not belong together, or no such user exists.
    InvalidCredentials = "invalid_credentials", UNAUTHORIZED, "Username or password is wrong.";
    /// The code of an authenticator app, or a recovery code, is wrong or was used before.
    CodeInvalid = "code_invalid", UNAUTHORIZED, "This code is not right.";
    /// The passkey is unknown, or what it signed does not hold.
    PasskeyInvalid = "passkey_invalid", UNAUTHORIZED, "This passkey was not accepted.";
    /// The access token is missing, forged, expired or of the wrong kind.
    TokenInvalid = "token_invalid", UNAUTHORIZED, "The access token is missing or not valid.";
    /// The refresh token is missing, forged or of another kind.
    RefreshTokenInvalid = "refresh_token_invalid", UNAUTHORIZED, "The refresh token is missing or not valid.";
    /// The session behind the token has ended.
    SessionRevoked = "session_revoked", UNAUTHORIZED, "This session has ended; sign in again.";
    /// The password typed once more is wrong.
    WrongPassword = "wrong_password", FORBIDDEN, "The password is wrong.";
    /// The password was right, but the account is disabled.
    AccountDisabled = "account_disabled", FORBIDDEN, "This account is disabled.";
    /// The caller is known, and may not do this.
    Forbidden = "forbidden", FORBIDDEN, "You may not do this.";
    /// The password was right; a second factor is needed, with the `challenge` in the body.
    SecondFactorRequired = "second_factor_required", FORBIDDEN, "A second factor is needed to sign in.";
    /// The sign-in is too long ago for this.
    RecentSignInRequired = "recent_sign_in_required", FORBIDDEN, "Sign in again before you do this.";
    /// Accounts are made by an administrator only.
    RegistrationClosed = "registration_closed", FORBIDDEN, "Registration is closed.";
    /// A page of another origin called.
    OriginRefused = "origin_refused", FORBIDDEN, "Pages of this origin may not call.";
    /// The request did not come by the way it has to.
    AddressUnverified = "address_unverified", FORBIDDEN, "The request did not come through the public address.";
    /// No route has this path.
    NotFound = "not_found", NOT_FOUND, "There is nothing at this address.";
    /// The path exists, with another method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "This address does not take that method.";
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive.";
    /// The username belongs to somebody.
    UsernameTaken = "username_taken", CONFLICT, "This username is taken.";
    /// The change would leave nobody to manage accounts.
    LastAdmin = "last_admin", CONFLICT, "There must be an administrator left.";
    /// The challenge is unknown, used up or over.
    ChallengeInvalid = "challenge_invalid", CONFLICT, "This challenge is not known or no longer good; begin again.";
    /// The account has such a factor, or the passkey is registered.
    FactorExists = "factor_exists", CONFLICT, "This factor is there already.";
    /// The account has as many passkeys as it may.
    TooManyPasskeys = "too_many_passkeys", CONFLICT, "No more passkeys can be added.";
    /// An account has no verified address, or is disabled.
    NoEmail = "no_email", CONFLICT, "This account has no address that mail can be sent to.";
    /// No address waits to be confirmed.
    NoPendingEmail = "no_pending_email", CONFLICT, "No address waits to be confirmed.";
    /// The body is over the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large.";
    /// The body is not said to be JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json.";
    /// The Host header names another server.
    HostRefused = "host_refused", MISDIRECTED_REQUEST, "This server does not answer to that Host name.";
    /// Fields are missing, unknown or wrong; `errors` says which.
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "Some fields are not right.";
    /// A WebSocket handshake is needed, version 13.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED, "Connect with a WebSocket client, version 13.";
    /// Too many attempts; `Retry-After` says when to try again.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many attempts; try again later.";
    /// A fault of ours; the log has it under the request's id.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side.";
    /// A store is away or everything is busy; `Retry-After` says when to try again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service is not available right now; try again.";
    /// A connection limit of the node is reached.
    TooManyConnections = "too_many_connections", SERVICE_UNAVAILABLE, "Too many connections; try again later.";
}

/// The body, `application/problem+json`.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem with nothing to add.
    pub fn new(code: Code) -> Self {
        Self { code, detail: None, errors: Vec::new(), challenge: None, headers: Vec::new() }
    }

    /// Adds what to do about this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Fields that are missing, unknown or wrong.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Code::ValidationFailed) }
    }

    /// The password was right, and a second factor is to be brought with this.
    pub fn second_factor_required(challenge: SecretString) -> Self {
        Self { challenge: Some(challenge), ..Self::new(Code::SecondFactorRequired) }
    }

    /// A store is away or everything is busy: 503, to be tried again after a second.
    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable).retry_after(Duration::from_secs(1))
    }

    /// A fault of ours: logged here, with its whole cause, and not told to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(Code::Internal)
    }

    /// Adds Retry-After, in whole seconds rounded up, at least 1 (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.header(header::RETRY_AFTER, seconds.max(1).into())
    }

    /// The problem for a bare status, as a router gives for an unknown path or method.
    pub fn from_status(status: StatusCode) -> Self {
        let bare = Code::ALL.iter().copied().find(|code| code.status() == status);
        let code = match status {
            StatusCode::UNAUTHORIZED => Code::TokenInvalid,
            StatusCode::FORBIDDEN => Code::OriginRefused,
            _ if status.is_server_error() => bare.unwrap_or(Code::Internal),
            _ => bare.unwrap_or(Code::BadRequest),
        };
        Self::new(code)
    }

    /// The finished response; `instance` is the request's id.
    pub fn render(&self, instance: &str) -> Response {
        let body = Body {
            r#type: format!("urn:keywire:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: self.detail.as_deref(),
            instance,
            challenge: self.challenge.as_ref().map(ExposeSecret::expose_secret),
            errors: &self.errors,
        };
        let mut response = (self.code.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.code.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2 asks for a challenge with every 401.
            let challenge = HeaderValue::from_static("Bearer realm=\"keywire\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        headers.extend(self.headers.clone());
        response
    }
}

impl IntoResponse for Problem {
    /// Carries the problem to `front`, which knows the request's id and renders it.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
