//! Who is in a room, who comes and goes, and who types.

mod races;
mod slow;

use serde_json::{Value, json};

use super::client::{Client, ann_with_general, in_room};
use crate::app::TestApp;
use crate::realtime::test_node::until;

/// A node whose rooms live on several threads and whose users are absent at once.
const QUICK: &[(&str, &str)] = &[("SHARDS", "3"), ("PRESENCE_GRACE", "0")];
/// One on which nobody who goes is absent for the time of a test.
const LASTING: &[(&str, &str)] = &[("SHARDS", "3"), ("PRESENCE_GRACE", "1h")];

/// A public room of Ann's, who follows it.
async fn ann_in_room(app: &TestApp, durable: bool) -> Client {
    let mut ann = ann_with_general(app, durable).await;
    ann.does(in_room("subscribe")).await;
    ann
}

/// Somebody who follows the room.
async fn follower(app: &TestApp, name: &str) -> Client {
    let mut client = Client::of(app, name).await;
    client.does(in_room("subscribe")).await;
    client
}

/// A change in short: `+bob`, `-bob`, or whether changes are told.
fn short(change: &Value) -> String {
    assert_eq!(change["room"], "general");
    match change["push"].as_str().unwrap() {
        "present" => format!("+{}", change["user"]["username"].as_str().unwrap()),
        "absent" => format!("-{}", change["user"]["username"].as_str().unwrap()),
        _ => format!("told {}", change["told"]),
    }
}

async fn hears_changes(client: &mut Client, expected: &[&str]) {
    for expected in expected {
        assert_eq!(short(&client.change().await), *expected);
    }
}

fn names(here: &Value) -> Vec<&str> {
    let users = here["users"].as_array().unwrap();
    users.iter().map(|user| user["username"].as_str().unwrap()).collect()
}

/// Waits until the node has so many sockets.
async fn connections(app: &TestApp, count: usize) {
    let line = format!("\nkeywire_connections {count}\n");
    until("connections", async || app.text("/metrics").await.1.contains(&line)).await;
}

