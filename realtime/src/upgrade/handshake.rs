//! The opening handshake of RFC 6455 §4.2, and the subprotocol and token it carries.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use shared::problem::{Code, Problem, Result};

/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol of plain mode.
const PLAIN: &str = "keywire.plain";
/// The subprotocol of rooms, history and presence.
pub(super) const V1: &str = "keywire.v1";
/// A subprotocol entry that carries an access token, base64url: browsers can send no header.
const BEARER: &str = "keywire.bearer.";

/// What a good handshake asks for.
pub(super) struct Handshake {
    /// Sec-WebSocket-Accept.
    pub(super) accept: HeaderValue,
    /// The subprotocol to echo; never the entry with the token.
    pub(super) protocol: Option<&'static str>,
    /// The access token, if it brings one.
    pub(super) token: Option<Token>,
}

/// An access token, by the way it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// In the Authorization header.
    Header(String),
    /// In a subprotocol entry; empty if that cannot be read.
    Entry(String),
}

impl Handshake {
    /// The token, however it came.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|(Token::Header(token) | Token::Entry(token))| token.as_str())
    }

    /// Reads the request's head.
    ///
    /// # Errors
    /// `upgrade_required` (426) when it is no WebSocket handshake or not version 13; `bad_request`
    /// when it is a wrong one.
    pub(super) fn read(parts: &Parts, speaks_v1: bool) -> Result<Self> {
        let headers = &parts.headers;
        let asks = has_token(headers, &header::CONNECTION, "upgrade")
            && has_token(headers, &header::UPGRADE, "websocket");
        if !asks || parts.version != Version::HTTP_11 {
            return Err(upgrade_required());
        }
        let version = only(headers, &header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version != "13") {
            return Err(upgrade_required());
        }
        if headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING)
        {
            return Err(bad("A WebSocket handshake has no body."));
        }
        let offered = offered(headers);
        Ok(Self {
            accept: accept(headers)?,
            protocol: protocol(&offered, speaks_v1)?,
            token: token(headers, &offered)?,
        })
    }
}

