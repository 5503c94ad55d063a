//! The one way in for a room's entries: own commits, reads and repairs alike.
//!
//! A plain struct: no socket, no clock, no database. What comes twice is dropped, what comes early is
//! held, and what is given on is in order and without a hole.

use std::collections::BTreeMap;

use super::tail::Tail;
use super::{Effect, Row};

/// Entries held at most behind a hole.
const HELD_ENTRIES: usize = 256;
/// Bytes held at most behind a hole.
const HELD_BYTES: usize = 1024 * 1024;

/// Where a log begins and ends, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Another number: another log.
    pub(crate) epoch: i64,
    /// The first entry there is.
    pub(crate) first_seq: u64,
    /// The last.
    pub(crate) last_seq: u64,
}

/// How far a room's entries have been given on.
#[derive(Debug)]
pub(crate) struct Cursor {
    head: Head,
    /// The highest place that is known to be taken.
    known: u64,
    held: BTreeMap<u64, Row>,
    held_bytes: usize,
    tail: Tail,
}

/// Why a client cannot go on from where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The log is another one, or no longer reaches back that far.
    Reset,
    /// The log has it, but not the tail: it is to be read.
    Read,
}

impl Cursor {
    /// At the end of the log, as it was read.
    pub(crate) fn new(head: Head) -> Self {
        Self {
            head,
            known: head.last_seq,
            held: BTreeMap::new(),
            held_bytes: 0,
            tail: Tail::default(),
        }
    }

    /// Where the log begins, and up to where it has been given on.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// Takes entries in any order and gives on those that are next.
    pub(crate) fn advance(&mut self, rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
        let mut next = Vec::new();
        // A gap that was skipped may have ended where those that are held begin.
        self.give_held(&mut next);
        for row in rows {
            self.known = self.known.max(row.seq);
            if row.seq == self.head.last_seq + 1 {
                self.give(row, &mut next);
                self.give_held(&mut next);
            } else if row.seq > self.head.last_seq {
                self.hold(row);
            }
        }
        next
    }

    fn give_held(&mut self, next: &mut Vec<Row>) {
        while let Some(row) = self.held.remove(&(self.head.last_seq + 1)) {
            self.held_bytes -= row.json.len();
            self.give(row, next);
        }
    }

    fn give(&mut self, row: Row, next: &mut Vec<Row>) {
        self.head.last_seq = row.seq;
        if row.effect == Effect::Hides {
            // It may have the text: who comes back reads the log, where it is gone.
            self.tail = Tail::default();
        }
        self.tail.push(row.clone());
        next.push(row);
    }

    /// Over the limit the last ones go: they are read again with the hole.
    fn hold(&mut self, row: Row) {
        self.held_bytes += row.json.len();
        if let Some(twice) = self.held.insert(row.seq, row) {
            self.held_bytes -= twice.json.len();
        }
        while self.held.len() > HELD_ENTRIES || self.held_bytes > HELD_BYTES {
            self.held_bytes -= self.held.pop_last().map_or(0, |(_, row)| row.json.len());
        }
    }

    /// Lets the tail go: the log has all of it.
    pub(crate) fn forget_tail(&mut self) {
        self.tail = Tail::default();
    }

    /// Learns that there is an entry at this place.
    pub(crate) fn learn(&mut self, seq: u64) {
        self.known = self.known.max(seq);
    }

    /// Learns where the log begins by now. Entries that were not given on may be gone: then the cursor goes
    /// on behind them, at the place before the first, which is returned.
    ///
    /// The tail may keep entries that are gone; it gives none of them to whoever comes after this.
    pub(crate) fn trimmed(&mut self, first_seq: u64) -> Option<u64> {
        self.head.first_seq = self.head.first_seq.max(first_seq);
        let before = self.head.first_seq - 1;
        if self.head.last_seq >= before {
            return None;
        }
        self.head.last_seq = before;
        self.known = self.known.max(before);
        self.held = self.held.split_off(&first_seq);
        self.held_bytes = self.held.values().map(|row| row.json.len()).sum();
        Some(before)
    }

    /// Whether there are entries that did not come.
    pub(crate) fn has_hole(&self) -> bool {
        self.known > self.head.last_seq
    }

