//! A node as a process, a database of its own, and the ways between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;
use sqlx::FromRow;

use super::history::{Entry, Logs};
use crate::faulty::Faulty;
use crate::realtime::v1::client::Client;
use crate::run::given::Given;
use crate::run::keywire::Keywire;

/// The node, small in what it holds for a reader and quick to say that Postgres is away.
const SETTINGS: [(&str, &str); 10] = [
    ("SHARDS", "3"),
    ("LOG_LANES", "2"),
    ("MESSAGE_BYTES", "16KiB"),
    ("QUEUE_BYTES", "64KiB"),
    ("DATABASE_TIMEOUT", "2s"),
    ("DATABASE_POOL", "4"),
    ("ACCESS_TOKEN_LIFETIME", "1d"),
    ("LIMIT_REGISTER_ADDRESS", "off"),
    ("LIMIT_LOGIN_ADDRESS", "off"),
    // The tests' Postgres forgets when it crashes, which it does not here.
    ("LOG_DURABLE", "off"),
];
/// The password of all.
const PASSWORD: &str = "password123";

/// A user and some of its tokens.
type User = (String, Vec<String>);

/// The node, its database, and the ways.
pub(super) struct World {
    /// Where clients connect, whichever process serves.
    pub(super) address: SocketAddr,
    /// Between clients and node.
    pub(super) to_node: Faulty,
    /// Between node and Postgres.
    pub(super) to_postgres: Faulty,
    /// How the node reaches Postgres.
    url: String,
    node: Option<Keywire>,
    given: Given,
    /// Who says the last word.
    owner: Option<User>,
}

impl World {
    /// With a node that is ready, and nothing broken.
    pub(super) async fn start(seed: u64) -> Self {
        let given = Given::new().await;
        let (to_node, address) = Faulty::tcp(seed).await;
        let (to_postgres, url) = Faulty::postgres(given.url(), seed + 1);
        let mut world = Self { address, to_node, to_postgres, url, node: None, given, owner: None };
        world.start_again().await;
        world
    }

    /// What the node's log is written to.
    fn log(&self) -> PathBuf {
        self.given.dir.path().join("node.log")
    }

    /// Starts the node.
    pub(super) async fn start_again(&mut self) {
        let mut start = self.given.start().env("DATABASE_URL", &self.url).log_to(&self.log());
        for (name, value) in SETTINGS {
            start = start.env(name, value);
        }
        let node = start.ready().await;
        self.to_node.leads_to(node.port);
        self.node = Some(node);
    }

    /// Kills the node as `kill -9` does.
    pub(super) async fn kill(&mut self) {
        self.node.take().unwrap().end(Signal::KILL).await;
    }

    /// New users, who are members of these rooms.
    pub(super) async fn users(&mut self, count: usize, rooms: &[&str]) -> Vec<User> {
        let mut users = Vec::new();
        for number in 0..=count {
            let user = self.user(&format!("user-{number}")).await;
            let mut client = self.client(&user).await;
            for room in rooms {
                let command = if number == 0 { "create" } else { "join" };
                client.does(json!({"command": command, "room": room, "public": true})).await;
            }
            users.push(user);
        }
        self.owner = Some(users.remove(0));
        users
    }

    async fn user(&self, name: &str) -> User {
        let node = self.node.as_ref().unwrap();
        let account = json!({"username": name, "password": PASSWORD});
        let registered = node.post("/register", &account).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let answer = node.post("/login", &account).await;
            tokens.push(answer.body["access_token"].as_str().unwrap().to_owned());
        }
        (name.to_owned(), tokens)
    }

    /// A client that nothing hinders.
    async fn client(&self, (_, tokens): &User) -> Client {
        let port = self.node.as_ref().unwrap().port;
        Client::at(([127, 0, 0, 1], port).into(), &tokens[0]).await
    }

    /// Says one more thing in each room; its place.
    pub(super) async fn last_words(&self, rooms: &[&str]) -> BTreeMap<String, u64> {
        let mut client = self.client(self.owner.as_ref().unwrap()).await;
        let mut places = BTreeMap::new();
        for room in rooms {
            let publish = json!({"command": "publish", "room": room, "data": "the last word"});
            let seq = client.does(publish).await["seq"].as_u64().unwrap();
            places.insert((*room).to_owned(), seq);
        }
        places
    }

    /// What is stored.
    pub(super) async fn logs(&mut self) -> Logs {
        let all = "SELECT r.name, m.seq, m.kind, u.username, m.key::text AS key, m.body
                   FROM messages m JOIN rooms r ON r.id = m.room JOIN users u ON u.id = m.user_id
                   ORDER BY m.room, m.seq";
        let rows: Vec<Row> = sqlx::query_as(all).fetch_all(&mut self.given.owner).await.unwrap();
        let mut logs = Logs::new();
        for row in rows {
            let body: serde_json::Value = serde_json::from_str(&row.body.unwrap()).unwrap();
            let text = body["text"].as_str().map(str::to_owned);
            let Row { name, seq, kind, username: user, key, .. } = row;
            let seq = seq.unsigned_abs();
            logs.entry(name).or_default().push(Entry { seq, kind, user, key, text });
        }
        logs
    }

    /// Faults that the node told of: what broke here is none.
    pub(super) fn faults_told(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let faults = log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked"));
        faults.take(20).collect::<Vec<_>>().join("\n")
    }
}

#[derive(FromRow)]
struct Row {
    name: String,
    seq: i64,
    kind: String,
    username: String,
    key: String,
    body: Option<String>,
}
