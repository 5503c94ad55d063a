//! One of many clients: a socket, where it stands, and what is not read or written whole yet.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not connected.
    Away,
    /// The TCP connection is being made.
    Dialing,
    /// The upgrade was asked for.
    Upgrading,
    /// Messages may come.
    Open,
    /// A Close was sent, the end is awaited.
    Closing,
}

/// The client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    /// Part of a frame, or of the answer to the upgrade.
    pub(super) partial: Vec<u8>,
    /// To be written, from `written` on.
    pub(super) unsent: Vec<u8>,
    written: usize,
    /// Does not read any more.
    pub(super) deaf: bool,
    /// When it began to connect.
    pub(super) dialed: Instant,
}

/// What a read gave.
pub(super) enum Got {
    /// So many bytes are in the buffer; there may be more to read.
    Bytes(usize),
    /// All that there was: so many bytes.
    All(usize),
    /// Nothing now.
    Nothing,
    /// The server ended the connection.
    End,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            state: State::Away,
            partial: Vec::new(),
            unsent: Vec::new(),
            written: 0,
            deaf: false,
            dialed: Instant::now(),
        }
    }

    /// Begins to connect.
    pub(super) fn dial(
        &mut self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        receive_buffer: Option<usize>,
    ) -> io::Result<&mut TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = from {
            socket.bind(&from.into())?;
        }
        match socket.connect(&to.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                return Err(error);
            }
            _ => {}
        }
        *self = Self { state: State::Dialing, ..Self::new() };
        Ok(self.stream.insert(TcpStream::from_std(socket.into())))
    }

    /// Reads once, behind what is left of the last read. `to_end`: read until nothing comes.
    pub(super) fn read(&mut self, buffer: &mut [u8], to_end: bool) -> io::Result<Got> {
        let Some(stream) = &mut self.stream else { return Ok(Got::Nothing) };
        let kept = self.partial.len();
        buffer[..kept].copy_from_slice(&self.partial);
        let room = buffer.len() - kept;
        let read = loop {
            match stream.read(&mut buffer[kept..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Ok(Got::End),
            Ok(bytes) => {
                self.partial.clear();
                // Less than there was room for: the socket is empty, and its next bytes are told.
                let all = bytes < room && !to_end;
                Ok(if all { Got::All(kept + bytes) } else { Got::Bytes(kept + bytes) })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes; how often it was asked with success.
    pub(super) fn write(&mut self) -> io::Result<u64> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let mut writes = 0;
        while self.written < self.unsent.len() {
            match stream.write(&self.unsent[self.written..]) {
                Ok(bytes) => {
                    self.written += bytes;
                    writes += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(writes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.written = 0;
        Ok(writes)
    }
}
