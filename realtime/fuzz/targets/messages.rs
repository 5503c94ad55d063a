#![no_main]
//! Runs `realtime_fuzz::messages`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::messages(data));
