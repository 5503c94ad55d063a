//! What waits for one socket, because the socket would not take it at once.
//!
//! A plain struct: no socket, no clock. It holds runs of whole frames, shared with every other queue
//! they wait in, and knows how far the oldest has been written.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::time::Instant;

use super::memory::Frames;
use crate::pressure::{ENTRY_BYTES, Pressure, Rules};

/// What may happen to frames when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Never dropped: rather the connection is closed 4008.
    Kept,
    /// Dropped rather than that, the oldest before the newest: ephemeral messages.
    Droppable,
    /// Dropped before anything else, and not taken behind more than a quarter of the cap: presence and
    /// typing.
    Fleeting,
}

/// The cap would be exceeded although nothing droppable is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// One or more whole frames of one class.
#[derive(Debug)]
struct Run {
    class: Class,
    frames: Frames,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: VecDeque<Run>,
    /// Bytes that wait, entries included.
    bytes: usize,
    /// How much of the oldest run is written.
    written: usize,
    pressure: Pressure,
}

impl Queue {
    /// Appends frames, the first `written` bytes of which went out at once; that is only possible
    /// while nothing else waits. Tells how many runs were dropped for it, itself perhaps.
    ///
    /// # Errors
    /// [`Full`] when the cap would be exceeded.
    pub(super) fn push(
        &mut self,
        class: Class,
        frames: Frames,
        written: usize,
        rules: &Rules,
        now: Instant,
    ) -> Result<usize, Full> {
        debug_assert!(written == 0 || self.is_empty());
        if class == Class::Fleeting && self.bytes > rules.cap / 4 {
            return Ok(1);
        }
        let cost = frames.len() - written + ENTRY_BYTES;
        let dropped = self.make_room(cost, rules.cap);
        if self.bytes + cost > rules.cap {
            // Of what is begun nothing can be dropped any more.
            let must_go = class == Class::Kept || written > 0;
            return if must_go { Err(Full) } else { Ok(dropped + 1) };
        }
        self.bytes += cost;
        self.written += written;
        self.runs.push_back(Run { class, frames });
        self.pressure.grown(self.bytes, rules, now);
        Ok(dropped)
    }

    /// Drops fleeting runs, then droppable ones, until `cost` more bytes fit or none is left.
    fn make_room(&mut self, cost: usize, cap: usize) -> usize {
        if self.bytes + cost <= cap {
            return 0;
        }
        // Fleeting ones stand nowhere else: whoever reads nothing is not looked through for each message.
        let first = self.drop_runs(Class::Fleeting, cost, cap, cap / 4);
        first + self.drop_runs(Class::Droppable, cost, cap, usize::MAX)
    }

    /// Drops runs of a class, the oldest first, of those that begin in the first `reach` bytes.
    fn drop_runs(&mut self, class: Class, cost: usize, cap: usize, reach: usize) -> usize {
        let (mut dropped, mut passed) = (0, 0);
        // The first one stays once it is begun: the reader has part of it.
        let mut at = usize::from(self.written > 0);
        while self.bytes + cost > cap && at < self.runs.len() && passed <= reach {
            let bytes = self.runs[at].frames.len() + ENTRY_BYTES;
            if self.runs[at].class == class {
                self.bytes -= bytes;
                self.runs.remove(at);
                dropped += 1;
            } else {
                passed += bytes;
                at += 1;
            }
        }
        dropped
    }

    /// What to write next, as far as `slices` and `limit` bytes reach; tells how many slices and
    /// how many bytes.
    pub(super) fn next<'a>(&'a self, slices: &mut [IoSlice<'a>], limit: usize) -> (usize, usize) {
        let (mut count, mut bytes, mut skip) = (0, 0, self.written);
        for (slice, run) in slices.iter_mut().zip(&self.runs) {
            if bytes >= limit {
                break;
            }
            *slice = IoSlice::new(&run.frames[skip..]);
            bytes += run.frames.len() - skip;
            count += 1;
            skip = 0;
        }
        (count, bytes)
    }

    /// The reader took so many of the bytes that [`Self::next`] told.
    pub(super) fn taken(&mut self, bytes: usize, rules: &Rules, now: Instant) {
        let before = self.bytes;
        self.bytes -= bytes;
        self.written += bytes;
        while let Some(run) = self.runs.front()
            && self.written >= run.frames.len()
        {
            self.written -= run.frames.len();
            self.bytes -= ENTRY_BYTES;
            self.runs.pop_front();
        }
        if self.runs.is_empty() {
            // A burst's memory is not kept for the rest of the connection.
            self.runs = VecDeque::new();
        }
        self.pressure.accepted();
        self.pressure.shrunk(before - self.bytes, self.bytes, rules, now);
    }

    /// The reader took bytes that stood before these.
    pub(super) fn accepted(&mut self) {
        self.pressure.accepted();
    }

    /// The reader would not take bytes.
    pub(super) fn refused(&mut self, now: Instant) {
        self.pressure.refused(now);
    }

    /// The rest of the frame that is under way: a control frame may go out behind it.
    pub(super) fn rest_of_frame(&self) -> &[u8] {
        let end = self.frame_under_way().end;
        self.runs.front().map_or(&[], |run| &run.frames[self.written..end])
    }

    /// Where in the oldest run the last frame begins and ends of which anything is written.
    fn frame_under_way(&self) -> Range<usize> {
        let mut frame = 0..0;
        if let Some(run) = self.runs.front() {
            while frame.end < self.written {
                frame = frame.end..frame.end + frame_bytes(&run.frames[frame.end..]);
            }
        }
        frame
    }

    /// Drops everything but the rest of the frame that is under way.
    pub(super) fn clear(&mut self) {
        let begun = self.frame_under_way();
        let run = self.runs.pop_front();
        let written = self.written - begun.start;
        *self = Self::default();
        if let Some(Run { class, frames }) = run.filter(|_| begun.end > begun.start + written) {
            self.bytes = begun.len() - written + ENTRY_BYTES;
            self.written = written;
            self.runs.push_back(Run { class, frames: frames.copy(begun) });
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes that wait, entries included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it costs the node beside the frames, which others may share.
    pub(super) fn entry_bytes(&self) -> usize {
        self.runs.len() * ENTRY_BYTES
    }

    /// Until when publishers wait for this reader, at most.
    pub(super) fn pauses_until(&self, rules: &Rules, now: Instant) -> Option<Instant> {
        self.pressure.pauses_until(self.bytes, rules, now)
    }
}

/// How long the server's frame at the start of `bytes` is, header included (RFC 6455 §5.2).
fn frame_bytes(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let length = bytes[2..10].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            10 + length
        }
        length => 2 + usize::from(length),
    }
}

#[cfg(test)]
mod tests;
