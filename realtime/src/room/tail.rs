//! The last entries of a room, kept for those who come back soon.

use std::collections::VecDeque;

use super::Row;

/// Entries kept at most.
const ENTRIES: usize = 128;
/// Bytes kept at most; one entry is always kept.
const BYTES: usize = 256 * 1024;

/// The last entries, without a hole.
#[derive(Debug, Default)]
pub(super) struct Tail {
    rows: VecDeque<Row>,
    bytes: usize,
}

impl Tail {
    /// Takes the next entry. One that does not join those before it stands alone.
    pub(super) fn push(&mut self, row: Row) {
        if self.rows.back().is_some_and(|last| last.seq + 1 != row.seq) {
            *self = Self::default();
        }
        self.bytes += row.json.len();
        self.rows.push_back(row);
        while self.rows.len() > 1 && (self.rows.len() > ENTRIES || self.bytes > BYTES) {
            self.bytes -= self.rows.pop_front().map_or(0, |row| row.json.len());
        }
    }

    /// What comes after `seq`, up to about so many bytes but at least one entry; `None` if it does not
    /// reach back that far.
    pub(super) fn after(&self, seq: u64, bytes: usize) -> Option<Vec<Row>> {
        let first = self.rows.front()?.seq;
        let skip = usize::try_from((seq + 1).checked_sub(first)?).ok()?;
        let mut left = bytes;
        let mut rows = Vec::new();
        for row in self.rows.iter().skip(skip) {
            if row.json.len() > left && !rows.is_empty() {
                break;
            }
            left = left.saturating_sub(row.json.len());
            rows.push(row.clone());
        }
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Effect;

    fn row(seq: u64, bytes: usize) -> Row {
        Row { seq, json: vec![b' '; bytes].into(), effect: Effect::None }
    }

    fn seqs(rows: Option<Vec<Row>>) -> Option<Vec<u64>> {
        Some(rows?.iter().map(|row| row.seq).collect())
    }

    #[test]
    fn it_gives_what_comes_after_as_far_as_it_reaches_back() {
        let mut tail = Tail::default();
        assert_eq!(tail.after(0, 100), None);
        for seq in 5..=8 {
            tail.push(row(seq, 10));
        }
        assert_eq!(seqs(tail.after(3, 100)), None);
        assert_eq!(seqs(tail.after(4, 100)), Some(vec![5, 6, 7, 8]));
        assert_eq!(seqs(tail.after(7, 100)), Some(vec![8]));
        assert_eq!(seqs(tail.after(8, 100)), Some(vec![]));
        assert_eq!(seqs(tail.after(4, 25)), Some(vec![5, 6]));
        assert_eq!(seqs(tail.after(4, 1)), Some(vec![5]), "one at least");
    }

    #[test]
    fn it_keeps_so_many_entries_and_so_many_bytes() {
        let mut tail = Tail::default();
        for seq in 1..=200 {
            tail.push(row(seq, 1));
        }
        assert_eq!(tail.after(71, 1_000), None);
        assert_eq!(tail.after(72, 1_000).unwrap().len(), 128);
        tail.push(row(201, BYTES));
        assert_eq!(seqs(tail.after(200, 0)), Some(vec![201]));
        assert_eq!(tail.after(199, 0), None);
    }

    #[test]
    fn behind_a_hole_it_begins_anew() {
        let mut tail = Tail::default();
        tail.push(row(1, 1));
        tail.push(row(3, 1));
        assert_eq!(tail.after(0, 10), None);
        assert_eq!(seqs(tail.after(2, 10)), Some(vec![3]));
    }
}
