//! The broker over Redis pub/sub.
//!
//! A link is two connections: one publishes, one is subscribed. Probes that must come round tell
//! whether both still do; whatever breaks, the whole link is discarded and built anew, so there is
//! no half-broken state. Everything is at most once: what was under way when a link broke is lost
//! and counted, never sent twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError, Value,
};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{interval_at, sleep, sleep_until};

use super::frame::{self, Content, Source};
use super::queue::{Cost, Queue};
use super::{Broker, Inbound, State};
use crate::metrics::Metrics;
use crate::pressure::{Patience, Rules};
use crate::publication::{Kind, Publication};
use crate::settings;

/// The channel of the plain lobby, after `REDIS_PREFIX`.
const PLAIN: &str = "plain";
/// Frames in one round trip at most: so many that `BATCH_BYTES` is what bounds a batch, and a probe
/// does not wait behind many round trips.
const BATCH: usize = 16_384;
/// Bytes in one round trip at most, but for a single larger message. No setting: what an operator
/// bounds is what waits, `REDIS_QUEUE_BYTES`.
const BATCH_BYTES: usize = 1 << 20;
/// The first wait before a broken link is built anew; it doubles up to `REDIS_RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// The node's end of the relay.
#[derive(Debug)]
pub struct Redis {
    client: Client,
    settings: settings::Redis,
    channel: String,
    /// This node; its own frames are dropped, since its members have them already.
    source: Source,
    /// Frames on their way out.
    outbound: Queue<Bytes>,
    inbound: Arc<Inbound>,
    metrics: Arc<Metrics>,
    up: AtomicBool,
    probes: Mutex<Probes>,
}

/// The way round as it was last seen.
#[derive(Debug)]
struct Probes {
    /// The number of the last probe sent, and when.
    sent: (u64, Instant),
    /// When any own frame of this link last came round: a probe behind many messages may be late
    /// while the link is as well as can be.
    heard: Instant,
}

/// The two connections; dropping it closes both.
struct Link {
    publish: MultiplexedConnection,
    /// Only held: what it gets arrives by the push sender.
    _subscribe: MultiplexedConnection,
    /// Rung when the subscribed connection ends.
    lost: Arc<Notify>,
}

/// Publications on their way to Redis. Dropped before they are known to have arrived, they count as
/// lost: at most once means not to ask again.
struct InFlight<'a> {
    metrics: &'a Metrics,
    count: u64,
}

/// Why a link was given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// A command failed or was not answered in time.
    #[error(transparent)]
    Command(#[from] RedisError),
    /// The subscribed connection ended.
    #[error("the subscribed connection ended")]
    Lost,
    /// The node's own probes do not come round.
    #[error("probes do not come round")]
    Silent,
}

impl Cost for Bytes {
    fn bytes(&self) -> usize {
        self.len()
    }
}

impl Redis {
    /// Starts to build the link and keeps it built; does not wait for it.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(
        settings: settings::Redis,
        inbound: Arc<Inbound>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, RedisError> {
        let info = settings.url.expose_secret().into_connection_info()?;
        // Pushes on a connection that also answers commands need RESP3.
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let now = Instant::now();
        let redis = Arc::new(Self {
            client: Client::open(info.set_redis_settings(resp3))?,
            channel: format!("{}:{PLAIN}", settings.prefix),
            source: Source::random(),
            outbound: Queue::new(Rules { cap: settings.queue.0, patience: Patience::default() }),
            inbound,
            metrics,
            up: AtomicBool::new(false),
            probes: Mutex::new(Probes { sent: (0, now), heard: now }),
            settings,
        });
        tokio::spawn(Arc::clone(&redis).keep());
        Ok(redis)
    }

    /// Builds the link, uses it until it breaks, and starts again.
    async fn keep(self: Arc<Self>) {
        let mut wait = RETRY_MIN;
        let mut reported = false;
        loop {
            let broken = match self.open().await {
                Ok(link) => self.run(link).await,
                Err(error) => error.into(),
            };
            let was_up = self.up.swap(false, Ordering::AcqRel);
            self.forget();
            if was_up || !reported {
                tracing::warn!(error = %broken, "Redis is away; messages stay on this node");
                reported = true;
            }
            wait = if was_up { RETRY_MIN } else { (wait * 2).min(self.settings.retry_max) };
            // Spread, so that all nodes do not come back to a new Redis in one instant.
            let spread = rand::random_range(0.5..1.0);
            sleep(wait.mul_f64(spread)).await;
        }
    }

