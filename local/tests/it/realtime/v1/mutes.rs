//! Who may make whom be silent, where that holds, and when it ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, ann_with_general, in_room};
use crate::app::TestApp;

fn publish() -> Value {
    json!({"command": "publish", "room": "general", "text": "hello"})
}

fn mute(user: &Value, seconds: u64) -> Value {
    json!({"command": "mute", "room": "general", "user": user, "seconds": seconds})
}

fn unmute(user: &Value) -> Value {
    json!({"command": "unmute", "room": "general", "user": user})
}

/// Somebody who has joined and follows the room, and their id.
async fn member(app: &TestApp, name: &str) -> (Client, Value) {
    let mut client = Client::of(app, name).await;
    client.does(in_room("join")).await;
    client.does(in_room("subscribe")).await;
    let id = client.welcome()["user"]["id"].clone();
    (client, id)
}

#[tokio::test]
async fn a_mute_holds_on_open_subscriptions_in_both_kinds_of_room_and_ends() {
    for durable in [true, false] {
        let app = TestApp::with(&[("SHARDS", "2")]).await;
        let mut ann = ann_with_general(&app, durable).await;
        let (mut bob, bobs) = member(&app, "bob").await;
        let (mut second, _) = member(&app, "bob").await;
        let (mut cat, _) = member(&app, "cat").await;
        let told = ann.does(mute(&bobs, 600)).await;
        assert_eq!(told["user"], bobs);
        assert!(told["muted_until"].is_string(), "{told}");
        let mut third = Client::of(&app, "bob").await;
        third.does(in_room("subscribe")).await;
        for client in [&mut bob, &mut second, &mut third] {
            assert_eq!(client.is_refused(publish()).await, "muted", "durable: {durable}");
            assert_eq!(client.is_refused(in_room("typing")).await, "muted", "durable: {durable}");
        }
        // Who could leave and come back would be muted no longer.
        assert_eq!(bob.is_refused(in_room("leave")).await, "muted");
        let rooms = bob.does(json!({"command": "rooms"})).await;
        assert_eq!(rooms["rooms"][0]["muted_until"], told["muted_until"]);
        let members = ann.does(in_room("members")).await;
        let of_bob = members["members"].as_array().unwrap().iter().find(|one| one["id"] == bobs);
        assert_eq!(of_bob.unwrap()["muted_until"], told["muted_until"]);
        cat.does(publish()).await;
        ann.does(unmute(&bobs)).await;
        for client in [&mut bob, &mut second, &mut third] {
            client.does(publish()).await;
        }
        ann.does(mute(&bobs, 600)).await;
        app.clock.advance(Duration::from_secs(599));
        assert_eq!(bob.is_refused(publish()).await, "muted");
        app.clock.advance(Duration::from_secs(2));
        bob.does(publish()).await;
    }
}

#[tokio::test]
async fn who_is_muted_edits_nothing_and_deletes_their_own() {
    let app = TestApp::start().await;
    let mut ann = ann_with_general(&app, true).await;
    let (mut bob, bobs) = member(&app, "bob").await;
    let of = bob.does(publish()).await["seq"].clone();
    ann.does(mute(&bobs, 600)).await;
    let edit = json!({"command": "edit", "room": "general", "of": of, "text": "otherwise"});
    assert_eq!(bob.is_refused(edit).await, "muted");
    bob.does(json!({"command": "delete", "room": "general", "of": of})).await;
}

