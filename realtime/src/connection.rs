//! One WebSocket: a single task that reads, relays, writes, pings and ends.
//!
//! It knows the hub only as something to publish to and the outbox as what to write, so that its
//! inside can change without them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::Node;
use crate::close::CloseCode;
use crate::hub::{Busy, Member};
use crate::limits::Meter;
use crate::publication::Publication;

mod ending;
mod heartbeat;
mod socket;

use ending::End;
use heartbeat::{Beat, Heartbeat};
use socket::Socket;

/// tungstenite allocates this for each connection and fills it with zeros before each read.
const READ_BUFFER_BYTES: usize = 1024;

/// Room for control frames behind the largest message in tungstenite's write buffer.
const CONTROL_BYTES: usize = 1024;

/// A connection while it relays.
pub(crate) struct Connection {
    ws: WebSocketStream<Socket>,
    node: Node,
    member: Member,
    heartbeat: Heartbeat,
    meter: Meter,
    /// A Ping to be written as soon as the socket takes it.
    ping: bool,
    /// The message that waits for slower readers; nothing is read meanwhile.
    held: Option<Busy>,
    /// No reading until then, because the client sends too fast.
    slow_until: Option<Instant>,
    /// When the access token ends.
    expires: Option<Instant>,
}

/// What the socket did.
enum Event {
    /// A whole message, a control frame included.
    Message(Message),
    /// Bytes of a message that is not whole yet.
    Bytes,
    /// The node asks to close.
    Ending(CloseCode),
    /// Reading or writing failed.
    Failed(Error),
    /// The close handshake is done.
    Ended,
}

impl Connection {
    /// Takes over an upgraded stream and the bytes that came with the upgrade request.
    pub(crate) async fn new(
        node: Node,
        member: Member,
        stream: TcpStream,
        early: Vec<u8>,
        expires: Option<Instant>,
    ) -> Self {
        let now = Instant::now();
        let settings = node.settings();
        let max = settings.queues.message.0;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            // One message and a few control frames. Without a cap, Pongs that the client does not
            // read would grow it for ever; at the cap only the newest Pong is kept.
            .max_write_buffer_size(max + CONTROL_BYTES)
            .max_message_size(Some(max))
            .max_frame_size(Some(max));
        let heartbeat = &settings.heartbeat;
        let heartbeat = Heartbeat::new(heartbeat.interval, heartbeat.timeout, rand::random(), now);
        let meter = Meter::new(settings.limits.messages, settings.limits.bytes, now);
        let metrics = Arc::clone(node.metrics());
        let socket = Socket::new(stream, Arc::clone(&member.outbox), metrics, early.len());
        let ws =
            WebSocketStream::from_partially_read(socket, early, Role::Server, Some(config)).await;
        Self {
            ws,
            node,
            member,
            heartbeat,
            meter,
            ping: false,
            held: None,
            slow_until: None,
            expires,
        }
    }

