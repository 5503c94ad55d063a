//! Integration tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod app;
mod asyncapi;
#[path = "../../../shared/src/webauthn/tests/authenticator.rs"]
mod authenticator;
#[cfg(target_os = "linux")]
mod aws;
mod checker;
mod contracts;
mod database;
mod discovery;
mod docs;
mod enrolled;
mod faulty;
mod housekeeping;
mod input;
mod keys;
mod lock_order;
mod log;
mod login;
mod logs;
mod mail;
mod openapi;
#[cfg(target_os = "linux")]
mod outage;
mod parked;
mod pool;
mod profile;
mod realtime;
mod recovery;
mod register;
mod rotation;
mod run;
mod session;
mod statements;
mod users;
