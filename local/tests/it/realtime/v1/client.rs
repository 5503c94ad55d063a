//! A client that speaks `keywire.v1`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::app::TestApp;
use crate::asyncapi;
use crate::realtime::test_node::{Socket, close_code, hear, say, soon};

/// A connection, and what was pushed to it and not looked at yet.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    pushes: VecDeque<Value>,
    /// Of these, what tells who is there: most tests are about what is said.
    changes: VecDeque<Value>,
    /// Replies that came before they were waited for: publishes are answered as they are stored.
    replies: HashMap<u64, Value>,
    /// Commands that were not answered, by their numbers.
    commands: HashMap<u64, String>,
    next_id: u64,
}

/// A fresh sign-in's access token.
pub(crate) async fn token(app: &TestApp, name: &str) -> String {
    let answer = app.login(name, "password123").await;
    answer.body["access_token"].as_str().unwrap().to_owned()
}

/// A handshake with these subprotocols, and this token in the header.
pub(crate) async fn handshake(
    address: SocketAddr,
    stream: TcpStream,
    protocols: &str,
    token: Option<&str>,
) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    soon("the handshake", tokio_tungstenite::client_async(request, stream))
        .await
        .map(|(socket, _)| socket)
}

/// The subprotocols of a browser that brings a token.
pub(crate) fn entry(token: &str) -> String {
    format!("keywire.v1, keywire.bearer.{}", URL_SAFE_NO_PAD.encode(token))
}

impl Client {
    /// Signed in as this user, who is registered if need be.
    pub(crate) async fn of(app: &TestApp, name: &str) -> Self {
        if app.login(name, "password123").await.status != 200 {
            app.user(name).await;
        }
        Self::with(app, &token(app, name).await).await
    }

    /// Signed in with this token.
    pub(crate) async fn with(app: &TestApp, token: &str) -> Self {
        Self::at(app.address, token).await
    }

    /// The same, of a node at this address.
    pub(crate) async fn at(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::on(handshake(address, stream, "keywire.v1", Some(token)).await.unwrap()).await
    }

    /// The same on a socket whose receive buffer is small, so that not reading is soon felt.
    pub(crate) async fn narrow(app: &TestApp, token: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(app.address).await.unwrap();
        Self::on(handshake(app.address, stream, "keywire.v1", Some(token)).await.unwrap()).await
    }

    /// Not signed in.
    pub(crate) async fn stranger(app: &TestApp) -> Self {
        let stream = TcpStream::connect(app.address).await.unwrap();
        Self::on(handshake(app.address, stream, "keywire.v1", None).await.unwrap()).await
    }

    /// Publishes these in the room `general`, one behind the other, and waits until all are stored.
    pub(crate) async fn publishes(&mut self, texts: impl IntoIterator<Item = String>) {
        let mut sent = Vec::new();
        for text in texts {
            let publish = json!({"command": "publish", "room": "general", "text": text});
            sent.push(self.send(publish).await);
        }
        for id in sent {
            self.reply(id).await.unwrap();
        }
    }

    /// On a socket whose handshake is done.
    pub(crate) async fn on(socket: Socket) -> Self {
        let mut client = Self {
            socket,
            pushes: VecDeque::new(),
            changes: VecDeque::new(),
            replies: HashMap::new(),
            commands: HashMap::new(),
            next_id: 1,
        };
        let welcome = client.next().await;
        assert_eq!(welcome["push"], "welcome");
        client.pushes.push_front(welcome);
        client
    }

    /// The `welcome`.
    pub(crate) fn welcome(&mut self) -> Value {
        self.pushes.pop_front().unwrap()
    }

    /// Sends a command and does not wait; its number. It must be one by docs/asyncapi.yaml.
    pub(crate) async fn send(&mut self, mut command: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        assert_eq!(asyncapi::judge_command(&command), Ok(()), "{command}");
        self.send_as_it_is(&command.to_string()).await;
        id
    }

    /// Sends a text that need not be a command.
    pub(crate) async fn send_as_it_is(&mut self, text: &str) {
        let command: Value = serde_json::from_str(text).unwrap_or_default();
        if let (Some(id), Some(name)) = (command["id"].as_u64(), command["command"].as_str()) {
            self.commands.insert(id, name.to_owned());
        }
        say(&mut self.socket, text).await;
    }

    /// The next message of the node, whatever it is but who is there.
    pub(crate) async fn any(&mut self) -> Value {
        self.pushes.clear();
        self.next().await
    }

    /// The next message of the node, which must be one by docs/asyncapi.yaml.
    async fn next(&mut self) -> Value {
        loop {
            let message = self.read().await;
            if !is_change(&message) {
                return message;
            }
            self.changes.push_back(message);
        }
    }

