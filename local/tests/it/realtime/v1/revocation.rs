//! What ends a session ends its sockets, and what changes its user's roles holds on them.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::client::{Client, ann_with_room, in_room, token};
use crate::app::TestApp;
use crate::statements::Statements;
use crate::users::id;

/// A user and an administrator's token.
async fn app() -> (TestApp, String) {
    let app = TestApp::start().await;
    for name in ["ann", "root1"] {
        app.user(name).await;
    }
    app.make_admin("root1").await;
    let admin = token(&app, "root1").await;
    (app, admin)
}

async fn call(app: &TestApp, method: Method, path: &str, token: &str, body: Option<Value>) {
    let answer = app.call(method, path, token, body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

async fn log_out(app: &TestApp, token: &str) {
    call(app, Method::POST, "/logout", token, Some(json!({"scope": "local"}))).await;
}

/// The connections over which notices are heard, ended by the server; how many.
async fn end_listening(app: &TestApp) -> usize {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    sqlx::query(end).fetch_all(&app.owner).await.unwrap().len()
}

#[tokio::test]
async fn a_logout_closes_the_sockets_of_its_session_4403_and_no_others() {
    let app = TestApp::with(&[("SHARDS", "3")]).await;
    app.user("ann").await;
    let (here, there) = (token(&app, "ann").await, token(&app, "ann").await);
    let mut others = Client::with(&app, &there).await;
    let mut by_command = Client::stranger(&app).await;
    by_command.does(json!({"command": "auth", "token": here})).await;
    let mut sockets = vec![by_command];
    for _ in 0..6 {
        sockets.push(Client::with(&app, &here).await);
    }
    log_out(&app, &here).await;
    let began = Instant::now();
    for socket in &mut sockets {
        assert_eq!(socket.close_code().await, 4403);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    others.does(json!({"command": "rooms"})).await;
}

#[tokio::test]
async fn an_administrators_revocation_and_a_disabled_and_a_deleted_account_close_all_sockets() {
    let (app, admin) = app().await;
    let ann = id(&app, "ann").await;
    let sockets = async || [Client::of(&app, "ann").await, Client::of(&app, "ann").await];
    let mut closed = sockets().await;
    call(&app, Method::POST, &format!("/users/{ann}/revoke"), &admin, None).await;
    for socket in &mut closed {
        assert_eq!(socket.close_code().await, 4403, "revoked");
    }
    let mut closed = sockets().await;
    let status = |status: &str| Some(json!({"status": status}));
    call(&app, Method::PATCH, &format!("/users/{ann}"), &admin, status("disabled")).await;
    for socket in &mut closed {
        assert_eq!(socket.close_code().await, 4403, "disabled");
    }
    call(&app, Method::PATCH, &format!("/users/{ann}"), &admin, status("active")).await;
    let mut closed = sockets().await;
    let own = token(&app, "ann").await;
    let password = Some(json!({"password": "password123"}));
    call(&app, Method::DELETE, "/me", &own, password).await;
    for socket in &mut closed {
        assert_eq!(socket.close_code().await, 4403, "deleted");
    }
    Client::with(&app, &admin).await.does(json!({"command": "rooms"})).await;
}

#[tokio::test]
async fn a_new_password_closes_the_sockets_of_the_other_sessions_and_not_ones_own() {
    let (app, _) = app().await;
    let (here, there) = (token(&app, "ann").await, token(&app, "ann").await);
    let (mut own, mut other) = (Client::with(&app, &here).await, Client::with(&app, &there).await);
    let change = json!({"current_password": "password123", "new_password": "another-password9"});
    call(&app, Method::POST, "/me/password", &here, Some(change)).await;
    assert_eq!(other.close_code().await, 4403);
    own.does(json!({"command": "rooms"})).await;
}

#[tokio::test]
async fn a_change_of_roles_holds_on_an_open_socket() {
    let (app, admin) = app().await;
    let mut ann = ann_with_room(&app, "general").await;
    app.user("bob").await;
    let mut bob = Client::of(&app, "bob").await;
    let path = format!("/users/{}", id(&app, "bob").await);
    let roles = |roles: Value| Some(json!({"roles": roles}));
    assert!(!deletes(&mut bob, &mut ann).await);
    call(&app, Method::PATCH, &path, &admin, roles(json!(["moderator"]))).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while !deletes(&mut bob, &mut ann).await {
        assert!(Instant::now() < deadline, "he may not yet");
    }
    call(&app, Method::PATCH, &path, &admin, roles(json!([]))).await;
    while deletes(&mut bob, &mut ann).await {
        assert!(Instant::now() < deadline, "he may still");
    }
    bob.does(in_room("history")).await;
}

/// Whether one may delete what another says.
async fn deletes(one: &mut Client, another: &mut Client) -> bool {
    let said = json!({"command": "publish", "room": "general", "text": "no"});
    let said = another.does(said).await;
    let delete = json!({"command": "delete", "room": "general", "of": said["seq"]});
    match one.ask(delete).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error["code"], "not_a_member", "{error}");
            false
        }
    }
}

