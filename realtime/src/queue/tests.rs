//! The backlog's rules, without sockets.

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Item(usize);

impl Cost for Item {
    fn bytes(&self) -> usize {
        self.0
    }
}

const CAP: usize = 1_000;
const STALL: Duration = Duration::from_millis(200);
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
const PATIENCE: Patience = Patience { stall: STALL, pause: PAUSE_LIMIT };
const MILLISECOND: Duration = Duration::from_millis(1);

/// A backlog just over half its cap.
fn pressing(now: Instant) -> Backlog<Item> {
    let mut backlog = Backlog::new(CAP, PATIENCE);
    backlog.push(Item(CAP / 2), now).unwrap();
    backlog
}

#[test]
fn a_queue_never_holds_more_than_its_cap() {
    let now = Instant::now();
    let mut backlog = Backlog::new(CAP, PATIENCE);
    for _ in 0..10_000 {
        // Empty messages count, too: each costs its entry.
        if backlog.push(Item(0), now).is_err() {
            break;
        }
    }
    assert_eq!(backlog.items.len(), CAP / ENTRY_BYTES);
    assert!(backlog.bytes() <= CAP);
    assert_eq!(backlog.push(Item(100), now), Err(Full));
}

#[test]
fn below_half_the_cap_nobody_waits() {
    let now = Instant::now();
    let mut backlog = Backlog::new(CAP, PATIENCE);
    backlog.push(Item(CAP / 4), now).unwrap();
    backlog.refused(now);
    assert_eq!(backlog.pauses_until(now), None);
}

#[test]
fn a_reader_that_still_takes_bytes_pauses_the_publishers() {
    let start = Instant::now();
    let mut backlog = pressing(start);
    for step in 1..10 {
        let now = start + step * STALL / 2;
        backlog.accepted();
        backlog.refused(now);
        assert!(backlog.pauses_until(now).is_some(), "step {step}");
    }
    backlog.pop(start + 5 * STALL);
    assert_eq!(backlog.pauses_until(start + 5 * STALL), None);
}

#[test]
fn a_reader_that_takes_nothing_stops_pausing_after_the_stall_time() {
    let start = Instant::now();
    let mut backlog = pressing(start);
    backlog.refused(start);
    backlog.refused(start + 100 * MILLISECOND);
    assert_eq!(backlog.pauses_until(start + 100 * MILLISECOND), Some(start + STALL));
    assert_eq!(backlog.pauses_until(start + STALL), None);
}

#[test]
fn a_trickling_reader_pauses_for_the_limit_and_no_longer() {
    let start = Instant::now();
    let mut backlog = pressing(start);
    let mut paused = Duration::ZERO;
    for step in 0..10_000 {
        let now = start + step * MILLISECOND;
        backlog.accepted();
        backlog.refused(now);
        if backlog.pauses_until(now).is_some() {
            paused += MILLISECOND;
        }
    }
    assert_eq!(paused, PAUSE_LIMIT);
}

#[test]
fn a_slow_reader_pauses_for_no_longer_than_what_it_takes_earns() {
    let start = Instant::now();
    let mut backlog = pressing(start);
    let (mut paused, mut taken) = (Duration::ZERO, 0);
    for step in 0..60_000 {
        let now = start + step * MILLISECOND;
        if step % 500 == 0 && backlog.pop(now).is_some() {
            taken += 1;
            backlog.accepted();
        }
        backlog.refused(now);
        if backlog.pauses_until(now).is_some() {
            paused += MILLISECOND;
        } else if backlog.push(Item(0), now).is_err() {
            // Its connection is closed 4008.
            break;
        }
    }
    // The first item was half the cap, the others are empty.
    let first = earned(CAP / 2 + ENTRY_BYTES, CAP, PAUSE_LIMIT);
    let other = earned(ENTRY_BYTES, CAP, PAUSE_LIMIT);
    assert!(paused <= PAUSE_LIMIT + first + taken * other, "{paused:?} for {taken} items");
}

#[test]
fn a_process_that_is_behind_itself_keeps_its_readers() {
    let start = Instant::now();
    let backlog = pressing(start);
    // Nobody tried to write yet, so the reader has refused nothing, however long it takes.
    assert!(backlog.pauses_until(start + 10 * PAUSE_LIMIT).is_some());
}

#[tokio::test]
async fn falling_below_half_rings_the_waiting_publishers_and_frees_the_total() {
    let pool = Arc::new(Pool::default());
    let queue = Queue::new(CAP, Arc::clone(&pool));
    assert_eq!(queue.push(Item(CAP / 4)), Ok(false));
    assert_eq!(queue.push(Item(CAP / 4)), Ok(true));
    assert_eq!(pool.bytes(), CAP / 2 + 2 * ENTRY_BYTES);
    let relief = pool.relief.notified();
    queue.pop().unwrap();
    tokio::time::timeout(Duration::from_secs(5), relief).await.unwrap();
    drop(queue);
    assert_eq!(pool.bytes(), 0);
}
