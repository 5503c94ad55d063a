//! Reading and writing a non-blocking socket.

use std::io::{self, ErrorKind, IoSlice};

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Writes what the socket takes; 0 if it takes nothing now.
pub(super) fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    written(stream, bytes.len(), stream.try_write(bytes))
}

/// The same for several pieces of `bytes` in all.
pub(super) fn write_all_of(
    stream: &TcpStream,
    slices: &[IoSlice<'_>],
    bytes: usize,
) -> io::Result<usize> {
    written(stream, bytes, stream.try_write_vectored(slices))
}

fn written(stream: &TcpStream, bytes: usize, result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(some) => {
            if some < bytes {
                is_exhausted(stream, Interest::WRITABLE);
            }
            Ok(some)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// Reads what has come: `None` if nothing has, 0 bytes at the stream's end.
pub(super) fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.try_read(buffer) {
        Ok(some) => {
            if some > 0 && some < buffer.len() {
                is_exhausted(stream, Interest::READABLE);
            }
            Ok(Some(some))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells tokio that the socket has had enough, which it would find out by another system call. What
/// changes meanwhile is told by an event of its own: epoll and kqueue are used edge-triggered.
fn is_exhausted(stream: &TcpStream, interest: Interest) {
    let blocked: io::Result<()> = stream.try_io(interest, || Err(ErrorKind::WouldBlock.into()));
    debug_assert!(blocked.is_err(), "the closure fails");
}
