//! The Lambda binaries and the template that deploys them, with AWS's own tools.
//!
//! `cargo dev test` installs the tools and builds the binaries, and says where they are in
//! `TEST_AWS_TOOLS` and `TEST_FUNCTIONS`.
#![expect(
    clippy::future_not_send,
    reason = "the channel of moto's lines is for one thread, as a test is"
)]

mod courier;
mod emulator;
mod events;
mod functions;
mod http;
mod moto;
mod secrets;
mod stack;
mod template;
mod tools;
mod watch;