#[tokio::test]
async fn what_was_not_heard_of_is_made_up_for_once_notices_are_heard_again() {
    let (app, _) = app().await;
    let (mut first, mut lost) = (Client::of(&app, "ann").await, Client::of(&app, "ann").await);
    // Notices are heard, and what was open before that has been looked at.
    let early = token(&app, "ann").await;
    let mut closed = Client::with(&app, &early).await;
    log_out(&app, &early).await;
    assert_eq!(closed.close_code().await, 4403);
    let end = "UPDATE sessions SET revoked_at = now() WHERE revoked_at IS NULL";
    sqlx::query(end).execute(&app.owner).await.unwrap();
    for socket in [&mut first, &mut lost] {
        socket.does(json!({"command": "ping"})).await;
    }
    assert_eq!(end_listening(&app).await, 1);
    for socket in [&mut first, &mut lost] {
        assert_eq!(socket.close_code().await, 4403);
    }
}

#[tokio::test]
async fn notices_are_heard_again_after_their_connection_was_lost() {
    let (app, _) = app().await;
    for _ in 0..3 {
        let token = token(&app, "ann").await;
        let mut socket = Client::with(&app, &token).await;
        end_listening(&app).await;
        log_out(&app, &token).await;
        assert_eq!(socket.close_code().await, 4403);
    }
    let deadline = Instant::now() + Duration::from_mins(1);
    while !app.text("/metrics").await.1.contains("keywire_notices_up 1") {
        assert!(Instant::now() < deadline, "notices are not heard");
    }
}

#[tokio::test]
async fn a_sign_in_at_the_time_of_its_logout_leaves_no_socket() {
    let (app, _) = app().await;
    for _ in 0..20 {
        let token = token(&app, "ann").await;
        let mut socket = Client::stranger(&app).await;
        let id = socket.send(json!({"command": "auth", "token": token})).await;
        log_out(&app, &token).await;
        // It came too late, or was undone.
        match socket.reply(id).await {
            Ok(_) => assert_eq!(socket.close_code().await, 4403),
            Err(error) => assert_eq!(error["code"], "session_revoked"),
        }
    }
}

#[tokio::test]
async fn many_notices_are_few_statements() {
    let (app, admin) = app().await;
    let mut ann = Client::of(&app, "ann").await;
    let (statements, _counting) = Statements::count();
    let many = "SELECT count(pg_notify('keywire_revoked', 'session ' || gen_random_uuid()))
                FROM generate_series(1, 20000)";
    sqlx::query(many).execute(&app.owner).await.unwrap();
    let path = format!("/users/{}/revoke", id(&app, "ann").await);
    call(&app, Method::POST, &path, &admin, None).await;
    assert_eq!(ann.close_code().await, 4403);
    let looks =
        statements.take().into_iter().filter(|one| one.starts_with("SELECT s.id, s.user_id"));
    let looks = looks.count();
    assert!((1..20).contains(&looks), "{looks} statements");
}
