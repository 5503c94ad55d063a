//! The signals that ask this process to end.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// SIGINT, SIGTERM and SIGHUP, from now on.
#[derive(Debug)]
pub struct Signals {
    /// Ctrl-C.
    interrupt: unix::Signal,
    /// What `kill` and service managers send.
    terminate: unix::Signal,
    /// The terminal was closed.
    hang_up: unix::Signal,
}

impl Signals {
    /// Takes them over: from here on they end nothing by themselves.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
        }
    }
}
