//! Somebody publishes more than the log can take.

use serde_json::{Value, json};

use super::client::{Client, ann_with_room, token};
use crate::app::TestApp;
use crate::realtime::test_node::until;

/// Connections of the one who floods, and what each publishes: in flight at once it is more than a lane takes.
const FLOODERS: usize = 6;
const EACH: usize = 40;
const BYTES: usize = 60_000;

fn publish(room: &str, text: &str) -> Value {
    json!({"command": "publish", "room": room, "text": text})
}

/// Publishes as fast as it can, all of which must be acknowledged.
async fn flood(mut client: Client) {
    let text = "x".repeat(BYTES);
    let mut sent = Vec::new();
    for _ in 0..EACH {
        sent.push(client.send(publish("general", &text)).await);
    }
    for id in sent {
        client.reply(id).await.unwrap();
    }
}

/// Bytes that the node has read from senders who must wait, or that wait for readers.
async fn held_bytes(app: &TestApp) -> f64 {
    let (_, metrics) = app.text("/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("keywire_queue_bytes "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_a_lane_waits_and_loses_nothing_and_others_in_it_are_not_held_up() {
    let settings =
        [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2"), ("LOG_LANES", "1")];
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(json!({"command": "create", "room": "other", "public": true})).await;
    let mut others = Vec::new();
    for room in ["general", "other"] {
        let mut bob = Client::of(&app, "bob").await;
        bob.does(json!({"command": "join", "room": room})).await;
        bob.does(json!({"command": "subscribe", "room": room})).await;
        others.push((room, bob, Vec::new()));
    }
    let anns = token(&app, "ann").await;
    let mut flooders = Vec::new();
    for _ in 0..FLOODERS {
        let mut flooder = Client::with(&app, &anns).await;
        flooder.does(json!({"command": "subscribe", "room": "general"})).await;
        flooders.push(flooder);
    }
    let mut holding = app.owner.begin().await.unwrap();
    let hold = "SELECT FROM room_heads FOR UPDATE";
    sqlx::query(hold).execute(&mut *holding).await.unwrap();
    let flooding: Vec<_> =
        flooders.into_iter().map(|flooder| tokio::spawn(flood(flooder))).collect();
    until("the flood to be held back", async || held_bytes(&app).await >= BYTES as f64).await;
    for (room, bob, sent) in &mut others {
        for n in 0..5 {
            sent.push(bob.send(publish(room, &n.to_string())).await);
        }
        bob.does(json!({"command": "ping"})).await;
    }
    holding.rollback().await.unwrap();
    for (_, mut bob, sent) in others {
        for id in sent {
            let seq = bob.reply(id).await.unwrap()["seq"].as_u64().unwrap();
            // Before them is the flood's quarter of the lane, and what was under way already.
            assert!(seq < (FLOODERS * EACH / 2) as u64, "{seq}");
        }
    }
    for flooder in flooding {
        flooder.await.unwrap();
    }
    let stored = "SELECT count(*) FROM messages WHERE kind = 'message'";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&app.owner).await.unwrap();
    assert_eq!(stored, i64::try_from(FLOODERS * EACH + 10).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_many_flood_a_lane_all_wait_their_turn_and_nobody_is_told_unavailable() {
    let settings =
        [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2"), ("LOG_LANES", "1")];
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut flooders = Vec::new();
    for n in 0..FLOODERS {
        let mut flooder = Client::of(&app, &format!("flooder-{n}")).await;
        flooder.does(json!({"command": "join", "room": "general"})).await;
        flooder.does(json!({"command": "subscribe", "room": "general"})).await;
        flooders.push(flooder);
    }
    let mut holding = app.owner.begin().await.unwrap();
    let hold = "SELECT FROM room_heads FOR UPDATE";
    sqlx::query(hold).execute(&mut *holding).await.unwrap();
    let flooding: Vec<_> =
        flooders.into_iter().map(|flooder| tokio::spawn(flood(flooder))).collect();
    until("the flood to be held back", async || held_bytes(&app).await >= BYTES as f64).await;
    // What cannot be held back has room.
    let deleted = ann.send(json!({"command": "delete", "room": "general", "of": 1})).await;
    holding.rollback().await.unwrap();
    assert_eq!(ann.reply(deleted).await.unwrap_err()["code"], "message_not_found");
    for flooder in flooding {
        flooder.await.unwrap();
    }
}
