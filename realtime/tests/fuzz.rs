//! The fuzz targets' checks, built as `realtime/fuzz` builds them, against what the crate shows to
//! others, and run with bytes at random. Its own build needs nightly, so nothing else keeps it whole.

// The checks call it `crate::frame`.
use targets::frame;

use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::{Config, RngSeed};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "they are public in the crate that they are of")]
mod targets;

proptest! {
    #![proptest_config(Config {
        cases: 64,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    })]

    #[test]
    fn every_fuzz_target_holds_with_bytes_at_random(data in vec(any::<u8>(), 0..400)) {
        targets::bytes(&data);
        targets::frames(&data);
        targets::messages(&data);
        targets::encode(&data);
    }
}

#[test]
fn every_fuzz_target_is_listed_and_calls_its_check() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
    let list = std::fs::read_to_string(format!("{folder}/Cargo.toml")).unwrap();
    let checks = std::fs::read_to_string(format!("{folder}/src/lib.rs")).unwrap();
    let names: Vec<&str> =
        checks.lines().filter_map(|line| line.strip_prefix("pub fn ")?.split('(').next()).collect();
    assert_eq!(names.len(), 4);
    for name in names {
        assert!(list.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        let target = std::fs::read_to_string(format!("{folder}/targets/{name}.rs")).unwrap();
        assert!(target.contains(&format!("realtime_fuzz::{name}(data)")), "{name}");
    }
}
