//! Who is invited, and for how long.

use shared::db::log::{NewEntry, Outcome};
use shared::db::members::{self, Invited, Role};
use shared::db::rooms;
use uuid::Uuid;

use super::{Rooms, is_stored, item, now};

/// A private room of olga's, which mona moderates and bob is in, and zoe outside.
struct Cellar {
    rooms: Rooms,
    room: i64,
    olga: Uuid,
    mona: Uuid,
    bob: Uuid,
    zoe: Uuid,
}

impl Cellar {
    async fn open() -> Self {
        let rooms = Rooms::start().await;
        let mut all = Vec::new();
        for name in ["olga", "mona", "bob", "zoe"] {
            all.push(rooms.user(name).await);
        }
        let [olga, mona, bob, zoe] = all[..] else { unreachable!() };
        let room = rooms.new_room("cellar", olga, false, true).await;
        let cellar = Self { rooms, room, olga, mona, bob, zoe };
        for name in ["mona", "bob"] {
            cellar.invite(olga, name, 2).await;
        }
        cellar.rooms.join(room, &[mona, bob]).await;
        cellar.give(mona, Role::Moderator).await;
        cellar
    }

    async fn does(&self, user: Uuid, entry: NewEntry) -> Outcome {
        self.rooms.one(item(self.room, user, entry)).await
    }

    async fn give(&self, subject: Uuid, role: Role) {
        assert!(is_stored(&self.does(self.olga, NewEntry::Role { subject, role }).await));
    }

    async fn invite(&self, inviter: Uuid, name: &str, limit: i64) -> Invited {
        let db = self.rooms.db.pool();
        members::invite(db, self.room, inviter, name, limit, now()).await.unwrap()
    }

    async fn uninvite(&self, actor: Uuid) -> Option<Outcome> {
        members::uninvite(self.rooms.db.pool(), self.room, actor, self.zoe).await.unwrap()
    }

    /// By whom zoe is invited, as all who ask are told.
    async fn invited_by(&self) -> Option<String> {
        let db = self.rooms.db.pool();
        let invited = rooms::invitations(db, self.zoe, None, 10).await.unwrap();
        let standing = rooms::find(db, "cellar", Some(self.zoe)).await.unwrap().unwrap();
        assert_eq!(standing.is_invited, !invited.is_empty());
        invited.into_iter().next().map(|one| one.invited_by)
    }
}

#[tokio::test]
async fn an_invitation_counts_for_as_long_as_whoever_made_it_might_make_it() {
    let cellar = Cellar::open().await;
    let Cellar { mona, olga, zoe, .. } = cellar;
    assert_eq!(cellar.invite(mona, "zoe", 1).await, Invited::Done { user: zoe });
    assert_eq!(cellar.invited_by().await.as_deref(), Some("mona"));
    cellar.give(mona, Role::Member).await;
    assert_eq!(cellar.invited_by().await, None);
    assert_eq!(cellar.does(zoe, NewEntry::Joined).await, Outcome::Forbidden);
    cellar.give(mona, Role::Moderator).await;
    assert_eq!(cellar.invited_by().await.as_deref(), Some("mona"));
    // Who is invited already stays so, by whoever it was first.
    assert_eq!(cellar.invite(olga, "zoe", 1).await, Invited::Done { user: zoe });
    assert_eq!(cellar.invited_by().await.as_deref(), Some("mona"));
    assert!(is_stored(&cellar.does(mona, NewEntry::Left { subject: mona }).await));
    assert_eq!(cellar.does(zoe, NewEntry::Joined).await, Outcome::Forbidden);
    assert_eq!(cellar.invite(olga, "zoe", 1).await, Invited::Done { user: zoe });
    assert_eq!(cellar.invited_by().await.as_deref(), Some("olga"));
    assert!(is_stored(&cellar.does(zoe, NewEntry::Joined).await));
    assert_eq!(cellar.invited_by().await, None);
}

