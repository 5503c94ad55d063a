//! The lanes of a node: what they make of refusals, waits and lost connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use realtime::log::{Log, Unanswered};
use realtime::settings;
use shared::clock::Clock;
use shared::db::log::{NewEntry, Outcome};
use sqlx::{Postgres, Transaction};
use tokio::time::timeout;
use uuid::Uuid;

use super::proxy::Proxy;
use super::{Rooms, item, message, stored_seq};

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// The test cluster forgets.
const LANES: settings::Log = settings::Log { lanes: 2, durable: false, retention: None };

/// A room of ann's, and the lanes of a node that reaches the database at this address.
struct Node {
    rooms: Rooms,
    room: i64,
    ann: Uuid,
}

impl Node {
    async fn start() -> (Self, Log) {
        let node = Self::alone().await;
        let log = Log::start(&node.rooms.db, &LANES, &Clock::System);
        (node, log)
    }

    async fn alone() -> Self {
        let rooms = Rooms::start().await;
        let ann = rooms.user("ann").await;
        let room = rooms.room("lobby", ann).await;
        Self { rooms, room, ann }
    }

    /// Makes whoever appends to the room wait.
    async fn hold(&self) -> Transaction<'static, Postgres> {
        let mut holding = self.rooms.owner.begin().await.unwrap();
        let hold = "SELECT FROM room_heads WHERE room = $1 FOR UPDATE";
        sqlx::query(hold).bind(self.room).execute(&mut *holding).await.unwrap();
        holding
    }

    /// The server's process that waits for a room, once it is not this one.
    async fn waiting(&self, not: Option<i32>) -> i32 {
        let asked = "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                     WHERE NOT granted AND datname = current_database() AND a.pid IS DISTINCT FROM $1";
        let deadline = Instant::now() + SOON;
        loop {
            let pid = sqlx::query_scalar(asked).bind(not).fetch_optional(&self.rooms.owner).await;
            if let Some(pid) = pid.unwrap() {
                return pid;
            }
            assert!(Instant::now() < deadline, "nobody waits");
            tokio::task::yield_now().await;
        }
    }

    /// Asserts that the log has these texts after ann's `joined`, and no others.
    async fn assert_said(&self, expected: &[&str]) {
        let texts = self.rooms.texts(self.room).await.into_iter().skip(1);
        let texts: Vec<_> = texts.map(|(_, text)| text.unwrap()).collect();
        assert_eq!(texts, expected);
    }
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(SOON, work).await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_many_threads_are_stored_in_the_order_of_their_calls() {
    const EACH: usize = 200;
    let (node, log) = Node::start().await;
    let other = node.rooms.room("other", node.ann).await;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (log, room, ann) =
                (log.clone(), if thread % 2 == 0 { node.room } else { other }, node.ann);
            std::thread::spawn(move || {
                // As a shard has.
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let said =
                    (0..EACH).map(|n| log.append(message(room, ann, &format!("{thread}:{n}"))));
                runtime.block_on(join_all(said.collect::<Vec<_>>()))
            })
        })
        .collect();
    for thread in threads {
        let joined = tokio::task::spawn_blocking(|| thread.join().unwrap());
        let seqs: Vec<_> = soon(joined).await.unwrap();
        let seqs: Vec<_> =
            seqs.iter().map(|outcome| stored_seq(outcome.as_ref().unwrap())).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    for room in [node.room, other] {
        assert_eq!(node.rooms.texts(room).await.len(), 1 + 2 * EACH);
    }
}

#[tokio::test]
async fn an_entry_that_postgres_refuses_costs_only_itself() {
    let (node, log) = Node::start().await;
    let holding = node.hold().await;
    let first = log.append(message(node.room, node.ann, "first"));
    node.waiting(None).await;
    // These make one batch, in which two have what no text of Postgres may.
    let texts = ["a", "b\0", "c", "d", "e\0", "f", "g"];
    let batch: Vec<_> =
        texts.iter().map(|text| log.append(message(node.room, node.ann, text))).collect();
    let joined = log.append(item(node.room, node.ann, NewEntry::Joined));
    holding.rollback().await.unwrap();
    soon(first).await.unwrap();
    for (outcome, text) in soon(join_all(batch)).await.iter().zip(texts) {
        match outcome {
            Ok(outcome) => assert!(super::is_stored(outcome), "{text:?}"),
            Err(why) => assert!(*why == Unanswered::Fault && text.contains('\0'), "{text:?}"),
        }
    }
    assert_eq!(soon(joined).await, Ok(Outcome::Unchanged));
    node.assert_said(&["first", "a", "c", "d", "f", "g"]).await;
}

