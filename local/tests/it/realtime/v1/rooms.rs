//! Rooms: making, finding, joining and leaving them.

use serde_json::{Value, json};

use super::client::{Client, ann_with_room};
use crate::app::TestApp;

fn in_room(command: &str, room: &str) -> Value {
    json!({"command": command, "room": room})
}

#[tokio::test]
async fn a_room_is_made_found_joined_listed_and_left() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    let create =
        json!({"command": "create", "room": "general", "title": "For all", "public": true});
    let made = ann.does(create.clone()).await;
    let told = json!({"room": "general", "title": "For all", "durable": true, "public": true, "role": "owner"});
    assert_eq!(made, told);
    let mut again = told;
    again["unchanged"] = json!(true);
    assert_eq!(ann.does(create.clone()).await, again);
    let mut bob = Client::of(&app, "bob").await;
    assert_eq!(bob.is_refused(create.clone()).await, "room_taken");
    for (field, other) in
        [("title", json!("")), ("public", json!(false)), ("durable", json!(false))]
    {
        let mut create = create.clone();
        create[field] = other;
        assert_eq!(ann.is_refused(create).await, "room_taken", "another {field}");
    }
    for query in ["gen", "for A"] {
        let found = bob.does(json!({"command": "search", "query": query})).await;
        assert_eq!(
            (&found["rooms"][0]["room"], &found["more"]),
            (&json!("general"), &json!(false))
        );
        assert_eq!(found["rooms"][0]["role"], Value::Null);
    }
    assert_eq!(bob.does(in_room("join", "general")).await["seq"], 2);
    assert_eq!(bob.does(in_room("join", "general")).await, json!({"unchanged": true}));
    let rooms = bob.does(json!({"command": "rooms"})).await;
    assert_eq!(
        (&rooms["rooms"][0]["role"], &rooms["rooms"][0]["last_seq"]),
        (&json!("member"), &json!(2))
    );
    let members = ann.does(in_room("members", "general")).await;
    let names: Vec<_> =
        members["members"].as_array().unwrap().iter().map(|m| &m["username"]).collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(bob.does(in_room("leave", "general")).await["seq"], 3);
    assert_eq!(bob.does(json!({"command": "rooms"})).await["rooms"], json!([]));
}

#[tokio::test]
async fn who_comes_and_goes_is_told_to_the_room() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(in_room("subscribe", "general")).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(in_room("join", "general")).await;
    let joined = ann.push().await;
    assert_eq!(
        (&joined["push"], &joined["subject"]["username"]),
        (&json!("joined"), &json!("bob"))
    );
    let user = joined["subject"]["user"].clone();
    let promote =
        json!({"command": "set_role", "room": "general", "user": user, "role": "moderator"});
    ann.does(promote).await;
    let role = ann.push().await;
    assert_eq!((&role["push"], &role["subject"]["role"]), (&json!("role"), &json!("moderator")));
    let remove = json!({"command": "remove", "room": "general", "user": user});
    ann.does(remove).await;
    let left = ann.push().await;
    assert_eq!((&left["push"], &left["user"]["username"]), (&json!("left"), &json!("ann")));
}

#[tokio::test]
async fn the_last_owner_stays_while_others_are_there() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(in_room("join", "general")).await;
    assert_eq!(ann.is_refused(in_room("leave", "general")).await, "last_owner");
    bob.does(in_room("leave", "general")).await;
    ann.does(in_room("leave", "general")).await;
}

