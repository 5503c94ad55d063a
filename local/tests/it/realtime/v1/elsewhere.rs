//! Two nodes on one database without a relay: what each stores, the other finds, and nothing is lost when one
//! after the other is restarted.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, ann_with_room, in_room, seqs, since, token};
use crate::app::TestApp;
use crate::realtime::test_node::soon;

/// Entries that one node does not hear of before the next comes.
const HOLES: usize = 10;
/// Messages under way when a node goes away.
const BURST: usize = 30;

fn publish(text: &str, key: Uuid) -> Value {
    json!({"command": "publish", "room": "general", "text": text, "key": key})
}

#[tokio::test]
async fn a_hole_in_a_log_is_read_and_does_not_wait_for_the_next_look() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(in_room("subscribe")).await;
    let other = app.another(&[]).await;
    let mut far = Client::of(&other, "ann").await;
    for hole in 0..HOLES {
        let (first, key) = (2 * hole as u64 + 2, Uuid::new_v4());
        far.does(publish("far", key)).await;
        ann.does(publish("near", Uuid::new_v4())).await;
        let entries = ann.entries("general", 2).await;
        assert_eq!(seqs(&entries), [first, first + 1]);
        assert_eq!((&entries[0]["key"], &entries[1]["text"]), (&json!(key), &json!("near")));
    }
    let (_, metrics) = app.text("/metrics").await;
    let repairs = metrics.lines().find_map(|line| line.strip_prefix("keywire_log_repairs_total "));
    let repairs: usize = repairs.unwrap().parse().unwrap();
    // A look, every five seconds, may have found one before.
    assert!(repairs >= HOLES / 2, "{repairs} of {HOLES}");
}

#[tokio::test]
async fn who_is_removed_on_one_node_hears_no_more_on_the_other_once_that_is_found() {
    let app = TestApp::start().await;
    let mut ann = Client::of(&app, "ann").await;
    ann.does(in_room("create")).await;
    let mut bob = Client::of(&app, "bob").await;
    let invite = json!({"command": "invite", "room": "general", "username": "bob"});
    let user = ann.does(invite).await["user"].clone();
    bob.does(in_room("join")).await;
    bob.does(in_room("subscribe")).await;
    let other = app.another(&[]).await;
    let mut far = Client::of(&other, "ann").await;
    far.does(json!({"command": "remove", "room": "general", "user": user})).await;
    far.does(publish("secret", Uuid::new_v4())).await;
    let mut pushes = Vec::new();
    while pushes.last() != Some(&json!("unsubscribed")) {
        pushes.push(bob.push().await["push"].clone());
    }
    assert!(!pushes.contains(&json!("message")), "{pushes:?}");
    assert_eq!(bob.is_refused(in_room("subscribe")).await, "room_not_found");
}

#[tokio::test]
async fn a_logout_by_one_node_closes_the_sockets_of_its_session_on_the_other() {
    let app = TestApp::start().await;
    let other = app.another(&[]).await;
    for name in ["ann", "bob"] {
        app.user(name).await;
    }
    let ends = token(&app, "ann").await;
    let (mut here, mut there) =
        (Client::with(&app, &ends).await, Client::with(&other, &ends).await);
    let mut stays = Client::of(&other, "bob").await;
    let scope = json!({"scope": "local"});
    let answer = app.call(Method::POST, "/logout", &ends, Some(scope)).await;
    assert!(answer.status.is_success(), "{answer:?}");
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.close_code().await, 4403);
    }
    stays.does(json!({"command": "rooms"})).await;
}

/// Somebody who goes from node to node: what they heard, and what their messages came to.
struct Traveller {
    client: Client,
    epoch: Value,
    heard: Vec<Value>,
    /// Their messages without an outcome, in order.
    open: Vec<(String, Uuid)>,
    /// By their number on this connection.
    sent: BTreeMap<u64, Uuid>,
    /// The place of each that was acknowledged.
    acknowledged: BTreeMap<Uuid, u64>,
}

