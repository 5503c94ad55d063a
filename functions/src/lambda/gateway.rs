//! Requests as the clients made them, out of an HTTP API's events (payload format 2.0).

use std::convert::Infallible;
use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use lambda_http::RequestExt;
use lambda_http::http::Uri;
use lambda_http::http::uri::PathAndQuery;
use lambda_http::request::RequestContext;
use lambda_http::tower::{Service, ServiceExt};
use shared::client_address::Peer;
use shared::front::{Prefix, RequestId};

/// What every path may be prefixed with: CloudFront sends `/api/*` here unchanged.
const API_PREFIX: &str = "/api";

/// The router as a service of gateway events.
pub(super) fn service(
    router: Router,
) -> impl Service<lambda_http::Request, Response = Response, Error = Infallible, Future: Send> {
    router.map_request(from_gateway)
}

/// The request that the client made: its own path, and beside it the address and the request's id
/// as the gateway and Lambda know them.
fn from_gateway(event: lambda_http::Request) -> Request {
    let mut request = event.map(Body::new);
    if let Some(context) = request.lambda_context_ref() {
        let id = RequestId(context.request_id.clone());
        request.extensions_mut().insert(id);
    }
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return request;
    };
    let source: Option<IpAddr> = context.http.source_ip.as_deref().and_then(|ip| ip.parse().ok());
    let path = client_path(request.uri().path(), context.stage.as_deref());
    let prefix = request.uri().path().strip_suffix(path).unwrap_or_default().to_owned();
    let uri = with_path(request.uri(), path);
    request.extensions_mut().insert(Prefix(prefix));
    *request.uri_mut() = uri;
    if let Some(source) = source {
        request.extensions_mut().insert(Peer(source));
    }
    request
}

/// The path without the stage, which payload format 2.0 puts before it unless it is `$default`, and
/// without one leading `/api`.
fn client_path<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let path = match stage {
        Some(stage) if stage != "$default" => without(path, &format!("/{stage}")),
        _ => path,
    };
    without(path, API_PREFIX)
}

/// The path without `prefix`, if that is its whole first segment.
fn without<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    let path = PathAndQuery::try_from(format!("{path}{query}"));
    parts.path_and_query = Some(path.expect("the end of a path is a path"));
    Uri::from_parts(parts).expect("only the path changed")
}

#[cfg(test)]
mod tests;
