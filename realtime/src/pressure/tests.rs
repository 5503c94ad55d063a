//! The rule, without queues and sockets.

use super::*;

const CAP: usize = 1_000;
const STALL: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_secs(2);
const RULES: Rules = Rules { cap: CAP, patience: Patience { stall: STALL, pause: PAUSE } };
const MILLISECOND: Duration = Duration::from_millis(1);
/// Just over half the cap.
const MUCH: usize = CAP / 2 + 1;

/// A reader for which just over half the cap waits.
fn pressing(now: Instant) -> Pressure {
    let mut pressure = Pressure::default();
    pressure.grown(MUCH, &RULES, now);
    pressure
}

#[test]
fn below_half_the_cap_nobody_waits() {
    let now = Instant::now();
    let mut pressure = Pressure::default();
    pressure.grown(CAP / 2, &RULES, now);
    pressure.refused(now);
    assert_eq!(pressure.pauses_until(CAP / 2, &RULES, now), None);
}

#[test]
fn a_reader_that_still_takes_bytes_pauses_the_publishers() {
    let start = Instant::now();
    let mut pressure = pressing(start);
    for step in 1..10 {
        let now = start + step * STALL / 2;
        pressure.accepted();
        pressure.refused(now);
        assert!(pressure.pauses_until(MUCH, &RULES, now).is_some(), "step {step}");
    }
    let now = start + 5 * STALL;
    pressure.shrunk(MUCH, 0, &RULES, now);
    assert_eq!(pressure.pauses_until(0, &RULES, now), None);
}

#[test]
fn a_reader_that_takes_nothing_stops_pausing_after_the_stall_time() {
    let start = Instant::now();
    let mut pressure = pressing(start);
    pressure.refused(start);
    pressure.refused(start + 100 * MILLISECOND);
    let until = pressure.pauses_until(MUCH, &RULES, start + 100 * MILLISECOND);
    assert_eq!(until, Some(start + STALL));
    assert_eq!(pressure.pauses_until(MUCH, &RULES, start + STALL), None);
}

#[test]
fn a_trickling_reader_pauses_for_the_limit_and_no_longer() {
    let start = Instant::now();
    let mut pressure = pressing(start);
    let mut paused = Duration::ZERO;
    for step in 0..10_000 {
        let now = start + step * MILLISECOND;
        pressure.accepted();
        pressure.refused(now);
        if pressure.pauses_until(MUCH, &RULES, now).is_some() {
            paused += MILLISECOND;
        }
    }
    assert_eq!(paused, PAUSE);
}

#[test]
fn a_slow_reader_pauses_for_no_longer_than_what_it_takes_earns() {
    const MESSAGE: usize = 100;
    let start = Instant::now();
    let mut pressure = pressing(start);
    let (mut waiting, mut paused, mut taken) = (MUCH, Duration::ZERO, 0);
    for step in 0..60_000 {
        let now = start + step * MILLISECOND;
        if step % 500 == 0 && waiting >= MESSAGE {
            waiting -= MESSAGE;
            taken += 1;
            pressure.shrunk(MESSAGE, waiting, &RULES, now);
            pressure.accepted();
        }
        pressure.refused(now);
        if pressure.pauses_until(waiting, &RULES, now).is_some() {
            paused += MILLISECOND;
        } else if waiting + MESSAGE > CAP {
            // Its connection is closed 4008.
            break;
        } else {
            waiting += MESSAGE;
            pressure.grown(waiting, &RULES, now);
        }
    }
    assert!(paused <= PAUSE + taken * RULES.earned(MESSAGE), "{paused:?} for {taken} messages");
}

#[test]
fn a_process_that_is_behind_itself_keeps_its_readers() {
    let start = Instant::now();
    let pressure = pressing(start);
    // Nobody tried to write yet, so the reader has refused nothing, however long it takes.
    assert!(pressure.pauses_until(MUCH, &RULES, start + 10 * PAUSE).is_some());
}
