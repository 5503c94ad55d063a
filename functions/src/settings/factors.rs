//! Settings of second factors and passkeys.

use std::time::Duration;

use shared::settings::{Rate, Reader};

/// The group.
#[derive(Debug, Clone)]
pub struct Factors {
    /// `LIMIT_PASSKEY_ADDRESS`.
    pub passkey_address: Option<Rate>,
    /// `PASSKEYS_MAX`: passkeys that an account may have.
    pub passkeys_max: u32,
    /// `SERVICE_NAME`: how authenticators call the service.
    pub service_name: String,
    /// `RECENT_SIGN_IN`: how long after a sign-in factors may be changed.
    pub recent_sign_in: Duration,
    /// `CHALLENGE_LIFETIME`: how long a challenge is good.
    pub challenge_lifetime: Duration,
    /// `SECOND_FACTOR_TRIES`: codes that may be tried with one challenge.
    pub second_factor_tries: u32,
}

impl Factors {
    /// Reads the group.
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            passkey_address: reader.get(
                "LIMIT_PASSKEY_ADDRESS",
                "60/min burst 30",
                "Requests to sign in with a passkey, two for each sign-in, from one network (IPv4 /32, IPv6 /64); `off` for none.",
            ),
            passkeys_max: reader.get_in(
                "PASSKEYS_MAX",
                "20",
                ("1", "1000"),
                "Passkeys that an account may have.",
            ),
            service_name: reader.get(
                "SERVICE_NAME",
                "Keywire",
                "How authenticator apps and passkey dialogs call the service.",
            ),
            recent_sign_in: reader.get_in(
                "RECENT_SIGN_IN",
                "10min",
                ("10s", "24h"),
                "How long after a sign-in factors may be added and removed; longer gives whoever finds a session open more time.",
            ),
            challenge_lifetime: reader.get_in(
                "CHALLENGE_LIFETIME",
                "5min",
                ("10s", "1h"),
                "How long a challenge is good: for a second factor after the password, and for a passkey.",
            ),
            second_factor_tries: reader.get_in(
                "SECOND_FACTOR_TRIES",
                "5",
                ("1", "100"),
                "Codes that may be tried after one right password; then it must be typed again. LOCK_AFTER, LOCK_STOP and LIMIT_LOGIN_ADDRESS hold for codes, too, counted apart.",
            ),
        }
    }
}
