//! Many WebSocket clients on one thread: one poll, one read buffer, frames checked where they were
//! read. A general client library reads, copies and wakes for each message; measured against a fast
//! server, it would be the bottleneck.

mod client;

use std::io::ErrorKind;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use self::client::{Client, Got};
use super::frame::{self, CLOSE};
use super::intake::Intake;
use super::target::Endpoint;
use super::upgrade::Upgrade;
use crate::report::progress;
use crate::samples::Samples;

pub(crate) use self::client::State;

/// The shared read buffer: it stays in the processor's cache.
const BUFFER: usize = 256 << 10;

/// Sockets looked after in one turn; few, so that a sender soon learns that its own messages came.
const TURN: usize = 64;

/// Connections being made at once.
const DIALING: usize = 256;

/// The longest wait for any of them.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Clients between two lines of progress.
const PROGRESS_EVERY: usize = 5000;

/// The clients.
#[derive(Debug)]
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    ready: Vec<Ready>,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    endpoint: Endpoint,
    upgrade: Upgrade,
    /// The check of what they read.
    pub(crate) intake: Intake,
    /// Those that became open, until they are taken.
    pub(crate) opened: Vec<usize>,
    /// Those that ended, with where they stood, until they are taken.
    pub(crate) ended: Vec<(usize, State)>,
    /// Open connections that the server ended.
    pub(crate) cut: u64,
    /// Why the server ended or refused one, the last time.
    pub(crate) reason: Option<String>,
    /// Writes that all clients made.
    pub(crate) writes: u64,
    /// From the dial until a client was open.
    pub(crate) connecting: Samples,
    /// `SO_RCVBUF` of clients that connect from now on.
    pub(crate) receive_buffer: Option<usize>,
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
struct Ready {
    client: usize,
    read: bool,
    write: bool,
    ended: bool,
}

