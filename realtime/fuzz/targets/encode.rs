#![no_main]
//! Runs `realtime_fuzz::encode`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::encode(data));
