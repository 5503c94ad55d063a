//! The refresh cookie: what a page has in place of a refresh token that a script could read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use shared::front::{Front, Prefix};
use shared::problem::{Code, Problem, Result};
use time::Duration;

/// The cookie's name.
pub(crate) const NAME: &str = "keywire_refresh";
/// The one route that gets it.
const PATH: &str = "/token/refresh";

/// What a request says of cookies, and how one for its answer has to look.
#[derive(Debug)]
pub(crate) struct Cookies {
    /// The refresh cookie, if it was sent.
    pub(crate) refresh: Option<SecretString>,
    /// Whether a page of an origin that may not call sent the request.
    foreign: bool,
    /// The prefix under which this client calls, so that it gets its cookie back.
    prefix: String,
    /// Whether the cookie must not travel in the clear.
    secure: bool,
}

impl<S: Sync> FromRequestParts<S> for Cookies {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let front = "every router stands behind the front";
        let Prefix(prefix) = parts.extensions.get::<Prefix>().expect(front).clone();
        let front = Arc::clone(parts.extensions.get::<Arc<Front>>().expect(front));
        Ok(Self {
            refresh: find(&parts.headers),
            foreign: is_foreign(&front, &parts.headers, &parts.uri),
            prefix,
            secure: !front.is_plain_loopback(&parts.headers, &parts.uri),
        })
    }
}

impl Cookies {
    /// Lets a browser's request through only from an origin that may call: the cookie goes along by
    /// itself, also with what another page sends.
    ///
    /// # Errors
    /// 403 `origin_refused`.
    pub(crate) fn check_origin(&self) -> Result<()> {
        if self.foreign { Err(Problem::new(Code::OriginRefused)) } else { Ok(()) }
    }

    /// `Set-Cookie` with this token, for as long as it holds.
    pub(crate) fn set(&self, token: &SecretString, lifetime: Duration) -> HeaderValue {
        self.header(token.expose_secret(), lifetime.whole_seconds())
    }

    /// `Set-Cookie` that takes the cookie away.
    pub(crate) fn clear(&self) -> HeaderValue {
        self.header("", 0)
    }

    fn header(&self, value: &str, seconds: i64) -> HeaderValue {
        let (prefix, secure) = (&self.prefix, if self.secure { "; Secure" } else { "" });
        let text = format!(
            "{NAME}={value}; Path={prefix}{PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        );
        let mut header =
            HeaderValue::try_from(text).expect("tokens are base64url, and paths were parsed");
        header.set_sensitive(true);
        header
    }
}

/// The first refresh cookie of the request (RFC 6265 §5.4: the one with the longest path).
fn find(headers: &HeaderMap) -> Option<SecretString> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == NAME).map(|(_, value)| value.trim().into())
}

/// Browsers say the page's origin with every POST; who says none is no browser, or an old one, whose
/// cookie `SameSite` keeps.
fn is_foreign(front: &Front, headers: &HeaderMap, uri: &Uri) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site"),
        (Some(origin), None) => !front.allows_origin(origin, headers, uri),
        (Some(_), Some(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use shared::settings::{Http, Reader};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn front(settings: &[(&str, &str)]) -> Arc<Front> {
        let mut reader = Reader::from_pairs(settings.iter().copied());
        let http = Http::read(&mut reader, "off");
        reader.finish().unwrap();
        Front::new(http)
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        for (sent, expected) in [
            ("keywire_refresh=abc", Some("abc")),
            ("a=b; keywire_refresh=abc; c=d", Some("abc")),
            ("a=b;keywire_refresh=abc", Some("abc")),
            ("xkeywire_refresh=abc; a=keywire_refresh", None),
            ("", None),
        ] {
            let found = find(&headers(&[("cookie", sent)]));
            assert_eq!(found.as_ref().map(ExposeSecret::expose_secret), expected, "{sent}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let front = front(&[("PUBLIC_URL", "https://app.example.com")]);
        for (sent, foreign) in [
            (&[][..], false),
            (&[("origin", "https://app.example.com")], false),
            (&[("origin", "https://evil.example")], true),
            (&[("origin", "null")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-origin")], false),
        ] {
            let uri = Uri::from_static("/token/refresh");
            assert_eq!(is_foreign(&front, &headers(sent), &uri), foreign, "{sent:?}");
        }
        let mut twice = headers(&[("origin", "https://app.example.com")]);
        twice.append(header::ORIGIN, HeaderValue::from_static("https://app.example.com"));
        assert!(is_foreign(&front, &twice, &Uri::from_static("/")));
    }
}
