//! Arbitrary bytes at the socket and at every route: no 5xx, no hang, no panic, and the node serves on.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::framing::handshake;
use super::test_node::*;

/// The seed: every run tries the same inputs, so a failure is one again.
const SEED: [u8; 32] = *b"Keywire throws the same bytes...";
/// Inputs of each kind.
const CASES: usize = 150;

fn inputs<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>) -> Vec<T> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..CASES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Sends, ends the sending side, and reads what comes until the node ends the stream.
async fn throw(node: &TestNode, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let mut answer = Vec::new();
    let throwing = async {
        // The node may have ended the stream before it has everything.
        if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
            while matches!(stream.read_buf(&mut answer).await, Ok(n) if n > 0) {}
        }
    };
    soon("the node's end of the stream", throwing).await;
    answer
}

async fn serves_on(node: &TestNode) {
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    say(&mut ann, "still here").await;
    until("the word", async || hear(&mut bob).await == "still here".into()).await;
    let live = node.get("/health/live").await;
    assert!(live.starts_with("HTTP/1.1 200 "), "{live}");
}

fn no_server_error(answer: &[u8], input: &dyn std::fmt::Debug) {
    let text = String::from_utf8_lossy(answer);
    for line in text.lines().filter(|line| line.starts_with("HTTP/1.")) {
        assert!(!line.contains(" 5"), "{line}: {input:?}");
    }
}

#[tokio::test]
async fn arbitrary_bytes_on_an_open_socket_end_only_that_socket() {
    let node = TestNode::start(&[("HEADER_TIMEOUT", "1s")]).await;
    let frame =
        (any::<u8>(), 0u8..=127, any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..200));
    // Half of them bytes at random, half something like frames.
    let framed = prop::collection::vec(frame, 1..5).prop_map(|frames| {
        let frame = |(first, length, mask, payload): (u8, u8, [u8; 4], Vec<u8>)| {
            [&[first & 0x8f, 0x80 | length][..], &mask, &payload].concat()
        };
        frames.into_iter().flat_map(frame).collect::<Vec<u8>>()
    });
    let random = prop::collection::vec(any::<u8>(), 0..600);
    for bytes in inputs(&prop_oneof![random, framed]) {
        let answer = throw(&node, &[handshake(&node), bytes.clone()].concat()).await;
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{bytes:?}");
    }
    serves_on(&node).await;
}

#[tokio::test]
async fn arbitrary_bytes_instead_of_a_request_are_no_server_error() {
    let node = TestNode::start(&[("HEADER_TIMEOUT", "1s")]).await;
    let line = "(GET|POST|PUT|[A-Z]{1,9}) [ -~]{0,60} HTTP/1\\.[0-9]\r\n([ -~]{0,40}\r\n){0,4}\r\n";
    let random = prop::collection::vec(any::<u8>(), 1..400);
    for bytes in inputs(&prop_oneof![random, line.prop_map(String::into_bytes)]) {
        no_server_error(&throw(&node, &bytes).await, &bytes);
    }
    serves_on(&node).await;
}

#[tokio::test]
async fn arbitrary_headers_and_bodies_at_each_route_are_no_server_error() {
    let node = TestNode::start(&[("HEADER_TIMEOUT", "1s")]).await;
    let path =
        prop_oneof!["/ws", "/health/live", "/health/ready", "/metrics", "/[ -~&&[^ ]]{0,30}"];
    let name = prop_oneof![
        "Upgrade",
        "Connection",
        "Sec-WebSocket-(Key|Version|Protocol)",
        "Origin",
        "Authorization",
        "Content-(Type|Length)",
        "Transfer-Encoding",
        "X-[a-z]{1,9}",
    ];
    let value = prop_oneof![
        "websocket",
        "Upgrade",
        "13",
        "keywire\\.(plain|bearer\\.[!-~]{0,30})",
        "[ -~]{0,40}"
    ];
    let headers = prop::collection::vec((name, value), 0..8);
    let method = prop_oneof!["GET", "POST", "HEAD", "OPTIONS", "DELETE"];
    let body = prop::collection::vec(any::<u8>(), 0..100);
    for (method, path, headers, body) in inputs(&(method, path, headers, body)) {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let host = node.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        no_server_error(&throw(&node, &[head.as_bytes(), &body].concat()).await, &head);
    }
    serves_on(&node).await;
}
