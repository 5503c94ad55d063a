//! What a connection has to write, in the order in which it may: at each frame boundary control frames
//! go first, a Close when nothing else is left.

use std::io::{self, IoSlice};
use std::time::Instant;

use tokio::net::TcpStream;

use super::socket;
use crate::frame::{Control, Opcode, encode};
use crate::pressure::Rules;
use crate::shard::queue::Queue;

/// Pieces given to the kernel at once.
const SLICES: usize = 16;
/// Bytes given to the kernel at once, about.
const WRITE_BYTES: usize = 64 * 1024;

/// What waits for one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Messages.
    pub(super) queue: Queue,
    /// Control frames under way, encoded, or what is left of them.
    urgent: Vec<u8>,
    /// Whether a Ping is to be sent.
    pub(super) ping: bool,
    /// The newest Pong to be sent: a client that asks without reading gets one answer.
    pub(super) pong: Option<Control>,
    /// The Close to be sent.
    pub(super) close: Close,
    /// Whether messages were dropped of which the client has not been told.
    pub(super) has_dropped: bool,
}

/// The node's Close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Close {
    /// None yet.
    #[default]
    No,
    /// With nothing in it.
    Empty,
    /// With a code and the reason for it.
    Code(u16, &'static str),
    /// It is under way, or written.
    Said,
}

/// How far writing came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Nothing is left.
    All,
    /// The socket takes no more.
    Some,
}

impl Outbox {
    /// Whether nothing is under way, so that others may write.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.urgent.is_empty()
    }

    /// Whether its Close is said, or about to be.
    pub(super) fn is_closing(&self) -> bool {
        self.close != Close::No
    }

    /// Whether there is anything to write.
    pub(super) fn has_work(&self) -> bool {
        !self.is_empty() || self.has_control()
    }

    /// Writes until nothing is left or the socket takes no more; adds up what it took in `sent`.
    pub(super) fn write(
        &mut self,
        stream: &TcpStream,
        rules: &Rules,
        now: Instant,
        sent: &mut u64,
    ) -> io::Result<Wrote> {
        loop {
            let (wanted, taken) = if self.urgent.is_empty() {
                // Looked for only if needed: it means going through what was written.
                if self.has_control()
                    && self.queue.rest_of_frame().is_empty()
                    && self.take_control()
                {
                    continue;
                }
                if self.queue.is_empty() {
                    return Ok(Wrote::All);
                }
                let (wanted, taken) = self.write_queue(stream)?;
                if taken > 0 {
                    self.queue.taken(taken, rules, now);
                }
                (wanted, taken)
            } else {
                let wanted = self.urgent.len();
                let taken = socket::write(stream, &self.urgent)?;
                self.urgent.drain(..taken);
                if self.urgent.is_empty() {
                    self.urgent = Vec::new();
                }
                // Whoever takes not even control frames is as stalled as who takes no messages.
                if taken > 0 {
                    self.queue.accepted();
                }
                (wanted, taken)
            };
            *sent += taken as u64;
            if taken < wanted {
                self.queue.refused(now);
                return Ok(Wrote::Some);
            }
        }
    }

    /// Whether a control frame may be due.
    fn has_control(&self) -> bool {
        self.ping || self.pong.is_some() || !matches!(self.close, Close::No | Close::Said)
    }

    /// Writes messages: the rest of one if a control frame waits, else as many as go at once.
    fn write_queue(&self, stream: &TcpStream) -> io::Result<(usize, usize)> {
        if self.ping || self.pong.is_some() {
            let rest = self.queue.rest_of_frame();
            return Ok((rest.len(), socket::write(stream, rest)?));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (count, wanted) = self.queue.next(&mut slices, WRITE_BYTES);
        Ok((wanted, socket::write_all_of(stream, &slices[..count], wanted)?))
    }

    /// Encodes the control frames that may go now; whether there are any.
    fn take_control(&mut self) -> bool {
        if self.close == Close::Said {
            return false;
        }
        if let Some(pong) = self.pong.take() {
            encode::append(&mut self.urgent, Opcode::Pong, &pong);
        }
        if std::mem::take(&mut self.ping) {
            encode::append(&mut self.urgent, Opcode::Ping, &[]);
        }
        if self.queue.is_empty() && self.close != Close::No {
            match std::mem::replace(&mut self.close, Close::Said) {
                Close::Code(code, reason) => encode::close(&mut self.urgent, code, reason),
                _ => encode::append(&mut self.urgent, Opcode::Close, &[]),
            }
        }
        !self.urgent.is_empty()
    }
}
