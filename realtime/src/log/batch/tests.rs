//! Limits, order, halves and expiry.

use std::sync::Arc;

use shared::db::log::NewEntry;
use tokio::sync::oneshot::{self, Receiver};
use uuid::Uuid;

use super::*;

type Outcomes = Vec<Receiver<Result<Outcome, Unanswered>>>;

/// An item of so many bytes, known by its room.
fn item(room: i64, bytes: usize, until: Instant) -> (Item, Receiver<Result<Outcome, Unanswered>>) {
    let entry = NewEntry::Message { body: Arc::from("x".repeat(bytes)) };
    let append = Append { room, user: Uuid::nil(), moderates: false, key: Uuid::nil(), entry };
    let (answer, outcome) = oneshot::channel();
    let answer = Answer(Box::new(|told| drop(answer.send(told))));
    (Item { append, answer, until }, outcome)
}

/// A queue of so many items of so many bytes, and who waits for them.
fn waiting(many: usize, bytes: usize) -> (Waiting, Outcomes) {
    let mut waiting = Waiting::default();
    let mut outcomes = Vec::new();
    for room in (0..).take(many) {
        let (item, outcome) = item(room, bytes, Instant::now() + UNKNOWN_AFTER);
        if let Some(item) = waiting.push(item) {
            item.give_up();
        }
        outcomes.push(outcome);
    }
    (waiting, outcomes)
}

fn rooms(batch: &Batch) -> Vec<i64> {
    batch.appends.iter().map(|append| append.room).collect()
}

fn told(outcomes: &mut Outcomes) -> Vec<Option<Result<Outcome, Unanswered>>> {
    outcomes.iter_mut().map(|outcome| outcome.try_recv().ok()).collect()
}

#[test]
fn a_batch_has_the_oldest_items_up_to_a_number() {
    let (mut waiting, _outcomes) = waiting(BATCH_ITEMS + 2, 1);
    let first = waiting.take().unwrap();
    assert!(rooms(&first).into_iter().eq((0..).take(BATCH_ITEMS)));
    assert_eq!(rooms(&waiting.take().unwrap()), [512, 513]);
    assert!(waiting.take().is_none());
    assert_eq!((waiting.all, waiting.users.len()), (Amount::default(), 0));
}

#[test]
fn a_batch_has_items_up_to_so_many_bytes_and_a_larger_one_alone() {
    let (mut few, _outcomes) = waiting(3, BATCH_BYTES / 2 - ITEM_BYTES);
    assert_eq!(rooms(&few.take().unwrap()), [0, 1]);
    assert_eq!(rooms(&few.take().unwrap()), [2]);
    let (mut large, _outcomes) = waiting(2, BATCH_BYTES);
    assert_eq!(rooms(&large.take().unwrap()), [0]);
    assert_eq!(rooms(&large.take().unwrap()), [1]);
}

#[test]
fn what_a_full_queue_has_no_room_for_is_given_up_at_once() {
    for (many, bytes) in [(QUEUE_ITEMS, 1), (8, QUEUE_BYTES / 8 - ITEM_BYTES)] {
        let (mut waiting, mut outcomes) = waiting(many, bytes);
        assert!(told(&mut outcomes).iter().all(Option::is_none));
        let (late, mut outcome) = item(0, bytes, Instant::now() + UNKNOWN_AFTER);
        waiting.push(late).unwrap().give_up();
        assert_eq!(outcome.try_recv().unwrap(), Err(Unanswered::Unavailable));
        assert!(waiting.take().is_some());
        let (next, _outcome) = item(0, bytes, Instant::now() + UNKNOWN_AFTER);
        assert!(waiting.push(next).is_none(), "there is room again");
    }
}

#[test]
fn who_has_waited_too_long_is_told_and_left_out() {
    let now = Instant::now();
    let mut waiting = Waiting::default();
    let mut outcomes = Vec::new();
    for (room, seconds) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let (item, outcome) = item(room, 1, now + Duration::from_secs(seconds));
        assert!(waiting.push(item).is_none());
        outcomes.push(outcome);
    }
    for late in waiting.expire(now + Duration::from_secs(1)) {
        late.give_up();
    }
    let mut batch = waiting.take().unwrap();
    assert_eq!(rooms(&batch), [1, 2, 3]);
    // While a call is in flight its entries stay as they are.
    batch.replies.expire(now + Duration::from_secs(2));
    assert_eq!(rooms(&batch), [1, 2, 3]);
    let unavailable = Some(Err(Unanswered::Unavailable));
    assert_eq!(told(&mut outcomes), [unavailable.clone(), unavailable.clone(), None, None]);
    assert!(batch.expire(now + Duration::from_secs(3)));
    assert_eq!(rooms(&batch), [3]);
    assert!(!batch.expire(now + Duration::from_secs(4)));
    assert_eq!(told(&mut outcomes), [None, None, unavailable.clone(), unavailable]);
}

#[test]
fn each_is_told_its_own_outcome() {
    let (mut waiting, mut outcomes) = waiting(3, 1);
    let batch = waiting.take().unwrap();
    // Who no longer waits harms nobody.
    drop(outcomes.remove(1));
    batch.answer(vec![Outcome::Muted, Outcome::Unchanged, Outcome::Forbidden]);
    assert_eq!(told(&mut outcomes), [Some(Ok(Outcome::Muted)), Some(Ok(Outcome::Forbidden))]);
}

#[test]
fn halves_keep_the_order_down_to_single_items() {
    let (mut waiting, mut outcomes) = waiting(3, 1);
    let (first, second) = waiting.take().unwrap().halve().unwrap();
    assert_eq!((rooms(&first), rooms(&second)), (vec![0], vec![1, 2]));
    let single = first.halve().unwrap_err();
    single.fail(Unanswered::Fault);
    second.answer(vec![Outcome::Muted, Outcome::Forbidden]);
    let [fault, muted, forbidden] = &told(&mut outcomes)[..] else { unreachable!() };
    assert_eq!(*fault, Some(Err(Unanswered::Fault)));
    assert_eq!((muted, forbidden), (&Some(Ok(Outcome::Muted)), &Some(Ok(Outcome::Forbidden))));
}

#[test]
fn how_full_it_is_and_of_whom_is_known_by_items_and_by_bytes() {
    for (quarter, bytes) in [(QUEUE_ITEMS / 4, 1), (8, QUEUE_BYTES / 32 - ITEM_BYTES)] {
        let mut waiting = Waiting::default();
        let push = |waiting: &mut Waiting, user: u128| {
            let (mut item, _) = item(0, bytes, Instant::now() + UNKNOWN_AFTER);
            item.append.user = Uuid::from_u128(user);
            assert!(waiting.push(item).is_none());
        };
        for _ in 0..quarter {
            push(&mut waiting, 1);
        }
        assert!(waiting.fill().is_low() && waiting.fill_of(Uuid::from_u128(1)).is_low());
        // Beyond a quarter by a part of it, in which the fill is told.
        for _ in 0..=quarter / 100 {
            push(&mut waiting, 1);
        }
        assert!(!waiting.fill().is_low() && !waiting.fill_of(Uuid::from_u128(1)).is_low());
        assert!(waiting.fill().is_eased() && waiting.fill_of(Uuid::from_u128(2)).is_low());
        for user in 0..quarter as u128 {
            push(&mut waiting, 2 + user);
        }
        assert!(waiting.fill().is_high() && !waiting.fill().is_eased());
        assert!(waiting.fill_of(Uuid::from_u128(2)).is_low());
        while waiting.take().is_some() {}
        assert_eq!((waiting.all, waiting.users.len()), (Amount::default(), 0));
    }
}
