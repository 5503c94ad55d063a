#![no_main]
//! Runs `realtime_fuzz::frames`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::frames(data));
