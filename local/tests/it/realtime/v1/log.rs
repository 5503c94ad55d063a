//! What is published in a durable room.

use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, ann_with_room, seqs};
use crate::app::TestApp;

fn publish(text: &str) -> Value {
    json!({"command": "publish", "room": "general", "text": text})
}

fn subscribe() -> Value {
    json!({"command": "subscribe", "room": "general"})
}

#[tokio::test]
async fn what_is_published_is_acknowledged_and_reaches_everybody_in_one_order_from_its_sender() {
    let app = TestApp::with(&[("SHARDS", "3")]).await;
    let mut ann = ann_with_room(&app, "general").await;
    let subscribed = ann.does(subscribe()).await;
    assert_eq!((&subscribed["seq"], &subscribed["role"]), (&json!(1), &json!("owner")));
    let mut readers = Vec::new();
    for n in 0..5 {
        let mut reader = Client::of(&app, &format!("reader-{n}")).await;
        reader.does(subscribe()).await;
        readers.push(reader);
    }
    let mut sent = Vec::new();
    for n in 0..100 {
        // The sender is the node's word.
        let mut command = publish(&format!("message {n}"));
        command["user"] = json!({"id": Uuid::nil(), "username": "bob"});
        sent.push(ann.send(command).await);
    }
    for (id, seq) in sent.into_iter().zip(2..) {
        assert_eq!(ann.reply(id).await.unwrap()["seq"], seq);
    }
    let own = ann.entries("general", 100).await;
    for reader in &mut readers {
        assert_eq!(reader.entries("general", 100).await, own);
    }
    assert_eq!(seqs(&own), (2..=101).collect::<Vec<_>>());
    assert_eq!(own[41]["text"], "message 41");
    assert_eq!(own[41]["user"]["username"], "ann");
}

#[tokio::test]
async fn data_is_delivered_byte_for_byte() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    let data = r#"{"b":1.50,"a":[1e3,"\u00e9",null],"b":{}}"#;
    let command = format!(r#"{{"id":90,"command":"publish","room":"general","data":{data}}}"#);
    crate::realtime::test_node::say(&mut ann.socket, &command).await;
    let mut found = false;
    for _ in 0..2 {
        let message = crate::realtime::test_node::hear(&mut ann.socket).await.into_text().unwrap();
        found |= message.ends_with(&format!(r#","data":{data}}}"#));
    }
    assert!(found);
    let history = r#"{"id":91,"command":"history","room":"general","after":1}"#;
    crate::realtime::test_node::say(&mut ann.socket, history).await;
    let told = crate::realtime::test_node::hear(&mut ann.socket).await.into_text().unwrap();
    assert!(told.contains(&format!(r#","data":{data}}}"#)), "{told}");
}

#[tokio::test]
async fn data_as_deep_as_it_may_be_is_read_by_everybody_and_deeper_is_refused() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    let deep = |depth| (1..depth).fold(json!([]), |inner, _| json!([inner]));
    let say = |depth| json!({"command": "publish", "room": "general", "data": deep(depth)});
    ann.does(say(64)).await;
    assert_eq!(ann.entries("general", 1).await[0]["data"], deep(64));
    let told = ann.does(json!({"command": "history", "room": "general", "after": 1})).await;
    assert_eq!(told["entries"][0]["data"], deep(64));
    let refused = ann.ask(say(65)).await.unwrap_err();
    assert_eq!(refused["code"], "invalid_field");
    assert_eq!(refused["detail"], "data: at most 64 arrays and objects within each other");
}

#[tokio::test]
async fn a_key_is_stored_once_and_stands_for_one_message() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    let keyed = |text: &str, key: Uuid| json!({"command": "publish", "room": "general", "text": text, "key": key});
    let key = Uuid::new_v4();
    let first = ann.does(keyed("once", key)).await;
    assert_eq!((&first["key"], &first["seq"]), (&json!(key), &json!(2)));
    let second = ann.does(keyed("once", key)).await;
    assert_eq!(second, json!({"seq": 2, "key": key, "duplicate": true}));
    assert_eq!(ann.is_refused(keyed("twice", key)).await, "key_reused");
    ann.does(publish("after")).await;
    assert_eq!(seqs(&ann.entries("general", 2).await), [2, 3]);
    // Another user's key is another one.
    let mut bob = Client::of(&app, "bob").await;
    bob.does(json!({"command": "join", "room": "general"})).await;
    assert_eq!(bob.does(keyed("once", key)).await["seq"], 5);
}

#[tokio::test]
async fn an_edit_and_a_deletion_are_entries_and_a_deleted_text_is_gone_from_history() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    ann.does(publish("typo")).await;
    let edit = json!({"command": "edit", "room": "general", "of": 2, "text": "no typo"});
    assert_eq!(ann.does(edit).await["seq"], 3);
    let delete = json!({"command": "delete", "room": "general", "of": 2});
    assert_eq!(ann.does(delete.clone()).await["seq"], 4);
    assert_eq!(ann.does(delete).await, json!({"unchanged": true}));
    let pushed = ann.entries("general", 3).await;
    let told: Vec<_> = pushed.iter().map(|e| (&e["push"], &e["of"], &e["text"])).collect();
    assert_eq!(
        told,
        [
            (&json!("message"), &Value::Null, &json!("typo")),
            (&json!("edited"), &json!(2), &json!("no typo")),
            (&json!("deleted"), &json!(2), &Value::Null),
        ]
    );
    let history = ann.does(json!({"command": "history", "room": "general", "after": 1})).await;
    let entries = history["entries"].as_array().unwrap();
    assert_eq!(seqs(entries), [2, 3, 4]);
    assert!(entries.iter().all(|entry| entry.get("text").is_none()), "{history}");
    assert_eq!(entries[0]["deleted"], true);
}

#[tokio::test]
async fn history_is_read_both_ways_in_pages() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    for n in 2..=250 {
        let id = ann.send(publish(&n.to_string())).await;
        ann.reply(id).await.unwrap();
    }
    let mut page = async |of: Value| {
        let mut command = json!({"command": "history", "room": "general"});
        command.as_object_mut().unwrap().extend(of.as_object().unwrap().clone());
        let history = ann.does(command).await;
        assert_eq!((&history["first_seq"], &history["last_seq"]), (&json!(1), &json!(250)));
        seqs(history["entries"].as_array().unwrap())
    };
    assert_eq!(page(json!({})).await, (151..=250).collect::<Vec<_>>());
    assert_eq!(page(json!({"before": 151})).await, (51..=150).collect::<Vec<_>>());
    assert_eq!(page(json!({"before": 4, "limit": 2})).await, [2, 3]);
    assert_eq!(page(json!({"after": 248})).await, [249, 250]);
    assert_eq!(page(json!({"after": 0, "limit": 3})).await, [1, 2, 3]);
    assert_eq!(page(json!({"after": 250})).await, [0_u64; 0]);
    assert_eq!(page(json!({"before": 1})).await, [0_u64; 0]);
}
