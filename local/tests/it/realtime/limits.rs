//! Connection limits refuse before the upgrade; rate limits slow a sender down and lose nothing.

use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Error;

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
async fn over_the_limit_of_one_address_is_503() {
    let node = TestNode::start(&[("CONNECTIONS_PER_ADDRESS", "2")]).await;
    let (ann, _bob) = (node.connect().await, node.connect().await);
    is_full(&node).await;
    assert!(node.metric("keywire_refused_total").await >= 1);
    drop(ann);
    until("a free place", async || node.connect_with(&[]).await.is_ok()).await;
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
    let settings =
        [("LIMIT_MESSAGES", "1/s burst 1"), ("PING_INTERVAL", "200ms"), ("PING_TIMEOUT", "200ms")];
    let node = TestNode::start(&settings).await;
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    for text in ["one", "two", "three"] {
        say(&mut ann, text).await;
    }
    // Two whole seconds of pauses, during which neither is read: longer than both time-outs.
    let mut hearing = tokio::spawn(async move {
        for text in ["one", "two", "three"] {
            hears(&mut bob, text).await;
        }
        bob
    });
    for text in ["one", "two", "three"] {
        hears(&mut ann, text).await;
    }
    soon("the other's hearing", &mut hearing).await.unwrap();
}
