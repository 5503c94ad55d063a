//! Everything in one process on a laptop, and the `cargo dev` commands.

pub mod child;
pub mod dev;
pub mod places;
pub mod postgres;
mod tools;
