//! The realtime node: WebSockets with heartbeats, relayed between nodes.
//!
//! A process that listens does this:
//!
//! ```text
//! let settings = realtime::Settings::read(&mut reader, realtime::Process::Local);
//! let node = realtime::Node::start(settings, Arc::clone(&front), Some(auth))?;
//! let router = front.layer(functions_router.merge(node.router()).merge(node.admin_router()));
//! let serving = realtime::serve(listeners, router, &node); // ends once the node drains
//! // on a signal: node.drain().await, after which the process may end
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use shared::client_address;
use shared::front::Front;

mod auth;
pub mod broker;
pub mod close;
mod command;
pub mod drain;
pub mod frame;
mod health;
pub mod hub;
pub mod limits;
pub mod log;
pub mod metrics;
mod presence;
mod pressure;
pub mod protocol;
pub mod publication;
mod revocation;
mod room;
pub mod serve;
pub mod settings;
mod shard;
mod store;
mod turns;
mod upgrade;

pub use auth::Auth;
pub use serve::{serve, serve_admin};
pub use settings::{Process, Settings};

use anyhow::Context;
use broker::memory::Bus;
use broker::redis::Redis;
use broker::{Broker, Inbound};
use drain::Phases;
use hub::{Hub, Room, RoomId};
use limits::{Counts, Slots};
use metrics::Metrics;
use settings::Plain;
use store::Store;
use tokio::task::JoinSet;
use uuid::Uuid;

/// What may wait between nodes of one process. No setting: only tests have several.
const MEMORY_QUEUE_BYTES: usize = 16 << 20;

/// A running node. Clones are the same node.
#[derive(Debug, Clone)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    front: Arc<Front>,
    mode: Mode,
    auth: Option<Auth>,
    hub: Arc<Hub>,
    lobby: Arc<Room>,
    broker: Arc<dyn Broker>,
    metrics: Arc<Metrics>,
    slots: Arc<Slots>,
    addresses: Arc<Counts<Vec<u8>>>,
    users: Arc<Counts<Uuid>>,
    phases: Phases,
    /// Watches over the sockets' sessions, until it is dropped.
    watch: Mutex<Option<JoinSet<()>>>,
}

/// Who may use plain mode, and how that is checked.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Anybody.
    On,
    /// Users with a live session.
    Auth(Auth),
    /// Nobody.
    Off,
}

impl Node {
    /// Starts a node: with Redis as its broker if that is set, else alone.
    ///
    /// `auth` is needed by `REALTIME_PLAIN=auth` and by `keywire.v1`, which is refused without it.
    ///
    /// # Errors
    /// When the address of Redis cannot be used, or `auth` is missing.
    pub fn start(
        settings: Settings,
        front: Arc<Front>,
        auth: Option<Auth>,
    ) -> anyhow::Result<Self> {
        let Some(redis) = settings.redis.clone() else {
            return Self::start_on(&Bus::default(), settings, front, auth);
        };
        let metrics = Arc::new(Metrics::default());
        let inbound = Inbound::new(redis.queue.0, Arc::clone(&metrics));
        let broker = Redis::start(redis, Arc::clone(&inbound), Arc::clone(&metrics));
        let broker = broker.context("REDIS_URL")?;
        Self::assemble(settings, front, auth, metrics, inbound, broker)
    }

