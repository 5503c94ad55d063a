//! The `cargo dev` commands.
fn main() {}
