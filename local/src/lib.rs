//! Keywire in one process.
