//! The `cargo dev` commands.

pub mod aws_tools;