    async fn open(self: &Arc<Self>) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.timeout));
        let lost = Arc::new(Notify::new());
        let (redis, ended) = (Arc::downgrade(self), Arc::clone(&lost));
        let pushed = config.clone().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.notify_one();
            } else if let Some(redis) = redis.upgrade() {
                redis.pushed(push);
            }
            Ok::<(), redis::aio::SendError>(())
        });
        let mut subscribe =
            self.client.get_multiplexed_async_connection_with_config(&pushed).await?;
        subscribe.subscribe(&self.channel).await?;
        let publish = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Link { publish, _subscribe: subscribe, lost })
    }

    async fn run(&self, link: Link) -> Broken {
        // What came after the last link was given up, between `up` being asked and being lowered.
        self.forget();
        self.lock().heard = Instant::now();
        self.probe();
        tokio::select! {
            error = self.pump(link.publish) => error.into(),
            () = link.lost.notified() => Broken::Lost,
            () = self.watch() => Broken::Silent,
        }
    }

    /// Publishes what waits, one batch in flight: that keeps the order, and a slow way to Redis
    /// makes the batches larger.
    async fn pump(&self, mut publish: MultiplexedConnection) -> RedisError {
        loop {
            let mut frame = Some(std::future::poll_fn(|cx| self.outbound.poll_pop(cx)).await);
            let mut batch = redis::pipe();
            let (mut count, mut bytes) = (0, 0);
            let mut in_flight = InFlight { metrics: &self.metrics, count: 0 };
            while let Some(next) = frame {
                bytes += next.len();
                count += 1;
                in_flight.count += u64::from(!frame::is_probe(&next));
                batch.cmd("PUBLISH").arg(&self.channel).arg(&next[..]).ignore();
                frame =
                    if count < BATCH && bytes < BATCH_BYTES { self.outbound.pop() } else { None };
            }
            self.outbound.refused();
            let answered = batch.query_async::<()>(&mut publish).await;
            self.outbound.accepted();
            match answered {
                Ok(()) => in_flight.arrived(),
                Err(error) => return error,
            }
        }
    }

    /// Sends probes and ends when nothing comes round.
    async fn watch(&self) {
        let every = self.settings.probe_interval;
        let mut tick = interval_at((Instant::now() + every).into(), every);
        loop {
            let silent = self.lock().heard + self.settings.timeout;
            if silent <= Instant::now() {
                return;
            }
            tokio::select! {
                _ = tick.tick() => self.probe(),
                () = sleep_until(silent.into()) => {}
            }
        }
    }

    fn probe(&self) {
        let mut probes = self.lock();
        probes.sent = (probes.sent.0 + 1, Instant::now());
        let number = probes.sent.0;
        drop(probes);
        // A full queue is not a lost probe: the next tick sends another.
        if self.outbound.push(frame::encode(self.source, &Content::Probe(number))).is_err() {
            tracing::debug!("no room for a probe");
        }
    }

    /// Takes what the subscribed connection got; must not block.
    fn pushed(&self, push: PushInfo) {
        let PushInfo { kind: PushKind::Message, mut data } = push else { return };
        let Some(Value::BulkString(frame)) = data.pop() else { return };
        let frame = Bytes::from(frame);
        match frame::decode(&frame) {
            Some((source, content)) if source == self.source => {
                self.lock().heard = Instant::now();
                if let Content::Probe(number) = content {
                    self.came_round(number);
                }
            }
            Some((_, Content::Publication(kind, payload))) => {
                let payload = frame.slice_ref(payload);
                self.inbound.push(Publication { kind, payload });
            }
            Some((_, Content::Probe(_))) => {}
            None => self.metrics.relay_dropped_in.increment(1),
        }
    }

    fn came_round(&self, number: u64) {
        let probes = self.lock();
        if probes.sent.0 == number {
            self.metrics.relay_seconds.record(probes.sent.1.elapsed());
        }
        drop(probes);
        if !self.up.swap(true, Ordering::AcqRel) {
            tracing::info!("Redis relays to other nodes");
        }
    }

    /// Drops what waits for a link that is gone: it would come late and out of place.
    fn forget(&self) {
        let mut dropped = 0;
        while let Some(frame) = self.outbound.pop() {
            dropped += u64::from(!frame::is_probe(&frame));
        }
        self.metrics.relay_dropped_out.increment(dropped);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Probes> {
        // Nothing panics while it is held.
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight<'_> {
    fn arrived(mut self) {
        self.metrics.relay_sent.increment(std::mem::take(&mut self.count));
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.relay_dropped_out.increment(self.count);
    }
}

impl Broker for Redis {
    fn publish(&self, kind: Kind, payload: &[u8]) {
        let carried = self.up.load(Ordering::Acquire) && {
            let frame = frame::encode(self.source, &Content::Publication(kind, payload));
            self.outbound.push(frame).is_ok()
        };
        if !carried {
            self.metrics.relay_dropped_out.increment(1);
        }
    }

    fn pauses_until(&self, now: Instant) -> Option<Instant> {
        // A Redis that has stopped answering pauses nobody, as a reader that has stopped reading.
        self.outbound.pauses_until(now).filter(|_| self.up.load(Ordering::Acquire))
    }

    fn state(&self) -> State {
        if self.up.load(Ordering::Acquire) { State::Up } else { State::Down }
    }
}

#[cfg(test)]
mod tests;
