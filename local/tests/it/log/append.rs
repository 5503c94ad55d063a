//! Numbers without holes, keys, and batches that meet.

use std::sync::Arc;

use futures_util::future::join_all;
use shared::db::log::{self, NewEntry, Outcome};
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Rooms, is_stored, item, message, now, stored_seq};

/// Whose batches meet.
const APPENDERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_have_no_holes_and_keep_each_senders_order_under_many_appenders() {
    const BATCHES: usize = 20;
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(rooms.room(name, ann).await);
    }
    let appending = rooms.writers(APPENDERS).await.into_iter().zip(0..).map(
        |(mut writer, appender): (_, usize)| {
            let mut ids = ids.clone();
            // Each names the rooms in an order of its own.
            ids.rotate_left(appender % 3);
            async move {
                for batch in 0..BATCHES {
                    let text = |place| format!("{appender}:{}", batch * 2 + place);
                    let of = |place| ids.iter().map(move |id| (*id, text(place)));
                    let items: Vec<_> = of(0).chain(of(1)).collect();
                    let items: Vec<_> =
                        items.iter().map(|(id, text)| message(*id, ann, text)).collect();
                    let outcomes = log::append(&mut writer, &items, now()).await.unwrap();
                    assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
                }
            }
        },
    );
    let appending: Vec<_> = appending.map(tokio::spawn).collect();
    for ended in join_all(appending).await {
        ended.unwrap();
    }
    for id in ids {
        // This asserts that there are no holes.
        let texts = rooms.texts(id).await;
        assert_eq!(texts.len(), 1 + APPENDERS * BATCHES * 2);
        let mut last = [-1; APPENDERS];
        for text in texts.into_iter().skip(1).map(|(_, text)| text.unwrap()) {
            let (appender, n) = text.split_once(':').unwrap();
            let last = &mut last[appender.parse::<usize>().unwrap()];
            let n: i32 = n.parse().unwrap();
            assert_eq!(n, *last + 1, "{text}");
            *last = n;
        }
    }
}

/// What a statement that looks for keys on the snapshot it began with takes for new, and numbers.
#[tokio::test]
async fn a_key_stored_while_a_batch_waits_is_found_and_leaves_no_hole() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let twice = message(room, ann, "twice");
    let mut writers = rooms.writers(2).await;
    let [first, second] = &mut writers[..] else { unreachable!() };
    let mut holding = first.begin().await.unwrap();
    let outcomes = log::append(&mut holding, std::slice::from_ref(&twice), now()).await.unwrap();
    assert_eq!(stored_seq(&outcomes[0]), 2);
    let batch = [message(room, ann, "before"), twice, message(room, ann, "after")];
    let waiting = log::append(second, &batch, now());
    let committing = async {
        rooms.until_waiting(1).await;
        holding.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(waiting, committing);
    let outcomes = outcomes.unwrap();
    assert!(matches!(outcomes[1], Outcome::Duplicate { seq: 2, .. }), "{outcomes:?}");
    assert_eq!([stored_seq(&outcomes[0]), stored_seq(&outcomes[2])], [3, 4]);
    assert_eq!(rooms.texts(room).await.len(), 4);
}

/// What locks rooms in the order of the items waits in a circle.
#[tokio::test]
async fn batches_that_name_rooms_in_opposite_orders_wait_in_a_row() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    let mut writers = rooms.writers(2).await;
    let [first, second] = &mut writers[..] else { unreachable!() };
    // Both come to wait, each with what it has locked by then.
    let mut holder = rooms.owner.begin().await.unwrap();
    let hold = "SELECT FROM room_heads WHERE room = $1 FOR UPDATE";
    sqlx::query(hold).bind(two).execute(&mut *holder).await.unwrap();
    let forth = [message(one, ann, "a"), message(two, ann, "b")];
    let back = [message(two, ann, "c"), message(one, ann, "d")];
    let forth = async {
        rooms.until_waiting(1).await;
        log::append(second, &forth, now()).await
    };
    let given_up = async {
        rooms.until_waiting(2).await;
        holder.rollback().await.unwrap();
    };
    let (back, forth, ()) = tokio::join!(log::append(first, &back, now()), forth, given_up);
    assert!(forth.unwrap().iter().chain(&back.unwrap()).all(is_stored));
    for room in [one, two] {
        assert_eq!(rooms.texts(room).await.len(), 3);
    }
}

