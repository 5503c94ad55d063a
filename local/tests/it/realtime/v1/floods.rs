//! Somebody publishes more than the log can take.

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;

use super::client::{Client, ann_with_room, token};
use crate::app::TestApp;
use crate::realtime::test_node::until;

/// Connections that flood, and what each publishes: in flight at once it is more than a lane takes.
const FLOODERS: usize = 6;
const EACH: usize = 40;
const BYTES: u32 = 60_000;
const SETTINGS: [(&str, &str); 4] =
    [("LIMIT_MESSAGES", "off"), ("LIMIT_BYTES", "off"), ("SHARDS", "2"), ("LOG_LANES", "1")];

fn publish(room: &str, text: &str) -> Value {
    json!({"command": "publish", "room": room, "text": text})
}

/// Publishes as fast as it can in a room of its own, all of which must be acknowledged.
async fn flood(mut client: Client, room: String) {
    let text = "x".repeat(BYTES as usize);
    let mut sent = Vec::new();
    for _ in 0..EACH {
        sent.push(client.send(publish(&room, &text)).await);
    }
    for id in sent {
        client.reply(id).await.unwrap();
    }
}

/// A client with the room that it is going to flood.
async fn flooder(app: &TestApp, token: &str, n: usize) -> (Client, String) {
    let (mut client, room) = (Client::with(app, token).await, format!("flood-{n}"));
    client.does(json!({"command": "create", "room": room, "public": true})).await;
    client.does(json!({"command": "subscribe", "room": room})).await;
    (client, room)
}

/// Bytes that the node has read from senders who must wait, or that wait for readers.
async fn held_bytes(app: &TestApp) -> f64 {
    let (_, metrics) = app.text("/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("keywire_queue_bytes "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Floods the lane while it stands still, until much is held back.
async fn flooded(
    app: &TestApp,
    flooders: Vec<(Client, String)>,
) -> (Transaction<'static, Postgres>, JoinSet<()>) {
    let mut holding = app.owner.begin().await.unwrap();
    let hold = "SELECT FROM room_heads FOR UPDATE";
    sqlx::query(hold).execute(&mut *holding).await.unwrap();
    let mut flooding = JoinSet::new();
    for (flooder, room) in flooders {
        flooding.spawn(flood(flooder, room));
    }
    until("the flood to be held back", async || held_bytes(app).await >= f64::from(BYTES)).await;
    (holding, flooding)
}

async fn stored(app: &TestApp) -> usize {
    let stored = "SELECT count(*) FROM messages WHERE kind = 'message'";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&app.owner).await.unwrap();
    usize::try_from(stored).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_a_lane_waits_and_loses_nothing_and_others_in_it_are_not_held_up() {
    let app = TestApp::with(&SETTINGS).await;
    app.user("ann").await;
    let token = token(&app, "ann").await;
    let mut flooders = Vec::new();
    for n in 0..FLOODERS {
        flooders.push(flooder(&app, &token, n).await);
    }
    let mut ann = Client::with(&app, &token).await;
    ann.does(json!({"command": "create", "room": "other", "public": true})).await;
    let mut others = Vec::new();
    // One in a room that is flooded, one in another of the lane.
    for room in ["flood-0", "other"] {
        let mut bob = Client::of(&app, "bob").await;
        bob.does(json!({"command": "join", "room": room})).await;
        bob.does(json!({"command": "subscribe", "room": room})).await;
        others.push((room, bob, Vec::new()));
    }
    let (holding, flooding) = flooded(&app, flooders).await;
    for (room, bob, sent) in &mut others {
        for n in 0..5 {
            sent.push(bob.send(publish(room, &n.to_string())).await);
        }
        // It is read behind them: they are in the queue, and not held back.
        bob.does(json!({"command": "ping"})).await;
    }
    holding.rollback().await.unwrap();
    for (_, mut bob, sent) in others {
        for id in sent {
            bob.reply(id).await.unwrap();
        }
    }
    flooding.join_all().await;
    assert_eq!(stored(&app).await, FLOODERS * EACH + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_many_flood_a_lane_all_wait_their_turn_and_nobody_is_told_unavailable() {
    let app = TestApp::with(&SETTINGS).await;
    let mut ann = ann_with_room(&app, "general").await;
    let mut flooders = Vec::new();
    for n in 0..FLOODERS {
        let name = format!("flooder-{n}");
        app.user(&name).await;
        flooders.push(flooder(&app, &token(&app, &name).await, n).await);
    }
    let (holding, flooding) = flooded(&app, flooders).await;
    // What cannot be held back has room.
    let deleted = ann.send(json!({"command": "delete", "room": "general", "of": 1})).await;
    holding.rollback().await.unwrap();
    assert_eq!(ann.reply(deleted).await.unwrap_err()["code"], "message_not_found");
    flooding.join_all().await;
    assert_eq!(stored(&app).await, FLOODERS * EACH);
}

#[tokio::test]
async fn one_users_many_sockets_leave_the_database_to_the_others() {
    let app = TestApp::with(&[("DATABASE_POOL", "6")]).await;
    for name in ["ann", "bob"] {
        app.user(name).await;
    }
    let ann = token(&app, "ann").await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Client::with(&app, &ann).await);
    }
    let mut holding = app.owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE rooms IN ACCESS EXCLUSIVE MODE").execute(&mut *holding).await.unwrap();
    let mut asked = Vec::new();
    for socket in &mut sockets {
        asked.push(socket.send(json!({"command": "rooms"})).await);
    }
    let waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE NOT granted AND datname = current_database() AND query LIKE '%room_members%'";
    let count = async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&app.owner).await.unwrap();
    until("four that wait", async || count().await >= 4).await;
    for _ in 0..5 {
        // He is not kept waiting by her, and a further socket of hers is.
        app.sign_in("bob").await;
        assert_eq!(count().await, 4);
    }
    holding.rollback().await.unwrap();
    for (socket, id) in sockets.iter_mut().zip(asked) {
        assert_eq!(socket.reply(id).await.unwrap()["rooms"], json!([]));
    }
}
