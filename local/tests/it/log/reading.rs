//! What is read from a position on, by pages, and after old entries were removed.

use std::time::Duration;

use shared::db::log::{self, From, Head, KEPT_AT_LEAST, Kind, NewEntry, ROW_BYTES, Retention};
use uuid::Uuid;

use super::{Rooms, item, message, now, stored_seq};

/// More bytes than a test has.
const ALL: usize = 1 << 20;
const DAY: Duration = KEPT_AT_LEAST;

/// A room of ann's in which she has said `1` to `many`, so that its log ends at `many + 1`.
async fn with_messages(many: usize) -> (Rooms, i64, Uuid) {
    let rooms = Rooms::start().await;
    let ann = rooms.user("Ann").await;
    let room = rooms.room("lobby", ann).await;
    let said: Vec<_> = (1..=many).map(|n| message(room, ann, &n.to_string())).collect();
    rooms.append(&said).await;
    (rooms, room, ann)
}

async fn since(
    rooms: &Rooms,
    room: i64,
    since: Option<(i64, i64)>,
    bytes: usize,
) -> (Head, Vec<i64>) {
    let read = log::since(rooms.db.pool(), room, since, bytes).await.unwrap().unwrap();
    (read.head, read.entries.iter().map(|entry| entry.seq).collect())
}

async fn page(rooms: &Rooms, room: i64, from: From, limit: i64) -> Vec<i64> {
    let read = log::page(rooms.db.pool(), room, from, limit, ALL).await.unwrap().unwrap();
    read.entries.iter().map(|entry| entry.seq).collect()
}

#[tokio::test]
async fn a_position_gives_what_came_after_it_with_the_head_of_then() {
    let (rooms, room, ann) = with_messages(3).await;
    let (head, none) = since(&rooms, room, None, ALL).await;
    assert_eq!((head.first_seq, head.last_seq, none.len()), (1, 4, 0));
    let epoch = head.epoch;
    assert_eq!(since(&rooms, room, Some((epoch, 0)), ALL).await, (head, vec![1, 2, 3, 4]));
    assert_eq!(since(&rooms, room, Some((epoch, 3)), ALL).await, (head, vec![4]));
    assert_eq!(since(&rooms, room, Some((epoch, 4)), ALL).await, (head, vec![]));
    assert_eq!(since(&rooms, room, Some((epoch ^ 1, 3)), ALL).await, (head, vec![]), "another log");
    assert_eq!(log::since(rooms.db.pool(), room + 1, None, ALL).await.unwrap(), None);
    let unlogged = rooms.new_room("fleeting", ann, true, false).await;
    assert_eq!(log::since(rooms.db.pool(), unlogged, None, ALL).await.unwrap(), None);
    let read = log::since(rooms.db.pool(), room, Some((epoch, 1)), ALL).await.unwrap().unwrap();
    let entry = &read.entries[0];
    let user = entry.user.as_ref().map(|user| (user.id, &*user.username));
    assert_eq!(
        (entry.kind, user, entry.body.as_deref()),
        (Kind::Message, Some((ann, "Ann")), Some("1"))
    );
}

#[tokio::test]
async fn what_is_read_at_once_is_bounded_by_bytes_and_never_nothing() {
    let (rooms, room, ann) = with_messages(0).await;
    let long = "x".repeat(1_000);
    let said: Vec<_> = (0..5).map(|_| message(room, ann, &long)).collect();
    rooms.append(&said).await;
    let epoch = since(&rooms, room, None, ALL).await.0.epoch;
    let two = 2 * (long.len() + ROW_BYTES);
    for (bytes, expected) in
        [(0, vec![2]), (two - 1, vec![2]), (two, vec![2, 3]), (two * 2, vec![2, 3, 4, 5])]
    {
        assert_eq!(since(&rooms, room, Some((epoch, 1)), bytes).await.1, expected, "{bytes}");
    }
    let back = log::page(rooms.db.pool(), room, From::End, 100, two).await.unwrap().unwrap();
    assert_eq!(back.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [5, 6]);
}

