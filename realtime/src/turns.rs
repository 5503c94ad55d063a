//! Whose turn it is to ask the database: a user has so many statements under way on a node, from however
//! many sockets, and leaves the other connections of the pool to the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Commands of one user under way that ask the database, and as many sign-ins. No setting: together less than
/// the pool by default, and more than one person's tabs need.
const PER_USER: usize = 4;

/// The users who have or wait for a turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Uuid, Arc<Semaphore>>>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    // Given back before the seat.
    _permit: Option<OwnedSemaphorePermit>,
    _seat: Seat,
}

/// Somebody who has a turn or waits for one. The last one leaves nothing behind.
#[derive(Debug)]
struct Seat {
    turns: Arc<Turns>,
    user: Uuid,
    permits: Arc<Semaphore>,
}

impl Turns {
    /// Waits for a turn of this user; those who wait have theirs in the order in which they came.
    pub(crate) async fn take(self: &Arc<Self>, user: Uuid) -> Turn {
        let new = || Arc::new(Semaphore::new(PER_USER));
        let permits = Arc::clone(self.lock().entry(user).or_insert_with(new));
        let seat = Seat { turns: Arc::clone(self), user, permits: Arc::clone(&permits) };
        // Nobody closes it.
        Turn { _permit: permits.acquire_owned().await.ok(), _seat: seat }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        // The map's and its own.
        if Arc::strong_count(&self.permits) == 2 {
            turns.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_user_has_so_many_turns_and_the_next_is_the_firsts_who_waits() {
        let turns = Arc::new(Turns::default());
        let (ann, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let taken = |turns: &Arc<Turns>, user| turns.take(user).now_or_never();
        let mut held: Vec<_> = (0..PER_USER).map(|_| taken(&turns, ann).unwrap()).collect();
        assert!(taken(&turns, ann).is_none());
        assert!(taken(&turns, bob).is_some(), "others do not wait for her");
        let (mut first, mut second) = (Box::pin(turns.take(ann)), Box::pin(turns.take(ann)));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        held.pop();
        assert!((&mut second).now_or_never().is_none(), "it came later");
        let turn = (&mut first).now_or_never().unwrap();
        drop(turn);
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn who_has_had_a_turn_or_given_up_leaves_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let ann = Uuid::from_u128(1);
        let held: Vec<_> = (0..PER_USER).map(|_| turns.take(ann).now_or_never()).collect();
        let mut waits = Box::pin(turns.take(ann));
        assert!((&mut waits).now_or_never().is_none());
        drop(held);
        assert_eq!(turns.lock().len(), 1, "somebody waits still");
        drop(waits);
        assert!(turns.lock().is_empty());
    }
}
