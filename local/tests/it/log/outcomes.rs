//! Who may do what in a room.

use std::sync::Arc;
use std::time::Duration;

use shared::db::log::{NewEntry, Outcome};
use shared::db::members::{self, Change, Invited, Role};
use shared::db::rooms;
use uuid::Uuid;

use super::{Rooms, is_stored, item, message, now, stored_seq};

/// A room with an owner, a moderator and two members, and somebody outside.
struct Cast {
    rooms: Rooms,
    room: i64,
    olga: Uuid,
    mona: Uuid,
    ann: Uuid,
    bob: Uuid,
    zoe: Uuid,
}

impl Cast {
    async fn meet(is_public: bool) -> Self {
        let rooms = Rooms::start().await;
        let mut all = Vec::new();
        for name in ["olga", "mona", "ann", "bob", "zoe"] {
            all.push(rooms.user(name).await);
        }
        let [olga, mona, ann, bob, zoe] = all[..] else { unreachable!() };
        let room = rooms.new_room("lobby", olga, is_public, true).await;
        let cast = Self { rooms, room, olga, mona, ann, bob, zoe };
        for name in ["mona", "ann", "bob"] {
            cast.invite(olga, name).await;
        }
        cast.rooms.join(room, &[mona, ann, bob]).await;
        assert!(is_stored(&cast.does(olga, role(mona, Role::Moderator)).await));
        cast
    }

    async fn does(&self, user: Uuid, entry: NewEntry) -> Outcome {
        self.rooms.one(item(self.room, user, entry)).await
    }

    /// Says something; its number.
    async fn says(&self, user: Uuid) -> i64 {
        stored_seq(&self.rooms.one(message(self.room, user, "hello")).await)
    }

    async fn invite(&self, inviter: Uuid, name: &str) -> Invited {
        let db = self.rooms.db.pool();
        members::invite(db, self.room, inviter, name, 100, now()).await.unwrap()
    }

    async fn mute(&self, actor: Uuid, moderates: bool, subject: Uuid) -> Option<Outcome> {
        let until = Some(now() + Duration::from_hours(1));
        let db = self.rooms.db.pool();
        members::mute(db, self.room, (actor, moderates), subject, until).await.unwrap().err()
    }

    async fn role_of(&self, user: Uuid) -> Option<Role> {
        let found = members::find(self.rooms.db.pool(), self.room, user).await.unwrap();
        found.map(|membership| membership.role)
    }
}

fn role(subject: Uuid, role: Role) -> NewEntry {
    NewEntry::Role { subject, role }
}

fn left(subject: Uuid) -> NewEntry {
    NewEntry::Left { subject }
}

fn edited(of: i64) -> NewEntry {
    NewEntry::Edited { of, body: Arc::from("otherwise") }
}

fn deleted(of: i64) -> NewEntry {
    NewEntry::Deleted { of }
}

#[tokio::test]
async fn messages_are_changed_by_their_authors_and_ended_by_who_moderates_too() {
    let cast = Cast::meet(true).await;
    let (of, anns, bobs) = (cast.says(cast.ann).await, cast.ann, cast.bob);
    assert_eq!(cast.does(bobs, edited(of)).await, Outcome::Forbidden);
    assert_eq!(
        cast.does(cast.mona, edited(of)).await,
        Outcome::Forbidden,
        "nobody's words are changed"
    );
    assert_eq!(cast.does(bobs, deleted(of)).await, Outcome::Forbidden);
    assert_eq!(cast.does(cast.zoe, deleted(of)).await, Outcome::NotMember);
    assert_eq!(cast.does(anns, edited(of + 1_000)).await, Outcome::NoSuchMessage);
    assert_eq!(cast.does(anns, edited(1)).await, Outcome::NoSuchMessage, "that is a `joined`");
    let second = stored_seq(&cast.does(anns, edited(of)).await);
    assert_eq!(second, of + 1);
    let third = stored_seq(&cast.does(cast.mona, deleted(of)).await);
    // All its texts are gone at once.
    let texts = cast.rooms.texts(cast.room).await;
    for seq in [of, second, third] {
        assert!(texts.contains(&(seq, None)), "{texts:?}");
    }
    assert_eq!(cast.does(anns, edited(of)).await, Outcome::NoSuchMessage);
    assert_eq!(cast.does(anns, deleted(of)).await, Outcome::Unchanged);
    for (user, moderates) in [(anns, false), (cast.olga, false), (cast.zoe, true)] {
        let of = cast.says(anns).await;
        let mut item = item(cast.room, user, deleted(of));
        item.moderates = moderates;
        assert!(is_stored(&cast.rooms.one(item).await), "{user} {moderates}");
    }
}

