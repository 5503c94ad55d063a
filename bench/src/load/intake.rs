//! What becomes of the bytes that a client reads: frames, found in place, each delivery checked and
//! its latency counted.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::check::Checker;
use super::frame::{self, BINARY, CLOSE, PING, PONG, TEXT};
use super::stamp::Stamp;
use super::talk::{Said, Talk};
use crate::samples::Samples;

/// The code of a Close without one (RFC 6455 §7.1.5).
const NO_CODE: u16 = 1005;

/// Of all clients together.
#[derive(Debug)]
pub(crate) struct Intake {
    start: Instant,
    /// Who got what.
    pub(crate) check: Checker,
    /// From when a message was due until its bytes were read, of the clients watched.
    pub(crate) latency: Samples,
    /// The clients whose latency counts.
    pub(crate) watched: Range<usize>,
    /// Pings that were answered.
    pub(crate) pings: u64,
    /// Messages that are none of the load's.
    pub(crate) foreign: u64,
    /// What is understood when the clients speak `keywire.v1`: then the check is by room instead of by
    /// sender, and by place instead of by number.
    pub(crate) talk: Option<Talk>,
    /// When the last delivery was read.
    pub(crate) last: Instant,
    /// The moment that the last deliveries were sent at, and their number: joined messages often
    /// carry the same, and counting them at once is cheaper.
    run: (u64, u64),
}

/// What was taken from a client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes of whole frames.
    pub(crate) size: usize,
    /// The code of a Close among them.
    pub(crate) closed: Option<u16>,
}

impl Intake {
    /// For so many clients, of which so many send.
    pub(crate) fn new(clients: usize, senders: usize) -> Self {
        let start = Instant::now();
        Self {
            start,
            check: Checker::new(clients, senders),
            latency: Samples::new(),
            watched: 0..clients,
            pings: 0,
            foreign: 0,
            talk: None,
            last: start,
            run: (0, 0),
        }
    }

    /// Nanoseconds from the beginning of the load to `at`, as messages carry them.
    pub(crate) fn nanoseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes all whole frames; what is to be answered is added to `replies`.
    ///
    /// # Errors
    /// If the server breaks the protocol.
    pub(crate) fn take(
        &mut self,
        client: usize,
        bytes: &[u8],
        replies: &mut Vec<u8>,
    ) -> anyhow::Result<Taken> {
        let now = Instant::now();
        let arrived = self.nanoseconds(now);
        let watched = self.watched.contains(&client);
        let mut taken = Taken { size: 0, closed: None };
        let before = self.check.verdict().delivered;
        while let Some(frame) = frame::first(&bytes[taken.size..])? {
            taken.size += frame.size;
            match frame.opcode {
                TEXT | BINARY => match self.stamp(client, frame.payload, arrived) {
                    Some(stamp) if self.check.deliver(client, stamp.sender, stamp.number) => {
                        if watched {
                            self.count(stamp.sent, arrived);
                        }
                    }
                    _ => self.foreign += 1,
                },
                PING => {
                    self.pings += 1;
                    frame::add(replies, PONG, frame.payload);
                }
                PONG => {}
                CLOSE => {
                    let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    taken.closed = Some(code.unwrap_or(NO_CODE));
                }
                other => bail!("a frame of kind {other}"),
            }
        }
        self.flush(arrived);
        if self.check.verdict().delivered > before {
            self.last = now;
        }
        Ok(taken)
    }

    /// What a message is, if it is one to be checked.
    #[inline]
    fn stamp(&mut self, client: usize, message: &[u8], arrived: u64) -> Option<Stamp> {
        let Some(talk) = &mut self.talk else { return Stamp::decode(message) };
        match talk.take(client, message, arrived) {
            Said::Entry(stamp) => return Some(stamp),
            Said::Begins(room, seq) => self.check.begin(client, room, seq + 1),
            Said::Other => {}
        }
        None
    }

    #[inline]
    fn count(&mut self, sent: u64, arrived: u64) {
        if self.run.0 != sent {
            self.flush(arrived);
            self.run.0 = sent;
        }
        self.run.1 += 1;
    }

    fn flush(&mut self, arrived: u64) {
        let (sent, count) = self.run;
        if count > 0 {
            let took = Duration::from_nanos(arrived.saturating_sub(sent));
            self.latency.record_many(took, count);
            self.run.1 = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check::Verdict;

    /// A server's frame; those are not masked.
    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode, u8::try_from(payload.len()).unwrap()];
        frame.extend(payload);
        frame
    }

    fn message(number: u64) -> Vec<u8> {
        frame(TEXT, &Stamp { sender: 0, number, sent: 0 }.encode())
    }

    /// What one client of one sender is found to have got.
    fn verdict(numbers: &[u64]) -> (Verdict, u64) {
        let mut intake = Intake::new(1, 1);
        let bytes: Vec<u8> = numbers.iter().copied().flat_map(message).collect();
        let taken = intake.take(0, &bytes, &mut Vec::new()).unwrap();
        assert_eq!(taken, Taken { size: bytes.len(), closed: None });
        (intake.check.verdict(), intake.check.lost(0, &[4]))
    }

    #[test]
    fn lost_doubled_and_swapped_deliveries_are_seen_in_the_bytes() {
        assert_eq!(verdict(&[0, 1, 2, 3]), (Verdict { delivered: 4, doubled: 0, late: 0 }, 0));
        assert_eq!(verdict(&[0, 2, 3]), (Verdict { delivered: 3, doubled: 0, late: 0 }, 1));
        assert_eq!(verdict(&[0, 1, 1, 2, 3]), (Verdict { delivered: 4, doubled: 1, late: 0 }, 0));
        assert_eq!(verdict(&[0, 2, 1, 3]), (Verdict { delivered: 4, doubled: 0, late: 1 }, 0));
    }

    #[test]
    fn part_of_a_frame_is_left_for_later() {
        let mut intake = Intake::new(1, 1);
        let mut bytes = message(0);
        bytes.extend(&message(1)[..7]);
        let taken = intake.take(0, &bytes, &mut Vec::new()).unwrap();
        assert_eq!(taken.size, message(0).len());
        assert_eq!(intake.check.next(0, 0), 1);
        assert_eq!(intake.latency.json()["count"], 1);
    }

    #[test]
    fn pings_are_answered_closes_told_and_foreign_messages_counted() {
        let mut intake = Intake::new(1, 1);
        let bytes =
            [frame(PING, b"hi"), frame(TEXT, b"welcome"), frame(CLOSE, &[0x0F, 0xA8])].concat();
        let mut replies = Vec::new();
        let taken = intake.take(0, &bytes, &mut replies).unwrap();
        assert_eq!(taken.closed, Some(4008));
        let mut pong = Vec::new();
        frame::add(&mut pong, PONG, b"hi");
        assert_eq!(replies, pong);
        assert_eq!((intake.pings, intake.foreign), (1, 1));
    }

    #[test]
    fn only_the_latency_of_those_watched_counts() {
        let mut intake = Intake::new(2, 1);
        intake.watched = 0..1;
        for client in 0..2 {
            intake.take(client, &message(0), &mut Vec::new()).unwrap();
        }
        assert_eq!(intake.latency.json()["count"], 1);
        assert_eq!(intake.check.verdict().delivered, 2);
    }
}