#[tokio::test]
async fn who_asks_is_told_who_is_there_in_either_kind_of_room() {
    for durable in [true, false] {
        let app = TestApp::with(LASTING).await;
        let mut ann = ann_in_room(&app, durable).await;
        let here = ann.does(in_room("presence")).await;
        assert_eq!(names(&here), ["ann"], "one is there oneself");
        let _bob = follower(&app, "bob").await;
        let _again = follower(&app, "bob").await;
        // Not subscribed, and not counted.
        let mut cat = Client::of(&app, "cat").await;
        for client in [&mut ann, &mut cat] {
            let mut here = client.does(in_room("presence")).await;
            let users = here["users"].take();
            let rest =
                json!({"room": "general", "count": 2, "told": true, "more": false, "users": null});
            assert_eq!(here, rest);
            let first = users[0]["id"].as_str().unwrap();
            assert!(
                first < users[1]["id"].as_str().unwrap() && users.as_array().unwrap().len() == 2
            );
            let behind = json!({"command": "presence", "room": "general", "after": first});
            let page = client.does(behind).await;
            assert_eq!((&page["count"], &page["users"]), (&json!(2), &json!([users[1]])));
        }
    }
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_the_others_in_either_kind_of_room() {
    for durable in [true, false] {
        let app = TestApp::with(QUICK).await;
        let mut ann = ann_in_room(&app, durable).await;
        let mut bob = follower(&app, "bob").await;
        let told = ann.change().await;
        let user = bob.does(in_room("presence")).await["users"]
            .as_array()
            .unwrap()
            .iter()
            .find(|user| user["username"] == "bob")
            .unwrap()
            .clone();
        assert_eq!(told, json!({"push": "present", "room": "general", "user": user}));
        bob.does(in_room("unsubscribe")).await;
        assert_eq!(ann.change().await, json!({"push": "absent", "room": "general", "user": user}));
        bob.does(in_room("subscribe")).await;
        drop(bob);
        hears_changes(&mut ann, &["+bob", "-bob"]).await;
        assert_eq!(names(&ann.does(in_room("presence")).await), ["ann"]);
    }
}

#[tokio::test]
async fn a_user_with_two_tabs_comes_once_and_goes_once() {
    let app = TestApp::with(QUICK).await;
    let mut ann = ann_in_room(&app, true).await;
    let mut tab = follower(&app, "bob").await;
    let other = follower(&app, "bob").await;
    // Once more is not another time.
    tab.does(in_room("subscribe")).await;
    drop(other);
    connections(&app, 2).await;
    let cat = follower(&app, "cat").await;
    hears_changes(&mut ann, &["+bob", "+cat"]).await;
    drop(tab);
    hears_changes(&mut ann, &["-bob"]).await;
    drop(cat);
    hears_changes(&mut ann, &["-cat"]).await;
}

#[tokio::test]
async fn who_reconnects_within_the_grace_was_never_away() {
    let app = TestApp::with(LASTING).await;
    let mut ann = ann_in_room(&app, true).await;
    for _ in 0..3 {
        drop(follower(&app, "bob").await);
        connections(&app, 1).await;
    }
    let _cat = follower(&app, "cat").await;
    hears_changes(&mut ann, &["+bob", "+cat"]).await;
    assert_eq!(ann.does(in_room("presence")).await["count"], 3, "a moment ago is now");
}

#[tokio::test]
async fn a_private_rooms_presence_is_its_members_and_who_is_removed_is_absent() {
    let app = TestApp::with(QUICK).await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(json!({"command": "create", "room": "general"})).await;
    ann.does(in_room("subscribe")).await;
    let mut bob = Client::of(&app, "bob").await;
    let of_none = json!({"command": "presence", "room": "no-such-room"});
    let refused = bob.ask(in_room("presence")).await.unwrap_err();
    assert_eq!(refused["code"], "room_not_found");
    assert_eq!(bob.ask(of_none).await.unwrap_err(), refused, "nothing tells it from no room");
    assert_eq!(bob.is_refused(in_room("typing")).await, "not_subscribed");
    let invite = json!({"command": "invite", "room": "general", "username": "bob"});
    let invited = ann.does(invite).await;
    bob.does(in_room("join")).await;
    assert_eq!(names(&bob.does(in_room("presence")).await), ["ann"]);
    bob.does(in_room("subscribe")).await;
    ann.does(json!({"command": "remove", "room": "general", "user": invited["user"]})).await;
    hears_changes(&mut ann, &["+bob", "-bob"]).await;
    assert_eq!(bob.is_refused(in_room("presence")).await, "room_not_found");
    assert_eq!(names(&ann.does(in_room("presence")).await), ["ann"]);
}

#[tokio::test]
async fn in_a_crowd_who_comes_and_goes_is_not_told_and_can_be_asked() {
    let mut settings = QUICK.to_vec();
    settings.push(("PRESENCE_LIMIT", "2"));
    let app = TestApp::with(&settings).await;
    let mut ann = ann_in_room(&app, true).await;
    let _bob = follower(&app, "bob").await;
    let cat = follower(&app, "cat").await;
    hears_changes(&mut ann, &["+bob", "told false"]).await;
    let dan = follower(&app, "dan").await;
    drop(cat);
    connections(&app, 3).await;
    until("an absence", async || ann.does(in_room("presence")).await["count"] == 3).await;
    assert_eq!(ann.does(in_room("presence")).await["told"], false);
    drop(dan);
    hears_changes(&mut ann, &["told true"]).await;
    let here = ann.does(in_room("presence")).await;
    assert_eq!((&here["count"], &here["told"]), (&json!(2), &json!(true)));
    let _eve = follower(&app, "eve").await;
    hears_changes(&mut ann, &["told false"]).await;
}

#[tokio::test]
async fn typing_reaches_the_others_and_no_tab_of_ones_own_in_either_kind_of_room() {
    for durable in [true, false] {
        let app = TestApp::with(QUICK).await;
        let mut ann = ann_in_room(&app, durable).await;
        let mut tab = follower(&app, "ann").await;
        let mut bob = follower(&app, "bob").await;
        assert_eq!(bob.is_refused(in_room("typing")).await, "not_a_member");
        bob.does(in_room("join")).await;
        if durable {
            // From here on his shard knows.
            assert_eq!(bob.push().await["push"], "joined");
        }
        for (who, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
            assert_eq!(who.does(in_room("typing")).await, json!({}), "{name}");
        }
        for (hearer, name) in [(&mut bob, "ann"), (&mut ann, "bob"), (&mut tab, "bob")] {
            let typing = loop {
                let push = hearer.push().await;
                if push["push"] != "joined" {
                    break push;
                }
            };
            assert_eq!((&typing["push"], &typing["room"]), (&json!("typing"), &json!("general")));
            assert_eq!(typing["user"]["username"], name);
        }
        let history = json!({"command": "history", "room": "general"});
        if durable {
            let entries = ann.does(history).await["entries"].clone();
            assert_eq!(entries.as_array().unwrap().len(), 2, "it is not stored");
        }
    }
}

#[tokio::test]
async fn a_node_that_goes_away_tells_nobody_who_is_absent() {
    let mut settings = QUICK.to_vec();
    settings.push(("DRAIN_WINDOW", "300ms"));
    let app = TestApp::with(&settings).await;
    let mut clients = vec![ann_in_room(&app, true).await];
    for name in ["cat", "dan", "eve", "fay"] {
        clients.push(follower(&app, name).await);
    }
    let node = app.node.clone();
    let draining = tokio::spawn(async move { node.drain().await });
    for client in &mut clients {
        while client.push().await["push"] != "bye" {}
        let absent = client.changes().into_iter().filter(|change| change["push"] == "absent");
        assert_eq!(absent.count(), 0);
        client.close_code().await;
    }
    draining.await.unwrap();
}