#[tokio::test]
async fn who_is_muted_says_nothing_and_does_not_slip_away() {
    let cast = Cast::meet(true).await;
    let of = cast.says(cast.ann).await;
    for (actor, moderates, subject, refused) in [
        (cast.bob, false, cast.ann, Some(Outcome::Forbidden)),
        (cast.zoe, false, cast.ann, Some(Outcome::NotMember)),
        (cast.mona, false, cast.mona, Some(Outcome::Forbidden)),
        (cast.mona, false, cast.olga, Some(Outcome::Forbidden)),
        (cast.zoe, true, cast.olga, Some(Outcome::Forbidden)),
        (cast.mona, false, cast.zoe, Some(Outcome::NoSuchMember)),
        (cast.olga, false, cast.olga, Some(Outcome::Forbidden)),
        (cast.olga, false, cast.mona, None),
        (cast.zoe, true, cast.ann, None),
        (cast.mona, false, cast.ann, None),
    ] {
        assert_eq!(cast.mute(actor, moderates, subject).await, refused, "{actor} {subject}");
    }
    let said = message(cast.room, cast.ann, "hello");
    assert_eq!(cast.rooms.one(said.clone()).await, Outcome::Muted);
    let batch = [said.clone(), item(cast.room, cast.ann, edited(of))];
    assert_eq!(cast.rooms.append(&batch).await, [Outcome::Muted, Outcome::Muted]);
    assert_eq!(cast.does(cast.ann, left(cast.ann)).await, Outcome::Muted);
    assert!(is_stored(&cast.does(cast.ann, deleted(of)).await));
    let over = "UPDATE room_members SET muted_until = now() - interval '1 second'";
    sqlx::query(over).execute(&cast.rooms.owner).await.unwrap();
    assert!(is_stored(&cast.rooms.one(said).await));
}