#[tokio::test]
async fn a_room_ends_with_its_last_member_and_is_closed_on_all_their_connections() {
    let app = TestApp::with(&[("SHARDS", "2")]).await;
    for durable in [true, false] {
        let create =
            json!({"command": "create", "room": "general", "public": true, "durable": durable});
        let (mut ann, mut other) = (Client::of(&app, "ann").await, Client::of(&app, "ann").await);
        ann.does(create.clone()).await;
        for client in [&mut ann, &mut other] {
            client.does(in_room("subscribe", "general")).await;
        }
        ann.does(in_room("leave", "general")).await;
        for client in [&mut ann, &mut other] {
            let mut push = client.push().await;
            // The entry comes by another way, and to nobody who is not subscribed any more.
            if durable && push["push"] == "left" {
                push = client.push().await;
            }
            assert_eq!(push, json!({"push": "unsubscribed", "room": "general"}));
        }
        assert_eq!(ann.is_refused(in_room("join", "general")).await, "room_not_found");
        let mut bob = Client::of(&app, "bob").await;
        bob.does(create).await;
        ann.does(in_room("join", "general")).await;
        ann.does(in_room("leave", "general")).await;
        bob.does(in_room("leave", "general")).await;
    }
}

#[tokio::test]
async fn who_owns_as_many_rooms_as_they_may_is_given_no_other() {
    let app = TestApp::with(&[("ROOMS_PER_USER", "1")]).await;
    let mut ann = ann_with_room(&app, "general").await;
    let (mut bob, mut cat) = (Client::of(&app, "bob").await, Client::of(&app, "cat").await);
    bob.does(json!({"command": "create", "room": "of-bob"})).await;
    let mut ids = Vec::new();
    for client in [&mut bob, &mut cat] {
        client.does(in_room("join", "general")).await;
        ids.push(ann.does(in_room("members", "general")).await["members"].clone());
    }
    let id = |name: &str| {
        let mut members = ids[1].as_array().unwrap().iter();
        members.find(|member| member["username"] == name).unwrap()["id"].clone()
    };
    let role = |name: &str, role: &str| json!({"command": "set_role", "room": "general", "user": id(name), "role": role});
    assert_eq!(ann.is_refused(role("bob", "owner")).await, "too_many_rooms");
    assert_eq!(cat.is_refused(role("bob", "owner")).await, "forbidden");
    ann.does(role("bob", "moderator")).await;
    ann.does(role("cat", "owner")).await;
    assert_eq!(ann.does(role("cat", "owner")).await, json!({"unchanged": true}));
}

#[tokio::test]
async fn an_ephemeral_room_reaches_who_is_there_and_keeps_nothing() {
    let app = TestApp::with(&[("SHARDS", "2")]).await;
    let mut ann = Client::of(&app, "ann").await;
    let create = json!({"command": "create", "room": "now", "durable": false, "public": true});
    ann.does(create).await;
    let subscribed = ann.does(in_room("subscribe", "now")).await;
    assert_eq!(subscribed, json!({"room": "now", "durable": false, "role": "owner"}));
    let mut bob = Client::of(&app, "bob").await;
    let publish =
        json!({"command": "publish", "room": "now", "text": "hi", "user": "somebody else"});
    assert_eq!(bob.is_refused(publish.clone()).await, "not_subscribed");
    bob.does(in_room("subscribe", "now")).await;
    assert_eq!(bob.is_refused(publish.clone()).await, "not_a_member");
    bob.does(in_room("join", "now")).await;
    bob.does(publish).await;
    for client in [&mut ann, &mut bob] {
        let message = client.push().await;
        assert_eq!((&message["text"], &message["user"]["username"]), (&json!("hi"), &json!("bob")));
        assert!(message.get("seq").is_none());
    }
    assert_eq!(ann.is_refused(in_room("history", "now")).await, "not_durable");
    let delete = json!({"command": "delete", "room": "now", "of": 1});
    assert_eq!(ann.is_refused(delete).await, "not_durable");
    let since = json!({"command": "subscribe", "room": "now", "since": {"epoch": "1", "seq": 0}});
    assert_eq!(ann.is_refused(since).await, "not_durable");
    let stored = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&app.owner).await;
    assert_eq!(stored.unwrap_or(-1), 0_i64);
}

