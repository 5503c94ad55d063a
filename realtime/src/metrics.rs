//! What a node counts, as Prometheus text.
//!
//! Each node has its own recorder, so that several in one process (tests) do not mix, and each
//! counter is looked up once, not at each message.

use std::sync::Weak;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use crate::close::CloseCode;

/// Upper bounds of the histograms' buckets, in seconds.
const SECONDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// A node's counters, by what they count.
pub struct Metrics {
    handle: PrometheusHandle,
    /// Sockets open now.
    pub connections: Gauge,
    /// TCP connections open now, HTTP included.
    pub tcp_connections: Gauge,
    /// Messages taken from clients to be published; control frames do not count.
    pub messages: Counter,
    /// Bytes taken from clients.
    pub bytes_received: Counter,
    /// Bytes the clients' sockets took.
    pub bytes_sent: Counter,
    /// Messages put into clients' queues.
    pub deliveries: Counter,
    /// Bytes held for clients now: what waits for them, and what they sent and must wait.
    pub queue_bytes: Gauge,
    /// Bytes under way now between shards, and from other nodes to them.
    pub shard_bytes: Gauge,
    /// Times reading was paused because the client sent too fast.
    pub pauses_rate: Counter,
    /// Times reading was paused because a reader or the relay was behind.
    pub pauses_pressure: Counter,
    /// Holes in a room's log that did not fill by themselves and were read.
    pub log_repairs: Counter,
    /// From a Ping to the next sign of life, in seconds.
    pub ping_seconds: Histogram,
    /// Accepting failed, for want of files, say.
    pub accept_errors: Counter,
    /// Connections answered 503 because a limit was reached.
    pub refused: Counter,
    /// Whether the relay's link stands: 1 or 0. A node alone has 1.
    pub relay_up: Gauge,
    /// Whether revocations are heard of at once: 1 or 0. A node without a database has 1.
    pub notices_up: Gauge,
    /// Messages handed to the relay.
    pub relay_sent: Counter,
    /// Messages that came by the relay.
    pub relay_received: Counter,
    /// Messages the relay did not take or carry.
    pub relay_dropped_out: Counter,
    /// Messages that came by the relay faster than they could be delivered.
    pub relay_dropped_in: Counter,
    /// From sending a probe to its return, in seconds.
    pub relay_seconds: Histogram,
    /// Closed sockets, by code and by who ended them.
    closes: Vec<(CloseCode, By, Counter)>,
    /// Sockets closed by the client with a code that is not ours.
    closes_other: Counter,
}

/// Who ended a socket, label `by`: a client may send any code, so its codes say nothing about the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client closed or vanished.
    Peer,
    /// The node closed or cut it.
    Node,
}

