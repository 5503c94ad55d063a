//! What the node removes by and by, and what stays.

use std::sync::Arc;
use std::time::Duration;

use realtime::log::Trimmer;
use shared::clock::Clock;
use shared::db::log::{self, From, Kind, NewEntry, Outcome, Retention};
use uuid::Uuid;

use super::{Rooms, is_stored, item, message, now, stored_seq};

const DAY: Duration = Duration::from_hours(24);
/// More than a step removes, so that there are several.
const MANY: usize = 1_200;

/// Rooms, and two nodes' trimmers that keep two days, by a clock that is theirs.
async fn start() -> (Rooms, [Trimmer; 2], Clock) {
    let (rooms, clock) = (Rooms::start().await, Clock::held());
    let trimmer = || Trimmer::new(rooms.db.clone(), Some(2 * DAY), clock.clone());
    let trimmers = [trimmer(), trimmer()];
    (rooms, trimmers, clock)
}

async fn says(rooms: &Rooms, room: i64, ann: Uuid, many: usize) {
    let said: Vec<_> = (0..many).map(|n| message(room, ann, &n.to_string())).collect();
    for some in said.chunks(500) {
        assert!(rooms.append(some).await.iter().all(is_stored));
    }
}

/// Removes all but the newest so many.
async fn keep(rooms: &Rooms, room: i64, keep: i64) -> u64 {
    let retention = Retention { before: None, keep: Some(keep) };
    log::trim(rooms.db.pool(), room, retention, 1_000, now() + 2 * DAY).await.unwrap()
}

#[tokio::test]
async fn what_is_old_goes_from_every_room_in_steps_and_what_is_not_stays() {
    let (rooms, [trimmer, _], clock) = start().await;
    let ann = rooms.user("ann").await;
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    let quiet = rooms.room("quiet", ann).await;
    says(&rooms, one, ann, MANY).await;
    says(&rooms, two, ann, 10).await;
    assert_eq!(trimmer.round().await.unwrap(), 0);
    let newer = "UPDATE messages SET at = at + interval '1 day'
                 WHERE room = $1 AND seq > 5 OR room = $2";
    sqlx::query(newer).bind(two).bind(quiet).execute(&rooms.owner).await.unwrap();
    clock.advance(2 * DAY + Duration::from_mins(1));
    assert_eq!(trimmer.round().await.unwrap(), MANY as u64 + 1 + 5);
    assert_eq!(trimmer.round().await.unwrap(), 0);
    // These assert that there are no holes.
    assert_eq!(rooms.texts(one).await, []);
    assert_eq!(rooms.texts(two).await.first().map(|(seq, _)| *seq), Some(6));
    assert_eq!(rooms.texts(quiet).await.len(), 1);
    assert_eq!(
        stored_seq(&rooms.one(message(one, ann, "on")).await),
        i64::try_from(MANY).unwrap() + 2
    );
}

#[tokio::test]
async fn a_room_that_cannot_be_trimmed_holds_up_none_behind_it() {
    let (rooms, [trimmer, _], clock) = start().await;
    let ann = rooms.user("ann").await;
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    let refusal = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
         CREATE TRIGGER refuse BEFORE DELETE ON messages FOR EACH ROW WHEN (OLD.room = {one})
         EXECUTE FUNCTION refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refusal)).execute(&rooms.owner).await.unwrap();
    clock.advance(2 * DAY + Duration::from_mins(1));
    assert_eq!(trimmer.round().await.unwrap(), 1);
    assert_eq!(rooms.texts(one).await.len(), 1);
    assert_eq!(rooms.texts(two).await, []);
    sqlx::raw_sql("DROP TRIGGER refuse ON messages").execute(&rooms.owner).await.unwrap();
    assert_eq!(trimmer.round().await.unwrap(), 1, "the next round finds it");
}

