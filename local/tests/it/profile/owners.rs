//! Rooms keep an owner whatever happens while an account is deleted.

use http::StatusCode;
use serde_json::{Value, json};

use super::delete::delete;
use crate::app::TestApp;
use crate::parked::{held, queue, until_waiting};
use crate::realtime::v1::client::Client;

/// Time for whoever waits.
const PATIENT: (&str, &str) = ("DATABASE_TIMEOUT", "60s");

fn in_room(command: &str) -> Value {
    json!({"command": command, "room": "lobby"})
}

fn set_role(user: &Value, role: &str) -> Value {
    json!({"command": "set_role", "room": "lobby", "user": user, "role": role})
}

/// A public room of ann's that bob and cat are in; their clients, and the ids of all three.
async fn lobby(app: &TestApp, durable: bool) -> ([Client; 3], [Value; 3]) {
    let mut clients =
        [Client::of(app, "ann").await, Client::of(app, "bob").await, Client::of(app, "cat").await];
    let create = json!({"command": "create", "room": "lobby", "public": true, "durable": durable});
    clients[0].does(create).await;
    for client in &mut clients[1..] {
        client.does(in_room("join")).await;
    }
    let members = clients[0].does(in_room("members")).await["members"].clone();
    let id = |name: &str| {
        let mut members = members.as_array().unwrap().iter();
        members.find(|member| member["username"] == name).unwrap()["id"].clone()
    };
    (clients, ["ann", "bob", "cat"].map(id))
}

async fn owners(app: &TestApp) -> Vec<String> {
    let owners = "SELECT u.username FROM room_members m JOIN users u ON u.id = m.user_id
                  WHERE m.role = 'owner' ORDER BY 1";
    sqlx::query_scalar(owners).fetch_all(&app.owner).await.unwrap()
}

#[tokio::test]
async fn who_becomes_the_only_owner_while_their_account_is_deleted_leaves_the_room_to_another() {
    for durable in [true, false] {
        let app = TestApp::with(&[PATIENT]).await;
        let ([mut ann, mut bob, _cat], [ann_id, bob_id, cat_id]) = lobby(&app, durable).await;
        let token = app.sign_in("bob").await.access;
        // The deletion comes here when it knows what bob owns.
        let holder = held(&app, "SELECT FROM users WHERE username = 'bob' FOR KEY SHARE").await;
        let meanwhile = async {
            until_waiting(&app, 1).await;
            ann.does(set_role(&bob_id, "owner")).await;
            bob.does(set_role(&cat_id, "moderator")).await;
            ann.does(set_role(&ann_id, "member")).await;
            holder.rollback().await.unwrap();
        };
        let (deleted, ()) = tokio::join!(delete(&app, &token, "password123"), meanwhile);
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        assert_eq!(owners(&app).await, ["cat"], "durable: {durable}");
    }
}

#[tokio::test]
async fn of_an_owner_who_deletes_their_account_and_one_who_leaves_at_once_one_stays() {
    let app = TestApp::with(&[PATIENT]).await;
    let ([mut ann, mut bob, _cat], [_, bob_id, _]) = lobby(&app, true).await;
    ann.does(set_role(&bob_id, "owner")).await;
    let token = app.sign_in("ann").await.access;
    let (deleted, refused) = queue(
        &app,
        "SELECT FROM users WHERE username = 'ann' FOR KEY SHARE",
        delete(&app, &token, "password123"),
        bob.is_refused(in_room("leave")),
    )
    .await;
    assert_eq!((deleted.status, &*refused), (StatusCode::NO_CONTENT, "last_owner"));
    assert_eq!(owners(&app).await, ["bob"]);
}

#[tokio::test]
async fn no_room_is_left_to_whoever_deletes_their_account_at_the_same_time() {
    for durable in [true, false] {
        let app = TestApp::with(&[PATIENT]).await;
        let ([mut ann, mut bob, _cat], [_, bob_id, _]) = lobby(&app, durable).await;
        ann.does(set_role(&bob_id, "moderator")).await;
        bob.does(json!({"command": "create", "room": "of-bob", "durable": false})).await;
        let (ann, bob) = (app.sign_in("ann").await.access, app.sign_in("bob").await.access);
        // Bob's deletion comes here when it knows that he owns nothing else.
        let holder = held(&app, "SELECT FROM rooms WHERE name = 'of-bob' FOR UPDATE").await;
        let meanwhile = async {
            until_waiting(&app, 1).await;
            let deleted = delete(&app, &ann, "password123").await;
            assert_eq!(deleted.status, StatusCode::NO_CONTENT);
            holder.rollback().await.unwrap();
        };
        let (deleted, ()) = tokio::join!(delete(&app, &bob, "password123"), meanwhile);
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        assert_eq!(owners(&app).await, ["cat"], "durable: {durable}");
    }
}

#[tokio::test]
async fn a_room_whose_members_all_delete_their_accounts_at_once_ends() {
    for durable in [true, false] {
        let app = TestApp::with(&[PATIENT]).await;
        let ([_ann, mut bob, mut cat], _) = lobby(&app, durable).await;
        cat.does(in_room("leave")).await;
        bob.does(json!({"command": "create", "room": "of-bob", "durable": false})).await;
        let (ann, bob) = (app.sign_in("ann").await.access, app.sign_in("bob").await.access);
        let deleted = queue(
            &app,
            "SELECT FROM rooms WHERE name = 'of-bob' FOR UPDATE",
            delete(&app, &bob, "password123"),
            delete(&app, &ann, "password123"),
        )
        .await;
        let statuses = [deleted.0.status, deleted.1.status];
        assert_eq!(statuses, [StatusCode::NO_CONTENT; 2], "durable: {durable}");
        let left = "SELECT count(*) FROM rooms WHERE ended_at IS NULL";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&app.owner).await.unwrap();
        assert_eq!(left, 0, "durable: {durable}");
    }
}

#[tokio::test]
async fn a_room_that_is_left_with_an_account_ends() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    for durable in [true, false] {
        let room = if durable { "kept" } else { "fleeting" };
        ann.does(json!({"command": "create", "room": room, "durable": durable})).await;
    }
    let token = app.sign_in("ann").await.access;
    assert_eq!(delete(&app, &token, "password123").await.status, StatusCode::NO_CONTENT);
    let mut bob = Client::of(&app, "bob").await;
    for room in ["kept", "fleeting"] {
        let made = bob.does(json!({"command": "create", "room": room})).await;
        assert_eq!(made["role"], "owner");
    }
}