impl Traveller {
    async fn on(app: &TestApp, name: &str) -> Self {
        let mut client = Client::of(app, name).await;
        let epoch = client.does(in_room("subscribe")).await["epoch"].clone();
        let (heard, open) = (Vec::new(), Vec::new());
        let (sent, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        Self { client, epoch, heard, open, sent, acknowledged }
    }

    /// Publishes, and does not wait.
    async fn say(&mut self, text: String) {
        let key = Uuid::new_v4();
        let id = self.client.send(publish(&text, key)).await;
        self.sent.insert(id, key);
        self.open.push((text, key));
    }

    /// Takes whatever comes next; whether that was `bye`.
    async fn takes(&mut self) -> bool {
        let said = self.client.any().await;
        if let Some(key) = said["id"].as_u64().and_then(|id| self.sent.remove(&id)) {
            self.acknowledged.insert(key, said["ok"]["seq"].as_u64().unwrap());
            self.open.retain(|(_, open)| *open != key);
        } else if said["seq"].is_u64() {
            self.heard.push(said);
        } else {
            assert_eq!(said["push"], "bye", "{said}");
            return true;
        }
        false
    }

    /// Goes to another node, where it resumes and sends again what has no outcome.
    async fn goes_to(&mut self, app: &TestApp, name: &str) {
        while !self.takes().await {}
        assert_eq!(self.client.close_code().await, 1012);
        self.client = Client::of(app, name).await;
        self.sent.clear();
        let at = self.heard.last().map_or(1, |entry| entry["seq"].as_u64().unwrap());
        self.client.does(since(&self.epoch, at)).await;
        for (text, key) in self.open.clone() {
            let id = self.client.send(publish(&text, key)).await;
            self.sent.insert(id, key);
        }
    }
}

#[tokio::test]
async fn two_nodes_restarted_in_turn_under_traffic_lose_and_double_nothing() {
    let app = TestApp::start().await;
    drop(ann_with_room(&app, "general").await);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(app.another(&[("DRAIN_WINDOW", "300ms"), ("CLOSE_TIMEOUT", "20s")]).await);
    }
    let (mut ann, mut bob) =
        (Traveller::on(&nodes[0], "ann").await, Traveller::on(&nodes[0], "bob").await);
    // Somebody else speaks at the node that stays meanwhile.
    let mut cat = Client::of(&app, "ann").await;
    for (turn, pair) in nodes.windows(2).enumerate() {
        let [here, there] = pair else { unreachable!() };
        for n in 0..BURST {
            ann.say(format!("{turn}:{n}")).await;
            cat.does(publish("beside", Uuid::new_v4())).await;
        }
        let node = here.node.clone();
        let draining = tokio::spawn(async move { node.drain().await });
        for n in BURST..2 * BURST {
            // Those that the node does not read any more have no reply.
            ann.say(format!("{turn}:{n}")).await;
        }
        ann.goes_to(there, "ann").await;
        bob.goes_to(there, "bob").await;
        soon("the end of the drain", draining).await.unwrap();
    }
    while !ann.open.is_empty() {
        ann.takes().await;
    }
    let last = cat.does(publish("last", Uuid::new_v4())).await["seq"].as_u64().unwrap();
    assert_eq!(last, 1 + 6 * BURST as u64 + 1, "each is stored once");
    for traveller in [&mut ann, &mut bob] {
        while traveller.heard.last().is_none_or(|entry| entry["seq"] != last) {
            traveller.takes().await;
        }
        assert_eq!(seqs(&traveller.heard), (2..=last).collect::<Vec<_>>());
    }
    for (key, seq) in &ann.acknowledged {
        let entry = &bob.heard[usize::try_from(*seq).unwrap() - 2];
        assert_eq!(entry["key"], json!(key));
    }
    assert_eq!(ann.acknowledged.len(), 4 * BURST);
}
