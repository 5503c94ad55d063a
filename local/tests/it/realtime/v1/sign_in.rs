//! Who a socket is, and for how long.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;

use super::client::{Client, entry, handshake, token};
use crate::app::TestApp;
use crate::realtime::test_node::{close_code, say_bytes};

async fn app(settings: &[(&str, &str)]) -> TestApp {
    let app = TestApp::with(settings).await;
    app.user("ann").await;
    app
}

#[tokio::test]
async fn a_token_signs_in_by_header_by_subprotocol_and_by_command() {
    let app = app(&[]).await;
    let token = token(&app, "ann").await;
    let mut by_header = Client::with(&app, &token).await;
    let welcome = by_header.welcome();
    assert_eq!(welcome["user"]["username"], "ann");
    assert_eq!(welcome["limits"]["message_bytes"], 65_536);
    assert!(welcome.get("sign_in_ms").is_none());
    let stream = TcpStream::connect(app.address).await.unwrap();
    let socket = handshake(app.address, stream, &entry(&token), None).await.unwrap();
    assert_eq!(Client::on(socket).await.welcome()["user"]["username"], "ann");
    let mut by_command = Client::stranger(&app).await;
    assert_eq!(by_command.welcome()["sign_in_ms"], 10_000);
    assert_eq!(by_command.is_refused(json!({"command": "rooms"})).await, "not_signed_in");
    by_command.does(json!({"command": "ping"})).await;
    let signed_in = by_command.does(json!({"command": "auth", "token": token})).await;
    assert_eq!(signed_in["user"]["username"], "ann");
    by_command.does(json!({"command": "rooms"})).await;
}

#[tokio::test]
async fn a_wrong_token_is_401_by_header_4401_by_subprotocol_and_an_error_by_command() {
    let app = app(&[]).await;
    let stream = TcpStream::connect(app.address).await.unwrap();
    let refused = handshake(app.address, stream, "keywire.v1", Some("a.b.c")).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 401));
    for entry in [entry("a.b.c"), "keywire.v1, keywire.bearer.!".to_owned()] {
        let stream = TcpStream::connect(app.address).await.unwrap();
        let mut socket = handshake(app.address, stream, &entry, None).await.unwrap();
        assert_eq!(close_code(&mut socket).await, 4401, "{entry}");
    }
    let mut client = Client::stranger(&app).await;
    let wrong = json!({"command": "auth", "token": "a.b.c"});
    assert_eq!(client.is_refused(wrong).await, "token_invalid");
    client.does(json!({"command": "auth", "token": token(&app, "ann").await})).await;
}

#[tokio::test]
async fn an_ended_session_signs_nobody_in() {
    let app = app(&[]).await;
    let token = token(&app, "ann").await;
    sqlx::query("UPDATE sessions SET revoked_at = now()").execute(&app.owner).await.unwrap();
    let mut client = Client::stranger(&app).await;
    let ended = json!({"command": "auth", "token": token});
    assert_eq!(client.is_refused(ended).await, "session_revoked");
    let stream = TcpStream::connect(app.address).await.unwrap();
    let mut socket = handshake(app.address, stream, &entry(&token), None).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 4403);
}

#[tokio::test]
async fn who_does_not_sign_in_in_time_is_closed_4400() {
    let app = app(&[("SIGN_IN_TIMEOUT", "300ms")]).await;
    let mut silent = Client::stranger(&app).await;
    assert_eq!(silent.close_code().await, 4400);
}

#[tokio::test]
async fn a_renewed_token_keeps_a_socket_and_one_that_is_not_renewed_closes_it_4401() {
    let app = app(&[]).await;
    let first = token(&app, "ann").await;
    // An hour and one of the five seconds of leeway later: between three and four are left.
    app.clock.advance(Duration::from_secs(3_601));
    let (mut renewed, mut late) =
        (Client::with(&app, &first).await, Client::with(&app, &first).await);
    renewed.does(json!({"command": "auth", "token": token(&app, "ann").await})).await;
    assert_eq!(late.close_code().await, 4401);
    renewed.does(json!({"command": "rooms"})).await;
}

#[tokio::test]
async fn a_socket_does_not_become_another_users() {
    let app = app(&[]).await;
    app.user("bob").await;
    let mut ann = Client::of(&app, "ann").await;
    let bob = token(&app, "bob").await;
    ann.send(json!({"command": "auth", "token": bob})).await;
    assert_eq!(ann.close_code().await, 4403);
}

