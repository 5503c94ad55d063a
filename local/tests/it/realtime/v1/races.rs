//! Publishing while others subscribe: nothing is lost, nothing comes twice.

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::client::{Client, ann_with_room, seqs, token};
use crate::app::TestApp;

/// Subscriptions that race with publishes.
const RACES: usize = 1_000;
/// Clients that subscribe again and again.
const RACERS: usize = 8;

/// Subscribes again and again, from the end or from where it was, and reads some entries each time.
async fn race(mut client: Client, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut at: Option<(serde_json::Value, u64)> = None;
    for round in 0..RACES / RACERS {
        let mut command = json!({"command": "subscribe", "room": "general"});
        let resumes = random.random_bool(0.7);
        if let Some((epoch, seq)) = at.as_ref().filter(|_| resumes) {
            command["since"] = json!({"epoch": epoch, "seq": seq});
        }
        let subscribed = client.does(command).await;
        // What came before the reply is the last subscription's.
        client.unread();
        let from = subscribed["seq"].as_u64().unwrap();
        if let Some((_, seq)) = at.as_ref().filter(|_| resumes) {
            assert_eq!(from, *seq, "seed {seed}, round {round}");
        }
        let count = random.random_range(1..20);
        let entries = client.entries("general", count).await;
        let expected: Vec<_> = (from + 1..).take(count).collect();
        assert_eq!(seqs(&entries), expected, "seed {seed}, round {round}");
        at = Some((subscribed["epoch"].clone(), from + count as u64));
        if random.random_bool(0.5) {
            client.does(json!({"command": "unsubscribe", "room": "general"})).await;
        }
    }
}

#[tokio::test]
async fn a_thousand_subscriptions_that_race_with_publishes_lose_nothing_and_get_nothing_twice() {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "3")];
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_room(&app, "general").await;
    app.user("bob").await;
    let token = token(&app, "bob").await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..RACERS {
        racers.spawn(race(Client::with(&app, &token).await, rand::random()));
    }
    // Publishes for as long as anybody races, some at a time.
    loop {
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.push(
                ann.send(json!({"command": "publish", "room": "general", "text": "x"})).await,
            );
        }
        for id in sent {
            ann.reply(id).await.unwrap();
        }
        while let Some(ended) = racers.try_join_next() {
            ended.unwrap();
        }
        if racers.is_empty() {
            return;
        }
    }
}