    /// Relays until something ends it, then ends it properly.
    pub(crate) async fn run(mut self) {
        let started = Instant::now();
        let end = self.relay().await;
        let Self { ws, node, member, .. } = self;
        let outbox = Arc::clone(&member.outbox);
        // Gone from the hub before the handshake: nothing more is queued for it.
        drop(member);
        ending::finish(ws, &outbox, end, node.settings().heartbeat.close).await;
        let code = end.code();
        node.metrics().closed(CloseCode::from_number(code), end.by());
        // As u64: tracing has no JSON number for u128.
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            connection = outbox.id,
            code,
            reason = end.word(),
            duration_ms,
            "socket closed"
        );
    }

    async fn relay(&mut self) -> End {
        let timer = sleep_until(Instant::now().into());
        tokio::pin!(timer);
        let node = self.node.clone();
        loop {
            // Made before what is held is tried again, so that a ring in between is not missed.
            let relief = node.pool().relief.notified();
            let now = Instant::now();
            let reading = self.may_read(now);
            let deadline = match self.due(now) {
                Ok(deadline) => deadline,
                Err(end) => return end,
            };
            set(timer.as_mut(), deadline);
            let holding = self.held.is_some();
            tokio::select! {
                // The socket first: a Pong that has come counts before the time-out that has passed.
                biased;
                event = poll_fn(|cx| self.poll_socket(cx, reading)) => {
                    if let Some(end) = self.happened(event) {
                        return end;
                    }
                }
                () = relief, if holding => {}
                () = timer.as_mut() => {}
            }
        }
    }

    /// Tries again to publish what is held; tells whether the socket may be read.
    fn may_read(&mut self, now: Instant) -> bool {
        self.retry();
        self.slow_until = self.slow_until.filter(|until| *until > now);
        let reading = self.held.is_none() && self.slow_until.is_none();
        if reading {
            self.heartbeat.resume(now);
        } else {
            self.heartbeat.pause(now);
        }
        reading
    }

    /// What the clock asks for, and when to look again.
    fn due(&mut self, now: Instant) -> Result<Instant, End> {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(End::Ours(CloseCode::Token));
        }
        let beat = loop {
            match self.heartbeat.check(now) {
                Beat::Wait(until) => break until,
                Beat::Ping => self.ping = true,
                Beat::Cut => return Err(End::Silent),
            }
        };
        let held = self.held.as_ref().map(|held| held.until);
        Ok([self.expires, self.slow_until, held].into_iter().flatten().fold(beat, Instant::min))
    }

    /// Writes what the socket takes, then reads if it may.
    fn poll_socket(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Event> {
        self.member.outbox.register(cx.waker());
        // Flushed before each frame: it finds an empty buffer, which it is sure to fit into.
        while let Poll::Ready(ready) = self.ws.poll_flush_unpin(cx) {
            // Asked before each frame: what follows a message that was not queued must not go out.
            if self.member.outbox.ending().is_some() {
                break;
            }
            let message = if std::mem::take(&mut self.ping) {
                Some(Message::Ping(bytes::Bytes::new()))
            } else {
                self.member.outbox.queue.pop().map(Message::from)
            };
            let Some(message) = message else { break };
            if let Err(error) = ready.and_then(|()| self.ws.start_send_unpin(message)) {
                return Poll::Ready(Event::Failed(error));
            }
        }
        if let Some(code) = self.member.outbox.ending() {
            return Poll::Ready(Event::Ending(code));
        }
        if !reading {
            return Poll::Pending;
        }
        match self.ws.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Event::Message(message)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Event::Failed(error)),
            Poll::Ready(None) => Poll::Ready(Event::Ended),
            Poll::Pending if self.count(0) => Poll::Ready(Event::Bytes),
            Poll::Pending => Poll::Pending,
        }
    }

    fn happened(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Message(Message::Close(frame)) => {
                Some(End::Peer(frame.map_or(1005, |frame| frame.code.into())))
            }
            Event::Message(message) => {
                self.count(1);
                if let Some(publication) = Publication::from_message(&message) {
                    self.node.metrics().messages.increment(1);
                    self.publish(publication);
                }
                None
            }
            Event::Bytes => None,
            Event::Ending(code) => Some(End::Ours(code)),
            Event::Failed(error) => Some(End::of_error(&error)),
            Event::Ended => Some(End::Gone),
        }
    }

    /// Counts what arrived for the heartbeat and the limits; tells whether anything did.
    fn count(&mut self, messages: u64) -> bool {
        let bytes = self.ws.get_mut().take_arrived();
        if messages == 0 && bytes == 0 {
            return false;
        }
        let now = Instant::now();
        if let Some(pinged) = self.heartbeat.heard(now) {
            self.node.metrics().ping_seconds.record(now.saturating_duration_since(pinged));
        }
        self.node.metrics().bytes_received.increment(bytes);
        if let Some(wait) = self.meter.take(messages, bytes, now) {
            self.node.metrics().pauses_rate.increment(1);
            self.slow_until = Some(now + wait);
        }
        true
    }

    /// Publishes now, or holds the message and pauses reading until slower readers have caught up.
    fn publish(&mut self, publication: Publication) {
        if let Err(busy) = self.node.publish(publication) {
            self.node.metrics().pauses_pressure.increment(1);
            self.held = Some(busy);
        }
    }

    fn retry(&mut self) {
        if let Some(Busy { publication, .. }) = self.held.take() {
            self.held = self.node.publish(publication).err();
        }
    }
}

/// Sets the timer to ring at `deadline` or earlier: ringing early costs one look, while setting it
/// anew at every message costs more.
fn set(timer: std::pin::Pin<&mut Sleep>, deadline: Instant) {
    const EARLY: Duration = Duration::from_millis(50);
    let set = timer.deadline().into_std();
    let good = !timer.is_elapsed() && set <= deadline && deadline < set + EARLY;
    if !good {
        timer.reset(deadline.into());
    }
}
