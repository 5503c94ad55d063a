//! Two nodes: over one Redis, over the memory bus, and while Redis is away.

use std::time::{Duration, Instant};

use realtime::broker::memory::Bus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;

use super::redis::Redis;
use super::test_node::*;

/// A link that breaks is noticed at once; one that is only slow is waited for.
const CALM: &[(&str, &str)] = &[("REDIS_PROBE_INTERVAL", "200ms"), ("REDIS_TIMEOUT", "2m")];
/// A link that carries nothing is noticed within two seconds.
const QUICK: &[(&str, &str)] = &[
    ("REDIS_PROBE_INTERVAL", "200ms"),
    ("REDIS_TIMEOUT", "1500ms"),
    ("REDIS_CONNECT_TIMEOUT", "1500ms"),
];

/// Two nodes and what joins them.
struct Pair {
    a: TestNode,
    b: TestNode,
    redis: Option<Redis>,
}

impl Pair {
    async fn over_redis(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start().await;
        let url = redis.url();
        let (a, b) = (
            TestNode::with_redis(&url, settings).await,
            TestNode::with_redis(&url, settings).await,
        );
        let pair = Self { a, b, redis: Some(redis) };
        pair.relays().await;
        pair
    }

    async fn over_memory() -> Self {
        let bus = Bus::default();
        Self { a: TestNode::on(&bus, &[]).await, b: TestNode::on(&bus, &[]).await, redis: None }
    }

    fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().unwrap()
    }

    /// Waits until both nodes say that the link stands.
    async fn relays(&self) {
        for node in [&self.a, &self.b] {
            ready(node, "{\"status\":\"ready\",\"broker\":\"up\"}").await;
        }
    }

    /// Waits until both nodes say that it does not.
    async fn is_degraded(&self) {
        for node in [&self.a, &self.b] {
            ready(node, "{\"status\":\"degraded\",\"broker\":\"down\"}").await;
            assert_eq!(node.metric("keywire_relay_up").await, 0);
        }
    }
}

async fn ready(node: &TestNode, body: &str) {
    until(body, async || {
        let answer = node.get("/health/ready").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.ends_with(body)
    })
    .await;
}

#[tokio::test]
async fn a_message_on_either_node_reaches_every_client_of_both_by_redis_and_by_memory() {
    for pair in [Pair::over_redis(&[]).await, Pair::over_memory().await] {
        let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
        for (from_a, text) in
            [(true, "from a"), (false, "from b"), (true, "grüße\u{0}🦀"), (false, "")]
        {
            say(if from_a { &mut ann } else { &mut bob }, text).await;
            hears(&mut ann, text).await;
            hears(&mut bob, text).await;
        }
        let every: Vec<u8> = (0..=255).collect();
        say_bytes(&mut ann, &every).await;
        assert_eq!(hear(&mut bob).await, Message::binary(every.clone()));
        assert_eq!(hear(&mut ann).await, Message::binary(every));
    }
}

#[tokio::test]
async fn each_senders_order_holds_on_both_nodes() {
    const EACH: usize = 500;
    for pair in [Pair::over_redis(&[]).await, Pair::over_memory().await] {
        let mut hearers = [pair.a.connect().await, pair.b.connect().await];
        // All connect before anybody speaks, so that everybody hears everything.
        let mut senders = Vec::new();
        for node in [&pair.a, &pair.b, &pair.a, &pair.b] {
            senders.push(node.connect().await);
        }
        let mut sending = Vec::new();
        for (who, mut sender) in senders.into_iter().enumerate() {
            sending.push(tokio::spawn(async move {
                for n in 0..EACH {
                    say(&mut sender, &format!("{who} {n}")).await;
                }
                // It has to read, or it would be a stalled reader itself.
                for _ in 0..4 * EACH {
                    hear(&mut sender).await;
                }
            }));
        }
        for hearer in &mut hearers {
            let mut next = [0; 4];
            for _ in 0..4 * EACH {
                let text = hear(hearer).await.into_text().unwrap();
                let (who, n) = text.split_once(' ').unwrap();
                let who: usize = who.parse().unwrap();
                assert_eq!(n.parse(), Ok(next[who]), "sender {who}");
                next[who] += 1;
            }
        }
        for sending in sending {
            soon("a sender's end", sending).await.unwrap();
        }
    }
}

