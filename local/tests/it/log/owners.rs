//! A room has an owner for as long as anybody is in it, and then it ends.

use std::time::Duration;

use realtime::log::Trimmer;
use shared::clock::Clock;
use shared::db::log::{self, NewEntry, Outcome};
use shared::db::members::{self, Change, Role};
use shared::db::rooms;
use sqlx::Connection as _;
use uuid::Uuid;

use super::{Rooms, is_stored, item, message, now, stored_seq};

fn left(subject: Uuid) -> NewEntry {
    NewEntry::Left { subject }
}

impl Rooms {
    async fn is_found(&self, name: &str) -> bool {
        rooms::find(self.db.pool(), name, None).await.unwrap().is_some()
    }

    /// Rows of rooms, heads, messages and invitations.
    async fn rows(&self) -> [i64; 4] {
        let mut rows = [0; 4];
        for (rows, count) in rows.iter_mut().zip([
            "SELECT count(*) FROM rooms",
            "SELECT count(*) FROM room_heads",
            "SELECT count(*) FROM messages",
            "SELECT count(*) FROM room_invitations",
        ]) {
            *rows = sqlx::query_scalar(count).fetch_one(&self.owner).await.unwrap();
        }
        rows
    }
}

#[tokio::test]
async fn a_room_ends_with_its_last_member_and_its_name_is_free() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let (logged, unlogged) =
        (rooms.room("lobby", ann).await, rooms.new_room("fleeting", ann, true, false).await);
    let db = rooms.db.pool();
    members::invite(db, logged, ann, "bob", 100, now()).await.unwrap();
    let leave = item(logged, ann, left(ann));
    assert_eq!(stored_seq(&rooms.one(leave.clone()).await), 2);
    let change = async |actor, change| {
        members::change_unlogged(db, unlogged, (actor, false), change, now()).await.unwrap()
    };
    assert_eq!(change(ann, Change::Leave { subject: ann }).await, Ok(1));
    // A second try is still known, and nobody comes back.
    assert!(matches!(rooms.one(leave).await, Outcome::Duplicate { seq: 2, .. }));
    for user in [ann, bob] {
        assert_eq!(rooms.one(item(logged, user, NewEntry::Joined)).await, Outcome::NoSuchRoom);
        assert_eq!(change(user, Change::Join).await, Err(Outcome::NoSuchRoom));
    }
    assert_eq!(rooms::invitations(db, bob, None, 10).await.unwrap(), []);
    assert!(rooms::search(db, bob, "", None, 10).await.unwrap().is_empty());
    for (name, ended, durable) in [("lobby", logged, true), ("fleeting", unlogged, false)] {
        assert!(!rooms.is_found(name).await, "{name}");
        assert!(rooms::has_ended(db, ended).await.unwrap());
        let again = rooms.new_room(name, bob, true, durable).await;
        assert!(again != ended && !rooms::has_ended(db, again).await.unwrap());
    }
}

#[tokio::test]
async fn what_has_ended_is_removed_in_steps_and_nothing_else() {
    /// More than a step removes.
    const MANY: usize = 450;
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let kept = rooms.room("kept", ann).await;
    for name in ["one", "two"] {
        let room = rooms.room(name, ann).await;
        let said: Vec<_> = (0..MANY).map(|n| message(room, ann, &n.to_string())).collect();
        assert!(rooms.append(&said).await.iter().all(is_stored));
        assert!(is_stored(&rooms.one(item(room, ann, left(ann))).await));
        // As who invites in the very moment does.
        let invite =
            "INSERT INTO room_invitations (room, user_id, created_at) VALUES ($1, $2, now())";
        sqlx::query(invite).bind(room).bind(bob).execute(&rooms.owner).await.unwrap();
    }
    assert_eq!(rooms::invitations(rooms.db.pool(), bob, None, 10).await.unwrap(), []);
    let trimmer = || Trimmer::new(rooms.db.clone(), None, Clock::held());
    let (first, second) = (trimmer(), trimmer());
    let (first, second) = tokio::join!(first.round(), second.round());
    let removed = first.unwrap() + second.unwrap();
    assert_eq!(removed, 2 * (MANY as u64 + 3), "the entries and the room");
    assert_eq!(rooms.rows().await, [1, 1, 1, 0]);
    assert_eq!(rooms.texts(kept).await.len(), 1);
    assert_eq!(rooms.one(message(kept + 1, ann, "hello")).await, Outcome::NoSuchRoom);
}

