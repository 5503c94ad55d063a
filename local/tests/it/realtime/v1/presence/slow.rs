//! What becomes of presence and typing where somebody reads too slowly.

use serde_json::{Value, json};

use super::in_room;
use crate::app::TestApp;
use crate::realtime::v1::client::{Client, ann_with_room, seqs, token};

/// More than the kernel and a queue hold.
const MANY: usize = 600;

#[tokio::test]
async fn typing_is_dropped_first_and_cuts_no_reader_of_a_durable_room() {
    let settings = [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "1")];
    let app = TestApp::with(&settings).await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(in_room("subscribe")).await;
    app.user("bob").await;
    let mut bob = Client::narrow(&app, &token(&app, "bob").await).await;
    bob.does(in_room("subscribe")).await;
    let filler = "x".repeat(8_000);
    for _ in 0..MANY {
        ann.does(json!({"command": "publish", "room": "general", "text": filler})).await;
    }
    // Behind what waits for Bob, who has read nothing: more of it than a queue would hold.
    for _ in 0..4 * MANY {
        ann.send(in_room("typing")).await;
    }
    ann.does(json!({"command": "publish", "room": "general", "text": "last"})).await;
    let (mut entries, mut missed, mut typing) = (Vec::new(), 0, 0);
    while entries.last().is_none_or(|entry: &Value| entry["text"] != "last") || missed == 0 {
        let push = bob.push().await;
        match push["push"].as_str().unwrap() {
            "message" => entries.push(push),
            "missed" => missed += 1,
            "typing" => typing += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(seqs(&entries), (2..=entries.len() as u64 + 1).collect::<Vec<_>>());
    assert_eq!(entries.len(), MANY + 1, "nothing of the log is missing");
    assert!(typing < 4 * MANY, "some were dropped");
    bob.does(json!({"command": "ping"})).await;
}
