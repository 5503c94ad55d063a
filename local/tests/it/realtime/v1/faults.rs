//! One fault at a time: the node, Postgres or the way to it fails in the middle of a publish.

#[cfg(target_os = "linux")]
mod processes;

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::client::{Client, ann_with_room, seqs};
use crate::app::TestApp;
use crate::database::TestDatabase;
use crate::faulty::{Faulty, Mood};
use crate::log::{Rooms, message, stored_seq};

fn publish(text: &str, key: Uuid) -> Value {
    json!({"command": "publish", "room": "general", "text": text, "key": key})
}

fn subscribe() -> Value {
    json!({"command": "subscribe", "room": "general"})
}

#[expect(clippy::print_stderr, reason = "what was measured, for whoever runs it with --no-capture")]
fn measured(what: &str, since: Instant) {
    eprintln!("{what}: {:?}", since.elapsed());
}

/// An app whose Postgres is behind a faulty way, its room, and a connection that is not.
struct Behind {
    way: Faulty,
    ann: Client,
    owner: PgConnection,
    _app: TestApp,
    _database: TestDatabase,
}

impl Behind {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let owner = PgConnection::connect(&database.url).await.unwrap();
        let (way, url) = Faulty::postgres(&database.url, 0);
        let settings = [("DATABASE_TIMEOUT", "5s")];
        let app = TestApp::on_database(TestDatabase::kept(url), &settings).await;
        let mut ann = ann_with_room(&app, "general").await;
        ann.does(subscribe()).await;
        // The lane has its connection.
        ann.does(publish("first", Uuid::new_v4())).await;
        assert_eq!(seqs(&ann.entries("general", 1).await), [2]);
        Self { way, ann, owner, _app: app, _database: database }
    }

    async fn stored(&mut self) -> i64 {
        let count = "SELECT count(*) FROM messages WHERE kind = 'message'";
        sqlx::query_scalar(count).fetch_one(&mut self.owner).await.unwrap()
    }
}

#[tokio::test]
async fn a_publish_whose_answer_is_lost_on_the_way_from_postgres_is_stored_and_delivered_once() {
    let mut it = Behind::start().await;
    it.way.is(Mood { holds_answers: true, ..Mood::default() });
    let id = it.ann.send(publish("hello", Uuid::new_v4())).await;
    let deadline = Instant::now() + crate::run::LONG;
    while it.stored().await < 2 {
        assert!(Instant::now() < deadline, "it is not committed");
    }
    let cut = Instant::now();
    it.way.cut();
    it.way.is(Mood::default());
    assert_eq!(it.ann.reply(id).await.unwrap()["seq"], 3);
    measured("the answer lost, and acknowledged", cut);
    assert_eq!(seqs(&it.ann.entries("general", 1).await), [3]);
    measured("the answer lost, and delivered", cut);
    it.ann.does(publish("next", Uuid::new_v4())).await;
    assert_eq!(it.ann.entries("general", 1).await[0]["text"], "next");
    assert_eq!(it.stored().await, 3);
}

#[tokio::test]
async fn a_publish_during_a_long_silence_of_postgres_is_told_to_be_sent_again_and_stored_once() {
    let mut it = Behind::start().await;
    it.way.is(Mood::default().stalled());
    let (key, began) = (Uuid::new_v4(), Instant::now());
    let id = it.ann.send(publish("hello", key)).await;
    // The socket goes on.
    it.ann.does(json!({"command": "ping"})).await;
    let error = it.ann.reply(id).await.unwrap_err();
    measured("Postgres silent, and told", began);
    assert_eq!((&error["code"], &error["retry"]), (&json!("unavailable"), &json!(true)));
    let calm = Instant::now();
    it.way.is(Mood::default());
    let told = loop {
        match it.ann.ask(publish("hello", key)).await {
            Ok(told) => break told,
            Err(error) => assert_eq!(error["code"], "unavailable"),
        }
    };
    measured("Postgres speaks, and acknowledged", calm);
    assert_eq!(told["seq"], 3);
    assert_eq!(seqs(&it.ann.entries("general", 1).await), [3]);
    assert_eq!(it.stored().await, 2);
}

#[tokio::test]
async fn a_message_that_postgres_refuses_costs_only_itself() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                      $$ BEGIN RAISE EXCEPTION 'this one not'; END $$;
                  CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
                      WHEN (NEW.body LIKE '%poison%') EXECUTE FUNCTION refuse()";
    sqlx::raw_sql(refuse).execute(&app.owner).await.unwrap();
    let mut holding = app.owner.begin().await.unwrap();
    let hold = "SELECT FROM room_heads FOR UPDATE";
    sqlx::query(hold).execute(&mut *holding).await.unwrap();
    // The first waits for the room, the others for the first: they make one batch.
    let first = ann.send(publish("first", Uuid::new_v4())).await;
    app.until_one_waits().await;
    let mut sent = Vec::new();
    for n in 0..20 {
        let text = if n == 7 { "poison".to_owned() } else { n.to_string() };
        sent.push(ann.send(publish(&text, Uuid::new_v4())).await);
    }
    ann.does(json!({"command": "ping"})).await;
    holding.rollback().await.unwrap();
    assert_eq!(ann.reply(first).await.unwrap()["seq"], 2);
    let mut seq = 2;
    for (n, id) in sent.into_iter().enumerate() {
        let told = ann.reply(id).await;
        if n == 7 {
            assert_eq!(told.unwrap_err()["code"], "internal");
        } else {
            seq += 1;
            assert_eq!(told.unwrap()["seq"], seq);
        }
    }
    assert_eq!(seqs(&ann.entries("general", 20).await), (2..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_that_the_node_is_not_told_of_is_found_by_looking() {
    let app = TestApp::start().await;
    let mut ann = ann_with_room(&app, "general").await;
    ann.does(subscribe()).await;
    let ids = "SELECT r.id, u.id FROM rooms r, users u";
    let (room, user): (i64, Uuid) = sqlx::query_as(ids).fetch_one(&app.owner).await.unwrap();
    let database = Rooms::database(app.database_url());
    let mut elsewhere = shared::db::log::connect(&database).await.unwrap();
    let said = [message(room, user, r#"{"text":"from elsewhere"}"#)];
    let now = app.clock.now();
    let stored = shared::db::log::append(&mut elsewhere, &said, now).await.unwrap();
    let committed = Instant::now();
    assert_eq!(stored_seq(&stored[0]), 2);
    assert_eq!(ann.entries("general", 1).await[0]["text"], "from elsewhere");
    measured("committed elsewhere, and delivered", committed);
}
