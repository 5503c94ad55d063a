//! What every node is told at once, by `NOTIFY` in the statement that changes it.
//!
//! A payload is a kind and an id, like `session 01a204df-…`. It only says what to look at again: the
//! rows decide, so that a notice that is lost, late or doubled does no harm.

/// The channel: a session has ended (`session` and its id), or a user's sessions, roles, status or
/// password changed (`user` and the id).
pub const REVOKED: &str = "keywire_revoked";