/// 426 with what to ask for (RFC 9110 §15.5.22, RFC 6455 §4.4).
pub(super) fn upgrade_required() -> Problem {
    Problem::new(Code::UpgradeRequired)
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

fn bad(detail: &str) -> Problem {
    Problem::new(Code::BadRequest).detail(detail)
}

/// Whether a comma-separated header has this token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The value of a header that must stand once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok().map(str::trim) }
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue> {
    let wrong = || bad("Sec-WebSocket-Key must be 16 bytes in base64, once.");
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or_else(wrong)?;
    if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        // A handshake's proof of having been read, no secret: SHA-1 is what the RFC asks for.
        let hash = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
        HeaderValue::try_from(STANDARD.encode(hash)).map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let entries = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    entries.map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

/// The subprotocol to echo: the first of ours that is offered. Others are not echoed, and the client gets
/// plain mode.
fn protocol(offered: &[&str], speaks_v1: bool) -> Result<Option<&'static str>> {
    let ours = if speaks_v1 { [PLAIN, V1].as_slice() } else { &[PLAIN] };
    let first = offered.iter().find_map(|entry| ours.iter().find(|ours| *ours == entry).copied());
    if first.is_none() && offered.contains(&V1) {
        // Plain messages would not be what such a client expects.
        return Err(bad("This node has no database, and so no keywire.v1; offer keywire.plain."));
    }
    Ok(first)
}

/// A Bearer header wins; of another scheme, such as a proxy's Basic, it says nothing about the token.
fn token(headers: &HeaderMap, offered: &[&str]) -> Result<Option<Token>> {
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let bearer = authorizations.next().and_then(bearer);
    if authorizations.next().is_some() {
        return Err(bad("Authorization may stand once."));
    }
    let entry = || {
        let entry = offered.iter().find_map(|entry| entry.strip_prefix(BEARER))?;
        let decoded =
            URL_SAFE_NO_PAD.decode(entry).ok().and_then(|token| String::from_utf8(token).ok());
        Some(Token::Entry(decoded.unwrap_or_default()))
    };
    Ok(bearer.map(Token::Header).or_else(entry))
}

fn bearer(authorization: &HeaderValue) -> Option<String> {
    let (scheme, token) = authorization.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::*;

    fn read(change: &[(&'static str, Option<&str>)]) -> Result<Handshake> {
        let mut request = Request::builder()
            .uri("/ws")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        for (name, value) in change {
            request.headers_mut().remove(*name);
            if let Some(value) = value {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        Handshake::read(&request.into_parts().0, true)
    }

    fn status(change: &[(&'static str, Option<&str>)]) -> StatusCode {
        read(change).err().unwrap().code.status()
    }

    #[test]
    fn the_rfcs_example_is_answered_as_there() {
        let handshake = read(&[]).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(handshake.protocol, None);
        assert_eq!(handshake.token(), None);
    }

    #[test]
    fn a_request_that_is_no_handshake_is_426() {
        for change in [
            ("connection", Some("keep-alive")),
            ("upgrade", None),
            ("upgrade", Some("h2c")),
            ("sec-websocket-version", None),
            ("sec-websocket-version", Some("12")),
        ] {
            assert_eq!(status(&[change]), StatusCode::UPGRADE_REQUIRED, "{change:?}");
        }
    }

    #[test]
    fn a_wrong_handshake_is_400() {
        for change in [
            ("sec-websocket-key", None),
            ("sec-websocket-key", Some("short")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZQ==")),
            ("content-length", Some("3")),
            ("transfer-encoding", Some("chunked")),
        ] {
            assert_eq!(status(&[change]), StatusCode::BAD_REQUEST, "{change:?}");
        }
    }

    #[test]
    fn the_token_comes_from_the_header_or_the_subprotocol_and_is_not_echoed() {
        let entry = format!("keywire.plain, keywire.bearer.{}", URL_SAFE_NO_PAD.encode("a.b.c"));
        let handshake = read(&[("sec-websocket-protocol", Some(&entry))]).unwrap();
        assert_eq!(handshake.token(), Some("a.b.c"));
        assert_eq!(handshake.protocol, Some("keywire.plain"));
        let handshake = read(&[("authorization", Some("bearer a.b.c"))]).unwrap();
        assert_eq!(handshake.token(), Some("a.b.c"));
        let both = [
            ("authorization", Some("Basic dXNlcjpwYXNz")),
            ("sec-websocket-protocol", Some(entry.as_str())),
        ];
        assert_eq!(read(&both).unwrap().token(), Some("a.b.c"));
        let only_bearer = read(&[("sec-websocket-protocol", Some("keywire.bearer.!"))]).unwrap();
        assert_eq!((only_bearer.token(), only_bearer.protocol), (Some(""), None));
    }

    #[test]
    fn the_first_of_our_subprotocols_is_echoed() {
        for (offered, echoed) in [
            ("keywire.v1", Some("keywire.v1")),
            ("other, keywire.v1, keywire.plain", Some("keywire.v1")),
            ("keywire.plain, keywire.v1", Some("keywire.plain")),
            ("other", None),
        ] {
            let handshake = read(&[("sec-websocket-protocol", Some(offered))]).unwrap();
            assert_eq!(handshake.protocol, echoed, "{offered}");
        }
    }

    #[test]
    fn two_authorization_headers_are_400() {
        for second in ["Bearer d.e.f", "Basic dXNlcjpwYXNz"] {
            let request = Request::builder()
                .uri("/ws")
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
                .header("authorization", "Bearer a.b.c")
                .header("authorization", second);
            let parts = request.body(()).unwrap().into_parts().0;
            let refused = Handshake::read(&parts, true).err().unwrap();
            assert_eq!(refused.code.status(), StatusCode::BAD_REQUEST, "{second}");
        }
    }
}
