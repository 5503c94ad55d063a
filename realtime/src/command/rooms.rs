//! Rooms: making, finding, joining and leaving them, and who is in them.

mod invitations;
mod mute;

use std::sync::Arc;

use shared::db::log::NewEntry;
use shared::db::members::{self, Change, Membership, Role};
use shared::db::rooms::{self, NewRoom, Standing};
use uuid::Uuid;

use super::Outcome;
use crate::auth::Identity;
use crate::hub;
use crate::protocol::{
    Command, Create, Created, ErrorCode, Log, Member, Members, Name, Refusal, Reply, Room, Rooms,
};
use crate::room::{Effect, RoleChange};
use crate::shard::client::Client;
use crate::store::{Store, effect_of, refusal, seq};

/// Rooms or members in one answer at most.
const PAGE: i64 = 100;

/// Carries out a command about rooms.
pub(super) async fn carry_out(client: &Client, identity: &Identity, command: Command) -> Outcome {
    let store = client.store();
    let it = Caller { client, store, identity };
    match command {
        Command::Rooms(after) => it.list(after).await,
        Command::Search(query, after) => it.search(query, after).await,
        Command::Create(create) => it.create(*create).await,
        Command::Join(room, key) => it.change(&room, key, Change::Join).await,
        Command::Leave(room, key) => {
            it.change(&room, key, Change::Leave { subject: identity.user }).await
        }
        Command::Remove(room, subject, key) => {
            it.change(&room, key, Change::Leave { subject }).await
        }
        Command::SetRole(room, subject, role, key) => {
            it.change(&room, key, Change::Role { subject, role }).await
        }
        Command::Invite(room, username) => it.invite(&room, &username).await,
        Command::Decline(room) => it.decline(&room).await,
        Command::Uninvite(room, user) => it.uninvite(&room, user).await,
        Command::Members(room, after) => it.members(&room, after).await,
        Command::Mute(room, subject, until) => it.mute(&room, subject, until).await,
        Command::Invitations(after) => it.invitations(after).await,
        _ => Err(ErrorCode::UnknownCommand.into()),
    }
}

/// Who asks, and what is asked.
struct Caller<'a> {
    client: &'a Client,
    store: &'a Store,
    identity: &'a Identity,
}

