//! From a socket's bytes to messages in a room, at a measured pace.

use std::borrow::Cow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Speech;
use super::ending::{End, NO_CODE};
use super::socket;
use super::task::Task;
use crate::close::CloseCode;
use crate::command;
use crate::frame::{Frame, Parser};
use crate::limits::Meter;
use crate::publication::Kind;
use crate::settings::Settings;
use crate::shard::part::Busy;

/// Bytes read from a connection before everybody else has a turn.
const TURN_BYTES: usize = 64 * 1024;
/// Messages taken from a connection before everybody else has a turn.
const TURN_MESSAGES: usize = 64;

/// What a connection knows of the bytes that come.
pub(super) struct Reader {
    parser: Parser,
    meter: Meter,
    /// No reading until then, because the client sends too fast.
    slow_until: Option<Instant>,
    /// What was read, but not carried out.
    stopped: Option<Box<Stopped>>,
}

/// A message that must wait for others.
type Held = (Kind, Box<[u8]>);

/// What was read, but not carried out.
#[derive(Debug, Default)]
struct Stopped {
    /// The message that waits for others.
    held: Option<Held>,
    /// What came behind it.
    rest: Vec<u8>,
    /// Where in `rest` it goes on.
    at: usize,
}

impl Stopped {
    fn bytes(&self) -> usize {
        self.rest.capacity() + self.held.as_ref().map_or(0, |(_, payload)| payload.len())
    }
}

/// What is left of a connection's turn.
struct Turn {
    messages: usize,
    bytes: usize,
    /// Texts and binaries taken in it.
    said: u64,
    now: Instant,
}

