//! Connection limits refuse before the upgrade; rate limits slow a sender down and lose nothing.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::test_node::*;

/// Asserts that no further client gets in, and that it is told when to come again.
async fn is_full(node: &TestNode) {
    let Err(Error::Http(response)) = node.connect_with(&[]).await else {
        panic!("a client was let in over the limit");
    };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn over_max_connections_is_503_until_a_place_is_free_and_health_still_answers() {
    let node = TestNode::start(&[("MAX_CONNECTIONS", "2")]).await;
    let (ann, mut bob) = (node.connect().await, node.connect().await);
    is_full(&node).await;
    assert!(node.get("/health/live").await.starts_with("HTTP/1.1 200 "));
    assert!(node.get("/anything").await.starts_with("HTTP/1.1 503 "));
    drop(ann);
    until("a free place", async || node.connect_with(&[]).await.is_ok()).await;
    say(&mut bob, "unharmed").await;
    hears(&mut bob, "unharmed").await;
}

#[tokio::test]
async fn a_full_node_says_when_to_come_again() {
    let node = TestNode::start(&[("MAX_CONNECTIONS", "1"), ("FULL_RETRY_AFTER", "90s")]).await;
    let _only = node.connect().await;
    let answer = node.get("/ws").await.to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 503 ") && answer.contains("retry-after: 90\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn silent_connections_do_not_hide_a_full_nodes_health() {
    // With the times of other connections, the silent ones would keep their places.
    let settings = [
        ("MAX_CONNECTIONS", "1"),
        ("SPARE_CONNECTIONS", "2"),
        ("SPARE_TIMEOUT", "200ms"),
        ("FIRST_BYTE_TIMEOUT", "10m"),
        ("HEADER_TIMEOUT", "10m"),
    ];
    let node = TestNode::start(&settings).await;
    let _only = node.connect().await;
    // They take both spare places.
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"GET /health/live HTTP/1.1\r\nHost: local"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        silent.push(stream);
    }
    until("health", async || node.get("/health/live").await.starts_with("HTTP/1.1 200 ")).await;
}

#[tokio::test]
async fn over_the_limit_of_one_address_is_503_and_other_addresses_are_let_in() {
    let node = TestNode::start(&[("CONNECTIONS_PER_ADDRESS", "2")]).await;
    let (ann, bob) = (node.connect().await, node.connect().await);
    is_full(&node).await;
    assert!(node.get("/health/ready").await.starts_with("HTTP/1.1 200 "));
    assert!(node.connect_from([127, 0, 0, 2]).await.is_ok());
    drop(ann);
    until("a free place", async || node.connect_with(&[]).await.is_ok()).await;
    drop(bob);
    until("another", async || node.get("/metrics").await.starts_with("HTTP/1.1 200 ")).await;
    until("the count", async || {
        let text = node.get("/metrics").await;
        text.lines().any(|line| line.starts_with("keywire_refused_total ") && !line.ends_with(" 0"))
    })
    .await;
}

#[tokio::test]
async fn silent_connections_of_one_address_count_and_leave_the_others_their_places() {
    let settings = [("MAX_CONNECTIONS", "4"), ("CONNECTIONS_PER_ADDRESS", "2")];
    let node = TestNode::start(&settings).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(node.address).await.unwrap());
    }
    is_full(&node).await;
    let mut eve = node.connect_from([127, 0, 0, 2]).await.unwrap();
    say(&mut eve, "room enough").await;
    hears(&mut eve, "room enough").await;
}

#[tokio::test]
async fn behind_cloudfront_the_viewers_address_counts_and_not_the_proxys() {
    let secret = "a-generated-secret";
    let settings = [
        ("CLIENT_ADDRESS", "cloudfront"),
        ("ORIGIN_VERIFY", secret),
        ("CONNECTIONS_PER_ADDRESS", "1"),
    ];
    let node = TestNode::start(&settings).await;
    let connect = async |viewer| {
        let headers = [("cloudfront-viewer-address", viewer), ("x-origin-verify", secret)];
        node.connect_with(&headers).await
    };
    let _ann = connect("192.0.2.1:5000").await.unwrap();
    let _bob = connect("192.0.2.2:5000").await.unwrap();
    let Err(Error::Http(refusal)) = connect("192.0.2.1:5001").await else {
        panic!("a second socket of one address was let in");
    };
    assert_eq!(refusal.status(), 503);
}

#[tokio::test]
async fn over_the_message_limit_reading_pauses_and_nothing_is_lost() {
    let node = TestNode::start(&[("LIMIT_MESSAGES", "100/s burst 10")]).await;
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    let started = Instant::now();
    for n in 0..60 {
        say(&mut ann, &n.to_string()).await;
    }
    for n in 0..60 {
        hears(&mut bob, &n.to_string()).await;
    }
    // 10 at once, 50 more at 100 a second.
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    assert!(node.metric("keywire_read_pauses_total{reason=\"rate\"}").await >= 1);
    say(&mut ann, "still here").await;
    hears(&mut bob, "still here").await;
}

#[tokio::test]
async fn over_the_byte_limit_reading_pauses_and_nothing_is_lost() {
    let node = TestNode::start(&[("LIMIT_BYTES", "100 KiB/s burst 10 KiB")]).await;
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    let started = Instant::now();
    let text = "x".repeat(10 * 1024);
    for _ in 0..6 {
        say(&mut ann, &text).await;
    }
    for _ in 0..6 {
        hears(&mut bob, &text).await;
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn a_paused_client_is_not_taken_for_silent() {
    let settings = [
        ("PING_INTERVAL", "500ms"),
        ("PING_TIMEOUT", "500ms"),
        ("STALL_TIMEOUT", "3s"),
        ("PAUSE_LIMIT", "3s"),
        ("LIMIT_BYTES", "off"),
    ];
    let node = TestNode::start(&settings).await;
    let (mut sink, mut own) = node.connect().await.split();
    // It reads nothing, so the talker is not read for STALL_TIMEOUT; its Pongs keep it from being cut.
    let mut stalled = node.connect_narrow().await;
    let pongs = tokio::spawn(async move {
        while stalled.send(Message::Pong(bytes::Bytes::new())).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let large = Message::binary(vec![0; 60 * 1024]);
    let talking = tokio::spawn({
        let large = large.clone();
        async move {
            for _ in 0..200 {
                sink.send(large.clone()).await.unwrap();
            }
            sink
        }
    });
    for _ in 0..200 {
        while soon("its own message", own.next()).await.unwrap().unwrap() != large {}
    }
    drop(soon("the talker's end", talking).await.unwrap());
    assert!(node.metric("keywire_read_pauses_total{reason=\"pressure\"}").await >= 1);
    pongs.abort();
}
