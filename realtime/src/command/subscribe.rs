//! `subscribe`: what is said in a room, from now on or from where the client left off.

use super::reply;
use crate::auth::Identity;
use crate::hub::Keeping;
use crate::protocol::{self, ErrorCode, Name, Refusal, Reply, Since, Start, reply_ok};
use crate::shard::client::{Client, Subscribed};
use crate::shard::home::Answer;
use crate::store::Store;

/// How often a subscription is begun anew because the user's role in some room changed meanwhile.
const ATTEMPTS: u32 = 5;

/// Subscribes, and replies before anything that follows.
pub(super) async fn subscribe(
    client: Client,
    id: u64,
    identity: Identity,
    name: Name,
    since: Option<Since>,
) {
    for _ in 0..ATTEMPTS {
        match attempt(&client, id, &identity, &name, since).await {
            Ok(Subscribed::Done) => return,
            Ok(Subscribed::Stale) => {}
            Ok(Subscribed::Unreadable) => break,
            Err(refusal) => return reply(&client, id, Err(refusal)),
        }
    }
    reply(&client, id, Err(ErrorCode::Unavailable.into()));
}

async fn attempt(
    client: &Client,
    id: u64,
    identity: &Identity,
    name: &Name,
    since: Option<Since>,
) -> Result<Subscribed, Refusal> {
    client.begin_to_subscribe();
    let limit = client.node().settings.limits.subscriptions;
    let is_new = client.subscribed(name.as_str()).is_none();
    if is_new && limit.is_some_and(|limit| client.subscriptions() >= limit as usize) {
        return Err(ErrorCode::TooManySubscriptions.into());
    }
    let store = client.store();
    let standing = store.standing(name, identity).await?;
    if since.is_some() && !standing.room.durable {
        return Err(ErrorCode::NotDurable.into());
    }
    let (membership, version) = (standing.membership, standing.version);
    let role = membership.map(|membership| membership.role);
    let room = Store::open(client.node(), &standing.room);
    let keeping = room.keeping;
    let name = name.as_str().to_owned();
    let said = move |answer: Option<&Answer>| {
        let durable = keeping == Keeping::Durable;
        let start = answer.map(|Answer { head, at, is_reset, .. }| Start {
            epoch: head.epoch.to_string(),
            // Where what follows begins: behind what the client had, or at the end.
            seq: since.filter(|_| !is_reset).map_or(head.last_seq, |since| since.seq.min(*at)),
            first_seq: head.first_seq,
            last_seq: head.last_seq,
        });
        reply_ok(id, &Reply::Subscribed(protocol::Subscribed { room: name, durable, role, start }))
    };
    Ok(client.subscribe(room, (membership, version), since, said).await)
}