    async fn read(&mut self) -> Value {
        let message: Value = match hear(&mut self.socket).await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        };
        let answered = message["id"].as_u64().and_then(|id| self.commands.remove(&id));
        asyncapi::hold(&message, answered.as_deref());
        message
    }

    /// The next push that tells who is there.
    pub(crate) async fn change(&mut self) -> Value {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            let message = self.read().await;
            if is_change(&message) {
                return message;
            }
            match message["id"].as_u64() {
                Some(id) => drop(self.replies.insert(id, message)),
                None => self.pushes.push_back(message),
            }
        }
    }

    /// Those that have come and were not looked at.
    pub(crate) fn changes(&mut self) -> Vec<Value> {
        self.changes.drain(..).collect()
    }

    /// The reply to a command; pushes that come before it are kept.
    pub(crate) async fn reply(&mut self, id: u64) -> Result<Value, Value> {
        loop {
            let mut message = match self.replies.remove(&id) {
                Some(reply) => reply,
                None => self.next().await,
            };
            if message.get("push").is_some() {
                self.pushes.push_back(message);
                continue;
            }
            let its = message["id"].as_u64().unwrap_or_else(|| panic!("no reply: {message}"));
            if its != id {
                assert!(self.replies.insert(its, message).is_none(), "two replies to {its}");
                continue;
            }
            return match message.get_mut("ok") {
                Some(ok) => Ok(ok.take()),
                None => Err(message["error"].take()),
            };
        }
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&mut self, command: Value) -> Result<Value, Value> {
        let id = self.send(command).await;
        self.reply(id).await
    }

    /// The same, which succeeds.
    pub(crate) async fn does(&mut self, command: Value) -> Value {
        let said = command.to_string();
        self.ask(command).await.unwrap_or_else(|error| panic!("{said}: {error}"))
    }

    /// The same, which is refused; the code. Not for a wrong field, or docs/asyncapi.yaml would be wrong.
    pub(crate) async fn is_refused(&mut self, command: Value) -> String {
        let said = command.to_string();
        let error = self.ask(command).await.expect_err(&said);
        assert_ne!(error["code"], "invalid_field", "{said}: {error}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// The next push but `welcome`.
    pub(crate) async fn push(&mut self) -> Value {
        while let Some(push) = self.pushes.pop_front() {
            if push["push"] != "welcome" {
                return push;
            }
        }
        let message = self.next().await;
        assert!(message.get("push").is_some(), "no push: {message}");
        message
    }

    /// So many entries of a room; others fail the test.
    pub(crate) async fn entries(&mut self, room: &str, count: usize) -> Vec<Value> {
        let mut entries = Vec::new();
        while entries.len() < count {
            let entry = self.push().await;
            assert_eq!(entry["room"], room, "{entry}");
            entries.push(entry);
        }
        entries
    }

    /// What was pushed and not looked at.
    pub(crate) fn unread(&mut self) -> Vec<Value> {
        self.pushes.drain(..).filter(|push| push["push"] != "welcome").collect()
    }

    /// Reads on until the node closes; the code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        close_code(&mut self.socket).await
    }
}

/// Whether a message tells who is there.
fn is_change(message: &Value) -> bool {
    matches!(message["push"].as_str(), Some("present" | "absent" | "presence"))
}

/// The places of entries.
pub(crate) fn seqs(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
}

/// A command about the room `general`.
pub(crate) fn in_room(command: &str) -> Value {
    json!({"command": command, "room": "general"})
}

/// Subscribes to that room from a position on.
pub(crate) fn since(epoch: &Value, seq: u64) -> Value {
    json!({"command": "subscribe", "room": "general", "since": {"epoch": epoch, "seq": seq}})
}

/// A public room of Ann's; she is connected.
pub(crate) async fn ann_with_room(app: &TestApp, room: &str) -> Client {
    let mut ann = Client::of(app, "ann").await;
    ann.does(json!({"command": "create", "room": room, "public": true})).await;
    ann
}

/// That room, public and of this kind, and Ann, who owns it.
pub(crate) async fn ann_with_general(app: &TestApp, durable: bool) -> Client {
    let mut ann = Client::of(app, "ann").await;
    let mut create = in_room("create");
    create["public"] = json!(true);
    create["durable"] = json!(durable);
    ann.does(create).await;
    ann
}

/// Ann, who has said 8 MB in that room, to number 1,000, and Bob, who follows it and has read none of it: of
/// that his socket and his queue hold a part.
pub(crate) async fn ann_and_bob_behind(app: &TestApp, filler: &str) -> (Client, Client) {
    let mut ann = ann_with_room(app, "general").await;
    app.user("bob").await;
    let mut bob = Client::narrow(app, &token(app, "bob").await).await;
    bob.does(in_room("subscribe")).await;
    ann.publishes((2..=1_000).map(|n| format!("{n} {filler}"))).await;
    (ann, bob)
}
