//! How a connection ends: the close handshake, bounded, or a cut.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::socket::Socket;
use crate::close::CloseCode;
use crate::hub::Outbox;
use crate::metrics::By;

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
    pub(super) fn by(self) -> By {
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

    /// Why reading failed.
    pub(super) fn of_error(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Fault(CloseCode::TooBig),
            Error::Utf8(_) => Self::Fault(CloseCode::InvalidData),
            Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ) => Self::Gone,
            Error::Protocol(_) => Self::Fault(CloseCode::Protocol),
            _ => Self::Gone,
        }
    }
}

/// Ends the stream as `end` asks, within `limit`. What is still queued goes out first when the node is drained, and
/// only then: a slow reader's queue is what it is closed for.
pub(super) async fn finish(
    mut ws: WebSocketStream<Socket>,
    outbox: &Outbox,
    end: End,
    limit: Duration,
) {
    if end != End::Ours(CloseCode::Restart) {
        outbox.queue.clear();
    }
    let handshake = async {
        match end {
            // Never wait for who is gone or silent.
            End::Gone | End::Silent => false,
            // The reply was queued when the Close was read; reading on writes it.
            End::Peer(_) => read_on(&mut ws).await,
            End::Fault(code) => say_close(&mut ws, outbox, code).await && discard(&mut ws).await,
            End::Ours(code) => say_close(&mut ws, outbox, code).await && read_on(&mut ws).await,
        }
    };
    let clean = timeout(limit, handshake).await.unwrap_or(false);
    if !clean {
        // A reset frees the kernel's buffers at once, which a stalled peer would hold for minutes.
        let socket = SockRef::from(ws.get_ref().stream()).set_linger(Some(Duration::ZERO));
        if let Err(error) = socket {
            tracing::debug!(%error, "linger was not set");
        }
    }
}

/// Writes what is queued and then the Close, after the rest of a frame under way.
async fn say_close(ws: &mut WebSocketStream<Socket>, outbox: &Outbox, code: CloseCode) -> bool {
    // A frame under way may leave no room in the buffer for the next.
    if ws.flush().await.is_err() {
        return false;
    }
    while let Some(publication) = outbox.queue.pop() {
        if ws.feed(publication.into()).await.is_err() {
            return false;
        }
    }
    let frame = CloseFrame { code: code.number().into(), reason: code.word().into() };
    ws.send(Message::Close(Some(frame))).await.is_ok()
}

/// Reads until the close handshake is done or the stream ends, so that no reset overtakes the Close.
async fn read_on(ws: &mut WebSocketStream<Socket>) -> bool {
    loop {
        match ws.next().await {
            Some(Ok(_)) => {}
            None => return true,
            Some(Err(_)) => return false,
        }
    }
}

/// Reads bytes that no parser understands any more until the peer ends the stream.
async fn discard(ws: &mut WebSocketStream<Socket>) -> bool {
    let stream = ws.get_mut();
    if stream.shutdown().await.is_err() {
        return false;
    }
    let mut scratch = [0; 1024];
    loop {
        match stream.read(&mut scratch).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}
