//! What is said in an ephemeral room: one order for all, and what becomes of a slow reader.

use serde_json::{Value, json};

use super::client::{Client, ann_with_general, in_room, token};
use crate::app::TestApp;

/// Who speaks in turn.
const SENDERS: usize = 4;
/// Messages of each of them.
const EACH: usize = 50;
/// More than the kernel and a queue hold.
const MANY: usize = 600;

fn publish(text: &str) -> Value {
    json!({"command": "publish", "room": "general", "text": text})
}

/// The next message's text, whatever else comes before it.
async fn text(client: &mut Client) -> String {
    loop {
        let push = client.push().await;
        if push["push"] == "message" {
            return push["text"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn members_of_all_shards_hear_an_ephemeral_room_in_one_order() {
    let app = TestApp::with(&[("SHARDS", "3")]).await;
    let mut clients = vec![ann_with_general(&app, false).await];
    for n in 1..SENDERS + 2 {
        let mut client = Client::of(&app, &format!("user{n}")).await;
        client.does(in_room("join")).await;
        clients.push(client);
    }
    for client in &mut clients {
        client.does(in_room("subscribe")).await;
    }
    for n in 0..EACH {
        for (who, client) in clients.iter_mut().take(SENDERS).enumerate() {
            client.send(publish(&format!("{who}:{n}"))).await;
        }
    }
    let mut orders = Vec::new();
    for client in &mut clients {
        let mut order = Vec::new();
        while order.len() < SENDERS * EACH {
            order.push(heard(client).await);
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "another order");
    for who in 0..SENDERS {
        let said = orders[0].iter().filter_map(|text| text.strip_prefix(&format!("{who}:")));
        let expected: Vec<_> = (0..EACH).map(|n| n.to_string()).collect();
        assert!(said.eq(expected.iter()), "sender {who}'s order");
    }
}

/// The next message, between the replies to one's own.
async fn heard(client: &mut Client) -> String {
    loop {
        let said = client.any().await;
        if said["push"] == "message" {
            return said["text"].as_str().unwrap().to_owned();
        }
        assert!(said.get("error").is_none(), "{said}");
    }
}

#[tokio::test]
async fn a_slow_reader_of_an_ephemeral_room_loses_the_oldest_is_told_and_is_not_cut() {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "1")];
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_general(&app, false).await;
    ann.does(in_room("subscribe")).await;
    app.user("bob").await;
    let mut bob = Client::narrow(&app, &token(&app, "bob").await).await;
    bob.does(in_room("subscribe")).await;
    let filler = "x".repeat(8_000);
    for n in 0..MANY {
        ann.does(publish(&format!("{n} {filler}"))).await;
    }
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.last() != Some(&(MANY - 1)) || missed == 0 {
        let push = bob.push().await;
        if push["push"] == "missed" {
            missed += 1;
            continue;
        }
        let (number, _) = push["text"].as_str().unwrap().split_once(' ').unwrap();
        numbers.push(number.parse::<usize>().unwrap());
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(numbers.len() < MANY, "nothing was lost, so nothing was tried");
    assert_eq!(numbers[0], 0, "what was on its way arrives");
    ann.does(publish("live")).await;
    assert_eq!(text(&mut bob).await, "live");
}
