//! What becomes of commands under way when the node goes away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinHandle;

use super::client::{Client, ann_with_room, in_room};
use crate::app::TestApp;
use crate::realtime::test_node::soon;

async fn app() -> TestApp {
    TestApp::with(&[("SHARDS", "1"), ("DRAIN_WINDOW", "0")]).await
}

/// Lets no publish be stored.
async fn hold(app: &TestApp) -> Transaction<'static, Postgres> {
    let mut holding = app.owner.begin().await.unwrap();
    let heads = "SELECT FROM room_heads FOR UPDATE";
    sqlx::query(heads).execute(&mut *holding).await.unwrap();
    holding
}

/// Publishes so many, which the node has taken, and none of which is stored.
async fn publishes(app: &TestApp, ann: &mut Client, count: usize) -> Vec<u64> {
    let mut sent = Vec::new();
    for n in 0..count {
        let publish = json!({"command": "publish", "room": "general", "text": n.to_string()});
        sent.push(ann.send(publish).await);
    }
    ann.does(json!({"command": "ping"})).await;
    app.until_one_waits().await;
    sent
}

fn drain(app: &TestApp) -> JoinHandle<()> {
    let node = app.node.clone();
    tokio::spawn(async move { node.drain().await })
}

async fn last_push(client: &mut Client) -> Value {
    loop {
        let push = client.push().await;
        if push["push"] == "bye" {
            return push;
        }
    }
}

#[tokio::test]
async fn publishes_under_way_are_answered_before_the_node_says_bye() {
    let app = app().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(in_room("subscribe")).await;
    let mut bob = Client::of(&app, "bob").await;
    let holding = hold(&app).await;
    let sent = publishes(&app, &mut ann, 10).await;
    let draining = drain(&app);
    // Who waits for nothing is sent away at once, and by then she is being sent away, too.
    assert_eq!(last_push(&mut bob).await["code"], 1012);
    assert_eq!(bob.close_code().await, 1012);
    holding.rollback().await.unwrap();
    for id in sent {
        ann.reply(id).await.unwrap();
    }
    last_push(&mut ann).await;
    assert_eq!(ann.close_code().await, 1012);
    soon("the end of the drain", draining).await.unwrap();
}

#[tokio::test]
async fn what_is_not_answered_in_time_holds_nobody_up_for_longer() {
    let app = app().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(in_room("subscribe")).await;
    let holding = hold(&app).await;
    publishes(&app, &mut ann, 1).await;
    let began = Instant::now();
    let draining = drain(&app);
    last_push(&mut ann).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(ann.close_code().await, 1012);
    soon("the end of the drain", draining).await.unwrap();
    holding.rollback().await.unwrap();
}
