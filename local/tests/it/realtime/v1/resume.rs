//! Going on where one left off.

use std::collections::HashMap;

use serde_json::{Value, json};

use shared::db::log;

use super::client::{Client, ann_and_bob_behind, ann_with_room, seqs, since, token};
use crate::app::TestApp;

#[tokio::test]
async fn exactly_what_was_missed_follows_and_then_what_is_new() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    let epoch = ann.does(json!({"command": "subscribe", "room": "general"})).await["epoch"].clone();
    ann.publishes((2..=20).map(|n| n.to_string())).await;
    for from in [0, 1, 7, 19, 20] {
        let mut bob = Client::of(&app, "bob").await;
        let subscribed = bob.does(since(&epoch, from)).await;
        assert_eq!((&subscribed["seq"], &subscribed["last_seq"]), (&json!(from), &json!(20)));
        let missed = usize::try_from(20 - from).unwrap();
        assert_eq!(
            seqs(&bob.entries("general", missed).await),
            (from + 1..=20).collect::<Vec<_>>()
        );
    }
    let mut bob = Client::of(&app, "bob").await;
    bob.does(since(&epoch, 18)).await;
    ann.publishes(["new".to_owned()]).await;
    assert_eq!(seqs(&bob.entries("general", 3).await), [19, 20, 21]);
}

