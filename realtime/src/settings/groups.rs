//! The heartbeat, the queues and the drain.

use std::time::Duration;

use shared::settings::{Bytes, Reader};

use super::{Process, WAIT, WAIT_OR_NONE};
use crate::pressure::Patience;

/// When silent clients are pinged and cut, and closed ones cut.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// `PING_INTERVAL`: silence before a Ping.
    pub interval: Duration,
    /// `PING_TIMEOUT`: further silence before the cut.
    pub timeout: Duration,
    /// `CLOSE_TIMEOUT`: how long the close handshake may take.
    pub close: Duration,
}

/// How large messages and queues may be.
#[derive(Debug, Clone)]
pub struct Queues {
    /// `MESSAGE_BYTES`: the largest message taken.
    pub message: Bytes,
    /// `QUEUE_BYTES`: what may wait for one connection.
    pub connection: Bytes,
    /// `QUEUE_TOTAL`: what may wait on the node.
    pub total: Bytes,
    /// `STALL_TIMEOUT` and `PAUSE_LIMIT`: how long publishers wait for slow readers.
    pub patience: Patience,
}

/// Who is told of whom in a room.
#[derive(Debug, Clone)]
pub struct Presence {
    /// `PRESENCE_GRACE`: how long after the last subscription a user is there still.
    pub grace: Duration,
    /// `PRESENCE_LIMIT`: users of a room that are told of each other.
    pub limit: u32,
}

/// How the node goes away.
#[derive(Debug, Clone)]
pub struct Drain {
    /// `DRAIN_DELAY`: accepting goes on after readiness failed.
    pub delay: Duration,
    /// `DRAIN_WINDOW`: the time over which clients are sent away.
    pub window: Duration,
    /// `REQUEST_GRACE`: how long a request under way may take once accepting has ended.
    pub request: Duration,
}

impl Heartbeat {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            interval: reader.get_in(
                "PING_INTERVAL",
                "25s",
                WAIT,
                "How long a socket may be silent before it is pinged. Keep it under the idle time-outs of proxies on the way, often 60s.",
            ),
            timeout: reader.get_in(
                "PING_TIMEOUT",
                "10s",
                WAIT,
                "How long a pinged socket may stay silent before it is cut.",
            ),
            close: reader.get_in(
                "CLOSE_TIMEOUT",
                "2s",
                WAIT,
                "How long a client may take to read what is left and to answer the node's Close; then it is cut.",
            ),
        }
    }

    /// How long a client may be silent in all.
    pub fn silence(&self) -> Duration {
        self.interval + self.timeout
    }
}

impl Queues {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            message: reader.get_in(
                "MESSAGE_BYTES",
                "64 KiB",
                ("1 B", "1 GiB"),
                "The largest message a client may send; a larger one closes 1009.",
            ),
            connection: reader.get(
                "QUEUE_BYTES",
                "256 KiB",
                "What may wait for a slow reader; beyond it the reader is closed 4008. At least four times MESSAGE_BYTES.",
            ),
            total: reader.get(
                "QUEUE_TOTAL",
                "512 MiB",
                "What a node may hold for its clients: what waits for slow readers, and what senders sent that must wait. Each thread has an equal share; beyond it those that hold most are closed 4008. At least QUEUE_BYTES for each thread.",
            ),
            patience: Patience {
                stall: reader.get_in(
                    "STALL_TIMEOUT",
                    "200ms",
                    WAIT_OR_NONE,
                    "How long senders wait for a reader whose queue is half full and who takes nothing; then only that reader suffers. Raise it for readers far away.",
                ),
                pause: reader.get_in(
                    "PAUSE_LIMIT",
                    "2s",
                    WAIT_OR_NONE,
                    "How long one slow reader may make senders wait; each half of QUEUE_BYTES it takes earns it as long again. Divided into that half it is the slowest pace senders adapt to.",
                ),
            },
        }
    }
}

impl Presence {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            grace: reader.get_in(
                "PRESENCE_GRACE",
                "5s",
                WAIT_OR_NONE,
                "How long a user is still present in a room whose last subscription there has ended: who reconnects in time was never away.",
            ),
            limit: reader.get_in(
                "PRESENCE_LIMIT",
                "100",
                ("1", "1000"),
                "Users at most of a room in which everybody is told who comes and goes. With more, `presence` says who is there, and changes are told again when no more than three quarters of the limit are.",
            ),
        }
    }
}

impl Drain {
    pub(super) fn read(reader: &mut Reader, process: Process) -> Self {
        let delay = if process == Process::Local { "0" } else { "5s" };
        Self {
            delay: reader.get_in(
                "DRAIN_DELAY",
                delay,
                WAIT_OR_NONE,
                "How long a stopped node goes on accepting, so that load balancers see its readiness fail first. `5s` for a node, `0` under `cargo run`.",
            ),
            window: reader.get_in(
                "DRAIN_WINDOW",
                "20s",
                WAIT_OR_NONE,
                "The longest time over which a stopped node sends its clients away; few clients go sooner.",
            ),
            request: reader.get_in(
                "REQUEST_GRACE",
                "3s",
                WAIT_OR_NONE,
                "How long HTTP requests under way may take once a stopped node accepts no more. The node ends one second after this, and after two seconds and CLOSE_TIMEOUT.",
            ),
        }
    }
}
