//! Each endpoint's router, used unchanged by its Lambda binary and by the local process.

#[cfg(feature = "lambda")]
pub mod lambda;