impl Reader {
    /// A reader at the start of a stream.
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        let limits = &settings.limits;
        Self {
            parser: Parser::new(settings.queues.message.0),
            meter: Meter::new(limits.messages, limits.bytes, now),
            slow_until: None,
            stopped: None,
        }
    }

    /// Bytes that came before the socket did.
    pub(super) fn begin_with(&mut self, early: Vec<u8>) {
        self.stopped = Some(Box::new(Stopped { held: None, rest: early, at: 0 }));
    }

    /// Whether the node itself does not read.
    pub(super) fn is_paused(&self) -> bool {
        self.slow_until.is_some() || self.is_held()
    }

    /// Bytes that are kept: of a message that is not whole, and what was not carried out.
    fn held_bytes(&self) -> usize {
        self.parser.held() + self.stopped.as_ref().map_or(0, |stopped| stopped.bytes())
    }

    fn is_held(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| stopped.held.is_some())
    }

    /// Until when nothing is read because the client sends too fast.
    pub(super) fn slow_until(&self) -> Option<Instant> {
        self.slow_until
    }

    /// Over its rate, the client is not read for a while. Whether that begins now.
    fn slow_down(&mut self, wait: Option<Duration>, now: Instant) -> bool {
        let begins = wait.is_some() && self.slow_until.is_none();
        self.slow_until = self.slow_until.max(wait.map(|wait| now + wait));
        begins
    }

    /// Whether the Close of a client that is not listened to any more is in what was read, or in
    /// `bytes` behind it.
    pub(super) fn is_closed_by(&mut self, bytes: &mut [u8]) -> bool {
        let stopped = self.stopped.take().map(|stopped| *stopped).unwrap_or_default();
        let Stopped { mut rest, at, .. } = stopped;
        self.finds_close(&mut rest[at..]) || self.finds_close(bytes)
    }

    fn finds_close(&mut self, mut bytes: &mut [u8]) -> bool {
        loop {
            match self.parser.next(&mut bytes) {
                Ok(Some(Frame::Close(_))) => return true,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }
}

impl Task {
    /// Reads and carries out, until the socket has no more, the turn is over, or something must wait.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<End> {
        let mut turn = Turn { messages: TURN_MESSAGES, bytes: TURN_BYTES, said: 0, now };
        let read = self.take_turn(cx, &mut turn);
        self.shard.shared.metrics.messages.increment(turn.said);
        self.shard.keep_unread(&self.connection, self.reader.held_bytes());
        read
    }

    fn take_turn(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<End> {
        self.reader.slow_until = self.reader.slow_until.filter(|until| *until > turn.now);
        match self.go_on(turn) {
            Ok(()) => {}
            Err(end) => return Poll::Ready(end),
        }
        while self.reader.stopped.is_none() && self.reader.slow_until.is_none() {
            if turn.bytes == 0 || turn.messages == 0 {
                // Behind everybody who is ready.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(stream) = self.connection.stream.get() else { return Poll::Pending };
            match stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Pending => return Poll::Pending,
            }
            if let Err(end) = self.read_once(turn) {
                return Poll::Ready(end);
            }
        }
        if !self.reader.is_paused() {
            // The turn is over, but not what was read.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Carries out what was kept, if it may.
    fn go_on(&mut self, turn: &mut Turn) -> Result<(), End> {
        if self.reader.slow_until.is_some() {
            return Ok(());
        }
        let Some(mut stopped) = self.reader.stopped.take() else { return Ok(()) };
        if let Some((kind, payload)) = stopped.held.take() {
            if let Err(Busy) = self.take(kind, &payload, turn.now)? {
                stopped.held = Some((kind, payload));
                self.reader.stopped = Some(stopped);
                return Ok(());
            }
            // Its next message waits behind those of others.
            self.connection.turn.set(None);
        }
        let (held, used) = self.carry_out(&mut stopped.rest[stopped.at..], turn)?;
        stopped.held = held;
        stopped.at += used;
        if stopped.held.is_some() || stopped.at < stopped.rest.len() {
            self.reader.stopped = Some(stopped);
        }
        Ok(())
    }

    fn read_once(&mut self, turn: &mut Turn) -> Result<(), End> {
        let shard = Rc::clone(&self.shard);
        let mut buffer = shard.read_buffer.borrow_mut();
        let Some(stream) = self.connection.stream.get() else { return Ok(()) };
        let most = buffer.len().min(turn.bytes);
        let bytes = match socket::read(stream, &mut buffer[..most]) {
            Ok(None) => return Ok(()),
            Ok(Some(0)) | Err(_) => return Err(End::Gone),
            Ok(Some(bytes)) => bytes,
        };
        turn.bytes -= bytes;
        self.heard(bytes, turn.now);
        let (held, used) = self.carry_out(&mut buffer[..bytes], turn)?;
        if held.is_some() || used < bytes {
            let rest = buffer[used..bytes].to_vec();
            self.reader.stopped = Some(Box::new(Stopped { held, rest, at: 0 }));
        }
        Ok(())
    }

    /// Carries out frames until the turn is over, the client is too fast, or a message must wait for
    /// others: that one, and how many bytes are used up.
    fn carry_out(
        &mut self,
        bytes: &mut [u8],
        turn: &mut Turn,
    ) -> Result<(Option<Held>, usize), End> {
        let all = bytes.len();
        let (mut left, mut held) = (bytes, None);
        while !left.is_empty()
            && turn.messages > 0
            && self.reader.slow_until.is_none()
            && held.is_none()
        {
            let before = left.len();
            let frame =
                self.reader.parser.next(&mut left).map_err(|v| End::Fault(v.close_code()))?;
            let (is_whole, used) = (frame.is_some(), before - left.len());
            turn.messages -= usize::from(is_whole);
            let wait = self.reader.meter.take(u64::from(is_whole), used as u64, turn.now);
            match (frame, wait) {
                (Some(Frame::Text(text)), Some(wait)) if self.connection.session().is_some() => {
                    turn.said += 1;
                    command::refuse(&self.client(), &text, wait);
                    continue;
                }
                (Some(Frame::Text(text)), _) => {
                    turn.said += 1;
                    held = self.say(Kind::Text, text, turn.now)?;
                }
                (Some(Frame::Binary(bytes)), _) => {
                    turn.said += 1;
                    held = self.say(Kind::Binary, bytes, turn.now)?;
                }
                (Some(Frame::Ping(payload)), _) => {
                    self.connection.outbox.borrow_mut().pong = Some(payload);
                }
                (Some(Frame::Close(code)), _) => return Err(End::Peer(code.unwrap_or(NO_CODE))),
                (Some(Frame::Pong) | None, _) => {}
            }
            if self.reader.slow_down(wait, turn.now) {
                self.shard.shared.metrics.pauses_rate.increment(1);
            }
        }
        Ok((held, all - left.len()))
    }

    /// Carries a message out, or keeps it until others have caught up.
    fn say(
        &mut self,
        kind: Kind,
        payload: Cow<'_, [u8]>,
        now: Instant,
    ) -> Result<Option<Held>, End> {
        let Err(Busy) = self.take(kind, &payload, now)? else { return Ok(None) };
        self.shard.shared.metrics.pauses_pressure.increment(1);
        Ok(Some((kind, payload.into_owned().into())))
    }

    /// Publishes it, or carries out the command it is.
    fn take(&self, kind: Kind, payload: &[u8], now: Instant) -> Result<Result<(), Busy>, End> {
        let Self { connection, shard, .. } = self;
        match &connection.speech {
            Speech::Plain(part, ..) => {
                Ok(part.publish(shard, kind, payload, now).or_else(|Busy| {
                    shard.hold(connection);
                    // The relief may have come just before.
                    part.publish(shard, kind, payload, now)
                }))
            }
            // Commands are texts.
            Speech::V1(_) if kind == Kind::Binary => Err(End::Ours(CloseCode::Unsupported)),
            Speech::V1(_) => Ok(command::hear(&self.client(), payload)),
        }
    }
}
