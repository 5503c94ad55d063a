//! A WebSocket client that checks what it receives.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::samples::Samples;

/// The longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connected client.
pub(super) struct Socket(WebSocketStream<TcpStream>);

/// Its sending half.
pub(super) struct Sender(SplitSink<WebSocketStream<TcpStream>, Message>);

/// Its receiving half.
pub(super) struct Receiver(SplitStream<WebSocketStream<TcpStream>>);

/// What a client received.
#[derive(Debug)]
pub(super) struct Received {
    /// Messages.
    pub(super) count: u64,
    /// Messages that were not the successor of the one before: out of order, double, or after a gap.
    pub(super) disordered: u64,
    /// From before each was sent until it was read.
    pub(super) latency: Samples,
    /// When the last one came.
    pub(super) last: Option<Instant>,
}

impl Socket {
    /// Connects to this machine's `/ws`.
    ///
    /// # Errors
    /// If it is refused.
    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (socket, _) = client_async(format!("ws://127.0.0.1:{port}/ws"), stream).await?;
            anyhow::Ok(Self(socket))
        };
        tokio::time::timeout(CONNECT_LIMIT, connect).await.context("no connection in time")?
    }

    /// Into halves that work at once.
    pub(super) fn split(self) -> (Sender, Receiver) {
        let (sender, receiver) = self.0.split();
        (Sender(sender), Receiver(receiver))
    }
}

impl Sender {
    /// Sends `NUMBER NANOSECONDS` and filler up to so many bytes.
    ///
    /// # Errors
    /// If the connection broke off.
    pub(super) async fn send(
        &mut self,
        number: u64,
        now: Duration,
        bytes: usize,
    ) -> anyhow::Result<()> {
        let text = format!("{number} {} ", now.as_nanos());
        self.0.send(Message::text(format!("{text:.<bytes$}"))).await?;
        Ok(())
    }
}

impl Receiver {
    /// Receives so many messages, or as many as come within `limit`. `start` is what the sender counts
    /// nanoseconds from.
    ///
    /// # Errors
    /// If the connection broke off, or a message is none of the sender's.
    pub(super) async fn receive(
        mut self,
        messages: u64,
        start: Instant,
        limit: Duration,
    ) -> anyhow::Result<Received> {
        let mut received =
            Received { count: 0, disordered: 0, latency: Samples::new(), last: None };
        let mut next = 0;
        while received.count < messages {
            let Ok(message) = timeout_at((start + limit).into(), self.0.next()).await else {
                // What is missing is counted as lost.
                break;
            };
            let message = message.context("the node closed a connection")??;
            // Pings; tungstenite answers them.
            let Message::Text(text) = message else { continue };
            let mut words = text.split(' ');
            let mut number = || words.next()?.parse::<u64>().ok();
            let (number, sent) = number().zip(number()).context("not the sender's message")?;
            let now = Instant::now();
            received.latency.record((now - start).saturating_sub(Duration::from_nanos(sent)));
            received.disordered += u64::from(number != next);
            received.count += 1;
            received.last = Some(now);
            next = number + 1;
        }
        Ok(received)
    }
}
