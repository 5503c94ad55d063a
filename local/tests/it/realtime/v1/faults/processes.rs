//! The node killed, and its Postgres.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::client::{Client, seqs};
use super::{measured, publish, subscribe};
use crate::run::keywire::{Keywire, Start};
use crate::run::{open_dir, postmaster};

/// Before anything is said, the user's `joined` is in a room's log.
const JOINED: u64 = 1;

async fn node(dir: &Path) -> Keywire {
    Start::in_dir(dir).env("DATABASE_TIMEOUT", "2s").ready().await
}

async fn client(node: &Keywire) -> Client {
    let answer = node.login().await;
    let token = answer.body["access_token"].as_str().unwrap();
    Client::at(([127, 0, 0, 1], node.port).into(), token).await
}

/// The example user on a room of its own, subscribed to it; the log's epoch.
async fn started(dir: &Path) -> (Keywire, Client, Value) {
    let node = node(dir).await;
    assert_eq!(node.register().await.status, 201);
    let mut client = client(&node).await;
    client.does(json!({"command": "create", "room": "general"})).await;
    let epoch = client.does(subscribe()).await["epoch"].clone();
    (node, client, epoch)
}

#[tokio::test]
async fn a_killed_node_keeps_what_it_acknowledged_and_clients_go_on_without_loss() {
    const MESSAGES: u64 = 300;
    let dir = open_dir();
    let (node, mut ann, epoch) = started(dir.path()).await;
    let keys: Vec<_> = (0..MESSAGES).map(|_| Uuid::new_v4()).collect();
    let mut sent = Vec::new();
    for key in &keys {
        sent.push(ann.send(publish(&key.to_string(), *key)).await);
    }
    let mut acknowledged = BTreeMap::new();
    for (id, key) in sent.iter().zip(&keys).take(60) {
        let seq = ann.reply(*id).await.unwrap()["seq"].as_u64().unwrap();
        acknowledged.insert(seq, key.to_string());
    }
    let killed = Instant::now();
    node.end(Signal::KILL).await;
    let node = self::node(dir.path()).await;
    measured("killed, and ready again", killed);
    let mut ann = client(&node).await;
    let resume = json!({"epoch": epoch, "seq": JOINED});
    let resume = json!({"command": "subscribe", "room": "general", "since": resume});
    let last = ann.does(resume).await["last_seq"].as_u64().unwrap();
    let kept = ann.entries("general", usize::try_from(last - JOINED).unwrap()).await;
    measured("killed, and resumed", killed);
    assert_eq!(seqs(&kept), (JOINED + 1..=last).collect::<Vec<_>>());
    for (seq, key) in acknowledged {
        let entry = &kept[usize::try_from(seq - JOINED).unwrap() - 1];
        assert_eq!((&entry["key"], &entry["text"]), (&json!(key), &json!(key)));
    }
    // What has no outcome is sent again, and so is the rest: each is there once.
    for (key, seq) in keys.iter().zip(JOINED + 1..) {
        let told = ann.does(publish(&key.to_string(), *key)).await;
        assert_eq!((&told["seq"], told["duplicate"] == true), (&json!(seq), seq <= last));
    }
    let rest = ann.entries("general", usize::try_from(MESSAGES + JOINED - last).unwrap()).await;
    assert_eq!(seqs(&rest), (last + 1..=MESSAGES + JOINED).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_killed_postgres_costs_no_socket_and_no_message() {
    let dir = open_dir();
    let (node, mut ann, _) = started(dir.path()).await;
    let mut reader = client(&node).await;
    reader.does(subscribe()).await;
    let server = || postmaster(&dir.path().join("local"));
    let before = server().unwrap();
    kill_process(Pid::from_raw(before).unwrap(), Signal::KILL).unwrap();
    let (killed, mut longest) = (Instant::now(), Duration::ZERO);
    let mut unavailable = 0_u32;
    let mut since_restart = 0;
    let mut seq = JOINED;
    // On the same sockets, until some are stored by the new server.
    while since_restart < 5 {
        let key = Uuid::new_v4();
        let began = Instant::now();
        let told = loop {
            match ann.ask(publish("hello", key)).await {
                Ok(told) => break told,
                Err(error) => {
                    let code = (&error["code"], &error["retry"]);
                    assert_eq!(code, (&json!("unavailable"), &json!(true)));
                    unavailable += 1;
                }
            }
        };
        seq += 1;
        assert_eq!(told["seq"], seq);
        longest = longest.max(began.elapsed());
        since_restart += u32::from(server().is_some_and(|pid| pid != before));
        assert!(killed.elapsed() < crate::run::LONG, "Postgres was not restarted");
    }
    measured("Postgres killed, and five more stored", killed);
    measured(&format!("longest outcome {longest:?}, {unavailable} unavailable; in all"), killed);
    let all: Vec<_> = (JOINED + 1..=seq).collect();
    for client in [&mut ann, &mut reader] {
        assert_eq!(seqs(&client.entries("general", all.len()).await), all);
    }
}
