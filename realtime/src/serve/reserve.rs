//! When the process has no file left for another connection.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::io::Errno;
use tokio::net::TcpListener;

/// A file kept open so that there is one to give up: with it, a connection that waits can be accepted
/// and refused. Without, it would hang until its own time-out.
#[derive(Debug)]
pub(super) struct Reserve(Option<File>);

impl Reserve {
    /// Takes a file.
    pub(super) fn take() -> Self {
        // Without one, nothing is refused here: clients then wait in the kernel's queue.
        Self(File::open("/dev/null").ok())
    }

    /// Whether accepting failed for want of files.
    pub(super) fn is_needed(error: &io::Error) -> bool {
        [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }

    /// Accepts the connection that waits, answers 503 and closes it; whether that went well.
    pub(super) fn refuse(&mut self, listener: &TcpListener, retry: Duration) -> bool {
        if self.0.take().is_none() {
            *self = Self::take();
            return false;
        }
        let accepted = listener.accept().now_or_never();
        let refused = match accepted {
            Some(Ok((stream, _))) => stream.into_std().and_then(|mut stream| {
                // No router and no front: one write, or nothing.
                let retry = retry.as_secs();
                let head = format!("HTTP/1.1 503 Service Unavailable\r\nRetry-After: {retry}");
                let rest = "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all((head + rest).as_bytes())
            }),
            Some(Err(error)) => Err(error),
            // It has gone meanwhile.
            None => Ok(()),
        };
        *self = Self::take();
        if let Err(error) = &refused {
            tracing::debug!(%error, "a connection could not be refused");
        }
        refused.is_ok()
    }
}
