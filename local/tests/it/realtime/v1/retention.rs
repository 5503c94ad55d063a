//! What clients are told when the beginning of a log is removed while they are there.

use std::time::Duration;

use serde_json::{Value, json};
use shared::db::log::{self, Retention};
use uuid::Uuid;

use super::client::{Client, ann_and_bob_behind, ann_with_room, seqs, since};
use crate::app::TestApp;
use crate::log::{Rooms, message};

const SETTINGS: [(&str, &str); 3] =
    [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2")];

/// Late enough for everything to be old.
const LATE: Duration = Duration::from_hours(48);

/// The room and its owner, by number.
async fn ids(app: &TestApp) -> (i64, Uuid) {
    let ids = "SELECT id, created_by FROM rooms";
    sqlx::query_as(ids).fetch_one(&app.owner).await.unwrap()
}

/// Removes all but the newest so many.
async fn keep(app: &TestApp, newest: i64) {
    let retention = Retention { before: None, keep: Some(newest) };
    let (room, _) = ids(app).await;
    let serving = app.serving().await;
    log::trim(&serving, room, retention, 10_000, app.clock.now() + LATE).await.unwrap();
}

/// The place before the first entry and that of the last, of a `reset`.
#[track_caller]
fn assert_reset(push: &Value, first: u64, last: u64) {
    let told = (&push["push"], &push["first_seq"], &push["last_seq"]);
    assert_eq!(told, (&json!("reset"), &json!(first), &json!(last)), "{push}");
}

#[tokio::test]
async fn on_a_node_that_has_the_room_open_a_position_before_the_first_entry_is_told_reset() {
    let app = TestApp::with(&SETTINGS).await;
    let mut ann = ann_with_room(&app, "general").await;
    let epoch = ann.does(json!({"command": "subscribe", "room": "general"})).await["epoch"].clone();
    ann.publishes((2..=300).map(|n| n.to_string())).await;
    keep(&app, 200).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(since(&epoch, 99)).await;
    assert_reset(&bob.push().await, 101, 300);
    let mut cat = Client::of(&app, "cat").await;
    cat.does(since(&epoch, 100)).await;
    assert_eq!(seqs(&cat.entries("general", 200).await), (101..=300).collect::<Vec<_>>());
    // By now the node knows where the log begins; what its tail has besides is not told either.
    keep(&app, 10).await;
    let mut dan = Client::of(&app, "dan").await;
    dan.does(since(&epoch, 150)).await;
    assert_reset(&dan.push().await, 291, 300);
    let mut eve = Client::of(&app, "eve").await;
    eve.does(since(&epoch, 289)).await;
    assert_reset(&eve.push().await, 291, 300);
    ann.publishes(["on".to_owned()]).await;
    for client in [&mut bob, &mut cat, &mut dan, &mut eve] {
        assert_eq!(seqs(&client.entries("general", 1).await), [301]);
    }
}

#[tokio::test]
async fn history_before_the_first_entry_is_an_empty_page_that_says_where_the_log_begins() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.publishes((2..=20).map(|n| n.to_string())).await;
    keep(&app, 5).await;
    for (command, expected) in [
        (json!({"before": 16}), vec![]),
        (json!({"before": 3}), vec![]),
        (json!({"before": 18}), vec![16, 17]),
        (json!({"after": 2, "limit": 2}), vec![16, 17]),
    ] {
        let mut history = json!({"command": "history", "room": "general"});
        history.as_object_mut().unwrap().extend(command.as_object().unwrap().clone());
        let page = ann.does(history).await;
        assert_eq!((&page["first_seq"], &page["last_seq"]), (&json!(16), &json!(20)));
        assert_eq!(seqs(page["entries"].as_array().unwrap()), expected, "{command}");
    }
}

#[tokio::test]
async fn a_reader_that_is_behind_what_is_removed_is_told_reset_and_goes_on() {
    let app = TestApp::with(&SETTINGS).await;
    let filler = "x".repeat(8_000);
    let (mut ann, mut bob) = ann_and_bob_behind(&app, &filler).await;
    keep(&app, 3).await;
    let mut at = 1;
    let reset = loop {
        let push = bob.push().await;
        if push["push"] == "reset" {
            break push;
        }
        at += 1;
        assert_eq!(push["seq"], at, "what comes before it has no hole");
    };
    assert!(at < 998);
    assert_reset(&reset, 998, 1_000);
    ann.publishes((1_001..=1_200).map(|n| format!("{n} {filler}"))).await;
    assert_eq!(seqs(&bob.entries("general", 200).await), (1_001..=1_200).collect::<Vec<_>>());
}

/// Commits, at once, entries of which only the newest `keep` are left, as who was away for long finds them.
async fn goes_on_elsewhere(app: &TestApp, entries: usize, keep: i64) {
    let (room, ann) = ids(app).await;
    let database = Rooms::database(app.database_url());
    let mut connection = database.pool().lend().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let said = |n| message(room, ann, &format!(r#"{{"text":"{n}"}}"#));
    let said: Vec<_> = (0..entries).map(said).collect();
    log::append(&mut transaction, &said, app.clock.now()).await.unwrap();
    let retention = Retention { before: None, keep: Some(keep) };
    let now = app.clock.now() + LATE;
    log::trim(&mut *transaction, room, retention, 10_000, now).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_node_that_missed_what_is_gone_tells_reset_and_goes_on_at_the_first_entry() {
    let app = TestApp::with(&SETTINGS).await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(json!({"command": "subscribe", "room": "general"})).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(json!({"command": "subscribe", "room": "general"})).await;
    goes_on_elsewhere(&app, 9, 3).await;
    for client in [&mut ann, &mut bob] {
        assert_reset(&client.push().await, 8, 7);
        assert_eq!(seqs(&client.entries("general", 3).await), [8, 9, 10]);
    }
    // And when nothing is left.
    goes_on_elsewhere(&app, 5, 0).await;
    for client in [&mut ann, &mut bob] {
        assert_reset(&client.push().await, 16, 15);
    }
    ann.publishes(["on".to_owned()]).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(seqs(&client.entries("general", 1).await), [16]);
    }
}
