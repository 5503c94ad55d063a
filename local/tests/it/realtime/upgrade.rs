//! Who may connect, and how a refusal looks.

use tokio_tungstenite::tungstenite::Error;

use super::test_node::*;

/// The status and the problem's code of a refusal.
async fn refusal(node: &TestNode, headers: &[(&'static str, &str)]) -> (u16, String) {
    match node.connect_with(headers).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let status = response.status().as_u16();
            // tungstenite keeps what it has read of the body, which may be cut short.
            (status, String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into())
        }
        Ok(_) => panic!("{headers:?} was let in"),
        Err(error) => panic!("{headers:?}: {error}"),
    }
}

#[tokio::test]
async fn an_origin_is_let_in_only_if_it_is_this_server_or_listed() {
    let settings = [
        ("PUBLIC_URL", "https://app.example.com/path"),
        ("ALLOWED_ORIGINS", "https://a.example, http://b.example:3000"),
    ];
    let node = TestNode::start(&settings).await;
    let own = format!("http://{}", node.address);
    for origin in [&own, "https://app.example.com", "https://a.example", "http://b.example:3000"] {
        assert!(node.connect_with(&[("origin", origin)]).await.is_ok(), "{origin}");
    }
    for origin in [
        "null",
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://sub.app.example.com",
        "http://b.example",
        "http://localhost",
        "",
    ] {
        assert_eq!(refusal(&node, &[("origin", origin)]).await.0, 403, "{origin}");
    }
}

#[tokio::test]
async fn two_origins_are_refused() {
    let node = TestNode::start(&[]).await;
    let own = node.address;
    let mut request = String::from_utf8(super::framing::handshake(&node)).unwrap();
    let origins = format!("\r\nOrigin: http://{own}\r\nOrigin: https://evil.example\r\n\r\n");
    request.truncate(request.len() - 4);
    // Or the node would keep the connection for the next request after the refusal.
    let request = request.replace("Connection: Upgrade", "Connection: Upgrade, close");
    let answer = node.exchange((request + &origins).as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn another_host_name_is_421_on_every_route() {
    let node = TestNode::start(&[]).await;
    for path in ["/ws", "/health/live", "/health/ready", "/metrics", "/nothing"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        let answer = node.exchange(request.as_bytes()).await;
        assert!(
            answer.starts_with(b"HTTP/1.1 421 "),
            "{path}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test]
async fn a_plain_get_is_426_and_says_what_to_ask_for() {
    let node = TestNode::start(&[]).await;
    let answer = node.get("/ws").await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    for header in ["upgrade: websocket", "sec-websocket-version: 13", "application/problem+json"] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
    assert!(answer.contains("\"code\":\"upgrade_required\""), "{answer}");
}

#[tokio::test]
async fn a_wrong_handshake_is_400_or_426_and_another_method_405() {
    let node = TestNode::start(&[]).await;
    let good = String::from_utf8(super::framing::handshake(&node)).unwrap();
    for (from, to, status) in [
        ("GET ", "POST ", "405"),
        ("GET ", "HEAD ", "405"),
        ("HTTP/1.1", "HTTP/1.0", "426"),
        ("Version: 13", "Version: 8", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
        ("Sec-WebSocket-Key:", "X-Key:", "400"),
        ("Upgrade: websocket", "Content-Length: 0\r\nUpgrade: websocket", "400"),
    ] {
        let request = good.replacen(from, to, 1).replace("\r\n\r\n", "\r\nX-Last: 1\r\n\r\n");
        let mut request = request.into_bytes();
        // A client that goes on after a refusal must not be understood either.
        request
            .extend(b"GET /health/live HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n");
        let answer = String::from_utf8_lossy(&node.exchange(&request).await).into_owned();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{from} → {to}: {answer}");
    }
}

#[tokio::test]
async fn a_request_head_over_header_bytes_is_431() {
    let node = TestNode::start(&[("HEADER_BYTES", "2 KiB")]).await;
    let long = "x".repeat(2 * 1024);
    let answer = node.get(&format!("/health/live?{long}")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = node.get(&format!("/health/live?{}", &long[..1_000])).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn the_plain_subprotocol_is_echoed_and_the_token_never() {
    let node = TestNode::start(&[]).await;
    for (offer, echo) in [
        ("keywire.plain", Some("keywire.plain")),
        ("keywire.bearer.YS5iLmM, keywire.plain", Some("keywire.plain")),
        // Without a database it speaks plain alone.
        ("keywire.v1, keywire.plain", Some("keywire.plain")),
    ] {
        let request = String::from_utf8(super::framing::handshake(&node)).unwrap();
        let offer_header = format!("\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n");
        let request = request.replace("\r\n\r\n", &offer_header);
        // An empty close ends the stream, so that the exchange ends.
        let bytes = [request.as_bytes(), &[0x88, 0x80, 0, 0, 0, 0]].concat();
        let answer = String::from_utf8_lossy(&node.exchange(&bytes).await).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        let echoed = answer.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(echoed, echo, "{offer}");
        assert!(!answer.contains("bearer"), "{answer}");
    }
    assert_eq!(refusal(&node, &[("sec-websocket-protocol", "keywire.v1")]).await.0, 400);
}

#[tokio::test]
async fn compression_is_not_agreed_to_and_what_is_compressed_all_the_same_is_1002() {
    let node = TestNode::start(&[]).await;
    let request = String::from_utf8(super::framing::handshake(&node)).unwrap();
    let offer = "permessage-deflate; client_max_window_bits, permessage-deflate";
    let offer = format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
    let request = request.replace("\r\n\r\n", &offer);
    // An empty text, compressed, and its mask.
    let compressed = [0xc1, 0x81, 0, 0, 0, 0, 0];
    let answer = node.exchange(&[request.as_bytes(), &compressed].concat()).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let (head, frames) = answer.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    assert_eq!((frames[0], &frames[2..4]), (0x88, &1002_u16.to_be_bytes()[..]));
}

#[tokio::test]
async fn plain_off_lets_nobody_in() {
    let node = TestNode::start(&[("REALTIME_PLAIN", "off")]).await;
    assert_eq!(refusal(&node, &[]).await.0, 400);
}

#[tokio::test]
async fn behind_cloudfront_only_its_own_secret_lets_in() {
    let settings = [("CLIENT_ADDRESS", "cloudfront"), ("ORIGIN_VERIFY", "a-generated-secret")];
    let node = TestNode::start(&settings).await;
    let viewer = ("cloudfront-viewer-address", "192.0.2.1:5000");
    assert_eq!(refusal(&node, &[viewer]).await.0, 403);
    assert_eq!(refusal(&node, &[viewer, ("x-origin-verify", "guess")]).await.0, 403);
    assert!(node.connect_with(&[viewer, ("x-origin-verify", "a-generated-secret")]).await.is_ok());
}
