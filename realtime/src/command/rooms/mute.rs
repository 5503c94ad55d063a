//! `mute` and `unmute`: a member may say nothing for a while.

use shared::db::members;
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::Caller;
use crate::command::Outcome;
use crate::protocol::{ErrorCode, MUTE_SECONDS, Muted, Name, Refusal, Reply, Until};
use crate::room::MuteChange;
use crate::store::{Store, refusal};

impl Caller<'_> {
    /// Mutes a member, or with `None` lets them speak again. Who moderates every room mutes also where they
    /// are no member.
    ///
    /// In a durable room each append asks the database. What is said in an ephemeral one, and who types, is
    /// judged by the subscription, which is told.
    pub(super) async fn mute(&self, name: &Name, subject: Uuid, until: Option<Until>) -> Outcome {
        let until = until.map(|until| end(until, self.store.clock.now())).transpose()?;
        let standing = if self.identity.moderates {
            self.store.find(name, self.identity).await?
        } else {
            self.store.standing(name, self.identity).await?
        };
        let (room, actor) = (standing.room, (self.identity.user, self.identity.moderates));
        let id = room.id;
        let muting = self.store.ask(async move |store| {
            members::mute(store.db.pool(), id, actor, subject, until).await
        });
        let version = match muting.await? {
            Ok(version) => version,
            Err(refused) => {
                return Err(refusal(&refused).unwrap_or_else(|| ErrorCode::Internal.into()));
            }
        };
        let node = self.client.node();
        // The reply comes when nothing more of theirs can get through.
        let change = MuteChange { user: subject, until, version };
        Store::mute_changed(node, &Store::open(node, &room), change).await;
        Ok(Reply::Muted(Muted { user: subject, muted_until: until }))
    }
}

/// When a mute ends that is asked for now.
fn end(until: Until, now: OffsetDateTime) -> Result<OffsetDateTime, Refusal> {
    let end = match until {
        Until::Then(then) => then.to_offset(UtcOffset::UTC),
        Until::For(time) => now + time,
    };
    if end > now && end <= now + Duration::seconds(MUTE_SECONDS) {
        Ok(end)
    } else {
        Err(Refusal::field(format!("until: within the next {MUTE_SECONDS} seconds")))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_mute_ends_later_than_now_and_some_day() {
        let now = datetime!(2026-11-25 10:00 UTC);
        let ends = |until| end(until, now).ok();
        assert_eq!(ends(Until::For(Duration::minutes(1))), Some(datetime!(2026-11-25 10:01 UTC)));
        let other = datetime!(2026-11-25 13:00 +2);
        assert_eq!(ends(Until::Then(other)), Some(datetime!(2026-11-25 11:00 UTC)));
        assert_eq!(ends(Until::Then(now)), None);
        assert_eq!(ends(Until::Then(datetime!(2037-01-01 00:00 UTC))), None);
        assert!(ends(Until::For(Duration::seconds(MUTE_SECONDS))).is_some());
    }
}
