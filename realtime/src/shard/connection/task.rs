//! A connection's task: wakes for its socket, its queue, its time and its end.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::ending::{End, Farewell};
use super::heartbeat::{Beat, Heartbeat};
use super::outbox::Wrote;
use super::reading::Reader;
use super::{Connection, Speech};
use crate::close::CloseCode;
use crate::command;
use crate::drain::ACKNOWLEDGE;
use crate::hub::{Arrival, Guest};
use crate::limits::Held;
use crate::shard::Shard;
use crate::shard::client::Client;
use crate::shard::session::Session;

/// Drives one connection from its socket's arrival to its end.
pub(in crate::shard) struct Task {
    pub(super) shard: Rc<Shard>,
    pub(super) connection: Rc<Connection>,
    stage: Stage,
    pub(super) reader: Reader,
    heartbeat: Heartbeat,
    looks: Looks,
    started: Instant,
    _held: Held,
}

/// How far a connection is.
enum Stage {
    /// Its socket has not come.
    Awaited(oneshot::Receiver<Arrival>),
    /// It relays.
    Open,
    /// It is sent away, and until then waits for the outcome of what it has asked.
    Settling(Instant),
    /// It takes its leave.
    Leaving(Farewell),
    /// It is over, for this reason.
    Over(End),
    /// It never began.
    Absent,
}

/// When the wheel will look at this connection: the far look is the heartbeat's as a rule, the near one
/// a pause's. Any others it has asked for are forgotten, and harmless.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    near: Option<Instant>,
    far: Option<Instant>,
}

impl Task {
    /// A task that waits for its socket.
    pub(in crate::shard) fn new(
        shard: Rc<Shard>,
        connection: Rc<Connection>,
        guest: Guest,
        arrival: oneshot::Receiver<Arrival>,
    ) -> Self {
        let now = Instant::now();
        let settings = &shard.shared.settings;
        Self {
            stage: Stage::Awaited(arrival),
            reader: Reader::new(settings, now),
            heartbeat: Heartbeat::new(&settings.heartbeat, rand::random(), now),
            looks: Looks::default(),
            started: now,
            _held: guest.held,
            shard,
            connection,
        }
    }

    /// Takes the socket over.
    fn arrive(&mut self, Arrival { stream, early }: Arrival) -> io::Result<()> {
        // Registered anew, here: tokio keeps the waker of the task that last polled a stream, hyper's,
        // which would stay allocated for as long as the socket lives. Measured: 2.4 KB a connection.
        let stream = TcpStream::from_std(stream)?;
        if self.connection.stream.set(stream).is_err() {
            tracing::error!("a connection got two sockets");
        }
        self.started = Instant::now();
        self.shard.shared.metrics.connections.increment(1);
        if !early.is_empty() {
            self.heard(early.len(), self.started);
            self.reader.begin_with(early);
        }
        if self.connection.session().is_some() {
            command::welcome(&self.client());
        }
        Ok(())
    }

    /// Relays until something ends it.
    fn relay(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        if self.connection.is_broken.get() {
            return Poll::Ready(End::Gone);
        }
        if let Some(code) = self.connection.ending.get() {
            return Poll::Ready(End::Ours(code));
        }
        // Reading comes first: a Pong that has come counts before the time-out that has passed.
        if let Poll::Ready(end) = self.read(cx, now) {
            return Poll::Ready(end);
        }
        if let Err(end) = self.due(now) {
            return Poll::Ready(end);
        }
        match self.write(cx, now) {
            Ok(_) if self.connection.is_broken.get() => Poll::Ready(End::Gone),
            Ok(wrote) => {
                if wrote == Wrote::All && self.connection.session().is_some() {
                    self.client().catch_up();
                }
                Poll::Pending
            }
            Err(_) => Poll::Ready(End::Gone),
        }
    }

    /// Whether it is sent away, but is promised an answer.
    fn is_awaited(&self, end: End) -> bool {
        let session = self.connection.session();
        end == End::Ours(CloseCode::Restart) && session.is_some_and(Session::is_answering)
    }

