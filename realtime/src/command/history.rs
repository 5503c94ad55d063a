//! `history`: entries of a room's log, by pages.

use serde_json::value::RawValue;
use shared::db::log::{self, From};

use super::Outcome;
use crate::auth::Identity;
use crate::protocol::{ErrorCode, History, Name, Page, Reply};
use crate::shard::client::Client;
use crate::store::{Store, place, seq};

/// A page of a log.
pub(super) async fn history(
    client: &Client,
    identity: &Identity,
    name: &Name,
    page: History,
) -> Outcome {
    let store = client.store();
    let standing = store.standing(name, identity).await?;
    if !standing.room.durable {
        return Err(ErrorCode::NotDurable.into());
    }
    let room = standing.room;
    let from = match (page.before, page.after) {
        (Some(before), _) => From::Before(place(before)),
        (None, Some(after)) => From::After(place(after)),
        (None, None) => From::End,
    };
    let bytes = client.node().page_bytes();
    let read = store.ask(async move |store| {
        log::page(store.db.pool(), room.id, from, i64::from(page.limit), bytes).await
    });
    let replay = read.await?.ok_or(ErrorCode::RoomNotFound)?;
    let mut entries = Vec::new();
    for entry in &replay.entries {
        let json = String::from_utf8(Store::json(name.as_str(), entry)).ok();
        let json = json.and_then(|json| RawValue::from_string(json).ok());
        entries.push(json.ok_or(ErrorCode::Internal)?);
    }
    let head = replay.head;
    Ok(Reply::History(Page {
        room: name.as_str().to_owned(),
        epoch: head.epoch.to_string(),
        first_seq: seq(head.first_seq),
        last_seq: seq(head.last_seq),
        entries,
    }))
}
