//! `keywire.v1`: rooms, the log and resume, over real sockets.

mod access;
pub(crate) mod client;
mod drain;
mod elsewhere;
mod ephemeral;
mod faults;
mod floods;
mod invitations;
mod log;
mod mutes;
mod presence;
mod races;
mod resume;
mod retention;
mod revocation;
mod rooms;
mod sign_in;