#[tokio::test]
async fn subscriptions_are_bounded_and_end() {
    let app = TestApp::with(&[("SUBSCRIPTIONS_PER_CONNECTION", "1")]).await;
    let mut ann = ann_with_room(&app, "one").await;
    ann.does(json!({"command": "create", "room": "two"})).await;
    ann.does(in_room("subscribe", "one")).await;
    // Again is not another one.
    ann.does(in_room("subscribe", "one")).await;
    assert_eq!(ann.is_refused(in_room("subscribe", "two")).await, "too_many_subscriptions");
    ann.does(in_room("unsubscribe", "one")).await;
    assert_eq!(ann.is_refused(in_room("unsubscribe", "one")).await, "not_subscribed");
    ann.does(json!({"command": "publish", "room": "one", "text": "unheard"})).await;
    ann.does(in_room("subscribe", "two")).await;
    assert_eq!(ann.unread(), [Value::Null; 0]);
}

#[tokio::test]
async fn who_owns_as_many_rooms_as_they_may_makes_no_other() {
    let app = TestApp::with(&[("ROOMS_PER_USER", "2")]).await;
    let mut ann = ann_with_room(&app, "one").await;
    let create = |room: &str| json!({"command": "create", "room": room, "public": true});
    ann.does(create("two")).await;
    assert_eq!(ann.is_refused(create("three")).await, "too_many_rooms");
    assert_eq!(ann.does(create("two")).await["unchanged"], json!(true));
    ann.does(in_room("leave", "one")).await;
    ann.does(create("three")).await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(create("four")).await;
}

#[tokio::test]
async fn lists_come_in_pages_of_a_hundred_and_go_on_behind_the_last_of_each() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut bob = Client::of(&app, "bob").await;
    bob.does(json!({"command": "create", "room": "of-bob"})).await;
    // 150 rooms of Ann's, into which Bob is invited, and 150 further members of the first room.
    let many = "INSERT INTO users (id, username, username_key, created_at)
                SELECT gen_random_uuid(), 'many' || n, 'many' || n, now() FROM generate_series(1, 150) n;
                INSERT INTO room_members (room, user_id, role, joined_at)
                SELECT r.id, u.id, 'member', now() FROM rooms r, users u
                WHERE r.name = 'general' AND u.username LIKE 'many%';
                INSERT INTO rooms (name, title, durable, public, created_at)
                SELECT 'page-' || n, '', false, true, now() FROM generate_series(101, 250) n;
                INSERT INTO room_members (room, user_id, role, joined_at)
                SELECT r.id, u.id, 'owner', now() FROM rooms r, users u
                WHERE r.name LIKE 'page-%' AND u.username = 'ann';
                INSERT INTO room_invitations (room, user_id, invited_by, created_at)
                SELECT r.id, bob.id, ann.id, now() FROM rooms r, users bob, users ann
                WHERE r.name LIKE 'page-%' AND bob.username = 'bob' AND ann.username = 'ann'";
    sqlx::raw_sql(many).execute(&app.owner).await.unwrap();
    for (command, list, by, all) in [
        (json!({"command": "rooms"}), "rooms", "room", 151),
        (json!({"command": "search", "query": "page-"}), "rooms", "room", 150),
        (in_room("members", "general"), "members", "id", 151),
        (json!({"command": "invitations"}), "invitations", "room", 150),
    ] {
        let client = if list == "invitations" { &mut bob } else { &mut ann };
        let first = client.does(command.clone()).await;
        let mut found = first[list].as_array().unwrap().clone();
        assert_eq!((found.len(), &first["more"]), (100, &json!(true)), "{command}");
        let mut further = command.clone();
        further["after"] = found[99][by].clone();
        let second = client.does(further).await;
        found.extend(second[list].as_array().unwrap().iter().cloned());
        assert_eq!((found.len(), &second["more"]), (all, &json!(false)), "{command}");
        let mut names: Vec<_> = found.iter().map(|one| one[by].as_str().unwrap()).collect();
        let in_order = names.is_sorted();
        names.dedup();
        assert!(in_order && names.len() == all, "{command}: each once, in order");
    }
}
