//! Those of the clients that send, and what they sent.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::frame::{self, TEXT};
use super::stamp::{STAMP, Stamp};

/// The longest wait for one more delivery.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// Ends the text of a stamp, up to the size wanted.
const FILLER: u8 = b'.';

/// The senders of a load.
#[derive(Debug)]
pub(crate) struct Senders {
    clients: usize,
    /// How many messages each sent.
    pub(crate) sent: Vec<u64>,
    /// What is in flight began here: what was sent before and did not come is given up.
    given_up: Vec<u64>,
    /// Deliveries that all this makes.
    expected: u64,
    /// A message, its stamp to be filled in.
    message: Vec<u8>,
    frames: Vec<u8>,
}

impl Senders {
    /// So many of so many clients, with messages of so many bytes.
    pub(crate) fn new(senders: usize, clients: usize, bytes: usize) -> Self {
        Self {
            clients,
            sent: vec![0; senders],
            given_up: vec![0; senders],
            expected: 0,
            message: vec![FILLER; bytes.max(STAMP)],
            frames: Vec::new(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sent.len()
    }

    /// Which client a sender is. They are spread over all: where in its list a server finds a sender
    /// decides how soon that one hears itself.
    pub(crate) fn client(&self, sender: usize) -> usize {
        sender * self.clients / self.sent.len()
    }

    /// Sends so many messages that were due at `due`, to so many clients that hear; under `keywire.v1` in
    /// the first room.
    pub(crate) fn send(
        &mut self,
        crowd: &mut Crowd,
        sender: usize,
        count: u64,
        due: Instant,
        hearing: usize,
    ) {
        let sent = crowd.intake.nanoseconds(due);
        self.frames.clear();
        let client = self.client(sender);
        for number in self.numbers(sender, count) {
            if let Some(talk) = &mut crowd.intake.talk {
                talk.publish(&mut self.frames, client, 0, sent);
                continue;
            }
            self.message[..STAMP].copy_from_slice(&Stamp { sender, number, sent }.encode());
            frame::add(&mut self.frames, TEXT, &self.message);
        }
        self.expected += count * hearing as u64;
        crowd.send(client, &self.frames);
    }

    /// How many a sender has sent and not heard itself.
    pub(crate) fn in_flight(&self, crowd: &Crowd, sender: usize) -> u64 {
        let client = self.client(sender);
        let heard = match &crowd.intake.talk {
            Some(talk) => talk.heard(client),
            None => crowd.intake.check.next(client, sender),
        };
        self.sent[sender] - heard.max(self.given_up[sender])
    }

    /// Waits for nothing that was sent so far.
    pub(crate) fn give_up(&mut self) {
        self.given_up.copy_from_slice(&self.sent);
    }

    /// Waits until everything came, or nothing more comes.
    ///
    /// # Errors
    /// If a server breaks the protocol.
    pub(crate) fn drain(&mut self, crowd: &mut Crowd) -> anyhow::Result<()> {
        let begin = Instant::now();
        while crowd.intake.check.verdict().delivered < self.expected
            && crowd.intake.last.max(begin).elapsed() < QUIET
        {
            crowd.turn(Duration::from_millis(100))?;
        }
        // What is lost is not waited for again.
        self.expected = crowd.intake.check.verdict().delivered;
        self.give_up();
        Ok(())
    }

    fn numbers(&mut self, sender: usize, count: u64) -> Range<u64> {
        let first = self.sent[sender];
        self.sent[sender] += count;
        first..first + count
    }
}