/// Talks on one node until told to stop, one message at a time, each heard before the next.
fn talker(
    mut socket: Socket,
) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<Duration>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let talking = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        let mut n = 0;
        while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            let started = Instant::now();
            let text = format!("load {n}");
            say(&mut socket, &text).await;
            // The other node's talker is heard as well.
            while hear(&mut socket).await != Message::text(&text) {}
            longest = longest.max(started.elapsed());
            n += 1;
        }
        longest
    });
    (stop, talking)
}

#[tokio::test]
async fn redis_killed_and_restarted_under_load_disconnects_nobody_and_the_relay_resumes() {
    let mut pair = Pair::over_redis(CALM).await;
    let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
    let (stop_a, talking_a) = talker(pair.a.connect().await);
    for _ in 0..2 {
        hear(&mut bob).await;
        pair.redis().kill();
        pair.is_degraded().await;
        // Each node goes on by itself.
        say(&mut bob, "alone").await;
        while hear(&mut bob).await != Message::text("alone") {}
        pair.redis().restart().await;
        pair.relays().await;
        is_joined(&mut bob, &mut ann).await;
        while !hear(&mut bob).await.into_text().unwrap().starts_with("load") {}
    }
    stop_a.send(()).unwrap();
    // Losing Redis stops nobody on a node: no message took long, and nobody was disconnected.
    let longest = soon("the talker", talking_a).await.unwrap();
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    for node in [&pair.a, &pair.b] {
        let text = node.get("/metrics").await;
        let closes = text.lines().filter(|line| line.starts_with("keywire_closes_total{"));
        for line in closes.filter(|line| line.contains("by=\"node\"")) {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
    assert!(pair.a.metric("keywire_relay_dropped_total{direction=\"out\"}").await > 0);
}

#[tokio::test]
async fn a_redis_that_stops_answering_is_noticed_and_comes_back() {
    let mut pair = Pair::over_redis(QUICK).await;
    let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
    pair.redis().freeze();
    pair.is_degraded().await;
    say(&mut ann, "alone").await;
    hears(&mut ann, "alone").await;
    pair.redis().thaw();
    pair.relays().await;
    is_joined(&mut ann, &mut bob).await;
}

/// Says a word until the other hears it: what was said while a link broke is lost.
async fn is_joined(one: &mut Socket, other: &mut Socket) {
    let heard = async { while hear(other).await != Message::text("together") {} };
    let saying = async {
        loop {
            say(one, "together").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    soon("a word by the relay", async {
        tokio::select! {
            () = heard => {}
            () = saying => {}
        }
    })
    .await;
}

/// Carries bytes to a Redis and back, each way so much later.
async fn slow_way(redis: &Redis, delay: Duration) -> String {
    let target = redis.socket();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = UnixStream::connect(&target).await.unwrap();
            let (near, far) = (near.into_split(), far.into_split());
            tokio::spawn(later(near.0, far.1, delay));
            tokio::spawn(later(far.0, near.1, delay));
        }
    });
    format!("redis://{address}")
}

/// Copies one direction, late, until either side ends.
async fn later(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin,
    delay: Duration,
) {
    let (sender, mut chunks) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            let due = tokio::time::Instant::now() + delay;
            if sender.send((due, chunk[..n].to_vec())).is_err() {
                break;
            }
        }
    });
    while let Some((due, chunk)) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&chunk).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn over_a_way_of_600_ms_nothing_is_lost_and_the_order_holds() {
    let redis = Redis::start().await;
    let url = slow_way(&redis, Duration::from_millis(300)).await;
    let (a, b) = (TestNode::with_redis(&url, &[]).await, TestNode::with_redis(&url, &[]).await);
    let pair = Pair { a, b, redis: Some(redis) };
    pair.relays().await;
    let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
    for n in 0..500 {
        say(&mut ann, &n.to_string()).await;
    }
    for n in 0..500 {
        hears(&mut bob, &n.to_string()).await;
    }
    assert_eq!(pair.a.metric("keywire_relay_dropped_total{direction=\"out\"}").await, 0);
}