impl Crowd {
    /// Clients that are not connected yet; the first `senders` numbers are the senders'.
    ///
    /// # Errors
    /// If the system gives no poll.
    pub(crate) fn new(endpoint: Endpoint, clients: usize, senders: usize) -> anyhow::Result<Self> {
        let upgrade = Upgrade::new(&endpoint.host, &endpoint.path, &endpoint.headers);
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(TURN),
            ready: Vec::with_capacity(TURN),
            clients: (0..clients).map(|_| Client::new()).collect(),
            buffer: vec![0; BUFFER],
            endpoint,
            upgrade,
            intake: Intake::new(clients, senders),
            opened: Vec::new(),
            ended: Vec::new(),
            cut: 0,
            reason: None,
            writes: 0,
            connecting: Samples::new(),
            receive_buffer: None,
        })
    }

    /// Connects these clients and waits until all are open.
    ///
    /// # Errors
    /// If one is refused, or none gets on for [`CONNECT_LIMIT`].
    pub(crate) fn connect(&mut self, clients: Range<usize>) -> anyhow::Result<()> {
        let (mut next, mut open) = (clients.start, 0);
        let mut last = Instant::now();
        while open < clients.len() {
            while next < clients.end && next - clients.start - open < DIALING {
                self.dial(next)?;
                next += 1;
            }
            self.turn(Duration::from_secs(1))?;
            for _ in self.opened.drain(..) {
                open += 1;
                last = Instant::now();
                if open.is_multiple_of(PROGRESS_EVERY) {
                    progress(&format!("{open} of {} clients", clients.len()));
                }
            }
            let reason = || self.reason.clone().unwrap_or_default();
            ensure!(self.ended.is_empty(), "client {open} cannot connect: {}", reason());
            ensure!(last.elapsed() < CONNECT_LIMIT, "{open} clients are open, and no more get in");
        }
        Ok(())
    }

    /// Begins to connect one.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub(crate) fn dial(&mut self, index: usize) -> anyhow::Result<()> {
        let Endpoint { address, .. } = self.endpoint;
        let from = self.endpoint.source(index);
        let client = &mut self.clients[index];
        let stream = client.dial(address, from, self.receive_buffer);
        let stream = stream.with_context(|| format!("no socket for client {index}"))?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream, Token(index), both)?;
        Ok(())
    }

    /// Waits at most so long, to the millisecond, for sockets that are ready, and looks after them.
    /// Less than a millisecond is not waited for at all.
    ///
    /// # Errors
    /// If a server breaks the protocol.
    pub(crate) fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        let wait = Duration::from_secs(wait.as_secs())
            + Duration::from_millis(wait.subsec_millis().into());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(self.events.iter().map(|event| Ready {
            client: event.token().0,
            read: event.is_readable(),
            write: event.is_writable(),
            ended: event.is_read_closed() || event.is_error(),
        }));
        for ready in ready.drain(..) {
            self.look_after(ready)?;
        }
        self.ready = ready;
        Ok(())
    }

    /// Sends bytes that [`frame::add`] made, joined with what still waits.
    pub(crate) fn send(&mut self, index: usize, frames: &[u8]) {
        self.clients[index].unsent.extend_from_slice(frames);
        self.write(index);
    }

    /// Begins the close handshake.
    pub(crate) fn close(&mut self, index: usize) {
        self.clients[index].state = State::Closing;
        let mut close = Vec::new();
        frame::add(&mut close, CLOSE, &1000_u16.to_be_bytes());
        self.send(index, &close);
    }

    /// Ends a connection without a word.
    pub(crate) fn hang_up(&mut self, index: usize) {
        self.clients[index].state = State::Closing;
        self.end(index);
    }

    /// Makes clients read nothing more.
    pub(crate) fn deafen(&mut self, clients: Range<usize>) {
        for client in &mut self.clients[clients] {
            client.deaf = true;
        }
    }

    /// Clients that are open and read.
    pub(crate) fn hearing(&self) -> impl Iterator<Item = usize> {
        let clients = self.clients.iter().enumerate();
        clients.filter(|(_, it)| it.state == State::Open && !it.deaf).map(|(index, _)| index)
    }

    /// What all that are open and read miss of so much sent by each sender.
    pub(crate) fn lost(&self, sent: &[u64]) -> u64 {
        self.hearing().map(|client| self.intake.check.lost(client, sent)).sum()
    }

    fn look_after(&mut self, ready: Ready) -> anyhow::Result<()> {
        let Ready { client: index, read, write, ended } = ready;
        if write {
            self.writable(index);
        }
        if self.clients[index].deaf {
            if ended {
                self.end(index);
            }
            return Ok(());
        }
        if read || ended { self.read(index, ended) } else { Ok(()) }
    }

    fn writable(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.state == State::Dialing
            && let Some(stream) = &client.stream
        {
            if let Ok(Some(error)) | Err(error) = stream.take_error() {
                self.reason = Some(error.to_string());
                return self.end(index);
            }
            client.state = State::Upgrading;
            client.unsent.extend_from_slice(&self.upgrade.request);
        }
        self.write(index);
    }

    fn write(&mut self, index: usize) {
        match self.clients[index].write() {
            Ok(writes) => self.writes += writes,
            Err(error) => {
                self.reason = Some(error.to_string());
                self.end(index);
            }
        }
    }

    /// Reads until the socket is empty.
    fn read(&mut self, index: usize, to_end: bool) -> anyhow::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = loop {
            match self.clients[index].read(&mut buffer, to_end) {
                Ok(Got::Bytes(filled)) => match self.take(index, &buffer[..filled]) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(Got::All(filled)) => break self.take(index, &buffer[..filled]),
                Ok(Got::Nothing) => break Ok(()),
                Ok(Got::End) => {
                    self.end(index);
                    break Ok(());
                }
                Err(error) => {
                    self.reason = Some(error.to_string());
                    self.end(index);
                    break Ok(());
                }
            }
        };
        self.buffer = buffer;
        read
    }

    /// Takes what a client read.
    fn take(&mut self, index: usize, mut bytes: &[u8]) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        if client.state == State::Upgrading {
            match self.upgrade.accepted(bytes) {
                Ok(Some(start)) => bytes = &bytes[start..],
                Ok(None) => {
                    client.partial.extend_from_slice(bytes);
                    return Ok(());
                }
                Err(error) => {
                    self.reason = Some(error.to_string());
                    self.end(index);
                    return Ok(());
                }
            }
            client.state = State::Open;
            self.connecting.record(client.dialed.elapsed());
            self.opened.push(index);
        }
        let waiting = client.unsent.len();
        let taken = self.intake.take(index, bytes, &mut client.unsent)?;
        client.partial.extend_from_slice(&bytes[taken.size..]);
        ensure!(client.partial.len() < BUFFER / 2, "a frame larger than {}", frame::LARGEST);
        if let Some(code) = taken.closed {
            self.closed(index, code);
        } else if self.clients[index].unsent.len() > waiting {
            self.write(index);
        }
        Ok(())
    }

    /// Answers a Close that is no answer itself.
    fn closed(&mut self, index: usize, code: u16) {
        if self.clients[index].state == State::Open {
            self.reason = Some(format!("closed with {code}"));
            self.cut += 1;
            self.close(index);
        }
    }

    fn end(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let state = std::mem::replace(&mut client.state, State::Away);
        // Dropping it takes it from the poll as well.
        client.stream = None;
        self.cut += u64::from(state == State::Open);
        if state != State::Away {
            self.ended.push((index, state));
        }
    }
}

/// Fails when a run lost connections that it needs.
///
/// # Errors
/// If one was cut.
pub(crate) fn all_there(crowd: &Crowd) -> anyhow::Result<()> {
    if crowd.cut > 0 {
        let reason = crowd.reason.as_deref().unwrap_or("without a word");
        bail!("the server ended {} connections, the last: {reason}", crowd.cut);
    }
    Ok(())
}
