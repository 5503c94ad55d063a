#![no_main]
//! Runs `realtime_fuzz::bytes`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::bytes(data));