#[tokio::test]
async fn a_node_starts_without_redis_and_joins_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill();
    let a = TestNode::with_redis(&redis.url(), CALM).await;
    let b = TestNode::with_redis(&redis.url(), CALM).await;
    let pair = Pair { a, b, redis: Some(redis) };
    pair.is_degraded().await;
    let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
    say(&mut ann, "alone").await;
    hears(&mut ann, "alone").await;
    let mut pair = pair;
    pair.redis().restart().await;
    pair.relays().await;
    say(&mut ann, "together").await;
    hears(&mut bob, "together").await;
}

#[tokio::test]
async fn nodes_with_another_prefix_hear_nothing() {
    let redis = Redis::start().await;
    let mut other = CALM.to_vec();
    other.push(("REDIS_PREFIX", "other"));
    let a = TestNode::with_redis(&redis.url(), CALM).await;
    let b = TestNode::with_redis(&redis.url(), &other).await;
    let c = TestNode::with_redis(&redis.url(), CALM).await;
    for node in [&a, &b, &c] {
        ready(node, "{\"status\":\"ready\",\"broker\":\"up\"}").await;
    }
    let (mut ann, mut bob, mut eve) = (a.connect().await, b.connect().await, c.connect().await);
    say(&mut ann, "secret").await;
    hears(&mut eve, "secret").await;
    say(&mut bob, "mine").await;
    hears(&mut bob, "mine").await;
}

#[tokio::test]
async fn garbage_on_the_channel_is_dropped_and_counted() {
    let pair = Pair::over_redis(CALM).await;
    let mut bob = pair.b.connect().await;
    let socket = pair.redis.as_ref().unwrap().url().trim_start_matches("redis+unix://").to_owned();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"PUBLISH kw:plain garbage\r\nPUBLISH kw:plain \"\"\r\n").await.unwrap();
    pair.b.metric_reaches("keywire_relay_dropped_total{direction=\"in\"}", 2).await;
    let mut ann = pair.a.connect().await;
    say(&mut ann, "unharmed").await;
    hears(&mut bob, "unharmed").await;
}

#[tokio::test]
async fn one_slow_reader_does_not_make_its_node_lose_what_others_send() {
    // Less than what may wait on the way in, and far more than the slow one takes in a minute.
    const MESSAGES: usize = 200;
    let mut settings = CALM.to_vec();
    settings.extend([("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off")]);
    settings.extend([("STALL_TIMEOUT", "3s"), ("PAUSE_LIMIT", "1m")]);
    let pair = Pair::over_redis(&settings).await;
    let (mut ann, mut bob) = (pair.a.connect().await, pair.b.connect().await);
    // It goes on taking bytes, just enough to be waited for.
    let slow = pair.b.connect_narrow().await;
    let taking = tokio::spawn(async move {
        let mut stream = slow.into_inner();
        let mut bytes = [0; 5 * 1024];
        while matches!(stream.read(&mut bytes).await, Ok(read) if read > 0) {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    let speaking = async {
        for n in 0..MESSAGES {
            say_bytes(&mut ann, &[&n.to_be_bytes()[..], &vec![0; 60 * 1024]].concat()).await;
            hear(&mut ann).await;
        }
    };
    let hearing = async {
        for n in 0..MESSAGES {
            assert_eq!(hear(&mut bob).await.into_data()[..8], n.to_be_bytes());
        }
    };
    soon("everything", async { tokio::join!(speaking, hearing) }).await;
    assert_eq!(pair.b.metric("keywire_relay_dropped_total{direction=\"in\"}").await, 0);
    pair.b.metric_reaches("keywire_closes_total{code=\"4008\",by=\"node\"}", 1).await;
    taking.abort();
}
