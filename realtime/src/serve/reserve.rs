//! When the process has no file left for another connection.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections that may be refused at the same time. No setting: each waits for a moment only.
const FILES: usize = 16;
/// How long a refused client may take to read its answer.
const PARTING: Duration = Duration::from_secs(1);
/// What of its request is read, so that it finds its answer: unread bytes would make the end a reset,
/// which throws the answer away (RFC 9112 §9.6).
const REQUEST_BYTES: usize = 16 * 1024;

/// Files kept open so that there are some to give up: with one, a connection that waits can be accepted
/// and refused. Without, it would hang until its own time-out.
#[derive(Debug, Clone)]
pub(super) struct Reserve(Arc<Mutex<Vec<File>>>);

impl Reserve {
    /// Takes files.
    pub(super) fn take() -> Self {
        let reserve = Self(Arc::default());
        reserve.refill();
        reserve
    }

    /// Whether accepting failed for want of files.
    pub(super) fn is_needed(error: &io::Error) -> bool {
        [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }

    /// Accepts the connection that waits and answers it 503 meanwhile; whether there was a file for it.
    pub(super) fn refuse(&self, listener: &TcpListener, retry: Duration) -> bool {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.pop().is_none() {
            drop(files);
            self.refill();
            return false;
        }
        drop(files);
        // It may have gone meanwhile.
        if let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            let reserve = self.clone();
            tokio::spawn(async move {
                if timeout(PARTING, part(stream, retry)).await.is_err() {
                    tracing::debug!("a refused client did not take its answer");
                }
                reserve.refill();
            });
        } else {
            self.refill();
        }
        true
    }

    /// Takes back what may be had; the rest when the next client is refused.
    fn refill(&self) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while files.len() < FILES
            && let Ok(file) = File::open("/dev/null")
        {
            files.push(file);
        }
    }
}

/// Says 503 and waits until the client has closed. No router and no front.
async fn part(mut stream: TcpStream, retry: Duration) {
    let retry = retry.as_secs();
    let head = format!("HTTP/1.1 503 Service Unavailable\r\nRetry-After: {retry}");
    let rest = "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let said = async {
        stream.write_all((head + rest).as_bytes()).await?;
        stream.shutdown().await?;
        let mut request = [0; 1024];
        let mut left = REQUEST_BYTES;
        while left > 0 {
            let read = stream.read(&mut request).await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        io::Result::Ok(())
    };
    if let Err(error) = said.await {
        tracing::debug!(%error, "a client that was refused is gone");
    }
}
