//! `presence` and `typing`: who is in a room, and who types there.

use uuid::Uuid;

use super::{Outcome, reply};
use crate::auth::Identity;
use crate::protocol::{ErrorCode, Name, Refusal, Reply};
use crate::shard::client::Client;
use crate::store::Store;

/// Replies with who is in a room that the user may read.
pub(super) async fn presence(
    client: Client,
    id: u64,
    identity: Identity,
    name: Name,
    after: Option<Uuid>,
) {
    if let Err(refusal) = ask(&client, id, &identity, &name, after).await {
        reply(&client, id, Err(refusal));
    }
}

async fn ask(
    client: &Client,
    id: u64,
    identity: &Identity,
    name: &Name,
    after: Option<Uuid>,
) -> Result<(), Refusal> {
    let room = match client.subscribed(name.as_str()) {
        // Who may not read it is subscribed no longer.
        Some((room, _)) => room,
        None => Store::open(client.node(), &client.store().standing(name, identity).await?.room),
    };
    let is_said = client.say_who_is_there(id, room, after).await;
    if is_said { Ok(()) } else { Err(ErrorCode::Unavailable.into()) }
}

/// Tells the others in a room that the user types. Nobody waits for it, and it is dropped where others do.
pub(super) fn typing(client: &Client, identity: &Identity, name: &Name) -> Outcome {
    let (room, role) = client.subscribed(name.as_str()).ok_or(ErrorCode::NotSubscribed)?;
    if role.is_none() {
        return Err(ErrorCode::NotAMember.into());
    }
    if client.is_muted(&room) {
        return Err(ErrorCode::Muted.into());
    }
    client.types(&room, identity);
    Ok(Reply::DONE)
}