#[tokio::test]
async fn sockets_of_one_user_are_counted_however_they_sign_in() {
    let app = app(&[("CONNECTIONS_PER_USER", "1")]).await;
    let token = token(&app, "ann").await;
    let mut first = Client::stranger(&app).await;
    first.does(json!({"command": "auth", "token": token})).await;
    let stream = TcpStream::connect(app.address).await.unwrap();
    let refused = handshake(app.address, stream, "keywire.v1", Some(&token)).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 503));
    let mut second = Client::stranger(&app).await;
    second.send(json!({"command": "auth", "token": token})).await;
    assert_eq!(second.close_code().await, 1013);
    first.does(json!({"command": "auth", "token": token})).await;
}

#[tokio::test]
async fn what_is_no_command_is_answered_and_bytes_are_closed_1003() {
    let app = app(&[]).await;
    let mut ann = Client::of(&app, "ann").await;
    for (text, id, code) in [
        ("hello", json!(null), "invalid_message"),
        ("[]", json!(null), "invalid_message"),
        (r#"{"command":"ping"}"#, json!(null), "invalid_message"),
        (r#"{"id":-1,"command":"ping"}"#, json!(null), "invalid_message"),
        (r#"{"id":1.5,"command":"ping"}"#, json!(null), "invalid_message"),
        (r#"{"id":9007199254740992,"command":"ping"}"#, json!(null), "invalid_message"),
        (r#"{"id":7}"#, json!(7), "invalid_message"),
        (r#"{"id":7,"command":"fly"}"#, json!(7), "unknown_command"),
        (r#"{"id":7,"command":"subscribe"}"#, json!(7), "invalid_field"),
        (r#"{"id":7,"command":"subscribe","room":"No Room"}"#, json!(7), "invalid_field"),
        (r#"{"id":7,"command":"publish","room":"r"}"#, json!(7), "invalid_field"),
        (
            r#"{"id":7,"command":"publish","room":"r","text":"a","data":1}"#,
            json!(7),
            "invalid_field",
        ),
        (r#"{"id":7,"command":"publish","room":"r","text":"\u0000"}"#, json!(7), "invalid_field"),
        (
            r#"{"id":7,"command":"publish","room":"r","data":{"a":"\u0000"}}"#,
            json!(7),
            "invalid_field",
        ),
        (r#"{"id":7,"command":"history","room":"r","limit":101}"#, json!(7), "invalid_field"),
    ] {
        ann.send_as_it_is(text).await;
        let message = ann.any().await;
        assert_eq!(
            (&message["id"], &message["error"]["code"]),
            (&id, &json!(code)),
            "{text}: {message}"
        );
    }
    ann.send_as_it_is(r#"{"id":9007199254740991,"command":"ping","new":[1,{}]}"#).await;
    assert_eq!(ann.any().await, json!({"id": 9_007_199_254_740_991_u64, "ok": {}}));
    say_bytes(&mut ann.socket, b"{}").await;
    assert_eq!(ann.close_code().await, 1003);
}

#[tokio::test]
async fn commands_over_the_rate_are_refused_and_ten_of_them_close_4029() {
    let app = app(&[("LIMIT_MESSAGES", "1/s burst 5")]).await;
    let mut ann = Client::of(&app, "ann").await;
    for _ in 0..5 {
        ann.does(json!({"command": "ping"})).await;
    }
    let refused = ann.ask(json!({"command": "ping"})).await.unwrap_err();
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("rate_limited"), &json!(true)));
    assert!(
        refused["retry_ms"].as_u64().is_some_and(|wait| wait > 0 && wait <= 2_000),
        "{refused}"
    );
    for _ in 0..9 {
        ann.send(json!({"command": "ping"})).await;
    }
    assert_eq!(ann.close_code().await, 4029);
}

#[tokio::test]
async fn a_command_over_the_bytes_is_refused_and_not_carried_out() {
    let settings = [("MESSAGE_BYTES", "16KiB"), ("LIMIT_BYTES", "1 KiB/s burst 16 KiB")];
    let app = app(&settings).await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(json!({"command": "create", "room": "general"})).await;
    let long = "x".repeat(12_000);
    let publish = |room: &str| json!({"command": "publish", "room": room, "text": long});
    ann.does(publish("general")).await;
    let refused = ann.ask(publish("general")).await.unwrap_err();
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("rate_limited"), &json!(true)));
    assert!(refused["retry_ms"].as_u64().is_some_and(|wait| wait > 0), "{refused}");
    let stored = "SELECT count(*) FROM messages WHERE kind = 'message'";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&app.owner).await.unwrap();
    assert_eq!(stored, 1);
    // Another connection has bytes of its own.
    Client::of(&app, "ann").await.does(publish("general")).await;
}
