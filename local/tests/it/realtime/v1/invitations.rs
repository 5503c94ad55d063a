//! Invitations: declined, withdrawn, and no longer counted.

use serde_json::{Value, json};

use super::client::Client;
use crate::app::TestApp;

fn in_cellar(command: &str) -> Value {
    json!({"command": command, "room": "cellar"})
}

fn invite(username: &str) -> Value {
    json!({"command": "invite", "room": "cellar", "username": username})
}

/// The rooms that somebody is invited to.
async fn invited(client: &mut Client) -> Vec<Value> {
    let invitations = client.does(json!({"command": "invitations"})).await;
    invitations["invitations"].as_array().unwrap().iter().map(|one| one["room"].clone()).collect()
}

#[tokio::test]
async fn an_invitation_is_declined_or_withdrawn_and_lets_nobody_in_any_more() {
    let app = TestApp::start().await;
    for durable in [true, false] {
        let mut ann = Client::of(&app, "ann").await;
        let mut bob = Client::of(&app, "bob").await;
        ann.does(json!({"command": "create", "room": "cellar", "durable": durable})).await;
        assert_eq!(bob.is_refused(in_cellar("decline")).await, "room_not_found");
        let id = ann.does(invite("bob")).await["user"].clone();
        assert_eq!(invited(&mut bob).await, ["cellar"]);
        assert_eq!(bob.does(in_cellar("decline")).await, json!({}));
        assert_eq!(bob.is_refused(in_cellar("join")).await, "room_not_found");
        assert_eq!(invited(&mut bob).await, [Value::Null; 0]);
        ann.does(invite("bob")).await;
        let uninvite = json!({"command": "uninvite", "room": "cellar", "user": id});
        assert_eq!(bob.is_refused(uninvite.clone()).await, "room_not_found");
        assert_eq!(ann.does(uninvite.clone()).await, json!({}));
        assert_eq!(ann.does(uninvite).await, json!({"unchanged": true}));
        assert_eq!(bob.is_refused(in_cellar("join")).await, "room_not_found");
        ann.does(invite("bob")).await;
        bob.does(in_cellar("join")).await;
        assert_eq!(bob.does(in_cellar("decline")).await, json!({"unchanged": true}));
        bob.does(in_cellar("leave")).await;
        ann.does(in_cellar("leave")).await;
    }
}

#[tokio::test]
async fn who_has_so_many_invitations_open_makes_no_other() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(in_cellar("create")).await;
    let many = "WITH users AS (
                    INSERT INTO users (id, username, username_key, created_at)
                    SELECT gen_random_uuid(), 'guest' || n, 'guest' || n, now()
                    FROM generate_series(1, 200) n RETURNING id)
                INSERT INTO room_invitations (room, user_id, invited_by, created_at)
                SELECT m.room, u.id, m.user_id, now() FROM users u, room_members m";
    sqlx::query(many).execute(&app.owner).await.unwrap();
    app.user("bob").await;
    assert_eq!(ann.is_refused(invite("bob")).await, "too_many_invitations");
    assert_eq!(ann.does(invite("guest7")).await["unchanged"], Value::Null);
    sqlx::query("DELETE FROM users WHERE username = 'guest1'").execute(&app.owner).await.unwrap();
    ann.does(invite("bob")).await;
}
