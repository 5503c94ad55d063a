//! Who may do what in which room.

use serde_json::{Value, json};

use super::client::Client;
use crate::app::TestApp;

fn in_room(command: &str) -> Value {
    json!({"command": command, "room": "secret"})
}

fn publish() -> Value {
    json!({"command": "publish", "room": "secret", "text": "psst"})
}

async fn ann_with_secret(app: &TestApp) -> Client {
    let mut ann = Client::of(app, "ann").await;
    ann.does(json!({"command": "create", "room": "secret"})).await;
    ann
}

#[tokio::test]
async fn a_private_room_is_not_there_for_others() {
    let app = TestApp::start().await;
    let mut ann = ann_with_secret(&app).await;
    ann.does(publish()).await;
    let mut bob = Client::of(&app, "bob").await;
    for command in [
        in_room("subscribe"),
        in_room("history"),
        in_room("members"),
        in_room("join"),
        in_room("leave"),
        publish(),
        json!({"command": "edit", "room": "secret", "of": 2, "text": "mine"}),
        json!({"command": "delete", "room": "secret", "of": 2}),
        json!({"command": "invite", "room": "secret", "username": "bob"}),
    ] {
        let refused = bob.ask(command.clone()).await.unwrap_err();
        let mut of_none = command;
        of_none["room"] = json!("no-such-room");
        assert_eq!(refused["code"], "room_not_found", "{of_none}");
        assert_eq!(bob.ask(of_none).await.unwrap_err(), refused, "nothing tells it from no room");
    }
    let found = bob.does(json!({"command": "search", "query": "sec"})).await;
    assert_eq!(found["rooms"], json!([]));
}

#[tokio::test]
async fn an_invitation_lets_in_and_a_removal_ends_the_subscription() {
    let app = TestApp::with(&[("SHARDS", "3")]).await;
    let mut ann = ann_with_secret(&app).await;
    let mut bob = Client::of(&app, "bob").await;
    let invite = |name: &str| json!({"command": "invite", "room": "secret", "username": name});
    assert_eq!(ann.is_refused(invite("nobody")).await, "user_not_found");
    let invited = ann.does(invite("bob")).await;
    bob.does(in_room("join")).await;
    bob.does(in_room("subscribe")).await;
    bob.does(publish()).await;
    assert_eq!(bob.push().await["text"], "psst");
    assert_eq!(bob.is_refused(invite("cat")).await, "forbidden");
    ann.does(json!({"command": "remove", "room": "secret", "user": invited["user"]})).await;
    loop {
        let push = bob.push().await;
        if push == json!({"push": "unsubscribed", "room": "secret"}) {
            break;
        }
        assert_eq!(push["push"], "left", "at most that is told: {push}");
    }
    ann.does(publish()).await;
    assert_eq!(bob.is_refused(in_room("subscribe")).await, "room_not_found");
    assert_eq!(bob.unread(), [Value::Null; 0]);
}

#[tokio::test]
async fn who_is_no_member_reads_a_public_room_and_publishes_nothing() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(json!({"command": "create", "room": "secret", "public": true})).await;
    let mut bob = Client::of(&app, "bob").await;
    assert_eq!(bob.does(in_room("subscribe")).await["role"], Value::Null);
    assert_eq!(bob.is_refused(publish()).await, "not_a_member");
    ann.does(publish()).await;
    assert_eq!(bob.push().await["text"], "psst");
    assert_eq!(
        bob.is_refused(json!({"command": "delete", "room": "secret", "of": 2})).await,
        "not_a_member"
    );
    bob.does(in_room("join")).await;
    assert_eq!(
        bob.is_refused(json!({"command": "edit", "room": "secret", "of": 2, "text": "x"})).await,
        "forbidden"
    );
    assert_eq!(
        bob.is_refused(json!({"command": "delete", "room": "secret", "of": 2})).await,
        "forbidden"
    );
    bob.does(publish()).await;
    ann.does(json!({"command": "delete", "room": "secret", "of": 4})).await;
    sqlx::query(
        "UPDATE room_members SET muted_until = now() + interval '1 day' WHERE role = 'member'",
    )
    .execute(&app.owner)
    .await
    .unwrap();
    assert_eq!(bob.is_refused(publish()).await, "muted");
}
