//! The access token of a request.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, header};
use shared::access_token::{Claims, TokenError};
use shared::problem::{Code, Problem, Result};

use crate::App;

/// What the request's access token says, its signature and times checked.
///
/// Whether its session still holds is asked by the handler's own statement, which begins with the
/// session check (`shared/src/db/sessions.rs`): a handler that takes a token must pass it on there.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(pub(crate) Claims);

impl<S: Send + Sync> FromRequestParts<S> for Bearer
where
    App: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let app = App::from_ref(state);
        let invalid = || Problem::new(Code::TokenInvalid);
        let token = token(&parts.headers).ok_or_else(invalid)?;
        match app.verifier.verify(token, app.clock.now()).await {
            Ok(claims) => Ok(Self(claims)),
            Err(TokenError::Unavailable) => Err(Problem::unavailable()),
            Err(error) => {
                tracing::debug!(%error, "a token was refused");
                Err(invalid())
            }
        }
    }
}

/// The token of the one `Authorization: Bearer …` (RFC 6750 §2.1); the scheme's case does not matter.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (given.next()?, given.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_header_of_the_scheme_bearer_carries_the_token() {
        for (given, expected) in [
            (&["Bearer a.b.c"][..], Some("a.b.c")),
            (&["bearer a.b.c"], Some("a.b.c")),
            (&["BEARER  a.b.c "], Some("a.b.c")),
            (&["Basic a.b.c"], None),
            (&["a.b.c"], None),
            (&["Bearer"], None),
            (&["Bearer a.b.c", "Bearer a.b.c"], None),
            (&[], None),
        ] {
            let values = given.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
            assert_eq!(token(&values.collect()), expected, "{given:?}");
        }
    }
}
