//! What the functions and the realtime node both need: settings, keys, tokens, SQL, errors.
//!
//! It knows no Lambda, no Redis and no socket.

pub mod access_token;
pub mod challenge;
pub mod client_address;
pub mod clock;
pub mod credentials;
pub mod db;
pub mod extract;
pub mod front;
pub mod mail;
pub mod password;
pub mod problem;
pub mod rate_limit;
pub mod refresh_token;
pub mod role;
pub mod second_factor;
pub mod secret_token;
pub mod secrets;
pub mod settings;
pub mod telemetry;
pub mod usage;
pub mod webauthn;
