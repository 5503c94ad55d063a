//! `invite`, `decline`, `uninvite` and `invitations`.

use shared::db::members;
use shared::db::rooms;
use uuid::Uuid;

use super::{Caller, PAGE, is_full};
use crate::command::Outcome;
use crate::protocol::{ErrorCode, Invitation, Invitations, Invited, Name, Reply};
use crate::store::refusal;

/// Invitations of one user that are open at most, in all rooms. No setting: a large team at once, and few to
/// whoever would bother strangers.
const OPEN: i64 = 200;

impl Caller<'_> {
    pub(super) async fn invite(&self, name: &Name, username: &str) -> Outcome {
        let standing = self.store.standing(name, self.identity).await?;
        let (user, now) = (self.identity.user, self.store.clock.now());
        let key = username.to_lowercase();
        let inviting = self.store.ask(async move |store| {
            members::invite(store.db.pool(), standing.room.id, user, &key, OPEN, now).await
        });
        let invited = |user, unchanged| Ok(Reply::Invited(Invited { user, unchanged }));
        match inviting.await? {
            members::Invited::Done { user } => invited(user, false),
            members::Invited::Member { user } => invited(user, true),
            members::Invited::NoSuchUser => Err(ErrorCode::UserNotFound.into()),
            members::Invited::Forbidden => Err(ErrorCode::Forbidden.into()),
            members::Invited::TooMany => Err(ErrorCode::TooManyInvitations.into()),
        }
    }

    /// Ends the user's own invitation.
    pub(super) async fn decline(&self, name: &Name) -> Outcome {
        let standing = self.store.find(name, self.identity).await?;
        let is_open = standing.room.public || standing.membership.is_some() || standing.is_invited;
        if !is_open {
            return Err(ErrorCode::RoomNotFound.into());
        }
        let (room, user) = (standing.room.id, self.identity.user);
        let declining =
            self.store.ask(async move |store| members::decline(store.db.pool(), room, user).await);
        Ok(if declining.await? { Reply::DONE } else { Reply::UNCHANGED })
    }

    /// Ends another's.
    pub(super) async fn uninvite(&self, name: &Name, invitee: Uuid) -> Outcome {
        let room = self.store.standing(name, self.identity).await?.room.id;
        let user = self.identity.user;
        let withdrawing = self
            .store
            .ask(async move |store| members::uninvite(store.db.pool(), room, user, invitee).await);
        match withdrawing.await? {
            None => Ok(Reply::DONE),
            Some(refused) => refusal(&refused).map_or(Ok(Reply::UNCHANGED), Err),
        }
    }

    pub(super) async fn invitations(&self, after: Option<Name>) -> Outcome {
        let user = self.identity.user;
        let reading = self.store.ask(async move |store| {
            let after = after.as_ref().map(Name::as_str);
            rooms::invitations(store.db.pool(), user, after, PAGE).await
        });
        let invitations = reading.await?.into_iter().map(|invitation| {
            let rooms::Room { name, title, durable, public, .. } = invitation.room;
            let (invited_by, at) = (invitation.invited_by, invitation.created_at);
            Invitation { room: name, title, durable, public, invited_by, at }
        });
        let invitations: Vec<_> = invitations.collect();
        Ok(Reply::Invitations(Invitations { more: is_full(invitations.len()), invitations }))
    }
}