#[tokio::test]
async fn pages_go_both_ways_and_come_in_order() {
    let (rooms, room, _) = with_messages(9).await;
    assert_eq!(page(&rooms, room, From::End, 3).await, [8, 9, 10]);
    assert_eq!(page(&rooms, room, From::Before(8), 3).await, [5, 6, 7]);
    assert_eq!(page(&rooms, room, From::Before(2), 3).await, [1]);
    assert_eq!(page(&rooms, room, From::After(7), 2).await, [8, 9]);
    assert_eq!(page(&rooms, room, From::After(10), 2).await, [] as [i64; 0]);
}

#[tokio::test]
async fn heads_of_many_rooms_are_read_at_once() {
    let (rooms, room, ann) = with_messages(2).await;
    let other = rooms.room("other", ann).await;
    // A statement each for the first and the last thousand.
    let mut asked: Vec<i64> = (1_000_000..1_000_999).collect();
    asked.extend([room, other, 9_999_999]);
    let mut heads = log::heads(rooms.db.pool(), &asked).await.unwrap();
    heads.sort_by_key(|(room, _)| *room);
    let lasts: Vec<_> = heads.iter().map(|(room, head)| (*room, head.last_seq)).collect();
    assert_eq!(lasts, [(room, 3), (other, 1)]);
}

#[tokio::test]
async fn an_author_who_is_gone_is_none_and_what_they_said_stays() {
    let (rooms, room, _) = with_messages(1).await;
    let bob = rooms.user("bob").await;
    rooms.join(room, &[bob]).await;
    let said = stored_seq(&rooms.one(message(room, bob, "bye")).await);
    sqlx::query("DELETE FROM users WHERE id = $1").bind(bob).execute(&rooms.owner).await.unwrap();
    let last = log::page(rooms.db.pool(), room, From::End, 1, ALL).await.unwrap().unwrap();
    let entry = &last.entries[0];
    assert_eq!((entry.seq, &entry.user, entry.body.as_deref()), (said, &None, Some("bye")));
}

/// Makes the first so many entries so old.
async fn age(rooms: &Rooms, room: i64, upto: i64, by: Duration) {
    let age =
        "UPDATE messages SET at = at - $3 * interval '1 second' WHERE room = $1 AND seq <= $2";
    let age = sqlx::query(age).bind(room).bind(upto).bind(by.as_secs_f64());
    age.execute(&rooms.owner).await.unwrap();
}

#[tokio::test]
async fn retention_removes_a_prefix_and_raises_the_first_number_with_it() {
    let (rooms, room, ann) = with_messages(9).await;
    age(&rooms, room, 6, 2 * DAY).await;
    age(&rooms, room, 3, DAY).await;
    let trim = async |retention, most| {
        log::trim(rooms.db.pool(), room, retention, most, now()).await.unwrap()
    };
    let before = |days: u32| Retention { before: Some(now() - DAY * days), keep: None };
    let keep = |keep| Retention { before: None, keep: Some(keep) };
    assert_eq!(trim(Retention::default(), 100).await, 0, "nothing was asked for");
    assert_eq!(trim(before(4), 100).await, 0);
    assert_eq!(trim(keep(10), 100).await, 0);
    assert_eq!(trim(keep(8), 100).await, 2);
    let epoch = since(&rooms, room, None, ALL).await.0.epoch;
    assert_eq!(
        since(&rooms, room, Some((epoch, 1)), ALL).await.1,
        [] as [i64; 0],
        "there is a gap"
    );
    assert_eq!(since(&rooms, room, Some((epoch, 2)), ALL).await.1.len(), 8);
    assert_eq!(trim(before(1), 3).await, 3, "in steps");
    // Whatever is asked for, the last day stays.
    assert_eq!(trim(Retention { before: Some(now()), keep: Some(0) }, 100).await, 1);
    let (head, left) = since(&rooms, room, Some((epoch, 6)), ALL).await;
    assert_eq!((head.first_seq, head.last_seq, left), (7, 10, vec![7, 8, 9, 10]));
    let late = rooms.one(item(room, ann, NewEntry::Deleted { of: 2 })).await;
    assert_eq!(late, log::Outcome::NoSuchMessage);
    age(&rooms, room, 10, 2 * DAY).await;
    assert_eq!(trim(before(1), 100).await, 4);
    assert_eq!(
        since(&rooms, room, Some((epoch, 10)), ALL).await.0,
        Head { epoch, first_seq: 11, last_seq: 10 }
    );
    assert_eq!(stored_seq(&rooms.one(message(room, ann, "on")).await), 11);
    assert_eq!(rooms.texts(room).await.len(), 1);
}
