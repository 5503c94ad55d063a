//! Batches in which other things are done among messages.

use std::sync::Arc;

use shared::db::log::{self, NewEntry, Outcome};
use sqlx::Connection as _;

use super::{Rooms, is_stored, item, message, now, stored_seq};

/// How often heads are written while a batch is appended, and what became of it.
async fn heads_written(rooms: &Rooms, batch: &[log::Append]) -> (i64, Vec<Outcome>) {
    let mut writer = rooms.writers(1).await.remove(0);
    let mut appending = writer.begin().await.unwrap();
    let outcomes = log::append(&mut appending, batch, now()).await.unwrap();
    let written = "SELECT pg_stat_get_xact_tuples_updated('room_heads'::regclass)";
    let written = sqlx::query_scalar(written).fetch_one(&mut *appending).await.unwrap();
    appending.commit().await.unwrap();
    (written, outcomes)
}

#[tokio::test]
async fn messages_are_appended_together_whatever_is_done_among_them() {
    const MANY: i64 = 40;
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    let of = stored_seq(&rooms.one(message(one, ann, "first")).await);
    let edit = || item(one, ann, NewEntry::Edited { of, body: Arc::from("otherwise") });
    let said = |room| (0..MANY).map(move |n| message(room, ann, &n.to_string()));
    let batch: Vec<_> = said(one).chain([edit()]).chain(said(one)).collect();
    let (written, outcomes) = heads_written(&rooms, &batch).await;
    assert_eq!(written, 3, "for what is before, the edit, and what is behind it");
    let seqs: Vec<_> = outcomes.iter().map(stored_seq).collect();
    assert!(seqs.into_iter().eq(of + 1..=of + 1 + 2 * MANY), "in the order of the batch");
    // What is done in one room does not divide what is said in another, nor does what is refused.
    let refused = || item(one, bob, NewEntry::Edited { of, body: Arc::from("not mine") });
    let batch: Vec<_> = said(two).flat_map(|said| [said, refused(), edit()]).collect();
    let (written, outcomes) = heads_written(&rooms, &batch).await;
    assert_eq!(written, 1 + MANY);
    let seqs: Vec<_> = outcomes.iter().step_by(3).map(stored_seq).collect();
    assert!(seqs.into_iter().eq(2..2 + MANY));
    assert!(outcomes.iter().skip(1).step_by(3).all(|outcome| *outcome == Outcome::NotMember));
    assert!(outcomes.iter().skip(2).step_by(3).all(is_stored));
    rooms.texts(one).await;
}

#[tokio::test]
async fn each_item_of_a_batch_sees_what_those_before_it_did() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let room = rooms.room("lobby", ann).await;
    let joined = item(room, bob, NewEntry::Joined);
    let (hello, mut other) = (message(room, bob, "hello"), message(room, bob, "another"));
    other.key = hello.key;
    let deleted = item(room, ann, NewEntry::Deleted { of: 3 });
    let left = item(room, bob, NewEntry::Left { subject: bob });
    let batch = [
        message(room, bob, "too early"),
        joined.clone(),
        hello.clone(),
        deleted,
        hello,
        other,
        left,
        message(room, bob, "too late"),
        message(room, ann, "still there"),
        joined,
    ];
    let outcomes = rooms.append(&batch).await;
    for (place, seq) in [(1, 2), (2, 3), (3, 4), (6, 5), (8, 6)] {
        assert_eq!(stored_seq(&outcomes[place]), seq);
    }
    for (place, seq) in [(4, 3), (9, 2)] {
        let Outcome::Duplicate { seq: found, .. } = outcomes[place] else { panic!("{outcomes:?}") };
        assert_eq!(found, seq);
    }
    assert_eq!([&outcomes[0], &outcomes[7]], [&Outcome::NotMember; 2]);
    assert_eq!(outcomes[5], Outcome::KeyReused);
    assert_eq!(rooms.texts(room).await.len(), 6);
}
