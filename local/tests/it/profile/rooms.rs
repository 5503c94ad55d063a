//! What becomes of rooms, and of what is said there of somebody, when an account is deleted.

use http::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::delete::delete;
use crate::app::TestApp;
use crate::realtime::test_node::hear;
use crate::realtime::v1::client::{Client, ann_with_room};

fn in_room(command: &str, room: &str) -> Value {
    json!({"command": command, "room": room})
}

async fn deletes_account(app: &TestApp, name: &str) {
    let token = app.sign_in(name).await.access;
    assert_eq!(delete(app, &token, "password123").await.status, StatusCode::NO_CONTENT);
}

/// The members of a room and their roles, by name.
async fn roles(app: &TestApp, room: &str) -> Vec<String> {
    let roles =
        "SELECT u.username || ' ' || m.role FROM room_members m JOIN users u ON u.id = m.user_id
                 JOIN rooms r ON r.id = m.room WHERE r.name = $1 ORDER BY 1";
    sqlx::query_scalar(roles).bind(room).fetch_all(&app.owner).await.unwrap()
}

async fn history(client: &mut Client, room: &str) -> Vec<Value> {
    let history = client.does(in_room("history", room)).await;
    history["entries"].as_array().unwrap().clone()
}

/// A room of ann's with members of these names, in this order.
async fn room(app: &TestApp, ann: &mut Client, room: &str, durable: bool, members: &[&str]) {
    let create = json!({"command": "create", "room": room, "public": true, "durable": durable});
    ann.does(create).await;
    for name in members {
        app.clock.advance(std::time::Duration::from_secs(1));
        Client::of(app, name).await.does(in_room("join", room)).await;
    }
}

#[tokio::test]
async fn a_room_whose_last_owner_deletes_their_account_is_the_longest_moderators_else_members() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    let promote = |room: &str, user: &Value, role: &str| json!({"command": "set_role", "room": room, "user": user, "role": role});
    for (name, durable) in
        [("moderated", true), ("fleeting", false), ("plain", true), ("shared", true)]
    {
        room(&app, &mut ann, name, durable, &["bob", "cat", "dan"]).await;
        let members = ann.does(in_room("members", name)).await;
        let id = |name: &str| {
            let members = members["members"].as_array().unwrap().iter();
            members.clone().find(|member| member["username"] == name).unwrap()["id"].clone()
        };
        match name {
            "moderated" | "fleeting" => {
                for who in ["dan", "cat"] {
                    ann.does(promote(name, &id(who), "moderator")).await;
                }
            }
            "shared" => drop(ann.does(promote(name, &id("dan"), "owner")).await),
            _ => {}
        }
    }
    ann.does(json!({"command": "create", "room": "alone"})).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(in_room("subscribe", "moderated")).await;
    deletes_account(&app, "ann").await;
    assert_eq!(roles(&app, "moderated").await, ["bob member", "cat owner", "dan moderator"]);
    assert_eq!(roles(&app, "fleeting").await, ["bob member", "cat owner", "dan moderator"]);
    assert_eq!(roles(&app, "plain").await, ["bob owner", "cat member", "dan member"]);
    assert_eq!(roles(&app, "shared").await, ["bob member", "cat member", "dan owner"]);
    assert_eq!(roles(&app, "alone").await, [""; 0]);
    // It is told like any other change, by nobody.
    let told = bob.push().await;
    let subject = (&told["subject"]["username"], &told["subject"]["role"]);
    assert_eq!(
        (&told["push"], &told["user"], subject),
        (&json!("role"), &Value::Null, (&json!("cat"), &json!("owner")))
    );
    assert_eq!(history(&mut bob, "moderated").await.last(), Some(&told));
    assert_eq!(history(&mut bob, "shared").await.last().unwrap()["subject"]["username"], "dan");
    let mut cat = Client::of(&app, "cat").await;
    let bobs = cat.does(in_room("members", "moderated")).await["members"][0]["id"].clone();
    cat.does(promote("moderated", &bobs, "moderator")).await;
}

