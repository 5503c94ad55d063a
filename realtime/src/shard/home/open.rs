//! A log that is followed, and the answers to those who ask what comes next.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::{Answer, Asking};
use crate::frame::{Opcode, encode};
use crate::room::{Cursor, Head, Missed, Row};

/// A log that is followed.
#[derive(Debug)]
pub(in crate::shard) struct Open {
    pub(super) cursor: Cursor,
    /// Who waits for a page behind this position.
    pub(super) pages: HashMap<u64, Vec<Asking>>,
    /// Reads a hole that does not fill by itself.
    pub(super) repair: Option<AbortHandle>,
    /// How far it went at the last look.
    pub(super) seen_seq: u64,
}

impl Open {
    /// A log that ends here.
    pub(super) fn new(head: Head) -> Self {
        Self { cursor: Cursor::new(head), pages: HashMap::new(), repair: None, seen_seq: 0 }
    }

    /// Whether a hole is about to be read.
    pub(super) fn is_repairing(&self) -> bool {
        self.repair.as_ref().is_some_and(|repair| !repair.is_finished())
    }

    /// There is no hole, or none any more: the next is waited for as the first was.
    pub(super) fn whole(&mut self) {
        if let Some(repair) = self.repair.take() {
            repair.abort();
        }
    }

    /// Answers with about so many bytes, or tells behind which place the log is to be read.
    pub(super) fn answer(&mut self, asking: Asking, page: usize) -> Option<u64> {
        let head = self.cursor.head();
        let Some(since) = asking.since else {
            asking.answer(head, false, head.last_seq, Bytes::new());
            return None;
        };
        match self.cursor.after(since.epoch, since.seq, page) {
            Ok(rows) => {
                let at = rows.last().map_or(since.seq, |row| row.seq);
                asking.answer(head, false, at, frames(&rows));
                None
            }
            Err(Missed::Reset) => {
                asking.answer(head, true, head.last_seq, Bytes::new());
                None
            }
            Err(Missed::Read) => {
                let waiting = self.pages.entry(since.seq).or_default();
                waiting.push(asking);
                (waiting.len() == 1).then_some(since.seq)
            }
        }
    }

    /// Learns where the log begins and ends; up to where entries are gone that were not given on, if any are.
    pub(super) fn learn(&mut self, head: Head) -> Option<u64> {
        if head.epoch != self.cursor.head().epoch {
            return None;
        }
        self.cursor.learn(head.last_seq);
        self.cursor.trimmed(head.first_seq)
    }

    /// Gives a page to all who wait for it, encoded once.
    pub(super) fn turn_page(&mut self, behind: u64, head: Head, rows: &[Row]) {
        let Some(waiting) = self.pages.remove(&behind) else { return };
        let (at, frames) = (rows.last().map_or(behind, |row| row.seq), frames(rows));
        for asking in waiting {
            let ours = asking.since.is_some_and(|since| since.epoch == head.epoch);
            if !ours || behind + 1 < head.first_seq || behind > head.last_seq {
                asking.answer(head, true, head.last_seq, Bytes::new());
            } else {
                asking.answer(head, false, at, frames.clone());
            }
        }
    }
}

/// Entries, encoded.
fn frames(rows: &[Row]) -> Bytes {
    let bytes = rows.iter().map(|row| encode::size(row.json.len())).sum();
    let mut frames = Vec::with_capacity(bytes);
    for row in rows {
        encode::append(&mut frames, Opcode::Text, &row.json);
    }
    frames.into()
}

impl Asking {
    fn answer(self, head: Head, is_reset: bool, at: u64, frames: Bytes) {
        if self.answer.send(Answer { head, is_reset, at, frames }).is_err() {
            tracing::debug!("who asked for a room's log has gone");
        }
    }
}