#[tokio::test]
async fn a_public_room_is_joined_by_anybody_and_another_by_who_is_invited() {
    let cast = Cast::meet(true).await;
    assert_eq!(cast.invite(cast.zoe, "zoe").await, Invited::Forbidden);
    assert_eq!(cast.invite(cast.ann, "zoe").await, Invited::Done { user: cast.zoe });
    assert_eq!(cast.invite(cast.ann, "nobody").await, Invited::NoSuchUser);
    let joined = cast.does(cast.zoe, NewEntry::Joined).await;
    let Outcome::Stored { body: Some(body), .. } = &joined else { panic!("{joined:?}") };
    let expected = format!(r#"{{"user":"{}","username":"zoe","role":"member"}}"#, cast.zoe);
    assert_eq!(*body, expected);
    assert_eq!(cast.does(cast.zoe, NewEntry::Joined).await, Outcome::Unchanged);
    assert_eq!(cast.invite(cast.ann, "zoe").await, Invited::Member { user: cast.zoe });
    let private = Cast::meet(false).await;
    assert_eq!(private.does(private.zoe, NewEntry::Joined).await, Outcome::Forbidden);
    assert_eq!(private.invite(private.ann, "zoe").await, Invited::Forbidden);
    for _ in 0..2 {
        assert_eq!(private.invite(private.mona, "zoe").await, Invited::Done { user: private.zoe });
    }
    assert!(is_stored(&private.does(private.zoe, NewEntry::Joined).await));
    assert!(is_stored(&private.does(private.zoe, left(private.zoe)).await));
    assert_eq!(
        private.does(private.zoe, NewEntry::Joined).await,
        Outcome::Forbidden,
        "invited once"
    );
}

#[tokio::test]
async fn members_are_removed_from_above_and_the_last_owner_stays() {
    let cast = Cast::meet(true).await;
    for (actor, subject, refused) in [
        (cast.zoe, cast.zoe, Outcome::NotMember),
        (cast.zoe, cast.ann, Outcome::NotMember),
        (cast.bob, cast.ann, Outcome::Forbidden),
        (cast.bob, cast.zoe, Outcome::Forbidden),
        (cast.mona, cast.olga, Outcome::Forbidden),
        (cast.mona, cast.zoe, Outcome::NoSuchMember),
        (cast.olga, cast.olga, Outcome::LastOwner),
    ] {
        assert_eq!(cast.does(actor, left(subject)).await, refused, "{actor} {subject}");
    }
    let mut from_outside = item(cast.room, cast.zoe, left(cast.mona));
    from_outside.moderates = true;
    assert_eq!(cast.rooms.one(from_outside.clone()).await, Outcome::Forbidden);
    from_outside.entry = left(cast.bob);
    assert!(is_stored(&cast.rooms.one(from_outside).await));
    let removed = cast.does(cast.mona, left(cast.ann)).await;
    let Outcome::Stored { body: Some(body), .. } = &removed else { panic!("{removed:?}") };
    assert_eq!(*body, format!(r#"{{"user":"{}","username":"ann"}}"#, cast.ann));
    assert_eq!(cast.rooms.one(message(cast.room, cast.ann, "still?")).await, Outcome::NotMember);
    assert!(is_stored(&cast.does(cast.mona, left(cast.mona)).await));
    assert!(is_stored(&cast.does(cast.olga, left(cast.olga)).await), "nobody is left behind");
}

#[tokio::test]
async fn owners_give_roles_and_one_stays() {
    let cast = Cast::meet(true).await;
    for (actor, entry, refused) in [
        (cast.mona, role(cast.ann, Role::Moderator), Outcome::Forbidden),
        (cast.zoe, role(cast.ann, Role::Moderator), Outcome::NotMember),
        (cast.olga, role(cast.zoe, Role::Moderator), Outcome::NoSuchMember),
        (cast.olga, role(cast.mona, Role::Moderator), Outcome::Unchanged),
        (cast.olga, role(cast.olga, Role::Member), Outcome::LastOwner),
    ] {
        assert_eq!(cast.does(actor, entry.clone()).await, refused, "{actor} {entry:?}");
    }
    let given = cast.does(cast.olga, role(cast.ann, Role::Owner)).await;
    let Outcome::Stored { body: Some(body), .. } = &given else { panic!("{given:?}") };
    assert_eq!(*body, format!(r#"{{"user":"{}","username":"ann","role":"owner"}}"#, cast.ann));
    assert!(is_stored(&cast.does(cast.olga, role(cast.olga, Role::Member)).await));
    let roles = [cast.role_of(cast.olga).await, cast.role_of(cast.ann).await];
    assert_eq!(roles, [Some(Role::Member), Some(Role::Owner)]);
    assert!(is_stored(&cast.does(cast.ann, left(cast.mona)).await));
    assert_eq!(cast.role_of(cast.mona).await, None);
}

#[tokio::test]
async fn a_room_without_a_log_has_members_by_the_same_rules() {
    let rooms = Rooms::start().await;
    let (olga, ann) = (rooms.user("olga").await, rooms.user("ann").await);
    let room = rooms.new_room("fleeting", olga, true, false).await;
    let db = rooms.db.pool();
    let change = async |actor, change| {
        members::change_unlogged(db, room, (actor, false), change, now()).await.unwrap()
    };
    assert_eq!(change(ann, Change::Join).await, Ok(1));
    assert_eq!(change(ann, Change::Join).await, Err(Outcome::Unchanged));
    let moderator = Change::Role { subject: ann, role: Role::Moderator };
    assert_eq!(change(ann, moderator).await, Err(Outcome::Forbidden));
    assert_eq!(change(olga, moderator).await, Ok(2));
    assert_eq!(change(olga, Change::Leave { subject: olga }).await, Err(Outcome::LastOwner));
    let found = rooms::find(db, "fleeting", Some(ann)).await.unwrap().unwrap();
    assert_eq!(found.version, 2, "what it tells has seen both");
    assert_eq!(change(ann, Change::Leave { subject: ann }).await, Ok(3));
    let logged = rooms.room("lobby", olga).await;
    let refused = members::change_unlogged(db, logged, (ann, false), Change::Join, now()).await;
    assert_eq!(refused.unwrap(), Err(Outcome::NoSuchRoom), "its log would not tell");
}

#[tokio::test]
async fn mutes_have_their_numbers_among_the_changes_of_a_room_without_a_log() {
    let rooms = Rooms::start().await;
    let (olga, ann) = (rooms.user("olga").await, rooms.user("ann").await);
    let room = rooms.new_room("fleeting", olga, true, false).await;
    let db = rooms.db.pool();
    let change = async |change| {
        members::change_unlogged(db, room, (ann, false), change, now()).await.unwrap()
    };
    let mute =
        async |room, until| members::mute(db, room, (olga, false), ann, until).await.unwrap();
    assert_eq!(mute(room, None).await, Err(Outcome::NoSuchMember));
    assert_eq!(change(Change::Join).await, Ok(1));
    let until = Some(now() + Duration::from_hours(1));
    let (first, second) = tokio::join!(mute(room, until), mute(room, None));
    let mut numbers = [first.unwrap(), second.unwrap()];
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)]);
    assert_eq!(mute(room, None).await, Ok(Some(4)));
    assert_eq!(change(Change::Leave { subject: ann }).await, Ok(5));
    let logged = rooms.room("lobby", olga).await;
    assert!(is_stored(&rooms.one(item(logged, ann, NewEntry::Joined)).await));
    assert_eq!(mute(logged, until).await, Ok(None), "its appends ask");
}
