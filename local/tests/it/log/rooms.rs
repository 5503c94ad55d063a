//! Making rooms, finding them, and who is in them.

use std::slice;

use futures_util::future::join_all;
use shared::db::log;
use shared::db::members::{self, Role};
use shared::db::rooms::{self, Created, NewRoom};
use uuid::Uuid;

use super::{Rooms, now};

#[tokio::test]
async fn a_room_belongs_to_its_creator_and_its_log_begins_with_them() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    let id = rooms.new_room("book-club.2", ann, false, true).await;
    let db = rooms.db.pool();
    let found = rooms::find(db, "book-club.2", Some(ann)).await.unwrap().unwrap();
    assert_eq!((found.room.id, &*found.room.title), (id, "A room"));
    assert!(found.room.durable && !found.room.public && !found.is_invited);
    assert_eq!(found.membership.map(|membership| membership.role), Some(Role::Owner));
    let body = format!(r#"{{"user":"{ann}","username":"ann","role":"owner"}}"#);
    assert_eq!(rooms.texts(id).await, [(1, Some(body))]);
    members::invite(db, id, ann, "bob", 100, now()).await.unwrap();
    let found = rooms::find(db, "book-club.2", Some(bob)).await.unwrap().unwrap();
    assert!(found.is_invited && found.membership.is_none());
    let found = rooms::find(db, "book-club.2", None).await.unwrap().unwrap();
    assert!(!found.is_invited && found.membership.is_none());
    assert_eq!(rooms::find(db, "Book-Club.2", Some(ann)).await.unwrap(), None);
    let invited = rooms::invitations(db, bob, None, 10).await.unwrap();
    let invited: Vec<_> = invited.iter().map(|one| (one.room.id, &*one.invited_by)).collect();
    assert_eq!(invited, [(id, "ann")]);
}

#[tokio::test]
async fn a_name_is_taken_once_and_only_in_its_form() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let create = async |name: &str, title: &str| {
        let new = NewRoom { name, title, durable: true, public: true };
        rooms::create(rooms.db.pool(), new, ann, None, now()).await
    };
    create("lobby", "").await.unwrap();
    assert_eq!(create("lobby", "another").await.unwrap(), Created::Taken);
    for (name, title) in [
        ("", ""),
        ("Lobby", ""),
        ("-lobby", ""),
        (".", ""),
        ("lob by", ""),
        ("löbby", ""),
        ("lobby\n", ""),
        (&*"x".repeat(65), ""),
        ("titled", &*"x".repeat(101)),
    ] {
        assert!(create(name, title).await.is_err(), "{name:?} {title:?}");
    }
    create(&"x".repeat(64), &"ö".repeat(100)).await.unwrap();
    let heads = "SELECT count(DISTINCT epoch) FROM room_heads WHERE epoch <> 0";
    let heads: i64 = sqlx::query_scalar(heads).fetch_one(&rooms.owner).await.unwrap();
    assert_eq!(heads, 2, "each log has an epoch of its own");
}

#[tokio::test]
async fn rooms_are_listed_and_searched_in_pages() {
    let rooms = Rooms::start().await;
    let (ann, bob) = (rooms.user("ann").await, rooms.user("bob").await);
    for (name, is_public, durable) in [
        ("garden", true, true),
        ("games", true, false),
        ("gate", false, true),
        ("lobby", true, true),
    ] {
        rooms.new_room(name, ann, is_public, durable).await;
    }
    let db = rooms.db.pool();
    let listed = rooms::list(db, ann, None, 3).await.unwrap();
    let rows: Vec<_> = listed
        .iter()
        .map(|one| (&*one.room.name, one.head.map(|head| head.last_seq), one.membership.role))
        .collect();
    assert_eq!(
        rows,
        [
            ("games", None, Role::Owner),
            ("garden", Some(1), Role::Owner),
            ("gate", Some(1), Role::Owner)
        ]
    );
    let rest = rooms::list(db, ann, Some("gate"), 3).await.unwrap();
    assert_eq!(rest.iter().map(|one| &*one.room.name).collect::<Vec<_>>(), ["lobby"]);
    assert!(rooms::list(db, bob, None, 3).await.unwrap().is_empty());
    let search = async |begins: &str, after: Option<&str>| {
        let found = rooms::search(db, bob, begins, after, 2).await.unwrap();
        found.into_iter().map(|found| found.room.name).collect::<Vec<_>>()
    };
    assert_eq!(search("GA", None).await, ["games", "garden"], "not the private one");
    assert_eq!(search("ga", Some("games")).await, ["garden"]);
    assert_eq!(search("a ro", None).await, ["games", "garden"], "by title");
    assert_eq!(search("%", None).await, [] as [&str; 0]);
    let own = rooms::search(db, ann, "lob", None, 2).await.unwrap();
    assert_eq!(own[0].membership.map(|membership| membership.role), Some(Role::Owner));
}