impl By {
    fn label(self) -> Label {
        Label::new("by", if self == Self::Peer { "peer" } else { "node" })
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Registers one after another with the same recorder.
struct Register<R>(R);

/// A counter that has labels: its name and what it counts.
const CLOSES: (&str, &str) =
    ("keywire_closes_total", "Closed sockets, by code and who ended them.");
/// As above.
const PAUSES: (&str, &str) = (
    "keywire_read_pauses_total",
    "Times a client was not read for a while: it sent too fast, or others read too slowly.",
);
/// As above.
const DROPPED: (&str, &str) =
    ("keywire_relay_dropped_total", "Messages that the relay did not carry, by direction.");
/// Where the metrics come from, which the recorder asks for.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl<R: Recorder> Register<R> {
    fn counter(&self, name: &'static str, about: &'static str) -> Counter {
        self.0.describe_counter(KeyName::from(name), None, about.into());
        self.0.register_counter(&Key::from_static_name(name), &METADATA)
    }

    fn labelled(
        &self,
        (name, about): (&'static str, &'static str),
        labels: impl Into<Vec<Label>>,
    ) -> Counter {
        self.0.describe_counter(KeyName::from(name), None, about.into());
        self.0.register_counter(&Key::from_parts(name, labels.into()), &METADATA)
    }

    fn gauge(&self, name: &'static str, about: &'static str) -> Gauge {
        self.0.describe_gauge(KeyName::from(name), None, about.into());
        self.0.register_gauge(&Key::from_static_name(name), &METADATA)
    }

    fn seconds(&self, name: &'static str, about: &'static str) -> Histogram {
        self.0.describe_histogram(KeyName::from(name), Some(Unit::Seconds), about.into());
        self.0.register_histogram(&Key::from_static_name(name), &METADATA)
    }

    fn closes(&self) -> Vec<(CloseCode, By, Counter)> {
        let each = CloseCode::ALL.iter().flat_map(|&code| [(code, By::Peer), (code, By::Node)]);
        each.map(|(code, by)| {
            let number = Label::new("code", code.number().to_string());
            (code, by, self.labelled(CLOSES, [number, by.label()]))
        })
        .collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        let register = Register(recorder);
        Self {
            handle,
            connections: register.gauge("keywire_connections", "Sockets open now."),
            tcp_connections: register
                .gauge("keywire_tcp_connections", "TCP connections open now, HTTP included."),
            messages: register
                .counter("keywire_messages_total", "Messages taken from clients to be published."),
            bytes_received: register
                .counter("keywire_received_bytes_total", "Bytes taken from clients' sockets."),
            bytes_sent: register
                .counter("keywire_sent_bytes_total", "Bytes that clients' sockets took."),
            deliveries: register
                .counter("keywire_deliveries_total", "Messages put into clients' queues."),
            queue_bytes: register.gauge(
                "keywire_queue_bytes",
                "Bytes held for clients: what waits for them, and what they sent and must wait.",
            ),
            shard_bytes: register.gauge(
                "keywire_shard_bytes",
                "Bytes under way between shards and from other nodes to them.",
            ),
            pauses_rate: register.labelled(PAUSES, [Label::new("reason", "rate")]),
            pauses_pressure: register.labelled(PAUSES, [Label::new("reason", "pressure")]),
            log_repairs: register.counter(
                "keywire_log_repairs_total",
                "Holes in a room's log that did not fill by themselves and were read.",
            ),
            ping_seconds: register
                .seconds("keywire_ping_seconds", "From a Ping to the next sign of life."),
            accept_errors: register
                .counter("keywire_accept_errors_total", "Accepting a connection failed."),
            refused: register.counter(
                "keywire_refused_total",
                "Connections answered 503 because a limit was reached.",
            ),
            relay_up: register
                .gauge("keywire_relay_up", "1 while other nodes are reached, else 0."),
            notices_up: register
                .gauge("keywire_notices_up", "1 while revocations are heard of at once, else 0."),
            relay_sent: register
                .counter("keywire_relay_sent_total", "Messages handed to the relay."),
            relay_received: register
                .counter("keywire_relay_received_total", "Messages that came by the relay."),
            relay_dropped_out: register.labelled(DROPPED, [Label::new("direction", "out")]),
            relay_dropped_in: register.labelled(DROPPED, [Label::new("direction", "in")]),
            relay_seconds: register.seconds(
                "keywire_relay_seconds",
                "From sending a probe over the relay to its return.",
            ),
            closes: register.closes(),
            closes_other: register
                .labelled(CLOSES, [Label::new("code", "other"), By::Peer.label()]),
        }
    }
}

/// How often samples are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

impl Metrics {
    /// Puts samples into their buckets now and then, for as long as the metrics live: each would
    /// stay in memory until somebody asks for the text, and nobody may ever ask.
    pub async fn keep_up(metrics: Weak<Self>) {
        let mut tick = interval(UPKEEP);
        while let Some(metrics) = metrics.upgrade() {
            metrics.handle.run_upkeep();
            drop(metrics);
            tick.tick().await;
        }
    }

    /// Counts a closed socket; `None` is a code that is not ours, which only a client can send.
    pub fn closed(&self, code: Option<CloseCode>, by: By) {
        let known = self.closes.iter().find(|(known, who, _)| code == Some(*known) && by == *who);
        known.map_or(&self.closes_other, |(_, _, counter)| counter).increment(1);
    }

    /// The Prometheus text (exposition format 0.0.4).
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}
