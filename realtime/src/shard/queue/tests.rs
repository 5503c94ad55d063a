//! Order, the cap, classes, and frame boundaries.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::frame::{Opcode, encode};
use crate::pressure::Patience;

const CAP: usize = 1_000;
const RULES: Rules = Rules {
    cap: CAP,
    patience: Patience { stall: Duration::from_millis(200), pause: Duration::from_secs(2) },
};

fn frame(payload: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    encode::append(&mut frame, Opcode::Binary, payload);
    frame.into()
}

fn on_account(frames: &Bytes) -> Frames {
    Frames::new(frames.clone(), &Rc::default())
}

fn push(queue: &mut Queue, class: Class, frames: &Bytes) -> Result<usize, Full> {
    queue.push(class, on_account(frames), 0, &RULES, Instant::now())
}

/// Writes at most so many bytes and tells which.
fn write(queue: &mut Queue, most: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let (count, _) = queue.next(&mut slices, most);
    let mut bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    bytes.truncate(most);
    queue.taken(bytes.len(), &RULES, Instant::now());
    bytes
}

#[test]
fn what_is_pushed_comes_out_in_order_however_it_is_cut() {
    let frames: Vec<_> = (0..8).map(|n: u8| frame(&vec![n; usize::from(n)])).collect();
    for piece in [1, 3, 7, 1_000] {
        let mut queue = Queue::default();
        for frame in &frames {
            push(&mut queue, Class::Kept, frame).unwrap();
        }
        let mut out = Vec::new();
        while !queue.is_empty() {
            out.extend(write(&mut queue, piece));
        }
        assert_eq!(out, frames.concat(), "in pieces of {piece}");
        assert_eq!(queue.bytes(), 0);
    }
}

#[test]
fn a_queue_never_holds_more_than_its_cap() {
    let mut queue = Queue::default();
    let empty = frame(b"");
    let mut count = 0;
    // Empty messages count, too: each costs its entry.
    while push(&mut queue, Class::Kept, &empty).is_ok() {
        count += 1;
    }
    assert_eq!(count, CAP / (ENTRY_BYTES + empty.len()));
    assert!(queue.bytes() <= CAP);
}

#[test]
fn droppable_frames_go_first_the_oldest_before_the_newest() {
    let mut queue = Queue::default();
    let (kept, old, new) = (frame(&[1; 280]), frame(&[2; 200]), frame(&[3; 200]));
    assert_eq!(push(&mut queue, Class::Droppable, &old), Ok(0));
    assert_eq!(push(&mut queue, Class::Kept, &kept), Ok(0));
    assert_eq!(push(&mut queue, Class::Droppable, &new), Ok(0));
    assert_eq!(push(&mut queue, Class::Kept, &kept), Ok(1), "the old one makes room");
    assert_eq!(push(&mut queue, Class::Kept, &frame(&[4; 100])), Ok(1), "then the new one");
    assert_eq!(push(&mut queue, Class::Kept, &kept), Err(Full), "then none is left");
    let out = write(&mut queue, CAP);
    assert_eq!(out, [&kept[..], &kept, &frame(&[4; 100])].concat());
}

#[test]
fn fleeting_frames_go_before_droppable_ones_and_are_not_taken_behind_more_than_a_quarter() {
    let mut queue = Queue::default();
    let (message, typing) = (frame(&[1; 50]), frame(&[2; 30]));
    assert_eq!(push(&mut queue, Class::Droppable, &message), Ok(0));
    for class in [Class::Fleeting, Class::Fleeting, Class::Droppable] {
        assert_eq!(push(&mut queue, class, &typing), Ok(0));
    }
    assert_eq!(push(&mut queue, Class::Fleeting, &typing), Ok(1), "too much waits");
    let kept = [frame(&[3; 400]), frame(&[4; 200]), frame(&[5; 60])];
    assert_eq!(push(&mut queue, Class::Kept, &kept[0]), Ok(0));
    assert_eq!(push(&mut queue, Class::Kept, &kept[1]), Ok(2), "both, and no message");
    assert_eq!(push(&mut queue, Class::Kept, &kept[2]), Ok(1), "then the oldest message");
    assert_eq!(write(&mut queue, CAP), [&typing[..], &kept.concat()].concat());
}

#[test]
fn of_a_frame_that_is_begun_nothing_is_dropped() {
    let mut queue = Queue::default();
    let frames = on_account(&frame(&[1; 2 * CAP]));
    let pushed = queue.push(Class::Droppable, frames, 10, &RULES, Instant::now());
    assert_eq!(pushed, Err(Full));
}