#[tokio::test]
async fn members_are_shown_in_pages() {
    let rooms = Rooms::start().await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "cat"] {
        users.push(rooms.user(name).await);
    }
    users.sort();
    let room = rooms.room("lobby", users[0]).await;
    rooms.join(room, &users[1..]).await;
    let page = async |after: Option<Uuid>| {
        let page = members::page(rooms.db.pool(), room, after, 2).await.unwrap();
        page.iter().map(|member| member.user).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, users[..2]);
    assert_eq!(page(Some(users[1])).await, users[2..]);
    let first = members::page(rooms.db.pool(), room, None, 1).await.unwrap();
    assert_eq!(slice::from_ref(&first[0].membership.role), [Role::Owner]);
    assert_eq!(members::find(rooms.db.pool(), room + 1, users[0]).await.unwrap(), None);
}

#[tokio::test]
async fn who_serves_renumbers_nothing_and_changes_no_text() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    rooms.room("lobby", ann).await;
    let mut writer = log::connect(&rooms.db).await.unwrap();
    for statement in [
        "UPDATE messages SET seq = seq + 1",
        "UPDATE messages SET user_id = NULL",
        "UPDATE room_heads SET epoch = 1",
        "UPDATE rooms SET name = 'other'",
        "DELETE FROM rooms",
        "TRUNCATE messages",
    ] {
        let refused = sqlx::query(statement).execute(&mut writer).await.unwrap_err();
        assert!(refused.to_string().contains("permission denied"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_room_is_made_once_by_however_many_tries_at_once() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let bob = rooms.user("bob").await;
    let create = |creator| {
        let new = NewRoom { name: "lobby", title: "For all", durable: true, public: true };
        rooms::create(rooms.db.pool(), new, creator, Some(1), now())
    };
    let tries = [ann; 8].map(create);
    let made: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    let news = made.iter().filter(|created| matches!(created, Created::New(_))).count();
    let again = made.iter().filter(|created| matches!(created, Created::Before(_))).count();
    assert_eq!((news, again), (1, 7), "{made:?}");
    assert_eq!(create(bob).await.unwrap(), Created::Taken);
}

#[tokio::test]
async fn the_rooms_that_somebody_owns_are_counted_and_no_others() {
    let rooms = Rooms::start().await;
    let ann = rooms.user("ann").await;
    let bob = rooms.user("bob").await;
    let create = async |name, limit| {
        let new = NewRoom { name, title: "", durable: false, public: true };
        rooms::create(rooms.db.pool(), new, ann, limit, now()).await.unwrap()
    };
    let room = rooms.new_room("of-bob", bob, true, true).await;
    rooms.join(room, &[ann]).await;
    assert!(matches!(create("one", Some(2)).await, Created::New(_)));
    assert!(matches!(create("two", Some(2)).await, Created::New(_)));
    assert_eq!(create("three", Some(2)).await, Created::TooMany);
    assert_eq!(create("of-bob", Some(2)).await, Created::Taken);
    assert!(matches!(create("two", Some(2)).await, Created::Before(_)));
    assert!(matches!(create("three", None).await, Created::New(_)));
}
