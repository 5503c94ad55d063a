//! Every close code the node sends or reports, and what a client does after it.
//!
//! The list is also `shared/contracts/close_codes.json`, which the clients read; a test holds them
//! equal.

use serde::Serialize;

/// What a client does after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconnect {
    /// Connect again after a random, growing wait.
    Backoff,
    /// Get a fresh access token first, once.
    Refresh,
    /// Do not connect again: it would end the same way.
    Never,
}

macro_rules! close_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $word:literal, $reconnect:ident;)*) => {
        /// A close code (RFC 6455 §7.4; from 4000 on our own).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum CloseCode { $($(#[doc = $doc])+ $name = $code,)* }

        impl CloseCode {
            /// Every code, for the fixture's test and the metrics.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word sent as the reason and used in logs, like `slow`.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// What a client does after it.
            pub fn reconnect(self) -> Reconnect {
                match self { $(Self::$name => Reconnect::$reconnect),* }
            }
        }
    };
}

close_codes! {
    /// The client said good-bye.
    Normal = 1000, "normal", Never;
    /// The page or the node goes away.
    GoingAway = 1001, "going_away", Backoff;
    /// The peer broke the framing rules.
    Protocol = 1002, "protocol", Never;
    /// A kind of message that is not taken.
    Unsupported = 1003, "unsupported", Never;
    /// No close frame: the connection broke off or was cut. Never sent.
    Abnormal = 1006, "abnormal", Backoff;
    /// A text that is not UTF-8.
    InvalidData = 1007, "invalid_data", Never;
    /// A message against the node's rules.
    Policy = 1008, "policy", Never;
    /// A message over `MESSAGE_BYTES`.
    TooBig = 1009, "too_big", Never;
    /// A fault of ours.
    Internal = 1011, "internal", Backoff;
    /// The node is drained for a restart.
    Restart = 1012, "restart", Backoff;
    /// The node is full, or a store is away.
    TryLater = 1013, "try_later", Backoff;
    /// No sign-in in time.
    SignInTimeout = 4400, "sign_in_timeout", Never;
    /// The access token is expired or not valid.
    Token = 4401, "token", Refresh;
    /// The session was revoked, the account disabled, or the action is forbidden.
    Forbidden = 4403, "forbidden", Never;
    /// The client read too slowly and its queue was full.
    Slow = 4008, "slow", Backoff;
    /// Too many commands for too long.
    RateLimited = 4029, "rate_limited", Backoff;
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        // A fieldless enum of u16 representation; the cast is its value.
        self as u16
    }

    /// The code with this number, if it is one of ours.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixture_lists_every_code_as_it_is() {
        let fixture = include_str!("../../shared/contracts/close_codes.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
        let ours: Vec<_> = CloseCode::ALL
            .iter()
            .map(|code| {
                serde_json::json!({
                    "code": code.number(),
                    "name": code.word(),
                    "reconnect": code.reconnect(),
                })
            })
            .collect();
        assert_eq!(fixture, serde_json::Value::Array(ours));
    }

    #[test]
    fn numbers_are_read_back() {
        for &code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(code));
        }
        assert_eq!(CloseCode::from_number(4999), None);
    }
}
