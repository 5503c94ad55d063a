//! How a connection ends: the close handshake, bounded, or a cut.

use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::Speech;
use super::outbox::{Close, Wrote};
use super::socket;
use super::task::Task;
use crate::close::CloseCode;
use crate::command;
use crate::metrics::{By, Metrics};
use crate::shard::client::Client;

/// What stands for a Close without a code (RFC 6455 §7.1.5).
pub(super) const NO_CODE: u16 = 1005;
/// Bytes read on in one go.
const TURN_BYTES: usize = 64 * 1024;

/// Why a connection stopped relaying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client sent a Close with this number; 1005 stands for none.
    Peer(u16),
    /// The stream ended or broke without a Close.
    Gone,
    /// Nothing was heard for the interval and the time-out.
    Silent,
    /// What arrived cannot be parsed further.
    Fault(CloseCode),
    /// The node closes.
    Ours(CloseCode),
}

/// A connection's last words. It is a member no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Farewell {
    /// Why it ends.
    pub(super) end: End,
    deadline: Instant,
    /// Whether the client's Close has come.
    is_answered: bool,
    /// Whether the sending side is shut.
    is_shut: bool,
    /// Whether nothing more can come.
    is_ended: bool,
}

impl End {
    /// The code for the log and the metrics.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Peer(number) => number,
            Self::Gone | Self::Silent => CloseCode::Abnormal.number(),
            Self::Fault(code) | Self::Ours(code) => code.number(),
        }
    }

    /// Who brought it about.
    fn by(self) -> By {
        match self {
            Self::Peer(_) | Self::Gone => By::Peer,
            Self::Silent | Self::Fault(_) | Self::Ours(_) => By::Node,
        }
    }

    /// The word for the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Fault(code) | Self::Ours(code) => code.word(),
        }
    }

    /// Counts it.
    pub(super) fn count(self, metrics: &Metrics) {
        metrics.closed(CloseCode::from_number(self.code()), self.by());
    }

    /// What the node says.
    fn close(self) -> Close {
        match self {
            Self::Gone | Self::Silent => Close::No,
            Self::Peer(NO_CODE) => Close::Empty,
            Self::Peer(number) => Close::Code(number, ""),
            Self::Fault(code) | Self::Ours(code) => Close::Code(code.number(), code.word()),
        }
    }
}

impl Farewell {
    /// Leaves the room and begins the close handshake. `None`: the client is cut, because it is gone
    /// or silent.
    pub(super) fn begin(task: &mut Task, end: End) -> Option<Self> {
        let Task { connection, shard, .. } = task;
        // What is still queued goes out first when the node is drained, and only then: a slow
        // reader's queue is what it is closed for.
        let mut end = end;
        if end == End::Ours(CloseCode::Restart) {
            match &connection.speech {
                Speech::Plain(part, place, _) => part.catch_up(shard, connection, place.get()),
                Speech::V1(_) => {
                    command::bye(&Client::new(Rc::clone(shard), Rc::clone(connection)));
                }
            }
            if connection.ending.get() == Some(CloseCode::Slow) {
                end = End::Ours(CloseCode::Slow);
            }
        }
        if end != End::Ours(CloseCode::Restart) {
            connection.clear(shard);
        }
        connection.leave_rooms(shard);
        let stream = connection.stream.get()?;
        if end.close() == Close::No {
            reset(stream);
            return None;
        }
        connection.outbox.borrow_mut().close = end.close();
        let now = Instant::now();
        let deadline = now + task.shard.shared.settings.heartbeat.close;
        task.look_at(deadline, Duration::ZERO, now);
        // It may lie in what was read before.
        let is_answered = task.reader.is_closed_by(&mut []);
        Some(Self { end, deadline, is_answered, is_shut: false, is_ended: false })
    }

    /// Writes what is left and reads on until the handshake is done, the stream ends, or it takes too
    /// long.
    pub(super) fn go_on(&mut self, task: &mut Task, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let connection = Rc::clone(&task.connection);
        let Some(stream) = connection.stream.get() else { return Poll::Ready(()) };
        let Ok(wrote) = task.write(cx, now) else { return cut(stream) };
        let is_said = wrote == Wrote::All && connection.outbox.borrow().close == Close::Said;
        if self.is_over(is_said) {
            return Poll::Ready(());
        }
        if is_said && matches!(self.end, End::Fault(_)) && !self.is_shut {
            // No reset may overtake the Close: so it is read on, by nobody.
            self.is_shut = true;
            if SockRef::from(stream).shutdown(Shutdown::Write).is_err() {
                return cut(stream);
            }
        }
        match self.read_on(task, stream, cx) {
            Poll::Ready(Err(_)) => return cut(stream),
            Poll::Ready(Ok(())) => self.is_ended = true,
            Poll::Pending => {}
        }
        if self.is_over(is_said) {
            return Poll::Ready(());
        }
        if now >= self.deadline {
            return cut(stream);
        }
        // An earlier look, the heartbeat's for one, may have stood for this one.
        task.look_at(self.deadline, Duration::ZERO, now);
        Poll::Pending
    }

    /// Whether both have said their Close, or the client can say none.
    fn is_over(&self, is_said: bool) -> bool {
        is_said && (self.is_answered || self.is_ended || matches!(self.end, End::Peer(_)))
    }

    /// Reads until the client's Close, the stream's end, or nothing has come.
    fn read_on(
        &mut self,
        task: &mut Task,
        stream: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let shard = Rc::clone(&task.shard);
        let mut buffer = shard.read_buffer.borrow_mut();
        let mut turn = TURN_BYTES;
        while turn > 0 && !self.is_ended {
            std::task::ready!(stream.poll_read_ready(cx))?;
            let Some(bytes) = socket::read(stream, &mut buffer)? else { continue };
            if bytes == 0 {
                return Poll::Ready(Ok(()));
            }
            turn = turn.saturating_sub(bytes);
            task.heard(bytes, Instant::now());
            self.is_answered |=
                matches!(self.end, End::Ours(_)) && task.reader.is_closed_by(&mut buffer[..bytes]);
        }
        if !self.is_ended {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Gives the client up.
fn cut(stream: &TcpStream) -> Poll<()> {
    reset(stream);
    Poll::Ready(())
}

/// Lets the stream end with a reset, which frees the kernel's buffers at once: a stalled peer would
/// hold them for minutes.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "linger was not set");
    }
}