#[tokio::test]
async fn who_serves_ends_no_room_that_anybody_is_in() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let room = rooms.room("lobby", ann).await;
    let mut writer = log::connect(&rooms.db).await.unwrap();
    for statement in [
        "SELECT end_empty_rooms(ARRAY(SELECT id FROM rooms), now())",
        "SELECT remove_ended_rooms(100)",
    ] {
        sqlx::query(statement).execute(&mut writer).await.unwrap();
    }
    assert!(rooms.is_found("lobby").await);
    assert_eq!(rooms.texts(room).await.len(), 1);
    let renamed = sqlx::query("UPDATE rooms SET ended_at = now()").execute(&mut writer).await;
    assert!(renamed.unwrap_err().to_string().contains("permission denied"));
}

#[tokio::test]
async fn of_two_owners_who_leave_at_once_one_stays_for_the_others() {
    let rooms = Rooms::start().await;
    let (ann, bob, cat) =
        (rooms.user("ann").await, rooms.user("bob").await, rooms.user("cat").await);
    let room = rooms.room("lobby", ann).await;
    rooms.join(room, &[bob, cat]).await;
    let role = NewEntry::Role { subject: bob, role: Role::Owner };
    assert!(is_stored(&rooms.one(item(room, ann, role)).await));
    let mut writers = rooms.writers(2).await;
    let [first, second] = &mut writers[..] else { unreachable!() };
    let mut leaving = first.begin().await.unwrap();
    let left_first = log::append(&mut leaving, &[item(room, ann, left(ann))], now()).await;
    assert!(is_stored(&left_first.unwrap()[0]));
    let batch = [item(room, bob, left(bob))];
    let waiting = log::append(second, &batch, now());
    let committing = async {
        rooms.until_waiting(1).await;
        leaving.commit().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(waiting, committing);
    assert_eq!(outcomes.unwrap(), [Outcome::LastOwner]);
    // In one batch all may go, the owner last.
    let batch = [item(room, cat, left(cat)), item(room, bob, left(bob))];
    assert!(rooms.append(&batch).await.iter().all(is_stored));
    assert!(!rooms.is_found("lobby").await);
}

#[tokio::test]
async fn who_becomes_an_owner_is_muted_no_longer() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let db = rooms.db.pool();
    let (logged, unlogged) =
        (rooms.room("lobby", ann).await, rooms.new_room("fleeting", ann, true, false).await);
    rooms.join(logged, &[bob]).await;
    let change = async |actor, change| {
        members::change_unlogged(db, unlogged, (actor, false), change, now())
            .await
            .unwrap()
            .unwrap()
    };
    change(bob, Change::Join).await;
    for room in [logged, unlogged] {
        let until = Some(now() + Duration::from_hours(1));
        members::mute(db, room, (ann, false), bob, until).await.unwrap().unwrap();
    }
    let (subject, role) = (bob, Role::Owner);
    assert!(is_stored(&rooms.one(item(logged, ann, NewEntry::Role { subject, role })).await));
    change(ann, Change::Role { subject, role }).await;
    // Nobody could let them speak again, nor they themselves leave.
    assert!(is_stored(&rooms.one(message(logged, bob, "hello")).await));
    assert!(is_stored(&rooms.one(item(logged, bob, left(bob))).await));
    change(bob, Change::Leave { subject }).await;
}

#[tokio::test]
async fn who_owns_as_many_rooms_as_they_may_is_made_an_owner_of_no_other() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let room = rooms.room("lobby", ann).await;
    rooms.join(room, &[bob]).await;
    rooms.room("of-bob", bob).await;
    let may_own = async |room, user, limit| {
        members::may_own(rooms.db.pool(), room, user, limit).await.unwrap()
    };
    assert!(!may_own(room, bob, 1).await);
    assert!(may_own(room, bob, 2).await);
    assert!(may_own(room, ann, 1).await, "it is theirs");
    let other = rooms.room("other", ann).await;
    assert!(may_own(other, bob, 1).await, "what strangers own is nobody's business");
}