impl Caller<'_> {
    async fn list(&self, after: Option<Name>) -> Outcome {
        let user = self.identity.user;
        let listing = self.store.ask(async move |store| {
            let after = after.as_ref().map(Name::as_str);
            rooms::list(store.db.pool(), user, after, PAGE).await
        });
        let rooms: Vec<_> = listing
            .await?
            .into_iter()
            .map(|listed| Room {
                log: listed.head.map(|head| Log {
                    epoch: head.epoch.to_string(),
                    first_seq: seq(head.first_seq),
                    last_seq: seq(head.last_seq),
                }),
                ..described(listed.room, Some(listed.membership))
            })
            .collect();
        Ok(list_of(rooms))
    }

    async fn search(&self, query: Box<str>, after: Option<Name>) -> Outcome {
        let user = self.identity.user;
        let searching = self.store.ask(async move |store| {
            let after = after.as_ref().map(Name::as_str);
            rooms::search(store.db.pool(), user, &query, after, PAGE).await
        });
        let found = searching.await?.into_iter();
        Ok(list_of(found.map(|found| described(found.room, found.membership)).collect()))
    }

    async fn create(&self, Create { room, title, durable, public }: Create) -> Outcome {
        let user = self.identity.user;
        let limit = self.client.node().settings.limits.rooms.map(i64::from);
        let making = self.store.ask(async move |store| {
            let new = NewRoom { name: room.as_str(), title: &title, durable, public };
            rooms::create(store.db.pool(), new, user, limit, store.clock.now()).await
        });
        let (room, unchanged) = match making.await? {
            rooms::Created::New(room) => (room, false),
            rooms::Created::Before(room) => (room, true),
            rooms::Created::Taken => return Err(ErrorCode::RoomTaken.into()),
            rooms::Created::TooMany => return Err(ErrorCode::TooManyRooms.into()),
        };
        let owner = Membership { role: Role::Owner, muted_until: None };
        Ok(Reply::Created(Created { room: described(room, Some(owner)), unchanged }))
    }

    /// Somebody joins, leaves, or gets another role.
    async fn change(&self, name: &Name, key: Uuid, change: Change) -> Outcome {
        let Standing { room, membership, is_invited, .. } =
            self.store.find(name, self.identity).await?;
        // Who moderates every room removes members also where they are none.
        let removes = matches!(change, Change::Leave { subject } if subject != self.identity.user);
        let moderates = self.identity.moderates && removes;
        if !(room.public || membership.is_some() || is_invited || moderates) {
            return Err(ErrorCode::RoomNotFound.into());
        }
        let opened = Store::open(self.client.node(), &room);
        if let Change::Role { subject, role: Role::Owner } = change
            && membership.is_some_and(|own| own.role == Role::Owner)
        {
            self.may_own(room.id, subject).await?;
        }
        let reply = if room.durable {
            let node = self.client.node();
            let entry = entry_of(change);
            self.store.append(node, &opened, self.identity, key, entry).await?.reply(key)
        } else {
            self.change_unlogged(&opened, change).await?
        };
        if let Change::Leave { subject } = change {
            self.tell_end(&opened, subject).await;
        }
        Ok(reply)
    }

    /// The same where no log is kept.
    async fn change_unlogged(&self, room: &Arc<hub::Room>, change: Change) -> Outcome {
        let (actor, now) = ((self.identity.user, self.identity.moderates), self.store.clock.now());
        let id = room.id.0;
        let changing = self.store.ask(async move |store| {
            members::change_unlogged(store.db.pool(), id, actor, change, now).await
        });
        match changing.await? {
            Ok(version) => {
                if let Effect::Member(user, role) = effect_of(self.identity.user, &entry_of(change))
                {
                    let change = RoleChange { user, role, version: Some(version) };
                    Store::member_changed(self.client.node(), room, change);
                }
                Ok(Reply::DONE)
            }
            Err(refused) => refusal(&refused).map_or(Ok(Reply::UNCHANGED), Err),
        }
    }

    /// Whether a member may be made an owner, as far as that is one more room of theirs.
    async fn may_own(&self, room: i64, subject: Uuid) -> Result<(), Refusal> {
        let Some(limit) = self.client.node().settings.limits.rooms.map(i64::from) else {
            return Ok(());
        };
        let asking = self
            .store
            .ask(async move |store| members::may_own(store.db.pool(), room, subject, limit).await);
        if asking.await? {
            return Ok(());
        }
        Err(Refusal::of(ErrorCode::TooManyRooms, "They own as many rooms as they may."))
    }

    /// Ends the subscriptions of whom a room has ended with. Should that not be known, they hear nothing
    /// more there either.
    async fn tell_end(&self, room: &Arc<hub::Room>, subject: Uuid) {
        let id = room.id.0;
        let asking = self.store.ask(async move |store| rooms::has_ended(store.db.pool(), id).await);
        if let Ok(true) = asking.await {
            Store::ended(self.client.node(), room, subject);
        }
    }

    async fn members(&self, name: &Name, after: Option<Uuid>) -> Outcome {
        let standing = self.store.standing(name, self.identity).await?;
        let reading = self.store.ask(async move |store| {
            members::page(store.db.pool(), standing.room.id, after, PAGE).await
        });
        let members: Vec<_> = reading
            .await?
            .into_iter()
            .map(|member| Member {
                id: member.user,
                username: member.username,
                display_name: member.display_name,
                role: member.membership.role,
                muted_until: member.membership.muted_until,
            })
            .collect();
        Ok(Reply::Members(Members { more: is_full(members.len()), members }))
    }
}

/// What is stored of a change in a log.
fn entry_of(change: Change) -> NewEntry {
    match change {
        Change::Join => NewEntry::Joined,
        Change::Leave { subject } => NewEntry::Left { subject },
        Change::Role { subject, role } => NewEntry::Role { subject, role },
    }
}

/// Whether more may follow.
fn is_full(count: usize) -> bool {
    i64::try_from(count).is_ok_and(|count| count == PAGE)
}

fn list_of(rooms: Vec<Room>) -> Reply {
    Reply::Rooms(Rooms { more: is_full(rooms.len()), rooms })
}

fn described(room: rooms::Room, membership: Option<Membership>) -> Room {
    let rooms::Room { name, title, durable, public, .. } = room;
    let role = membership.map(|membership| membership.role);
    let muted_until = membership.and_then(|membership| membership.muted_until);
    Room { room: name, title, durable, public, role, muted_until, log: None }
}
