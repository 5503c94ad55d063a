//! The checks against the reference with inputs at random, the same ones at each run.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::source::Source;
use super::*;

/// The seed: a failure is one again.
const SEED: [u8; 32] = *b"Keywire frames the same bytes...";

/// Runs `check` on bytes at random, and reports the smallest that fail.
fn run(cases: u32, most: usize, mut check: impl FnMut(&[u8])) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let check = RefCell::new(&mut check);
    let outcome = TestRunner::new_with_rng(config, rng).run(&vec(any::<u8>(), 0..most), |data| {
        (check.borrow_mut())(&data);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn arbitrary_bytes_end_as_with_tungstenite() {
    run(2000, 60, reference::agree);
}

#[test]
fn almost_right_streams_end_as_with_tungstenite() {
    run(2000, 400, reference::agree_on_frames);
}

#[test]
fn what_a_tungstenite_client_writes_is_read() {
    run(150, 400, reference::read_what_a_client_writes);
}

#[test]
fn a_tungstenite_client_reads_what_is_encoded() {
    run(150, 400, reference::a_client_reads_what_is_encoded);
}

/// Else the checks above would pass for want of cases.
#[test]
fn almost_right_streams_break_every_rule_and_none() {
    let (mut rules, mut whole) = (Vec::new(), 0);
    run(2000, 400, |data| match parse_within(1000, Source::new(data).frames()) {
        (_, Err(violation)) if rules.contains(&violation) => {}
        (_, Err(violation)) => rules.push(violation),
        (frames, Ok(())) => whole += usize::from(frames.len() > 5),
    });
    assert_eq!(rules.len(), 14, "{rules:?}");
    assert!(whole > 50, "{whole}");
}