#[tokio::test]
async fn a_connection_that_is_ended_during_a_call_costs_nothing() {
    let (node, log) = Node::start().await;
    let holding = node.hold().await;
    let said = log.append(message(node.room, node.ann, "hello"));
    let before = node.waiting(None).await;
    let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(before);
    end.execute(&node.rooms.owner).await.unwrap();
    node.waiting(Some(before)).await;
    let next = log.append(message(node.room, node.ann, "next"));
    holding.rollback().await.unwrap();
    assert_eq!(stored_seq(&soon(said).await.unwrap()), 2);
    assert_eq!(stored_seq(&soon(next).await.unwrap()), 3);
    node.assert_said(&["hello", "next"]).await;
}

#[tokio::test]
async fn a_room_that_is_held_beyond_the_lock_timeout_is_asked_for_again() {
    let (node, log) = Node::start().await;
    let holding = node.hold().await;
    let said = log.append(message(node.room, node.ann, "hello"));
    let before = node.waiting(None).await;
    // On another connection, as after any such failure.
    node.waiting(Some(before)).await;
    holding.rollback().await.unwrap();
    assert_eq!(stored_seq(&soon(said).await.unwrap()), 2);
    node.assert_said(&["hello"]).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_commit_leaves_one_entry() {
    let node = Node::alone().await;
    let proxy = Proxy::to(&node.rooms.url);
    let db = Rooms::database(&proxy.url);
    let log = Log::start(&db, &LANES, &Clock::System);
    soon(log.append(message(node.room, node.ann, "first"))).await.unwrap();
    proxy.hold_answers(true);
    let said = log.append(message(node.room, node.ann, "hello"));
    let deadline = Instant::now() + SOON;
    while node.rooms.texts(node.room).await.len() < 3 {
        assert!(Instant::now() < deadline, "it is not committed");
    }
    proxy.cut();
    proxy.hold_answers(false);
    let outcome = soon(said).await.unwrap();
    assert!(matches!(outcome, Outcome::Duplicate { seq: 3, .. }), "{outcome:?}");
    node.assert_said(&["first", "hello"]).await;
}

#[tokio::test]
async fn a_silent_server_is_unavailable_in_time_and_an_entry_in_doubt_is_one_later() {
    let node = Node::alone().await;
    let proxy = Proxy::to(&node.rooms.url);
    let db = Rooms::database(&proxy.url);
    let log = Log::start(&db, &LANES, &Clock::System);
    soon(log.append(message(node.room, node.ann, "first"))).await.unwrap();
    proxy.hold_answers(true);
    let (said, began) = (message(node.room, node.ann, "hello"), Instant::now());
    let outcome = soon(log.append(said.clone())).await;
    assert_eq!(outcome, Err(Unanswered::Unavailable));
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    proxy.hold_answers(false);
    // Sent again, as a client would.
    let outcome = soon(log.append(said)).await;
    assert!(matches!(outcome, Ok(Outcome::Duplicate { seq: 3, .. })), "{outcome:?}");
    node.assert_said(&["first", "hello"]).await;
}

#[tokio::test]
async fn a_queue_that_is_full_says_so_at_once() {
    let nowhere = Rooms::database("postgres://nobody@127.0.0.1:1/none");
    let log = Log::start(&nowhere, &LANES, &Clock::System);
    let ann = Uuid::now_v7();
    let body = Arc::from("x".repeat(64 << 10));
    let entry = NewEntry::Message { body };
    // Eight mebibytes wait, and no more.
    let mut waiting: Vec<_> =
        (0..200).map(|_| Box::pin(log.append(item(1, ann, entry.clone())))).collect();
    let told = waiting.iter_mut().filter_map(FutureExt::now_or_never);
    let told: Vec<_> = told.collect();
    assert!((60..=100).contains(&told.len()), "{}", told.len());
    assert!(told.iter().all(|told| *told == Err(Unanswered::Unavailable)), "{told:?}");
}

#[tokio::test]
async fn a_server_that_forgets_is_refused_unless_a_setting_takes_it() {
    let rooms = Rooms::start().await;
    let careful = settings::Log { durable: true, ..LANES };
    let refused = realtime::log::check(&rooms.db, &careful).await.unwrap_err();
    assert!(refused.to_string().contains("LOG_DURABLE"), "{refused}");
    // One that is away may be a good one.
    let nowhere = Rooms::database("postgres://nobody@127.0.0.1:1/none?connect_timeout=1");
    realtime::log::check(&nowhere, &careful).await.unwrap();
}

#[tokio::test]
async fn what_was_handed_over_is_stored_after_the_last_handle_is_gone() {
    let (node, log) = Node::start().await;
    let holding = node.hold().await;
    let said: Vec<_> =
        ["a", "b", "c"].iter().map(|text| log.append(message(node.room, node.ann, text))).collect();
    drop(log);
    node.waiting(None).await;
    holding.rollback().await.unwrap();
    for outcome in soon(join_all(said)).await {
        stored_seq(&outcome.unwrap());
    }
    node.assert_said(&["a", "b", "c"]).await;
}
