//! Plain mode `auth`: who may connect, and for how long.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use realtime::Auth;
use secrecy::SecretString;
use shared::clock::Clock;
use shared::db::Database;
use shared::settings::{self, Reader};

use super::test_node::{Socket, TestNode, close_code, hear, hears, say, soon};
use crate::app::TestApp;

/// A header that carries a token.
type Header = (&'static str, String);

/// A fresh sign-in's access token.
async fn sign_in(app: &TestApp, name: &str) -> String {
    let answer = app.login(name, "password123").await;
    answer.body["access_token"].as_str().unwrap().to_owned()
}

async fn app(settings: &[(&str, &str)]) -> TestApp {
    let mut all = vec![("REALTIME_PLAIN", "auth")];
    all.extend(settings);
    let app = TestApp::with(&all).await;
    app.user("ann").await;
    app
}

/// Connects with a header, or is refused with a status and a problem's code.
async fn connect(app: &TestApp, header: Option<Header>) -> Result<Socket, (u16, String)> {
    let stream = TcpStream::connect(app.address).await.unwrap();
    let mut request = format!("ws://{}/ws", app.address).into_client_request().unwrap();
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match soon("the handshake", tokio_tungstenite::client_async(request, stream)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let text = String::from_utf8_lossy(body).into_owned();
            Err((response.status().as_u16(), text))
        }
        Err(error) => panic!("{error}"),
    }
}

fn header(token: &str) -> Header {
    ("authorization", format!("Bearer {token}"))
}

fn subprotocol(token: &str) -> Header {
    let entry = URL_SAFE_NO_PAD.encode(token);
    ("sec-websocket-protocol", format!("keywire.plain, keywire.bearer.{entry}"))
}

/// Asserts a refusal before the 101.
async fn is_refused(app: &TestApp, token: Option<Header>, status: u16, code: &str) {
    let (given, body) = connect(app, token.clone()).await.expect_err("a refusal");
    assert_eq!(given, status, "{token:?}");
    assert!(body.contains(&format!("\"code\":\"{code}\"")), "{token:?}: {body}");
}

#[tokio::test]
async fn a_valid_token_lets_in_by_header_and_by_subprotocol() {
    let app = app(&[]).await;
    let token = sign_in(&app, "ann").await;
    let mut first = connect(&app, Some(header(&token))).await.unwrap();
    let mut second = connect(&app, Some(subprotocol(&token))).await.unwrap();
    say(&mut first, "hello").await;
    hears(&mut first, "hello").await;
    hears(&mut second, "hello").await;
}

#[tokio::test]
async fn no_token_and_a_bad_token_are_401_before_the_101() {
    let app = app(&[]).await;
    let token = sign_in(&app, "ann").await;
    // In the middle of the signature: the last character has bits that mean nothing.
    let (start, end) = token.split_at(token.len() - 10);
    let other = if end.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{start}{other}{}", &end[1..]);
    let refresh =
        app.login("ann", "password123").await.body["refresh_token"].as_str().unwrap().to_owned();
    is_refused(&app, None, 401, "token_invalid").await;
    is_refused(&app, Some(("authorization", "Basic YTpi".to_owned())), 401, "token_invalid").await;
    for bad in ["", "a.b.c", &forged, &refresh] {
        is_refused(&app, Some(header(bad)), 401, "token_invalid").await;
        is_refused(&app, Some(subprotocol(bad)), 401, "token_invalid").await;
    }
}

#[tokio::test]
async fn a_token_in_the_address_is_not_looked_at() {
    let app = app(&[]).await;
    let token = sign_in(&app, "ann").await;
    let stream = TcpStream::connect(app.address).await.unwrap();
    let address = format!("ws://{}/ws?access_token={token}&token={token}", app.address);
    let refused = soon("the answer", tokio_tungstenite::client_async(address, stream)).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 401));
}

#[tokio::test]
async fn a_revoked_session_and_a_disabled_user_are_401() {
    let app = app(&[]).await;
    let (first, second) = (sign_in(&app, "ann").await, sign_in(&app, "ann").await);
    let claims = app.verifier.verify(&first, app.clock.now()).await.unwrap();
    let revoke = sqlx::query("UPDATE sessions SET revoked_at = now() WHERE id = $1");
    revoke.bind(claims.sid).execute(&app.owner).await.unwrap();
    is_refused(&app, Some(header(&first)), 401, "session_revoked").await;
    assert!(connect(&app, Some(header(&second))).await.is_ok());
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&app.owner).await.unwrap();
    is_refused(&app, Some(header(&second)), 401, "session_revoked").await;
}

