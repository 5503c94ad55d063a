//! How a new connection is taken in, or turned away.

use std::time::Duration;

use shared::settings::{Bytes, Reader};

use super::{Heartbeat, WAIT};

/// Shortest `TCP_USER_TIMEOUT` that follows from the heartbeat: a phone between two cells is not gone.
const USER_TIMEOUT_LEAST: Duration = Duration::from_secs(30);

/// How a new connection is taken in, or turned away.
#[derive(Debug, Clone)]
pub struct Accept {
    /// `FIRST_BYTE_TIMEOUT`: until the first byte.
    pub first_byte: Duration,
    /// `HEADER_TIMEOUT`: until a request's headers are whole.
    pub header: Duration,
    /// `SIGN_IN_TIMEOUT`: until a client of `keywire.v1` has signed in.
    pub sign_in: Duration,
    /// `HEADER_BYTES`: the largest request line and headers.
    pub header_bytes: Bytes,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Duration,
    /// `SPARE_CONNECTIONS`: connections served at once without a client's place.
    pub spare: usize,
    /// `SPARE_TIMEOUT`: how long each of them may take for its first byte and for its headers.
    pub spare_timeout: Duration,
    /// `FULL_RETRY_AFTER`: when a client that found no place should come again.
    pub full_retry: Duration,
}

impl Accept {
    pub(super) fn read(reader: &mut Reader, heartbeat: &Heartbeat) -> Self {
        Self {
            first_byte: reader.get_in(
                "FIRST_BYTE_TIMEOUT",
                "5s",
                WAIT,
                "How long a new connection may stay silent before it is cut.",
            ),
            header: reader.get_in(
                "HEADER_TIMEOUT",
                "10s",
                WAIT,
                "How long a request's headers may take; also how long an idle HTTP connection is kept.",
            ),
            sign_in: reader.get_in(
                "SIGN_IN_TIMEOUT",
                "10s",
                WAIT,
                "How long a socket that speaks keywire.v1 may stay without a sign-in before it is closed 4400.",
            ),
            header_bytes: reader.get_in(
                "HEADER_BYTES",
                "32 KiB",
                ("1 KiB", "256 KiB"),
                "The largest request line with its headers; a larger one gets 431.",
            ),
            user_timeout: user_timeout(reader, heartbeat),
            spare: reader.get_in(
                "SPARE_CONNECTIONS",
                "64",
                ("1", "1000"),
                "Connections served beside MAX_CONNECTIONS, so that a full node still answers: 503, `/health/*`, and on ADMIN_PORT.",
            ),
            spare_timeout: reader.get_in(
                "SPARE_TIMEOUT",
                "1s",
                WAIT,
                "How long each of them may take for its first byte and for its headers: who says nothing must not hide a full node's health for long.",
            ),
            full_retry: reader.get_in(
                "FULL_RETRY_AFTER",
                "5s",
                ("1s", "1h"),
                "The Retry-After of a 503 for want of a place. Raise it if refused clients come back in crowds.",
            ),
        }
    }
}

/// `TCP_USER_TIMEOUT`; a shorter one than the heartbeat's would cut who the heartbeat still waits for.
fn user_timeout(reader: &mut Reader, heartbeat: &Heartbeat) -> Duration {
    let given: Option<Duration> = reader.optional(
        "TCP_USER_TIMEOUT",
        "How long the kernel lets sent bytes stay unacknowledged before it gives a client up; by default PING_INTERVAL and PING_TIMEOUT together, and 30s at least.",
    );
    let silence = heartbeat.silence();
    let user_timeout = given.unwrap_or_else(|| silence.max(USER_TIMEOUT_LEAST));
    // The kernel takes at most 2^31 ms.
    if user_timeout < silence || user_timeout > Duration::from_hours(24 * 7) {
        reader.refuse("TCP_USER_TIMEOUT: PING_INTERVAL and PING_TIMEOUT together, to 7d");
    }
    user_timeout
}
