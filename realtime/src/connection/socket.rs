//! The TCP stream under a WebSocket, watched: what arrives, and whether what is written is taken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;

use crate::hub::Outbox;
use crate::metrics::Metrics;

/// A stream that reports to its connection's outbox and to the metrics.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    /// Bytes read since they were last asked for.
    arrived: u64,
}

impl Socket {
    /// Watches a stream of which `arrived` bytes were read before.
    pub(super) fn new(
        stream: TcpStream,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
        arrived: usize,
    ) -> Self {
        Self { stream, outbox, metrics, arrived: arrived as u64 }
    }

    /// Bytes that arrived since the last call.
    pub(super) fn take_arrived(&mut self) -> u64 {
        std::mem::take(&mut self.arrived)
    }

    /// The stream itself.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(bytes)) => {
                self.outbox.queue.accepted();
                self.metrics.bytes_sent.increment(*bytes as u64);
            }
            // Without budget tokio did not ask the socket: that is no refusal of the reader's.
            Poll::Pending if has_budget_remaining() => self.outbox.queue.refused(),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.arrived += (buf.filled().len() - before) as u64;
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
