//! What the functions and the realtime node both need: settings, keys, tokens, SQL, errors.
//!
//! It knows no Lambda, no Redis and no socket.

pub mod client_address;
pub mod clock;
pub mod extract;
pub mod front;
pub mod problem;
pub mod settings;
pub mod telemetry;
