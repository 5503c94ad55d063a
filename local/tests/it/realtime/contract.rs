//! The first contract of the socket, which every version keeps: anybody connects, everybody hears, as it was said.

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use super::test_node::*;

#[tokio::test]
async fn a_text_reaches_every_client_the_sender_included_without_a_token() {
    let node = TestNode::start(&[]).await;
    let (mut ann, mut bob, mut eve) =
        (node.connect().await, node.connect().await, node.connect().await);
    say(&mut bob, "hello").await;
    for client in [&mut ann, &mut bob, &mut eve] {
        hears(client, "hello").await;
    }
}

#[tokio::test]
async fn text_and_binary_arrive_byte_for_byte_as_they_were_sent() {
    let node = TestNode::start(&[]).await;
    let (mut ann, mut bob) = (node.connect().await, node.connect().await);
    let largest = "ä".repeat(32 * 1024);
    for text in ["", "\u{0}\u{7f}grüße 🦀", "{\"not\":\"parsed\"", &largest] {
        say(&mut ann, text).await;
        hears(&mut bob, text).await;
    }
    let every: Vec<u8> = (0..=255).collect();
    for bytes in [&[][..], &every, &[0xff, 0xfe, 0x80]] {
        say_bytes(&mut ann, bytes).await;
        assert_eq!(hear(&mut bob).await, Message::binary(bytes.to_vec()));
    }
}

#[tokio::test]
async fn all_clients_of_a_node_hear_one_order() {
    let node = TestNode::start(&[]).await;
    let mut senders = [node.connect().await, node.connect().await, node.connect().await];
    let mut hearers = [node.connect().await, node.connect().await];
    for round in 0..100 {
        for (who, sender) in senders.iter_mut().enumerate() {
            say(sender, &format!("{who} {round}")).await;
        }
    }
    let mut orders = Vec::new();
    for hearer in &mut hearers {
        let mut order = Vec::new();
        while order.len() < 300 {
            order.push(hear(hearer).await.into_text().unwrap().to_string());
        }
        orders.push(order);
    }
    assert_eq!(orders[0], orders[1]);
    for who in 0..3 {
        let said = orders[0].iter().filter_map(|line| line.strip_prefix(&format!("{who} ")));
        let expected: Vec<_> = (0..100).map(|round| round.to_string()).collect();
        assert!(said.eq(expected.iter()), "sender {who}'s order was kept");
    }
}

#[tokio::test]
async fn a_client_hears_whatever_is_said_once_it_is_connected() {
    let node = TestNode::start(&[]).await;
    let mut ann = node.connect().await;
    for round in 0..50 {
        let text = round.to_string();
        let mut late = node.connect().await;
        say(&mut ann, &text).await;
        hears_up_to(&mut late, round).await;
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_own_code() {
    let node = TestNode::start(&[]).await;
    let mut ann = node.connect().await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 4999.into(),
        reason: "enough".into(),
    };
    ann.close(Some(frame)).await.unwrap();
    // The code comes back (RFC 6455 §5.5.1); the reason is for the one it was said to.
    assert_eq!(close_code(&mut ann).await, 4999);
    until("its leaving", async || node.metric("keywire_connections").await == 0).await;
}

#[tokio::test]
async fn a_clients_close_code_is_counted_as_its_own_and_control_frames_are_no_messages() {
    let node = TestNode::start(&[]).await;
    let mut ann = node.connect().await;
    for control in [Message::Ping("ping".into()), Message::Pong("pong".into())] {
        soon("sending", ann.send(control)).await.unwrap();
    }
    say(&mut ann, "the only one").await;
    hears(&mut ann, "the only one").await;
    let code = tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode::from(4008);
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code, reason: "".into() };
    ann.close(Some(frame)).await.unwrap();
    assert_eq!(close_code(&mut ann).await, 4008);
    node.metric_reaches("keywire_closes_total{code=\"4008\",by=\"peer\"}", 1).await;
    assert_eq!(node.metric("keywire_closes_total{code=\"4008\",by=\"node\"}").await, 0);
    assert_eq!(node.metric("keywire_messages_total").await, 1);
}
