//! `publish`, `edit` and `delete`.

use std::sync::Arc;

use shared::db::log::NewEntry;
use shared::db::members::Role;
use uuid::Uuid;

use super::{Outcome, in_turn, reply};
use crate::auth::Identity;
use crate::hub::{Keeping, Room};
use crate::protocol::{Content, Entry, ErrorCode, Name, Reply, Taken, encode_entry};
use crate::shard::client::{Client, Wait};
use crate::store::{Appended, Store, place};

/// Publishes. In a room that the connection is subscribed to, several are under way at once.
///
/// # Errors
/// [`Wait`], until whoever reads has caught up.
pub(super) fn publish(
    client: &Client,
    id: u64,
    identity: Identity,
    name: Name,
    key: Uuid,
    content: Content,
) -> Result<(), Wait> {
    let it = client.clone();
    let Some((room, role)) = client.subscribed(name.as_str()) else {
        let entry = NewEntry::Message { body: content.0.into() };
        in_turn(client, identity.user, async move {
            let outcome = append(&it, &identity, &name, key, entry).await;
            reply(&it, id, outcome);
        });
        return Ok(());
    };
    if room.keeping != Keeping::Durable {
        return ephemeral(client, id, &identity, &room, role, key, &content);
    }
    client.may_publish(&room, identity.user)?;
    let store = client.store();
    // Handed over at once, so that a connection's messages are stored in the order they came in.
    let entry = NewEntry::Message { body: content.0.into() };
    let appending = store.append(client.node(), &room, &identity, key, entry);
    client.follow(async move {
        let outcome = appending.await;
        reply(&it, id, outcome.map(|appended| appended.reply(key)));
    });
    Ok(())
}

/// Publishes in an ephemeral room: to who is there, and nobody else.
fn ephemeral(
    client: &Client,
    id: u64,
    identity: &Identity,
    room: &Arc<Room>,
    role: Option<Role>,
    key: Uuid,
    content: &Content,
) -> Result<(), Wait> {
    if role.is_none() {
        reply(client, id, Err(ErrorCode::NotAMember.into()));
        return Ok(());
    }
    if client.is_muted(room) {
        reply(client, id, Err(ErrorCode::Muted.into()));
        return Ok(());
    }
    let sender = identity.sender();
    let entry = Entry {
        kind: "message",
        seq: None,
        at: client.store().clock.now(),
        user: Some(&sender),
        key,
        of: None,
        body: Some(&content.0),
    };
    client.publish(room, &encode_entry(&room.name, &entry))?;
    reply(client, id, Ok(Reply::Taken(Taken { key })));
    Ok(())
}

/// Gives one's own message another text.
pub(super) async fn edit(
    client: &Client,
    identity: &Identity,
    name: &Name,
    of: u64,
    key: Uuid,
    content: Content,
) -> Outcome {
    let entry = NewEntry::Edited { of: place(of), body: content.0.into() };
    append(client, identity, name, key, entry).await
}

/// Empties a message.
pub(super) async fn delete(
    client: &Client,
    identity: &Identity,
    name: &Name,
    of: u64,
    key: Uuid,
) -> Outcome {
    append(client, identity, name, key, NewEntry::Deleted { of: place(of) }).await
}

/// Appends to a room's log by the room's name.
async fn append(
    client: &Client,
    identity: &Identity,
    name: &Name,
    key: Uuid,
    entry: NewEntry,
) -> Outcome {
    let store = client.store();
    // Who moderates every room takes messages away also where they are no member.
    let standing = match entry {
        NewEntry::Deleted { .. } if identity.moderates => store.find(name, identity).await?,
        _ => store.standing(name, identity).await?,
    };
    if !standing.room.durable {
        return Err(match entry {
            // Who is not subscribed has no role there that could be asked.
            NewEntry::Message { .. } => ErrorCode::NotSubscribed.into(),
            // What was said there is nowhere.
            _ => ErrorCode::NotDurable.into(),
        });
    }
    let room = Store::open(client.node(), &standing.room);
    let appended: Appended = store.append(client.node(), &room, identity, key, entry).await?;
    Ok(appended.reply(key))
}
