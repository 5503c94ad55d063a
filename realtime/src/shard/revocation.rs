//! The sessions on which a shard's sockets rest, and what a second look at them found.

use std::rc::Rc;

use shared::db::notices::Notice;
use uuid::Uuid;

use super::Shard;
use super::connection::Connection;
use crate::auth::{Identity, Verdict};
use crate::close::CloseCode;
use crate::revocation::{Open, PAGE, Which};

impl Shard {
    /// A connection is this user's from now on. If anything was heard since its session was looked at, what
    /// is heard of it may be gone by already. The user is in doubt, not the session: of one that is gone with
    /// its account only this shard can tell whose it was.
    pub(super) fn signed_in(&self, connection: &Rc<Connection>, identity: &Identity) {
        let mut users = self.users.borrow_mut();
        let theirs = users.entry(identity.user).or_default();
        if !theirs.iter().any(|one| Rc::ptr_eq(one, connection)) {
            theirs.push(Rc::clone(connection));
        }
        drop(users);
        let Some(store) = &self.shared.store else { return };
        let doubts = store.auth.doubts();
        if doubts.heard() != identity.heard {
            doubts.add(Notice::User(identity.user));
        }
    }

    /// It has ended.
    pub(super) fn signed_out(&self, connection: &Connection, user: Uuid) {
        let mut users = self.users.borrow_mut();
        if let Some(theirs) = users.get_mut(&user) {
            theirs.retain(|one| !std::ptr::eq(&raw const **one, connection));
            if theirs.is_empty() {
                users.remove(&user);
            }
        }
    }

    /// The sessions on which these sockets rest.
    pub(super) fn sessions(&self, which: &Which) -> Open {
        match which {
            Which::Of(users) => {
                let all = self.users.borrow();
                let theirs = users.iter().filter_map(|user| all.get(user)).flatten();
                Open { sessions: theirs.filter_map(session).collect(), next: None }
            }
            Which::From(place) => {
                let all = self.connections.borrow();
                let end = place.saturating_add(u32::try_from(PAGE).unwrap_or(u32::MAX));
                let page = (*place..end.min(all.places())).filter_map(|place| all.get(place));
                let sessions = page.filter_map(session).collect();
                Open { sessions, next: (end < all.places()).then_some(end) }
            }
        }
    }

    /// Closes the sockets whose session has ended; the others may from now on what their users may.
    pub(super) fn judged(&self, verdicts: &[Verdict]) {
        for Verdict { user, session, moderates } in verdicts {
            let theirs = self.users.borrow().get(user).cloned().unwrap_or_default();
            for connection in theirs {
                if connection.whose() != Some((*user, *session)) {
                    continue;
                }
                match moderates {
                    None => connection.end(CloseCode::Forbidden),
                    Some(moderates) => connection.may_moderate(*moderates),
                }
            }
        }
    }
}

fn session(connection: &Rc<Connection>) -> Option<(Uuid, Option<Uuid>)> {
    connection.whose().map(|(user, session)| (session, Some(user)))
}