#[tokio::test]
async fn a_deletion_and_messages_in_the_rooms_that_are_handed_over_wait_for_each_other() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "60s"), ("LOG_LANES", "1")]).await;
    let mut ann = ann_with_room(&app, "one").await;
    room(&app, &mut ann, "two", true, &["bob"]).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(in_room("join", "one")).await;
    for name in ["one", "two"] {
        bob.does(in_room("subscribe", name)).await;
        ann.does(in_room("subscribe", name)).await;
    }
    let token = app.sign_in("ann").await.access;
    let deleting = delete(&app, &token, "password123");
    let saying = async {
        for n in 0..50 {
            let mut sent = Vec::new();
            for room in ["two", "one", "two"] {
                let publish = json!({"command": "publish", "room": room, "text": n.to_string()});
                sent.push(bob.send(publish).await);
            }
            for id in sent {
                bob.reply(id).await.unwrap();
            }
        }
    };
    let says_until_closed = async {
        loop {
            for room in ["two", "one", "two"] {
                ann.send(json!({"command": "publish", "room": room, "text": "no"})).await;
            }
            let mut answered = 0;
            while answered < 3 {
                let Message::Text(text) = hear(&mut ann.socket).await else { return };
                let heard: Value = serde_json::from_str(&text).unwrap();
                answered += u32::from(heard["id"].is_u64());
                let code = heard["error"]["code"].as_str();
                assert!(code.is_none_or(|code| code == "not_a_member"), "{heard}");
            }
        }
    };
    let (deleted, (), ()) = tokio::join!(deleting, saying, says_until_closed);
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for name in ["one", "two"] {
        assert_eq!(roles(&app, name).await, ["bob owner"]);
        let seqs = "SELECT array_agg(seq ORDER BY seq) = array_agg(n ORDER BY n)
                    FROM (SELECT m.seq, row_number() OVER (ORDER BY m.seq) AS n FROM messages m
                          JOIN rooms r ON r.id = m.room WHERE r.name = $1) m";
        let is_whole: bool =
            sqlx::query_scalar(seqs).bind(name).fetch_one(&app.owner).await.unwrap();
        assert!(is_whole);
    }
}

#[tokio::test]
async fn the_name_of_a_deleted_account_is_in_no_entry_any_more() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut roberta = Client::of(&app, "roberta").await;
    roberta.does(in_room("join", "general")).await;
    let said = json!({"command": "publish", "room": "general", "text": "hello"});
    roberta.does(in_room("subscribe", "general")).await;
    roberta.does(said).await;
    let members = ann.does(in_room("members", "general")).await;
    let id = members["members"].as_array().unwrap().iter().find(|m| m["username"] == "roberta");
    let id = id.unwrap()["id"].clone();
    ann.does(json!({"command": "set_role", "room": "general", "user": id, "role": "moderator"}))
        .await;
    roberta.does(in_room("leave", "general")).await;
    let before = history(&mut ann, "general").await;
    let names: Vec<_> = before.iter().map(|entry| &entry["subject"]["username"]).collect();
    assert_eq!(
        names,
        [&json!("ann"), &json!("roberta"), &Value::Null, &json!("roberta"), &json!("roberta")]
    );
    deletes_account(&app, "roberta").await;
    let after = history(&mut ann, "general").await;
    for (entry, push) in after.iter().zip(["joined", "joined", "message", "role", "left"]).skip(1) {
        assert_eq!(entry["push"], push);
        if push != "message" {
            let subject = entry["subject"].as_object().unwrap();
            assert_eq!((&subject["user"], &subject["username"]), (&id, &Value::Null), "{entry}");
        }
        assert_eq!(entry["user"].is_null(), push != "role", "{entry}");
    }
    assert_eq!(after[0], before[0]);
    assert_eq!(after[2]["text"], "hello", "what was said stays");
    let dump = "SELECT count(*) FROM messages WHERE body LIKE '%roberta%'";
    let kept: i64 = sqlx::query_scalar(dump).fetch_one(&app.owner).await.unwrap();
    assert_eq!(kept, 0);
}