#[tokio::test]
async fn much_that_was_missed_comes_in_pages_while_more_is_said() {
    // Beyond the tail, and far more than a queue holds.
    let app =
        TestApp::with(&[("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2")]).await;
    let mut ann = ann_with_room(&app, "general").await;
    let epoch = ann.does(json!({"command": "subscribe", "room": "general"})).await["epoch"].clone();
    let filler = "x".repeat(2_000);
    ann.publishes((2..=600).map(|n| format!("{n} {filler}"))).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(since(&epoch, 0)).await;
    ann.publishes((601..=700).map(|n| format!("{n} {filler}"))).await;
    assert_eq!(seqs(&bob.entries("general", 700).await), (1..=700).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_missed_comes_in_pages_that_a_short_queue_holds() {
    let app = TestApp::with(&[("QUEUE_BYTES", "64KiB"), ("MESSAGE_BYTES", "16KiB")]).await;
    let rooms = ["a", "b", "c"];
    let mut ann = Client::of(&app, "ann").await;
    app.user("bob").await;
    let mut bob = Client::narrow(&app, &token(&app, "bob").await).await;
    for room in rooms {
        ann.does(json!({"command": "create", "room": room, "public": true})).await;
        for _ in 0..60 {
            let text = "x".repeat(8_000);
            ann.does(json!({"command": "publish", "room": room, "text": text})).await;
        }
    }
    for room in rooms {
        let end = ann.does(json!({"command": "subscribe", "room": room})).await;
        let since = json!({"epoch": end["epoch"], "seq": 0});
        bob.does(json!({"command": "subscribe", "room": room, "since": since})).await;
    }
    let mut places = HashMap::<String, Vec<u64>>::new();
    for _ in 0..3 * 61 {
        let entry = bob.push().await;
        let room = places.entry(entry["room"].as_str().unwrap().to_owned()).or_default();
        room.push(entry["seq"].as_u64().unwrap());
    }
    let all: Vec<_> = (1..=61).collect();
    assert!(places.len() == 3 && places.values().all(|seqs| *seqs == all), "{places:?}");
}

#[tokio::test]
async fn a_reader_that_stalls_in_a_durable_room_misses_nothing_and_holds_nobody_up() {
    let app =
        TestApp::with(&[("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "1")]).await;
    let filler = "x".repeat(8_000);
    let (mut ann, mut bob) = ann_and_bob_behind(&app, &filler).await;
    assert_eq!(seqs(&bob.entries("general", 999).await), (2..=1_000).collect::<Vec<_>>());
    ann.publishes(["live".to_owned()]).await;
    assert_eq!(bob.entries("general", 1).await[0]["text"], "live");
}

#[tokio::test]
async fn where_the_log_does_not_reach_back_a_reset_comes_first_and_nothing_of_before() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    let epoch = ann.does(json!({"command": "subscribe", "room": "general"})).await["epoch"].clone();
    ann.publishes((2..=10).map(|n| n.to_string())).await;
    sqlx::query("DELETE FROM messages WHERE seq < 5").execute(&app.owner).await.unwrap();
    sqlx::query("UPDATE room_heads SET first_seq = 5").execute(&app.owner).await.unwrap();
    // A node that has not seen the room before reads it as it is.
    let other = app.another(&[]).await;
    for (at, epoch) in [(3, &epoch), (4, &json!("1")), (11, &epoch)] {
        let mut bob = Client::of(&other, "bob").await;
        let subscribed = bob.does(since(epoch, at)).await;
        assert_eq!((&subscribed["seq"], &subscribed["first_seq"]), (&json!(10), &json!(5)), "{at}");
        let reset = bob.push().await;
        let told = (&reset["push"], &reset["first_seq"], &reset["last_seq"]);
        assert_eq!(told, (&json!("reset"), &json!(5), &json!(10)));
        bob.does(json!({"command": "ping"})).await;
        assert_eq!(bob.unread(), [Value::Null; 0]);
    }
    let mut bob = Client::of(&other, "bob").await;
    bob.does(since(&epoch, 4)).await;
    assert_eq!(seqs(&bob.entries("general", 6).await), [5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn what_another_node_stores_is_found_by_looking() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(json!({"command": "subscribe", "room": "general"})).await;
    // They share the database, and no relay.
    let other = app.another(&[]).await;
    let mut far = Client::of(&other, "ann").await;
    far.publishes((2..=4).map(|n| n.to_string())).await;
    assert_eq!(seqs(&ann.entries("general", 3).await), [2, 3, 4]);
}

#[tokio::test]
async fn a_node_that_goes_away_says_so_with_the_time_to_come_back_in_and_closes_1012() {
    let app = TestApp::with(&[("DRAIN_WINDOW", "200ms")]).await;
    let mut ann = ann_with_room(&app, "general").await;
    let node = app.node.clone();
    let draining = tokio::spawn(async move { node.drain().await });
    assert_eq!(ann.push().await, json!({"push": "bye", "code": 1012, "retry_ms": 200}));
    assert_eq!(ann.close_code().await, 1012);
    draining.await.unwrap();
}

#[tokio::test]
async fn with_another_epoch_clients_are_sent_to_connect_anew_and_told_reset() {
    let app = TestApp::with(&[("SHARDS", "2")]).await;
    let mut ann = ann_with_room(&app, "general").await;
    let before =
        ann.does(json!({"command": "subscribe", "room": "general"})).await["epoch"].clone();
    ann.publishes(["kept".to_owned()]).await;
    assert_eq!(log::renew_epochs(&app.owner).await.unwrap(), 1);
    assert_eq!(ann.close_code().await, 1013);
    let mut ann = Client::of(&app, "ann").await;
    let subscribed = ann.does(since(&before, 1)).await;
    assert_ne!(subscribed["epoch"], before);
    let reset = ann.push().await;
    assert_eq!((&reset["push"], &reset["last_seq"]), (&json!("reset"), &json!(2)));
    ann.publishes(["new".to_owned()]).await;
    assert_eq!(seqs(&ann.entries("general", 1).await), [3]);
}

#[tokio::test]
async fn who_is_behind_in_many_rooms_gets_all_of_each_and_is_not_cut() {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2")];
    let app = TestApp::with(&settings).await;
    let mut ann = Client::of(&app, "ann").await;
    let filler = "x".repeat(8_000);
    let rooms: Vec<_> = (0..8).map(|n| format!("room-{n}")).collect();
    for room in &rooms {
        ann.does(json!({"command": "create", "room": room, "public": true})).await;
        for _ in 0..60 {
            ann.does(json!({"command": "publish", "room": room, "text": filler})).await;
        }
    }
    app.user("bob").await;
    let mut bob = Client::narrow(&app, &token(&app, "bob").await).await;
    for room in &rooms {
        let head = bob.does(json!({"command": "history", "room": room, "limit": 1})).await;
        let since = json!({"epoch": head["epoch"], "seq": 0});
        bob.does(json!({"command": "subscribe", "room": room, "since": since})).await;
    }
    let mut seen = HashMap::new();
    for _ in 0..8 * 61 {
        let entry = bob.push().await;
        let last = seen.entry(entry["room"].to_string()).or_insert(0);
        assert_eq!(entry["seq"], *last + 1, "{}", entry["room"]);
        *last += 1;
    }
}