    /// Says what commands under way come to, and hears no others.
    fn settle(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<End> {
        let now = Instant::now();
        let wrote = self.write(cx, now);
        if wrote.is_err() || self.connection.is_broken.get() {
            return Poll::Ready(End::Gone);
        }
        let end = End::Ours(self.connection.ending.get().unwrap_or(CloseCode::Restart));
        if now >= until || !self.is_awaited(end) {
            return Poll::Ready(end);
        }
        self.look_at(until, Duration::ZERO, now);
        Poll::Pending
    }

    /// The connection, as commands see it.
    pub(super) fn client(&self) -> Client {
        Client::new(Rc::clone(&self.shard), Rc::clone(&self.connection))
    }

    /// What the clock asks for.
    fn due(&mut self, now: Instant) -> Result<(), End> {
        let ends = match &self.connection.speech {
            Speech::Plain(_, _, identity) => {
                identity.as_ref().map(|identity| (identity.expires, CloseCode::Token))
            }
            Speech::V1(session) => Some(session.ends()),
        };
        if let Some((_, code)) = ends.filter(|(at, _)| *at <= now) {
            return Err(End::Ours(code));
        }
        // One that does not read what it was told is as silent as any other.
        let is_choked = self.connection.session().is_some_and(|session| session.is_choked.get());
        if self.reader.is_paused() && !is_choked {
            self.heartbeat.pause(now);
        } else {
            self.heartbeat.resume(now);
        }
        let settings = &self.shard.shared.settings.heartbeat;
        let late = (settings.interval / 8).min(Duration::from_secs(1));
        let beat = loop {
            match self.heartbeat.check(settings, now) {
                Beat::Wait(until) => break until,
                Beat::Ping => self.connection.outbox.borrow_mut().ping = true,
                Beat::Cut => return Err(End::Silent),
            }
        };
        self.look_at(ends.map_or(beat, |(at, _)| at.min(beat)), late, now);
        if let Some(until) = self.reader.slow_until() {
            self.look_at(until, Duration::ZERO, now);
        }
        Ok(())
    }

    /// Makes sure that the task runs at `due` or up to `late` after it.
    pub(super) fn look_at(&mut self, due: Instant, late: Duration, now: Instant) {
        let Looks { near, far } = &mut self.looks;
        for look in [&mut *near, &mut *far] {
            *look = look.filter(|look| *look > now);
        }
        let is_near = |look: &Option<Instant>| look.is_some_and(|look| look <= due + late);
        if is_near(near) || is_near(far) {
            return;
        }
        let look = self.shard.look(self.connection.place.get(), due, late);
        if far.is_none() {
            *far = Some(look);
        } else {
            *near = Some(look);
        }
    }

    /// Something arrived.
    pub(super) fn heard(&mut self, bytes: usize, now: Instant) {
        let metrics = &self.shard.shared.metrics;
        metrics.bytes_received.increment(bytes as u64);
        if let Some(pinged) = self.heartbeat.heard(&self.shard.shared.settings.heartbeat, now) {
            metrics.ping_seconds.record(now.saturating_duration_since(pinged));
        }
    }

    /// Writes what waits, as far as the socket takes it; asks to be woken when it takes more.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<Wrote> {
        let Self { connection, shard, .. } = self;
        let mut outbox = connection.outbox.borrow_mut();
        let Some(stream) = connection.stream.get().filter(|_| outbox.has_work()) else {
            return Ok(Wrote::All);
        };
        let rules = shard.shared.rules();
        let (mut sent, before) = (0, outbox.queue.entry_bytes());
        let wrote = loop {
            match outbox.write(stream, rules, now, &mut sent) {
                Ok(Wrote::Some) => match stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => break Err(error),
                    Poll::Pending => break Ok(Wrote::Some),
                },
                wrote => break wrote,
            }
        };
        shard.memory.change(before, outbox.queue.entry_bytes());
        let pauses = outbox.queue.pauses_until(rules, now);
        drop(outbox);
        shard.shared.metrics.bytes_sent.increment(sent);
        match (pauses.filter(|_| connection.is_member.get()), &connection.speech) {
            // It takes bytes again.
            (Some(until), Speech::Plain(part, ..)) if sent > 0 => {
                shard.pause_for(connection, part, until);
            }
            (Some(_), _) => {}
            (None, _) => shard.resume_from(connection),
        }
        wrote
    }

    /// Leaves the room, and takes leave of the client if it is there.
    fn leave(&mut self, end: End) {
        self.stage = match Farewell::begin(self, end) {
            Some(farewell) => Stage::Leaving(farewell),
            None => Stage::Over(end),
        };
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.connection.register(cx.waker());
        loop {
            match &mut this.stage {
                Stage::Awaited(arrival) => {
                    let arrived = ready!(Pin::new(arrival).poll(cx));
                    let arrived = arrived.map_err(io::Error::other);
                    match arrived.and_then(|arrival| this.arrive(arrival)) {
                        Ok(()) => this.stage = Stage::Open,
                        Err(error) => {
                            tracing::debug!(%error, "a socket did not arrive");
                            this.stage = Stage::Absent;
                        }
                    }
                }
                Stage::Open => {
                    let end = ready!(this.relay(cx));
                    if this.is_awaited(end) {
                        this.stage = Stage::Settling(Instant::now() + ACKNOWLEDGE);
                    } else {
                        this.leave(end);
                    }
                }
                Stage::Settling(until) => {
                    let until = *until;
                    let end = ready!(this.settle(until, cx));
                    this.leave(end);
                }
                Stage::Leaving(farewell) => {
                    let mut farewell = *farewell;
                    let over = farewell.go_on(this, cx);
                    let end = farewell.end;
                    this.stage = Stage::Leaving(farewell);
                    ready!(over);
                    this.stage = Stage::Over(end);
                }
                Stage::Over(_) | Stage::Absent => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let end = match &self.stage {
            Stage::Over(end) => Some(*end),
            // The node is gone, or the task has panicked.
            Stage::Open | Stage::Settling(_) | Stage::Leaving(_) => Some(End::Gone),
            Stage::Awaited(_) | Stage::Absent => None,
        };
        self.connection.leave(&self.shard);
        let Some(end) = end else { return };
        let metrics = &self.shard.shared.metrics;
        metrics.connections.decrement(1);
        end.count(metrics);
        // As u64: tracing has no JSON number for u128.
        let duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            connection = self.connection.id,
            code = end.code(),
            reason = end.word(),
            duration_ms,
            "socket closed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Meter;

    /// What tokio puts around a future: its header, its scheduler and its trailer, rounded up.
    const TASK_OVERHEAD: usize = 128;

    /// The budget of DESIGN's engine: what a million idle connections cost hangs on it.
    #[test]
    fn an_idle_connection_keeps_within_its_budget() {
        let identity = size_of::<Held>() + size_of::<Meter>();
        assert!(identity <= 256, "identity and limits: {identity}");
        let task = size_of::<Task>() - identity + TASK_OVERHEAD;
        assert!(task <= 512, "task: {task}");
        let state = size_of::<Connection>();
        assert!(state <= 384, "state: {state}");
        // tokio's registration of a socket, which has no name outside tokio, is 256 by measurement.
    }
}
