//! Accepting: from a listener to requests in a router, with a time-out at every step.
//!
//! Not `axum::serve`, which has no timer and wraps the stream in a type of its own.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::client_address::{ClientAddress, Peer};
use shared::problem::{Code, Problem};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::Node;
use crate::limits::{Counted, Slot};

mod reserve;

use reserve::Reserve;

/// Unsent bytes the kernel keeps for one socket: more wait in the node's own queue, where they are
/// shared and counted. No setting: it must stay well below `QUEUE_BYTES` and above one packet.
const NOT_SENT_BYTES: u32 = 32 * 1024;
/// The wait after accepting failed for want of files or memory: no setting, because it only keeps the
/// loop from spinning; clients wait in the kernel's queue meanwhile.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Clients that may wait to be accepted; the kernel allows no more than `net.core.somaxconn`. Beyond it a
/// client is not answered and asks again after a second. No setting: room for all that come back at once.
const BACKLOG: u32 = 4096;
/// How often a failing accept loop says so.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// A connection's place, carried by each of its requests and, after an upgrade, by the socket; given
/// back when the last holder is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its place among all.
    _slot: Arc<Slot>,
    /// Its place among its address's, where the socket's other end is the client.
    _address: Option<Arc<Counted<Vec<u8>>>>,
}

impl Place {
    /// A place, if there is one. The address is counted here, not only at the upgrade: silent
    /// connections of one address must not take the places of all.
    fn take(node: &Node, peer: SocketAddr) -> Option<Self> {
        let address = if node.counts_peers() {
            let network = ClientAddress::new(peer.ip()).network();
            Some(Arc::new(node.addresses().take(network)?))
        } else {
            None
        };
        Some(Self { _slot: Arc::new(node.slots().take()?), _address: address })
    }
}

/// Listens at an address.
///
/// # Errors
/// When the address cannot be used.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As the standard library does: a port whose last connections linger can be used again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves a router on all listeners until the node stops accepting; `router` stands behind the front.
pub async fn serve(listeners: Vec<TcpListener>, router: Router, node: &Node) {
    let full = Spare::new(full(node), node);
    let doors = listeners.into_iter().map(|listener| {
        let accepting = accept(listener, node, |stream, peer| {
            let Some(place) = Place::take(node, peer) else {
                node.metrics().refused.increment(1);
                return full.admit(stream, peer);
            };
            tokio::spawn(connection(stream, peer, router.clone(), node.clone(), Some(place)));
        });
        async {
            tokio::select! {
                () = accepting => {}
                () = node.phase().closing() => {}
            }
        }
    });
    join_all(doors).await;
}

/// Serves health and metrics on a port of their own for as long as the process lives: also while
/// every place for clients is taken, and while the node drains.
pub async fn serve_admin(listener: TcpListener, router: Router, node: &Node) {
    let admin = Spare::new(router, node);
    accept(listener, node, |stream, peer| admin.admit(stream, peer)).await;
}

/// Lets this process open as many files as it is allowed to, and says how many that is.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(files = maximum, "the limit of open files"),
        Err(error) => {
            tracing::warn!(%error, files = current, "the limit of open files was not raised");
        }
    }
}

/// Serves connections that take no client's place, one request each, a few at a time.
struct Spare {
    router: Router,
    node: Node,
    places: Arc<Semaphore>,
}

impl Spare {
    fn new(router: Router, node: &Node) -> Self {
        Self {
            router,
            node: node.clone(),
            places: Arc::new(Semaphore::new(node.settings().accept.spare)),
        }
    }

    /// Serves it, or drops it unanswered.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let serving = connection(stream, peer, self.router.clone(), self.node.clone(), None);
        tokio::spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

/// 503 for everything but health, so that an orchestrator does not restart a full node.
fn full(node: &Node) -> Router {
    let retry = node.settings().accept.full_retry;
    let refuse = move || async move { Problem::new(Code::TooManyConnections).retry_after(retry) };
    let router = node.health_router();
    let router =
        router.route("/", axum::routing::any(refuse)).route("/{*path}", axum::routing::any(refuse));
    node.front().layer(router)
}

async fn accept(listener: TcpListener, node: &Node, admit: impl Fn(TcpStream, SocketAddr)) {
    let reserve = Reserve::take();
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = set_options(&stream, node.settings().accept.user_timeout) {
                    tracing::debug!(%error, "socket options were not set");
                }
                admit(stream, peer);
            }
            // The client gave up while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                node.metrics().accept_errors.increment(1);
                if warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
                    tracing::warn!(%error, "a connection could not be accepted");
                    warned = Some(Instant::now());
                }
                let retry = node.settings().accept.full_retry;
                if Reserve::is_needed(&error) && reserve.refuse(&listener, retry) {
                    node.metrics().refused.increment(1);
                    // Whoever gives a file back has a turn.
                    tokio::task::yield_now().await;
                } else {
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

fn set_options(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // Small messages go at once; neither hyper nor axum sets this.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(user_timeout))?;
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    node: Node,
    place: Option<Place>,
) {
    let kept = place.is_some();
    let (accept, grace) = (&node.settings().accept, node.settings().drain.request);
    let wait = if kept { Duration::MAX } else { accept.spare_timeout };
    let (first_byte, header) = (accept.first_byte.min(wait), accept.header.min(wait));
    let spoken = tokio::select! {
        biased;
        spoken = speaks(&stream, first_byte) => spoken,
        // Nobody is owed an answer yet, and the drain need not wait for one who is silent.
        () = node.phase().closing(), if kept => false,
    };
    if !spoken {
        return;
    }
    let service =
        service_fn(move |request| router.clone().oneshot(prepare(request, peer, place.as_ref())));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .max_header_size(accept.header_bytes.0)
        .keep_alive(kept)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // Only for a connection that is kept: one that serves a single request ends by itself, and
        // hyper would end it before it has read that request.
        () = node.phase().closing(), if kept => {
            connection.as_mut().graceful_shutdown();
            match timeout(grace, connection).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection broke off");
    }
}

/// Whether the client says anything in time: hyper's header time-out starts with the first byte.
async fn speaks(stream: &TcpStream, within: Duration) -> bool {
    // Peeking, because readiness alone may be told too early.
    let mut first = [0];
    matches!(timeout(within, stream.peek(&mut first)).await, Ok(Ok(1)))
}

/// Tells the router who is at the other end and which place the connection has.
fn prepare(request: hyper::Request<Incoming>, peer: SocketAddr, place: Option<&Place>) -> Request {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip()));
    if let Some(place) = place {
        request.extensions_mut().insert(place.clone());
    }
    request
}