    /// What a client gets that has everything up to `seq` of the log of `epoch`: about so many bytes.
    ///
    /// # Errors
    /// [`Missed`], if the tail cannot tell.
    pub(crate) fn after(&self, epoch: i64, seq: u64, bytes: usize) -> Result<Vec<Row>, Missed> {
        if epoch != self.head.epoch || seq + 1 < self.head.first_seq {
            return Err(Missed::Reset);
        }
        if seq == self.head.last_seq {
            return Ok(Vec::new());
        }
        // One that is ahead may have heard of an entry from another node, or of none.
        let tail = self.tail.after(seq, bytes).filter(|_| seq < self.head.last_seq);
        tail.ok_or(Missed::Read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: i64 = 7;

    fn cursor(last_seq: u64) -> Cursor {
        Cursor::new(Head { epoch: EPOCH, first_seq: 1, last_seq })
    }

    fn row(seq: u64) -> Row {
        Row { seq, json: seq.to_string().into(), effect: Effect::None }
    }

    fn seqs(rows: &[Row]) -> Vec<u64> {
        rows.iter().map(|row| row.seq).collect()
    }

    #[test]
    fn what_is_next_is_given_on_what_is_early_is_held_and_what_is_old_is_dropped() {
        let mut cursor = cursor(3);
        assert_eq!(seqs(&cursor.advance([row(3), row(5), row(1)])), [0_u64; 0]);
        assert!(cursor.has_hole());
        assert_eq!(seqs(&cursor.advance([row(4)])), [4, 5]);
        assert_eq!(seqs(&cursor.advance([row(5), row(4)])), [0_u64; 0]);
        assert!(!cursor.has_hole());
        assert_eq!(cursor.head().last_seq, 5);
    }

    #[test]
    fn a_place_that_is_only_heard_of_is_a_hole_until_it_comes() {
        let mut cursor = cursor(0);
        cursor.learn(2);
        assert!(cursor.has_hole());
        assert_eq!(seqs(&cursor.advance([row(1), row(2)])), [1, 2]);
        assert!(!cursor.has_hole());
    }

    #[test]
    fn behind_a_hole_only_so_much_is_held_and_the_rest_is_still_missed() {
        let mut cursor = cursor(0);
        cursor.advance((2..=1_000).map(row));
        assert_eq!(cursor.held.len(), HELD_ENTRIES);
        let given = cursor.advance([row(1)]);
        assert_eq!(given.len(), HELD_ENTRIES + 1);
        assert!(cursor.has_hole(), "the rest is known of");
        let big = |seq| Row { seq, json: vec![0; HELD_BYTES / 2].into(), effect: Effect::None };
        cursor.advance([big(2_000), big(2_001), big(2_002)]);
        assert_eq!(cursor.held.len(), 2);
        assert_eq!(cursor.held_bytes, HELD_BYTES);
    }

    #[test]
    fn a_client_goes_on_where_it_was_or_is_told_why_not() {
        let mut cursor = Cursor::new(Head { epoch: EPOCH, first_seq: 10, last_seq: 20 });
        cursor.advance((21..=23).map(row));
        assert_eq!(cursor.after(EPOCH, 23, 100), Ok(vec![]));
        assert_eq!(seqs(&cursor.after(EPOCH, 20, 100).unwrap()), [21, 22, 23]);
        assert_eq!(cursor.after(EPOCH, 19, 100), Err(Missed::Read));
        assert_eq!(cursor.after(EPOCH, 9, 100), Err(Missed::Read));
        assert_eq!(cursor.after(EPOCH, 8, 100), Err(Missed::Reset));
        assert_eq!(cursor.after(EPOCH + 1, 23, 100), Err(Missed::Reset));
        assert_eq!(cursor.after(EPOCH, 24, 100), Err(Missed::Read), "ahead of what came here");
        cursor.trimmed(22);
        assert_eq!(cursor.after(EPOCH, 20, 100), Err(Missed::Reset));
        assert_eq!(seqs(&cursor.after(EPOCH, 21, 100).unwrap()), [22, 23]);
    }

    #[test]
    fn a_hole_whose_entries_are_gone_is_stepped_over() {
        let mut cursor = cursor(10);
        cursor.advance([row(12), row(16), row(17), row(19)]);
        assert_eq!(cursor.trimmed(9), None);
        assert_eq!(cursor.trimmed(11), None, "nothing is missed yet");
        assert_eq!(cursor.trimmed(16), Some(15));
        assert_eq!(seqs(&cursor.advance([])), [16, 17]);
        assert_eq!((cursor.held.len(), cursor.held_bytes), (1, 2));
        assert_eq!(cursor.after(EPOCH, 10, 100), Err(Missed::Reset));
        assert_eq!(seqs(&cursor.after(EPOCH, 15, 100).unwrap()), [16, 17]);
        // All there was: what is next comes next.
        assert_eq!(cursor.trimmed(20), Some(19));
        assert!(!cursor.has_hole() && cursor.held_bytes == 0);
        assert_eq!(cursor.after(EPOCH, 19, 100), Ok(vec![]));
        assert_eq!(seqs(&cursor.advance([row(20)])), [20]);
    }

    #[test]
    fn a_text_that_was_deleted_is_in_no_tail() {
        let mut cursor = cursor(0);
        cursor.advance((1..=3).map(row));
        cursor.advance([Row { effect: Effect::Hides, ..row(4) }]);
        assert_eq!(cursor.after(EPOCH, 1, 100), Err(Missed::Read));
        assert_eq!(seqs(&cursor.after(EPOCH, 3, 100).unwrap()), [4]);
    }

    proptest! {
        #[test]
        fn however_entries_come_each_is_given_on_once_and_in_order(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(1..=60_u64, 0..60),
            cuts in prop::collection::vec(1..7_usize, 1..40),
        ) {
            let mut coming: Vec<_> = order.iter().chain(&again).copied().map(row).collect();
            let (mut cursor, mut given) = (cursor(0), Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let rest = coming.split_off(cut.min(coming.len()));
                given.extend(seqs(&cursor.advance(std::mem::replace(&mut coming, rest))));
            }
            prop_assert_eq!(given, (1..=60).collect::<Vec<_>>());
            prop_assert!(!cursor.has_hole() && cursor.held.is_empty() && cursor.held_bytes == 0);
        }
    }
}
