//! Pings, pongs, and what happens without them.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::test_node::*;

/// The time-out is long enough for a client on a busy machine to answer in.
const QUICK: &[(&str, &str)] = &[("PING_INTERVAL", "200ms"), ("PING_TIMEOUT", "1s")];
/// Interval and time-out.
const SILENCE: Duration = Duration::from_millis(1_200);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let node = TestNode::start(QUICK).await;
    let mut ann = node.connect().await;
    let started = Instant::now();
    let mut pings = 0;
    while started.elapsed() < 2 * SILENCE {
        // tungstenite answers each Ping while it reads.
        match soon("a ping", ann.next()).await.unwrap().unwrap() {
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(pings >= 4, "{pings} pings");
    assert!(node.metric("keywire_ping_seconds_count").await >= 3);
}

#[tokio::test]
async fn a_silent_client_is_cut_after_interval_plus_timeout_while_it_is_sent_to() {
    let node = TestNode::start(QUICK).await;
    let mut talker = node.connect().await;
    let started = Instant::now();
    // It never reads, so it never answers a Ping; the kernel takes what is sent to it.
    let silent = node.connect().await;
    let cut = node.metric("keywire_closes_total{code=\"1006\",by=\"node\"}");
    assert_eq!(cut.await, 0);
    until("the cut", async || {
        // Outbound traffic must not count as a sign of life. The talker reads, so it stays.
        say(&mut talker, "are you there?").await;
        hears(&mut talker, "are you there?").await;
        node.metric("keywire_closes_total{code=\"1006\",by=\"node\"}").await >= 1
    })
    .await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_050), "cut too early: {took:?}");
    assert!(took <= SILENCE + SLACK, "cut too late: {took:?}");
    drop(silent);
}

#[tokio::test]
async fn a_pong_alone_resets_the_timer() {
    let node = TestNode::start(QUICK).await;
    let mut ann = node.connect().await;
    let mut pace = tokio::time::interval(SILENCE / 24);
    for _ in 0..48 {
        // Unasked, so that nothing but the Pong speaks for the client; its Pings stay unread.
        ann.send(Message::Pong(bytes::Bytes::new())).await.unwrap();
        pace.tick().await;
    }
    say(&mut ann, "still here").await;
    hears(&mut ann, "still here").await;
}

#[tokio::test]
async fn a_connection_that_never_sends_a_byte_is_cut() {
    let node = TestNode::start(&[("FIRST_BYTE_TIMEOUT", "200ms")]).await;
    let started = Instant::now();
    assert_eq!(node.exchange(b"").await, b"");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(190) && took < SLACK, "{took:?}");
    // Only the one that asks is left.
    until("its place", async || node.metric("keywire_tcp_connections").await == 1).await;
}

#[tokio::test]
async fn who_never_ends_the_stream_after_a_close_is_cut() {
    // The heartbeat looks at the connection before the close time-out is over.
    let settings = [("PING_INTERVAL", "400ms"), ("PING_TIMEOUT", "400ms"), ("CLOSE_TIMEOUT", "1s")];
    let node = TestNode::start(&settings).await;
    let mut stuck = node.connect().await;
    // A reserved bit: the node says 1002 and waits for the end of the stream.
    stuck.get_mut().write_all(&[0xf1, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(close_code(&mut stuck).await, 1002);
    // Only the one that asks is left.
    until("its place", async || node.metric("keywire_tcp_connections").await == 1).await;
    drop(stuck);
}

#[tokio::test]
async fn a_slow_header_is_cut() {
    let node = TestNode::start(&[("HEADER_TIMEOUT", "300ms")]).await;
    let started = Instant::now();
    let answer = node.exchange(b"GET /ws HTTP/1.1\r\nHost: local").await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(290) && took < SLACK, "{took:?}");
    assert!(!String::from_utf8_lossy(&answer).contains(" 101 "));
}