    /// Starts a node that reaches the other nodes of this process by `bus`.
    ///
    /// # Errors
    /// When `auth` is missing and needed.
    pub fn start_on(
        bus: &Bus,
        settings: Settings,
        front: Arc<Front>,
        auth: Option<Auth>,
    ) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let inbound = Inbound::new(MEMORY_QUEUE_BYTES, Arc::clone(&metrics));
        let broker = bus.join(&inbound);
        Self::assemble(settings, front, auth, metrics, inbound, broker)
    }

    fn assemble(
        settings: Settings,
        front: Arc<Front>,
        auth: Option<Auth>,
        metrics: Arc<Metrics>,
        inbound: Arc<Inbound>,
        broker: Arc<dyn Broker>,
    ) -> anyhow::Result<Self> {
        let auth = auth.map(Auth::of_a_node);
        let mode = match (settings.plain, &auth) {
            (Plain::On, _) => Mode::On,
            (Plain::Off, _) => Mode::Off,
            (Plain::Auth, Some(auth)) => Mode::Auth(auth.clone()),
            (Plain::Auth, None) => anyhow::bail!("REALTIME_PLAIN=auth needs a database"),
        };
        let users = Counts::new(settings.limits.per_user);
        let store = auth.clone().map(|auth| Store::new(auth, &settings.log, Arc::clone(&users)));
        let hub =
            Hub::start_with(settings.clone(), Arc::clone(&metrics), Arc::clone(&broker), store);
        let hub = Arc::new(hub.context("the shards did not start")?);
        let lobby = hub.room(RoomId::LOBBY);
        tokio::spawn(Metrics::keep_up(Arc::downgrade(&metrics)));
        tokio::spawn(inbound.deliver_to(Arc::downgrade(&hub), Arc::clone(&lobby)));
        Ok(Self(Arc::new(Inner {
            front,
            mode,
            lobby,
            broker,
            metrics,
            slots: Slots::new(settings.limits.connections),
            addresses: Counts::new(settings.limits.per_address),
            users,
            watch: Mutex::new(auth.as_ref().map(|auth| revocation::watch(auth, hub.shared()))),
            auth,
            phases: Phases::new(),
            hub,
            settings,
        })))
    }

    /// The route `/ws`; the caller puts the front before it.
    pub fn router(&self) -> Router {
        upgrade::router(self.clone())
    }

    /// `/health/live`, `/health/ready` and `/metrics`; the caller puts the front before it.
    pub fn admin_router(&self) -> Router {
        health::admin_router(self.clone())
    }

    /// Sends every client away and waits until they are gone, at most `DRAIN_DELAY` +
    /// `DRAIN_WINDOW` + the longer of `CLOSE_TIMEOUT` + 2 s and `REQUEST_GRACE` + 1 s. [`serve()`] ends
    /// meanwhile.
    pub async fn drain(&self) {
        drain::drain(self).await;
    }

    /// Waits until a part of the node has failed, which it cannot mend: the process should drain and end
    /// with an error, so that it is started anew.
    pub async fn failed(&self) {
        self.0.hub.broken().await;
    }

    pub(crate) fn health_router(&self) -> Router {
        health::health_router(self.clone())
    }

    pub(crate) fn render_metrics(&self) -> String {
        let Inner { metrics, broker, slots, hub, .. } = &*self.0;
        // A node's counts stay far below 2^52, where f64 would lose the last digit.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let gauge = |n: usize| n as f64;
        metrics.tcp_connections.set(gauge(slots.open()));
        metrics.queue_bytes.set(gauge(hub.held_bytes()));
        metrics.shard_bytes.set(gauge(hub.bytes_under_way()));
        metrics.relay_up.set(if broker.state() == broker::State::Down { 0.0 } else { 1.0 });
        let hears = self.auth().is_none_or(|auth| auth.doubts().is_listening());
        metrics.notices_up.set(if hears { 1.0 } else { 0.0 });
        metrics.render()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn front(&self) -> &Arc<Front> {
        &self.0.front
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    pub(crate) fn lobby(&self) -> &Arc<Room> {
        &self.0.lobby
    }

    pub(crate) fn broker(&self) -> &dyn Broker {
        &*self.0.broker
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.0.slots
    }

    /// Who checks tokens; a node without a database has none, and no `keywire.v1`.
    pub(crate) fn auth(&self) -> Option<&Auth> {
        self.0.auth.as_ref()
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.0.mode
    }

    pub(crate) fn users(&self) -> &Arc<Counts<Uuid>> {
        &self.0.users
    }

    pub(crate) fn addresses(&self) -> &Arc<Counts<Vec<u8>>> {
        &self.0.addresses
    }

    /// Whether the socket's other end is the client, so that addresses are counted at accept; behind
    /// CloudFront only the request tells.
    pub(crate) fn counts_peers(&self) -> bool {
        self.0.front.http.client_address != client_address::Mode::Cloudfront
    }

    /// There are no sockets any more to watch over.
    pub(crate) fn end_watch(&self) {
        self.0.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn phase(&self) -> &Phases {
        &self.0.phases
    }
}