/// A session keeps its plans, and what fits an empty log would read the whole of a large one.
#[tokio::test]
async fn a_session_whose_plans_were_made_for_an_empty_log_reads_only_what_it_looks_for() {
    const BATCH: usize = 50;
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let mut writers = rooms.writers(1).await;
    let writer = &mut writers[0];
    for emptied in ["SELECT", "DELETE FROM messages"] {
        sqlx::query(emptied).execute(&rooms.owner).await.unwrap();
        sqlx::query("ANALYZE").execute(&rooms.owner).await.unwrap();
        let mut holding = writer.begin().await.unwrap();
        let read = "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint
                    FROM pg_stat_xact_user_tables WHERE relname = 'messages'";
        let before: i64 = sqlx::query_scalar(read).fetch_one(&mut *holding).await.unwrap();
        let mut said = Vec::new();
        for n in 0..10 {
            said = (0..BATCH).map(|m| message(room, ann, &format!("{n}:{m}"))).collect();
            let outcomes = log::append(&mut holding, &said, now()).await.unwrap();
            assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
        }
        let again = log::append(&mut holding, &said, now()).await.unwrap();
        assert!(again.iter().all(|outcome| matches!(outcome, Outcome::Duplicate { .. })));
        let after: i64 = sqlx::query_scalar(read).fetch_one(&mut *holding).await.unwrap();
        assert_eq!(after - before, i64::try_from(BATCH).unwrap(), "after {emptied}");
        holding.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_stands_for_one_text_of_one_user_in_one_room() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    rooms.join(one, &[bob]).await;
    let first = message(one, ann, "hello");
    let key = first.key;
    let with_key = |mut item: log::Append| {
        item.key = key;
        item
    };
    let other = with_key(message(one, ann, "another"));
    let edited = NewEntry::Edited { of: 1, body: Arc::from("hello") };
    let batch = [
        first.clone(),
        first.clone(),
        other.clone(),
        with_key(message(two, ann, "another")),
        with_key(message(one, bob, "another")),
    ];
    let outcomes = rooms.append(&batch).await;
    assert_eq!(stored_seq(&outcomes[0]), 3);
    assert!(matches!(outcomes[1], Outcome::Duplicate { seq: 3, .. }), "{outcomes:?}");
    assert_eq!(outcomes[2], Outcome::KeyReused);
    assert_eq!([stored_seq(&outcomes[3]), stored_seq(&outcomes[4])], [2, 4]);
    // The same in later batches, and where items of other kinds are beside them.
    let again = [first.clone(), other.clone(), with_key(item(one, ann, edited))];
    for items in [&again[..2], &again[..]] {
        let outcomes = rooms.append(items).await;
        let Outcome::Duplicate { seq: 3, at, .. } = outcomes[0] else { panic!("{outcomes:?}") };
        assert!(at <= now());
        assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::KeyReused), "{outcomes:?}");
    }
    assert_eq!(rooms.texts(one).await.len(), 4);
}

#[tokio::test]
async fn what_was_deleted_is_still_known_by_its_key() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let said = message(room, ann, "hello");
    let deleted = item(room, ann, NewEntry::Deleted { of: 2 });
    let outcomes = rooms.append(&[said.clone(), deleted, said.clone()]).await;
    assert_eq!([stored_seq(&outcomes[0]), stored_seq(&outcomes[1])], [2, 3]);
    assert!(matches!(outcomes[2], Outcome::Duplicate { seq: 2, .. }), "{outcomes:?}");
    let again = rooms.one(said).await;
    assert!(matches!(again, Outcome::Duplicate { seq: 2, .. }), "{again:?}");
    assert_eq!(rooms.texts(room).await[1..], [(2, None), (3, None)]);
}

#[tokio::test]
async fn a_batch_at_another_isolation_level_is_refused() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let mut writer = rooms.writers(1).await.remove(0);
    let level = "SET default_transaction_isolation = 'repeatable read'";
    sqlx::raw_sql(level).execute(&mut writer).await.unwrap();
    let refused = log::append(&mut writer, &[message(room, ann, "hello")], now()).await;
    assert!(refused.unwrap_err().to_string().contains("READ COMMITTED"));
}

#[tokio::test]
async fn an_account_that_ends_while_it_is_appended_for_is_waited_for() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let room = rooms.room("lobby", ann).await;
    rooms.join(room, &[bob]).await;
    let first = rooms.one(message(room, bob, "first")).await;
    let mut ending = rooms.owner.begin().await.unwrap();
    sqlx::query("DELETE FROM users WHERE id = $1").bind(bob).execute(&mut *ending).await.unwrap();
    let last =
        [message(room, bob, "last"), item(room, ann, NewEntry::Deleted { of: stored_seq(&first) })];
    let committing = async {
        rooms.until_waiting(1).await;
        ending.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(rooms.append(&last), committing);
    assert_eq!(outcomes[0], Outcome::NotMember);
    assert!(is_stored(&outcomes[1]), "{outcomes:?}");
    let read = log::page(&rooms.owner, room, log::From::End, 10, 10_000).await.unwrap().unwrap();
    let by_bob = |entry: &&log::Entry| entry.user.as_ref().is_some_and(|user| user.id == bob);
    assert_eq!(read.entries.iter().filter(by_bob).count(), 0);
    assert_eq!(rooms.texts(room).await.len(), 4, "what was said stays, without the user");
}

#[tokio::test]
async fn whom_nobody_knows_says_nothing() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let unlogged = rooms.new_room("fleeting", ann, true, false).await;
    let outcomes = rooms
        .append(&[
            message(room, Uuid::now_v7(), "hello"),
            message(room + 100, ann, "hello"),
            message(unlogged, ann, "hello"),
            item(unlogged, ann, NewEntry::Deleted { of: 1 }),
        ])
        .await;
    assert_eq!(outcomes[0], Outcome::NotMember);
    assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::NoSuchRoom), "{outcomes:?}");
}