#[tokio::test]
async fn owners_mute_all_but_owners_and_moderators_plain_members_and_nobody_oneself() {
    let app = TestApp::start().await;
    let mut ann = ann_with_general(&app, false).await;
    let anns = ann.welcome()["user"]["id"].clone();
    let (mut bob, bobs) = member(&app, "bob").await;
    let (mut cat, cats) = member(&app, "cat").await;
    let role = json!({"command": "set_role", "room": "general", "user": bobs, "role": "moderator"});
    ann.does(role).await;
    let mut dan = Client::of(&app, "dan").await;
    let dans = dan.welcome()["user"]["id"].clone();
    for (client, subjects, code) in [
        (&mut cat, &[&bobs][..], "forbidden"),
        (&mut dan, &[&cats], "not_a_member"),
        (&mut bob, &[&anns, &bobs], "forbidden"),
        (&mut ann, &[&anns], "forbidden"),
    ] {
        for subject in subjects {
            assert_eq!(client.is_refused(mute(subject, 60)).await, code, "{subject}");
            assert_eq!(client.is_refused(unmute(subject)).await, code, "{subject}");
        }
    }
    assert_eq!(ann.is_refused(mute(&dans, 60)).await, "user_not_found");
    bob.does(mute(&cats, 60)).await;
    assert_eq!(cat.is_refused(publish()).await, "muted");
    ann.does(mute(&bobs, 60)).await;
    assert_eq!(bob.is_refused(publish()).await, "muted");
    let nowhere = json!({"command": "unmute", "room": "no-such-room", "user": cats});
    assert_eq!(ann.is_refused(nowhere).await, "room_not_found");
}

#[tokio::test]
async fn who_moderates_every_room_mutes_where_they_are_no_member_but_not_themselves() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(json!({"command": "create", "room": "general"})).await;
    app.user("max").await;
    app.make_admin("max").await;
    let mut max = Client::of(&app, "max").await;
    let maxs = max.welcome()["user"]["id"].clone();
    app.user("bob").await;
    ann.does(json!({"command": "invite", "room": "general", "username": "bob"})).await;
    let (mut bob, bobs) = member(&app, "bob").await;
    max.does(mute(&bobs, 60)).await;
    assert_eq!(bob.is_refused(publish()).await, "muted");
    assert_eq!(max.is_refused(in_room("members")).await, "room_not_found", "nor reads it");
    ann.does(json!({"command": "invite", "room": "general", "username": "max"})).await;
    max.does(in_room("join")).await;
    assert_eq!(max.is_refused(mute(&maxs, 60)).await, "forbidden");
    max.does(unmute(&bobs)).await;
    bob.does(publish()).await;
}

#[tokio::test]
async fn a_mute_ends_later_than_now() {
    let app = TestApp::start().await;
    let mut ann = ann_with_general(&app, true).await;
    let (_, bobs) = member(&app, "bob").await;
    for until in ["2000-01-01T00:00:00Z", "2200-01-01T00:00:00Z"] {
        let command =
            json!({"id": 70, "command": "mute", "room": "general", "user": bobs, "until": until});
        ann.send_as_it_is(&command.to_string()).await;
        assert_eq!(ann.reply(70).await.unwrap_err()["code"], "invalid_field");
    }
    let end = app.clock.now() + Duration::from_secs(90);
    let end = end.replace_nanosecond(0).unwrap();
    let until = end.format(&time::format_description::well_known::Rfc3339).unwrap();
    let command = json!({"command": "mute", "room": "general", "user": bobs, "until": until});
    assert_eq!(ann.does(command).await, json!({"user": bobs, "muted_until": until}));
}

#[tokio::test]
async fn invitations_are_listed_until_they_are_followed() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    let mut bob = Client::of(&app, "bob").await;
    for room in ["cellar", "den"] {
        ann.does(json!({"command": "create", "room": room, "title": "Below"})).await;
        ann.does(json!({"command": "invite", "room": room, "username": "bob"})).await;
    }
    let list = |after: &str| json!({"command": "invitations", "after": after});
    let told = bob.does(json!({"command": "invitations"})).await;
    let first = &told["invitations"][0];
    assert_eq!(
        (&first["room"], &first["title"], &first["public"], &first["invited_by"], &told["more"]),
        (&json!("cellar"), &json!("Below"), &json!(false), &json!("ann"), &json!(false))
    );
    assert_eq!(told["invitations"].as_array().unwrap().len(), 2);
    let rest = bob.does(list("cellar")).await;
    assert_eq!(rest["invitations"][0]["room"], "den");
    bob.does(json!({"command": "join", "room": "den"})).await;
    assert_eq!(bob.does(list("cellar")).await["invitations"], json!([]));
    assert_eq!(ann.does(json!({"command": "invitations"})).await["invitations"], json!([]));
}