#[tokio::test]
async fn a_socket_is_closed_4401_when_its_token_ends_and_the_token_lets_nobody_in_after_that() {
    let app = app(&[]).await;
    let token = sign_in(&app, "ann").await;
    // An hour and one of the five seconds of leeway later: between three and four are left, which
    // pass in real time.
    app.clock.advance(Duration::from_secs(3_601));
    let mut late = connect(&app, Some(header(&token))).await.unwrap();
    say(&mut late, "still welcome").await;
    hears(&mut late, "still welcome").await;
    assert_eq!(close_code(&mut late).await, 4401);
    app.clock.advance(Duration::from_secs(5));
    is_refused(&app, Some(header(&token)), 401, "token_invalid").await;
}

#[tokio::test]
async fn a_socket_is_closed_4403_when_its_session_ends_and_others_stay() {
    let app = app(&[]).await;
    let (first, second) = (sign_in(&app, "ann").await, sign_in(&app, "ann").await);
    let mut gone = connect(&app, Some(header(&first))).await.unwrap();
    let mut also = connect(&app, Some(subprotocol(&first))).await.unwrap();
    let mut stays = connect(&app, Some(header(&second))).await.unwrap();
    app.call(Method::POST, "/logout", &first, Some(json!({"scope": "local"}))).await;
    assert_eq!(close_code(&mut gone).await, 4403);
    assert_eq!(close_code(&mut also).await, 4403);
    say(&mut stays, "hello").await;
    hears(&mut stays, "hello").await;
    sqlx::query("UPDATE users SET status = 'disabled'").execute(&app.owner).await.unwrap();
    let told = "SELECT pg_notify('keywire_revoked', 'user ' || id) FROM users";
    sqlx::query(told).execute(&app.owner).await.unwrap();
    assert_eq!(close_code(&mut stays).await, 4403);
}

/// A node whose database is not there, and a token that is well-formed up to its key, which only the
/// database could know.
async fn without_database() -> (TestNode, String) {
    let nowhere = SecretString::from("postgres://keywire@127.0.0.1:1/none");
    let mut reader = Reader::from_pairs([("DATABASE_TIMEOUT", "500ms")]);
    let database = Database::new(&settings::Database::at(nowhere, &mut reader), None).unwrap();
    let auth = Auth::new(database, settings::Tokens::read(&mut reader), Clock::System);
    reader.finish().unwrap();
    let node = TestNode::with_auth(auth).await;
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#);
    (node, format!("{head}.e30.AAAA"))
}

#[tokio::test]
async fn without_its_database_a_sign_in_is_503_in_time() {
    let (node, token) = without_database().await;
    let token = format!("Bearer {token}");
    let started = Instant::now();
    let Err(Error::Http(refusal)) = node.connect_with(&[("authorization", &token)]).await else {
        panic!("a refusal was expected");
    };
    assert_eq!(
        (refusal.status().as_u16(), &refusal.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_its_database_who_signs_in_where_no_status_is_seen_is_closed_1013() {
    let (node, token) = without_database().await;
    let entry = format!("keywire.v1, keywire.bearer.{}", URL_SAFE_NO_PAD.encode(&token));
    let mut by_entry = node.connect_with(&[("sec-websocket-protocol", &entry)]).await.unwrap();
    assert_eq!(close_code(&mut by_entry).await, 1013);
    let mut by_command =
        node.connect_with(&[("sec-websocket-protocol", "keywire.v1")]).await.unwrap();
    assert!(hear(&mut by_command).await.into_text().unwrap().contains("\"welcome\""));
    let auth = json!({"id": 1, "command": "auth", "token": token});
    say(&mut by_command, &auth.to_string()).await;
    assert_eq!(close_code(&mut by_command).await, 1013);
}

#[tokio::test]
async fn over_the_limit_of_one_user_is_503_and_other_users_are_let_in() {
    let app = app(&[("CONNECTIONS_PER_USER", "2")]).await;
    app.user("bob").await;
    let (ann, bob) = (sign_in(&app, "ann").await, sign_in(&app, "bob").await);
    let _first = connect(&app, Some(header(&ann))).await.unwrap();
    let _second = connect(&app, Some(header(&ann))).await.unwrap();
    is_refused(&app, Some(header(&ann)), 503, "too_many_connections").await;
    assert!(connect(&app, Some(header(&bob))).await.is_ok());
}
