//! Going away: readiness fails first, then clients are sent away, each with 1012.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::test_node::*;

#[tokio::test]
async fn draining_fails_readiness_while_still_accepting() {
    let node = TestNode::start(&[("DRAIN_DELAY", "10m")]).await;
    let mut clients = vec![node.connect().await, node.connect().await];
    assert!(node.get("/health/ready").await.starts_with("HTTP/1.1 200 "));
    let draining = tokio::spawn({
        let node = node.node.clone();
        async move { node.drain().await }
    });
    until("failing readiness", async || {
        node.get("/health/ready").await.starts_with("HTTP/1.1 503 ")
    })
    .await;
    assert!(node.get("/health/live").await.starts_with("HTTP/1.1 200 "));
    // Load balancers need time to notice; whoever comes meanwhile is served.
    clients.push(node.connect().await);
    say(&mut clients[0], "one last word").await;
    for client in &mut clients {
        hears(client, "one last word").await;
    }
    draining.abort();
}

#[tokio::test]
async fn after_the_delay_all_are_closed_1012_spread_over_the_window() {
    let settings = [("DRAIN_DELAY", "300ms"), ("DRAIN_WINDOW", "2s")];
    let node = TestNode::start(&settings).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(node.connect().await);
    }
    let started = Instant::now();
    let draining = tokio::spawn({
        let node = node.node.clone();
        async move { node.drain().await }
    });
    let mut ends = Vec::new();
    for mut client in clients {
        ends.push(tokio::spawn(async move { (close_code(&mut client).await, started.elapsed()) }));
    }
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    for end in ends {
        let (code, at) = end.await.unwrap();
        assert_eq!(code, 1012);
        (first, last) = (first.min(at), last.max(at));
    }
    assert!(first >= Duration::from_millis(290), "nobody before the delay: {first:?}");
    // Most of the window may be lost to a machine that stands still meanwhile.
    assert!(
        last.saturating_sub(first) >= Duration::from_millis(500),
        "spread over the window: {first:?} {last:?}"
    );
    soon("the end of the drain", draining).await.unwrap();
    assert!(TcpStream::connect(node.address).await.is_err(), "accepting has ended");
}

#[tokio::test]
async fn what_was_said_before_the_drain_is_still_delivered() {
    let node = TestNode::start(&[("DRAIN_WINDOW", "0")]).await;
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    let texts: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    for text in &texts {
        say(&mut ann, text).await;
    }
    // Once it is heard, it is in everybody's queue.
    for text in &texts {
        hears(&mut ann, text).await;
    }
    let draining = tokio::spawn({
        let node = node.node.clone();
        async move { node.drain().await }
    });
    for text in &texts {
        hears(&mut bob, text).await;
    }
    assert_eq!(close_code(&mut bob).await, 1012);
    assert_eq!(close_code(&mut ann).await, 1012);
    // Ends their streams, which the drain would wait for.
    drop((ann, bob));
    soon("the end of the drain", draining).await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_answers_the_close_does_not_hold_up_the_drain() {
    // Neither does one that never speaks.
    let node = TestNode::start(&[("FIRST_BYTE_TIMEOUT", "10m")]).await;
    let _deaf = node.connect().await;
    let _silent = TcpStream::connect(node.address).await.unwrap();
    soon("the end of the drain", node.node.drain()).await;
}

#[tokio::test]
async fn whoever_upgrades_while_the_drain_begins_is_refused_or_sent_away() {
    let node = Arc::new(TestNode::start(&[("DRAIN_WINDOW", "0")]).await);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let node = Arc::clone(&node);
        clients.push(tokio::spawn(async move {
            // Accepting may have ended before or after the connection was made.
            let Ok(stream) = TcpStream::connect(node.address).await else { return None };
            match node.upgrade(stream, &[]).await {
                Ok(mut socket) => Some(close_code(&mut socket).await),
                Err(_) => None,
            }
        }));
    }
    let first = node.connect().await;
    soon("the end of the drain", node.node.drain()).await;
    let mut sent_away = 0;
    for client in clients {
        if let Some(code) = client.await.unwrap() {
            assert_eq!(code, 1012);
            sent_away += 1;
        }
    }
    assert!(sent_away > 0, "nobody was quick enough, so nothing was tried");
    drop(first);
}

#[tokio::test]
async fn a_client_may_take_the_close_timeout_to_answer() {
    let node = TestNode::start(&[("CLOSE_TIMEOUT", "1500ms")]).await;
    let deaf = node.connect().await;
    let started = Instant::now();
    soon("the end of the drain", node.node.drain()).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_400), "cut too early: {took:?}");
    drop(deaf);
}

#[tokio::test]
async fn the_admin_port_answers_every_request_while_the_node_drains() {
    let node = TestNode::start(&[]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TestNode { address: listener.local_addr().unwrap(), node: node.node.clone() };
    let serving = tokio::spawn({
        let node = node.node.clone();
        async move { realtime::serve_admin(listener, node.admin_router(), &node).await }
    });
    // It never answers its Close, so the drain takes a while.
    let _deaf = node.connect().await;
    let draining = tokio::spawn({
        let node = node.node.clone();
        async move { node.drain().await }
    });
    until("failing readiness", async || {
        admin.get("/health/ready").await.starts_with("HTTP/1.1 503 ")
    })
    .await;
    for n in 0..20 {
        let answer = admin.get("/health/live").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "request {n}: {answer:?}");
    }
    soon("the end of the drain", draining).await.unwrap();
    serving.abort();
}

#[tokio::test]
async fn an_empty_node_is_drained_at_once() {
    let node = TestNode::start(&[("DRAIN_WINDOW", "10m"), ("CLOSE_TIMEOUT", "10m")]).await;
    soon("the end of the drain", node.node.drain()).await;
}