#[test]
fn a_droppable_frame_that_finds_no_room_is_dropped_and_closes_nobody() {
    let mut queue = Queue::default();
    push(&mut queue, Class::Kept, &frame(&[1; 900])).unwrap();
    let before = queue.bytes();
    assert_eq!(push(&mut queue, Class::Droppable, &frame(&[2; 100])), Ok(1));
    assert_eq!(queue.bytes(), before);
}

#[test]
fn a_droppable_frame_under_way_is_written_to_its_end() {
    let mut queue = Queue::default();
    let begun = frame(&[1; 400]);
    push(&mut queue, Class::Droppable, &begun).unwrap();
    let mut out = write(&mut queue, 1);
    let kept = frame(&[2; 400]);
    assert_eq!(push(&mut queue, Class::Kept, &kept), Ok(0));
    assert_eq!(push(&mut queue, Class::Kept, &kept), Err(Full));
    out.extend(write(&mut queue, CAP));
    assert_eq!(out, [begun, kept].concat());
}

#[test]
fn the_rest_of_a_frame_ends_at_its_boundary() {
    for size in [0, 125, 126, 300] {
        let first = frame(&vec![7; size]);
        let run: Bytes = [&first[..], &frame(b"second")].concat().into();
        for written in 0..=run.len() {
            let mut queue = Queue::default();
            push(&mut queue, Class::Kept, &run).unwrap();
            write(&mut queue, written);
            let end = if written <= first.len() { first.len() } else { run.len() };
            let rest = if written == 0 { 0 } else { end - written };
            assert_eq!(queue.rest_of_frame(), &run[written..written + rest], "{size} {written}");
        }
    }
}

#[test]
fn what_the_socket_took_at_once_does_not_wait() {
    let (begun, next) = (frame(b"begun"), frame(b"next"));
    let mut queue = Queue::default();
    queue.push(Class::Kept, on_account(&begun), 3, &RULES, Instant::now()).unwrap();
    assert_eq!(queue.bytes(), begun.len() - 3 + ENTRY_BYTES);
    assert_eq!(queue.rest_of_frame(), &begun[3..]);
    push(&mut queue, Class::Kept, &next).unwrap();
    assert_eq!(write(&mut queue, CAP), [&begun[3..], &next].concat());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn clearing_keeps_the_rest_of_the_frame_under_way_and_no_more() {
    let (first, second) = (frame(b"first"), frame(b"second"));
    let run: Bytes = [&first[..], &second].concat().into();
    let mut queue = Queue::default();
    push(&mut queue, Class::Kept, &run).unwrap();
    push(&mut queue, Class::Kept, &second).unwrap();
    write(&mut queue, 3);
    queue.clear();
    // Still in the middle of it: no control frame may go out before its end.
    assert_eq!(queue.rest_of_frame(), &first[3..]);
    queue.clear();
    assert_eq!(write(&mut queue, CAP), &first[3..]);
    push(&mut queue, Class::Kept, &run).unwrap();
    queue.clear();
    assert!(queue.is_empty());
    assert_eq!(queue.bytes(), 0);
}

#[test]
fn over_half_its_cap_it_pauses_publishers_until_it_is_read() {
    let mut queue = Queue::default();
    let now = Instant::now();
    push(&mut queue, Class::Kept, &frame(&[0; CAP / 2])).unwrap();
    assert!(queue.pauses_until(&RULES, now).is_some());
    queue.refused(now);
    assert_eq!(queue.pauses_until(&RULES, now + RULES.patience.stall), None);
    write(&mut queue, 200);
    assert_eq!(queue.pauses_until(&RULES, now), None, "under half");
}

proptest::proptest! {
    #[test]
    fn the_count_of_bytes_is_right_whatever_happens(
        steps in proptest::collection::vec((0..4_u8, 0..400_usize), 0..200)
    ) {
        let mut queue = Queue::default();
        for (step, size) in steps {
            match step {
                0 => drop(push(&mut queue, Class::Kept, &frame(&vec![0; size]))),
                1 => drop(push(&mut queue, Class::Droppable, &frame(&vec![0; size]))),
                2 => drop(write(&mut queue, size)),
                _ => queue.clear(),
            }
            let waiting: usize = queue.runs.iter().map(|run| run.frames.len() + ENTRY_BYTES).sum();
            proptest::prop_assert_eq!(queue.bytes(), waiting - queue.written);
            proptest::prop_assert!(queue.bytes() <= CAP);
            let rest = queue.rest_of_frame().len();
            proptest::prop_assert!(rest <= queue.bytes());
        }
    }
}
