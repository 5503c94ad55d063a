//! Integration tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[cfg(target_os = "linux")]
mod aws;
mod run;