#[tokio::test]
async fn nothing_younger_than_a_day_goes_whatever_a_trimmer_is_told() {
    let (rooms, _, clock) = start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    clock.advance(Duration::from_mins(24 * 60 - 1));
    let hasty = Trimmer::new(rooms.db.clone(), Some(Duration::from_secs(1)), clock.clone());
    assert_eq!(hasty.round().await.unwrap(), 0);
    clock.advance(Duration::from_mins(2));
    assert_eq!(hasty.round().await.unwrap(), 1);
    assert_eq!(rooms.texts(room).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_trim_while_others_append_remove_each_entry_once_and_leave_no_hole() {
    let (rooms, [first, second], clock) = start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    says(&rooms, room, ann, MANY).await;
    clock.advance(2 * DAY + Duration::from_mins(1));
    let later = "UPDATE messages SET at = at + interval '2 days' WHERE seq > $1";
    let old = i64::try_from(MANY).unwrap() - 99;
    sqlx::query(later).bind(old).execute(&rooms.owner).await.unwrap();
    let mut writer = rooms.writers(1).await.remove(0);
    let appending = async {
        for n in 0..50 {
            let said = message(room, ann, &format!("late {n}"));
            let stored = log::append(&mut writer, &[said], clock.now()).await.unwrap();
            assert!(is_stored(&stored[0]));
        }
    };
    let (first, second, ()) = tokio::join!(first.round(), second.round(), appending);
    let removed = first.unwrap() + second.unwrap();
    assert_eq!(removed, u64::try_from(old).unwrap());
    assert_eq!(rooms.texts(room).await.len(), 100 + 50);
}

#[tokio::test]
async fn rooms_are_looked_at_by_number_and_only_those_with_something_old_are_told() {
    let (rooms, _, _) = start().await;
    let ann = rooms.user("ann").await;
    assert_eq!(log::aged(rooms.db.pool(), 0, now()).await.unwrap(), None);
    let (one, two) = (rooms.room("one", ann).await, rooms.room("two", ann).await);
    rooms.new_room("fleeting", ann, true, false).await;
    let aged = async |after, before| log::aged(rooms.db.pool(), after, before).await.unwrap();
    assert_eq!(aged(0, now()).await, Some((two, vec![one, two])));
    assert_eq!(aged(one, now()).await, Some((two, vec![two])));
    assert_eq!(aged(0, now() - DAY).await, Some((two, vec![])));
    assert_eq!(aged(two, now()).await, None);
    assert_eq!(keep(&rooms, one, 0).await, 1);
    assert_eq!(aged(0, now()).await, Some((two, vec![two])), "of an empty log nothing can go");
}

#[tokio::test]
async fn an_edit_outlives_its_original_and_can_still_be_taken_back() {
    let (rooms, ..) = start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let room = rooms.room("lobby", ann).await;
    rooms.join(room, &[bob]).await;
    let edited = |text: &str| NewEntry::Edited { of: 3, body: Arc::from(text) };
    let deleted = |user| item(room, user, NewEntry::Deleted { of: 3 });
    let said = [message(room, bob, "typo"), item(room, bob, edited("no typo"))];
    assert_eq!(rooms.append(&said).await.iter().map(stored_seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(keep(&rooms, room, 1).await, 3);
    let page = async || log::page(rooms.db.pool(), room, From::After(0), 10, 1 << 20).await;
    let left = page().await.unwrap().unwrap();
    assert_eq!((left.head.first_seq, left.entries.len()), (4, 1));
    let edit = &left.entries[0];
    assert_eq!(
        (edit.kind, edit.of, edit.body.as_deref()),
        (Kind::Edited, Some(3), Some("no typo"))
    );
    assert_eq!(rooms.one(item(room, bob, edited("more"))).await, Outcome::NoSuchMessage);
    let cat = rooms.user("cat").await;
    rooms.join(room, &[cat]).await;
    assert_eq!(rooms.one(deleted(cat)).await, Outcome::Forbidden);
    assert_eq!(stored_seq(&rooms.one(deleted(bob)).await), 6);
    assert_eq!(rooms.one(deleted(ann)).await, Outcome::Unchanged);
    assert_eq!(rooms.texts(room).await[0], (4, None));
    // The deletion stays when the edit is gone, too.
    assert_eq!(keep(&rooms, room, 1).await, 2);
    let left = page().await.unwrap().unwrap();
    assert_eq!(
        left.entries.iter().map(|e| (e.seq, e.kind, e.of)).collect::<Vec<_>>(),
        [(6, Kind::Deleted, Some(3))]
    );
    assert_eq!(rooms.one(deleted(bob)).await, Outcome::NoSuchMessage);
}