#[tokio::test]
async fn an_invitation_ends_with_the_account_that_made_it() {
    let cellar = Cellar::open().await;
    cellar.invite(cellar.mona, "zoe", 1).await;
    let gone = sqlx::query("DELETE FROM users WHERE id = $1").bind(cellar.mona);
    gone.execute(&cellar.rooms.owner).await.unwrap();
    assert_eq!(cellar.invited_by().await, None);
    assert_eq!(cellar.does(cellar.zoe, NewEntry::Joined).await, Outcome::Forbidden);
}

#[tokio::test]
async fn who_is_invited_declines_and_who_invited_or_keeps_order_withdraws() {
    let cellar = Cellar::open().await;
    let Cellar { olga, mona, bob, zoe, room, .. } = cellar;
    let db = cellar.rooms.db.pool();
    cellar.invite(mona, "zoe", 1).await;
    assert!(members::decline(db, room, zoe).await.unwrap());
    assert!(!members::decline(db, room, zoe).await.unwrap());
    assert_eq!(cellar.does(zoe, NewEntry::Joined).await, Outcome::Forbidden);
    for actor in [mona, olga] {
        cellar.invite(mona, "zoe", 1).await;
        assert_eq!(cellar.uninvite(bob).await, Some(Outcome::Forbidden));
        assert_eq!(cellar.uninvite(zoe).await, Some(Outcome::NotMember));
        assert_eq!(cellar.uninvite(actor).await, None);
        assert_eq!(cellar.uninvite(actor).await, Some(Outcome::Unchanged));
        assert_eq!(cellar.does(zoe, NewEntry::Joined).await, Outcome::Forbidden);
    }
    assert_eq!(cellar.uninvite(bob).await, Some(Outcome::Forbidden), "whether or not there is one");
    let public = cellar.rooms.room("garden", olga).await;
    cellar.rooms.join(public, &[bob, mona]).await;
    members::invite(db, public, bob, "zoe", 1, now()).await.unwrap();
    let withdraw = async |actor| members::uninvite(db, public, actor, zoe).await.unwrap();
    assert_eq!(withdraw(mona).await, Some(Outcome::Forbidden));
    assert_eq!(withdraw(bob).await, None);
}

#[tokio::test]
async fn so_many_invitations_of_one_user_are_open() {
    let cellar = Cellar::open().await;
    let Cellar { olga, mona, room, .. } = cellar;
    let (cat, dan) = (cellar.rooms.user("cat").await, cellar.rooms.user("dan").await);
    for (name, user) in [("zoe", cellar.zoe), ("cat", cat)] {
        assert_eq!(cellar.invite(mona, name, 2).await, Invited::Done { user });
    }
    assert_eq!(cellar.invite(mona, "dan", 2).await, Invited::TooMany);
    // Who is invited, or a member, is so whatever the number.
    assert_eq!(cellar.invite(mona, "cat", 2).await, Invited::Done { user: cat });
    assert_eq!(cellar.invite(mona, "bob", 2).await, Invited::Member { user: cellar.bob });
    assert_eq!(cellar.invite(mona, "nobody", 2).await, Invited::NoSuchUser);
    let other = cellar.rooms.room("other", mona).await;
    let db = cellar.rooms.db.pool();
    let elsewhere = members::invite(db, other, mona, "dan", 2, now()).await.unwrap();
    assert_eq!(elsewhere, Invited::TooMany, "in all rooms together");
    members::decline(db, room, cat).await.unwrap();
    assert_eq!(cellar.invite(mona, "dan", 2).await, Invited::Done { user: dan });
    // What counts no more leaves room.
    cellar.give(mona, Role::Member).await;
    let elsewhere = members::invite(db, other, mona, "cat", 1, now()).await.unwrap();
    assert_eq!(elsewhere, Invited::Done { user: cat });
    assert_eq!(cellar.invite(olga, "dan", 1).await, Invited::Done { user: dan }, "in its place");
    assert_eq!(cellar.invite(olga, "zoe", 1).await, Invited::TooMany);
}
