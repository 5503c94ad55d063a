//! What every HTTP request passes, in order: its id, the Host check, the client's address, CORS, and
//! on the way out the rendering of problems and one log line.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;
use uuid::Uuid;

use crate::client_address::{self, ClientAddress, Unknown};
use crate::problem::{Code, Problem};
use crate::settings::{self, Http};

/// Header that carries the request's id back to the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Under which the local process serves every route again.
const API_PREFIX: &str = "/api";
/// Host names that always mean this machine.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What the front knows: the settings, and what follows from them.
#[derive(Debug)]
pub struct Front {
    /// The settings as read.
    pub http: Http,
}

/// The request's id: Lambda's when there is one, else a UUID v7. Stands in `instance`, the log and
/// the audit log.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// What was before a request's path and is no part of any route: empty, or like `/api`. Whoever takes
/// it away says so; a cookie's path begins with it.
#[derive(Debug, Clone, Default)]
pub struct Prefix(pub String);

/// Marks a request whose address could not be verified (mode `cloudfront`, not through CloudFront);
/// its [`ClientAddress`] is then the peer's.
#[derive(Debug, Clone, Copy)]
pub struct AddressUnverified;

impl Front {
    /// The front for these settings.
    pub fn new(http: Http) -> Arc<Self> {
        Arc::new(Self { http })
    }

    /// Puts the front before a router. Unknown paths and methods become problems, too.
    pub fn layer(self: &Arc<Self>, router: Router) -> Router {
        let origins = Arc::clone(self);
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, request| {
                origins.allows_origin(origin, &request.headers, &request.uri)
            }))
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
            .expose_headers([
                header::RETRY_AFTER,
                HeaderName::from_static("ratelimit"),
                HeaderName::from_static("ratelimit-policy"),
                REQUEST_ID,
            ])
            .max_age(self.http.preflight_max_age);
        // Around the router as a whole. As layers of the router, each route would be boxed again by each of
        // them, and all its boxes copied at each request.
        let whole = ServiceBuilder::new()
            .layer(from_fn_with_state(Arc::clone(self), pass))
            .layer(cors)
            .layer(CatchPanicLayer::custom(panicked))
            .service(router.fallback(|| async { Problem::new(Code::NotFound) }));
        Router::new().fallback_service(whole)
    }

    /// Whether a page of this origin may call: the request's own origin if its Host was checked,
    /// `PUBLIC_URL`'s, or one of `ALLOWED_ORIGINS`. Compared exactly, so `null` never matches.
    pub fn allows_origin(&self, origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let public = self.http.public_url.as_ref().map(settings::Origin::of);
        let listed = self.http.allowed_origins.iter().chain(&public);
        if listed.map(settings::Origin::as_str).any(|allowed| allowed == origin) {
            return true;
        }
        // Without the Host check the Host header is whatever a rebound DNS name says.
        let own = host(headers, uri).map(|host| format!("http://{host}"));
        self.http.host_check && own.is_some_and(|own| own.eq_ignore_ascii_case(origin))
    }

    /// Whether people reach this service by `http` on their own machine: there a cookie marked `Secure`
    /// is not kept by every browser, and nothing travels.
    pub fn is_plain_loopback(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        if let Some(url) = &self.http.public_url {
            let is_loopback = |host| LOOPBACK_NAMES.contains(&host);
            return url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
        }
        let host = host(headers, uri).and_then(|host| host.parse::<http::uri::Authority>().ok());
        host.is_some_and(|authority| LOOPBACK_NAMES.contains(&authority.host()))
    }

    fn allows_host(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        if !self.http.host_check {
            return true;
        }
        let Some(host) = host(headers, uri) else { return false };
        let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
        let name = authority.host();
        let public = self.http.public_url.as_ref().and_then(|url| url.host_str());
        LOOPBACK_NAMES.into_iter().chain(public).any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The Host the request was addressed to.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let header = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| uri.authority().map(http::uri::Authority::as_str))
}

async fn pass(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&mut request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // What is logged on the way is found by `instance`. An error, so that no filter that lets
    // anything through hides it.
    let span = tracing::error_span!("request", request.id = %id);
    let answered = async {
        if front.allows_host(request.headers(), request.uri()) {
            set_address(&front.http, &mut request);
            set_prefix(&mut request);
            request.extensions_mut().insert(front);
            next.run(request).await
        } else {
            Problem::new(Code::HostRefused)
                .detail("Use localhost, 127.0.0.1 or the host of PUBLIC_URL.")
                .into_response()
        }
    };
    let response = finish(answered.instrument(span).await, &id);
    let status = response.status().as_u16();
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request.id = %id, %method, path, status, duration_ms, "request");
    response
}

fn request_id(request: &mut Request) -> String {
    if let Some(RequestId(given)) = request.extensions().get() {
        return given.clone();
    }
    let id = Uuid::now_v7().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    id
}

fn set_address(http: &Http, request: &mut Request) {
    let secret = http.origin_verify.as_ref();
    let found = client_address::resolve(
        http.client_address,
        secret,
        request.headers(),
        request.extensions(),
    );
    let address = match found {
        Ok(address) => address,
        Err(Unknown::Unverified) => {
            request.extensions_mut().insert(AddressUnverified);
            client_address::peer(request.extensions()).unwrap_or(ClientAddress::NONE)
        }
        Err(Unknown::NoPeer) => {
            tracing::error!("the server did not say who is at the other end of a request");
            ClientAddress::NONE
        }
    };
    request.extensions_mut().insert(address);
}

fn set_prefix(request: &mut Request) {
    let rest = request.uri().path().strip_prefix(API_PREFIX);
    let prefix = if rest.is_some_and(|rest| rest.starts_with('/')) { API_PREFIX } else { "" };
    if request.extensions().get::<Prefix>().is_none() {
        request.extensions_mut().insert(Prefix(prefix.to_owned()));
    }
}

/// Renders the problem a response carries; a bare error status becomes one, its headers kept.
fn finish(mut response: Response, id: &str) -> Response {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    if problem.is_some() || status.is_client_error() || status.is_server_error() {
        let problem = problem.unwrap_or_else(|| Problem::from_status(status));
        let mut rendered = problem.render(id);
        let described = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CACHE_CONTROL];
        for (name, value) in response.headers() {
            if !described.contains(name) {
                rendered.headers_mut().append(name, value.clone());
            }
        }
        response = rendered;
    }
    let headers = response.headers_mut();
    // What is not a script must not be run as one (OWASP ASVS 5.0, 3.4.4).
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that CatchPanicLayer calls")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Problem::internal(&format!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests;
