//! What breaks the framing rules of RFC 6455 is closed with the code for it, and only that client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::test_node::*;

/// A masked frame (the mask is zero, so the payload stands as it is).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(n @ 0..=125) => frame.push(0x80 | u8::try_from(n).unwrap()),
        Ok(n) => {
            frame.push(0x80 | 0x7e);
            frame.extend(n.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 0x7f);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The handshake's bytes.
pub(super) fn handshake(node: &TestNode) -> Vec<u8> {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    let host = node.address;
    format!("GET /ws HTTP/1.1\r\nHost: {host}\r\n{head}\r\nSec-WebSocket-Key: {key}\r\n\r\n").into()
}

/// A raw client past its handshake.
async fn raw(node: &TestNode) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(&handshake(node)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the 101", stream.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// The code of the Close that the node answers with, after which it ends the stream.
async fn answer_to(node: &TestNode, bytes: &[u8]) -> u16 {
    let mut stream = raw(node).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon("the close", stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer.first(), Some(&0x88), "a Close: {answer:?}");
    u16::from_be_bytes([answer[2], answer[3]])
}

#[tokio::test]
async fn broken_frames_are_closed_with_their_code_and_nobody_else_is() {
    let node = TestNode::start(&[]).await;
    let mut bystander = node.connect().await;
    let unmasked = [0x81, 0x02, b'h', b'i'];
    let two_fragments = [frame(0x01, &[0xc3]), frame(0x80, &[0x28])].concat();
    for (what, bytes, code) in [
        ("unmasked", unmasked.to_vec(), 1002),
        ("reserved bit", frame(0xc1, b"hi"), 1002),
        ("reserved opcode", frame(0x83, b"hi"), 1002),
        ("fragmented ping", frame(0x09, b"hi"), 1002),
        ("ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("continuation of nothing", frame(0x80, b"hi"), 1002),
        ("close of one byte", frame(0x88, &[3]), 1002),
        ("close code 1005", frame(0x88, &1005u16.to_be_bytes()), 1002),
        ("invalid UTF-8", frame(0x81, &[0xff, 0xfe]), 1007),
        ("invalid UTF-8 across fragments", two_fragments, 1007),
        ("one byte over the limit", frame(0x82, &vec![0; 64 * 1024 + 1]), 1009),
        ("announced only", [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes()].concat(), 1009),
        ("length of 64 bits", [&[0x82, 0xff][..], &(1_u64 << 63).to_be_bytes()].concat(), 1002),
    ] {
        assert_eq!(answer_to(&node, &bytes).await, code, "{what}");
    }
    say(&mut bystander, "unharmed").await;
    hears(&mut bystander, "unharmed").await;
}

#[tokio::test]
async fn a_message_over_the_limit_in_small_fragments_is_1009() {
    let node = TestNode::start(&[("MESSAGE_BYTES", "1 KiB")]).await;
    let mut bytes = frame(0x02, &[0; 600]);
    bytes.extend(frame(0x00, &[0; 600]));
    assert_eq!(answer_to(&node, &bytes).await, 1009);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let node = TestNode::start(&[]).await;
    let mut stream = raw(&node).await;
    stream.write_all(&frame(0x89, b"payload")).await.unwrap();
    let mut answer = [0; 9];
    soon("the pong", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"\x8a\x07payload");
}

#[tokio::test]
async fn a_close_is_answered_once_and_ends_the_stream_whatever_follows_it() {
    let node = TestNode::start(&[]).await;
    let mut bystander = node.connect().await;
    for payload in [&[][..], &1000_u16.to_be_bytes(), &4999_u16.to_be_bytes()] {
        let close = frame(0x88, payload);
        let mut stream = raw(&node).await;
        let bytes = [&close[..], &frame(0x81, b"late"), &close, &frame(0x89, b"?")].concat();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        soon("the end", stream.read_to_end(&mut answer)).await.unwrap();
        let length = u8::try_from(payload.len()).unwrap();
        assert_eq!(answer, [&[0x88, length][..], payload].concat());
    }
    say(&mut bystander, "nothing was late").await;
    hears(&mut bystander, "nothing was late").await;
}

#[tokio::test]
async fn bytes_that_arrive_with_the_upgrade_request_are_not_lost() {
    let node = TestNode::start(&[]).await;
    let mut ann = node.connect().await;
    let mut bytes = handshake(&node);
    bytes.extend(frame(0x81, b"early"));
    bytes.extend(&frame(0x81, b"cut in two")[..5]);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    hears(&mut ann, "early").await;
    stream.write_all(&frame(0x81, b"cut in two")[5..]).await.unwrap();
    hears(&mut ann, "cut in two").await;
}

#[tokio::test]
async fn fragments_with_a_ping_between_make_one_message() {
    let node = TestNode::start(&[]).await;
    let mut ann = node.connect().await;
    let mut stream = raw(&node).await;
    for part in [frame(0x01, b"one "), frame(0x89, b""), frame(0x00, b"mess"), frame(0x80, b"age")]
    {
        stream.write_all(&part).await.unwrap();
    }
    hears(&mut ann, "one message").await;
}
