//! `GET /ws`: from an HTTP request to a connection.
//!
//! Everything that can be refused is refused before the 101, in this order: a foreign Origin, an
//! unverified address, a handshake that is none, the mode, the token, the limits.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use shared::client_address::ClientAddress;
use shared::front::AddressUnverified;
use shared::problem::{Code, Problem, Result};
use tokio::net::TcpStream;

use crate::auth::Identity;
use crate::close::CloseCode;
use crate::drain::Phase;
use crate::hub::{Guest, SignIn, Speech, Ticket};
use crate::limits::Held;
use crate::{Mode, Node};

mod handshake;

use handshake::{Handshake, Token, V1};

/// The route `/ws`.
pub(crate) fn router(node: Node) -> Router {
    Router::new().route("/ws", any(upgrade)).with_state(node)
}

/// Answers 101, or `origin_refused`, `address_unverified`, `method_not_allowed`, `bad_request`,
/// `upgrade_required`, `token_invalid`, `session_revoked`, `too_many_connections`, `unavailable`.
async fn upgrade(State(node): State<Node>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    check_origin(&node, &parts)?;
    if parts.extensions.get::<AddressUnverified>().is_some() {
        return Err(Problem::new(Code::AddressUnverified));
    }
    if parts.method != Method::GET {
        let allow = HeaderValue::from_static("GET");
        return Err(Problem::new(Code::MethodNotAllowed).header(header::ALLOW, allow));
    }
    let handshake = Handshake::read(&parts, node.auth().is_some())?;
    let (speech, identity) = speech(&node, &handshake).await?;
    let held = hold(&node, &mut parts, identity.as_ref())?;
    let is_plain = matches!(speech, Speech::Plain(_));
    let guest = Guest { identity: identity.filter(|_| is_plain).map(Box::new), held };
    let upgraded =
        parts.extensions.remove::<OnUpgrade>().ok_or_else(handshake::upgrade_required)?;
    // Joined before the 101 goes out: whatever is published once the client knows it is connected
    // reaches it.
    let ticket = node.hub().admit(speech, guest).map_err(|_| Problem::unavailable())?;
    // Asked once it is a member: the drain's last look at the members comes after this phase began,
    // so whoever is not refused here is sent away there.
    if node.phase().now() == Phase::Closing {
        return Err(Problem::unavailable().detail("The node is going away."));
    }
    tokio::spawn(take_over(ticket, upgraded));
    Ok(switching(handshake))
}

/// A browser's page of another origin is refused; who sends no Origin is no browser.
fn check_origin(node: &Node, parts: &Parts) -> Result<()> {
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let allowed = match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => node.front().allows_origin(origin, &parts.headers, &parts.uri),
        (Some(_), Some(_)) => false,
    };
    if allowed { Ok(()) } else { Err(Problem::new(Code::OriginRefused)) }
}

/// What the client speaks, and who it is, as far as that asks.
async fn speech(node: &Node, handshake: &Handshake) -> Result<(Speech, Option<Identity>)> {
    if handshake.protocol == Some(V1) {
        return sign_in(node, handshake).await;
    }
    let identity = match node.mode() {
        Mode::On => None,
        Mode::Auth(auth) => Some(auth.identify(handshake.token()).await?),
        Mode::Off => {
            let detail = "This node takes no plain connections; offer keywire.v1.";
            return Err(Problem::new(Code::BadRequest).detail(detail));
        }
    };
    Ok((Speech::Plain(Arc::clone(node.lobby())), identity))
}

/// Signs in a client of `keywire.v1`, if it brought a token: by a header, and who has a wrong one there
/// is answered 401; or by a subprotocol entry, as browsers must, and a wrong one is told by a Close,
/// because they hide the answer.
async fn sign_in(node: &Node, handshake: &Handshake) -> Result<(Speech, Option<Identity>)> {
    // Only a node that has one takes such a handshake.
    let auth = node.auth().ok_or_else(Problem::unavailable)?;
    let identity = match &handshake.token {
        None => return Ok((Speech::V1(SignIn::Awaited), None)),
        Some(Token::Header(token)) => auth.identify(Some(token)).await?,
        Some(Token::Entry(token)) => match auth.identify(Some(token)).await {
            Ok(identity) => identity,
            Err(problem) => {
                let code = match problem.code {
                    Code::TokenInvalid => CloseCode::Token,
                    Code::SessionRevoked => CloseCode::Forbidden,
                    _ => CloseCode::TryLater,
                };
                return Ok((Speech::V1(SignIn::Refused(code)), None));
            }
        },
    };
    Ok((Speech::V1(SignIn::Done(identity.clone())), Some(identity)))
}

/// Counts the socket for its user and, unless that was done at accept, for its address.
fn hold(node: &Node, parts: &mut Parts, identity: Option<&Identity>) -> Result<Held> {
    let full = || {
        node.metrics().refused.increment(1);
        Problem::new(Code::TooManyConnections).retry_after(node.settings().accept.full_retry)
    };
    let user = match identity {
        Some(identity) => Some(node.users().take(identity.user).ok_or_else(full)?),
        None => None,
    };
    let address = if node.counts_peers() {
        None
    } else {
        let address = parts.extensions.get::<ClientAddress>().copied();
        let network = address.unwrap_or(ClientAddress::NONE).network();
        Some(node.addresses().take(network).ok_or_else(full)?)
    };
    Ok(Held { _address: address, _user: user, _place: parts.extensions.remove() })
}

fn switching(handshake: Handshake) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, handshake.accept);
    if let Some(protocol) = handshake.protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}

/// Hands the socket over to its shard.
async fn take_over(ticket: Ticket, upgraded: OnUpgrade) {
    let upgraded = match upgraded.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "the client left before its 101"),
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        return tracing::error!("the stream under an upgrade is not the accept loop's");
    };
    let attached = match parts.io.into_inner().into_std() {
        Ok(stream) => ticket.attach(stream, parts.read_buf.into()),
        Err(error) => return tracing::error!(%error, "a stream could not be handed over"),
    };
    if let Err(error) = attached {
        tracing::debug!(%error, "a socket came too late");
    }
}
