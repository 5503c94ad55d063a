//! The check of every delivery: each client has to get each sender's messages whole and in order.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use serde_json::{Value, json};

/// Holes remembered of one sender at one client; of older ones only the size is kept, so what still
/// comes out of them counts as doubled.
const HOLES: usize = 1024;

/// What came, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Messages delivered once, in order or not.
    pub(crate) delivered: u64,
    /// Deliveries of a message that had been delivered before.
    pub(crate) doubled: u64,
    /// Deliveries after one that was sent later.
    pub(crate) late: u64,
}

/// Follows all senders at all clients.
#[derive(Debug)]
pub(crate) struct Checker {
    senders: usize,
    /// The number expected next, by client and sender. Alone in this list, so that the usual way
    /// touches eight bytes.
    next: Vec<u64>,
    /// What is missing before it, by the same index.
    holes: HashMap<usize, Holes>,
    verdict: Verdict,
}

/// Numbers that were passed over.
#[derive(Debug, Default)]
struct Holes {
    ranges: VecDeque<Range<u64>>,
    /// Numbers in holes that are not remembered any more.
    forgotten: u64,
}

impl Checker {
    /// Nothing came yet.
    pub(crate) fn new(clients: usize, senders: usize) -> Self {
        Self {
            senders,
            next: vec![0; clients * senders],
            holes: HashMap::new(),
            verdict: Verdict::default(),
        }
    }

    /// Counts a delivery; whether there is such a sender.
    #[inline]
    pub(crate) fn deliver(&mut self, client: usize, sender: usize, number: u64) -> bool {
        if sender >= self.senders {
            return false;
        }
        let index = client * self.senders + sender;
        if self.next[index] == number {
            self.next[index] += 1;
            self.verdict.delivered += 1;
        } else {
            self.disordered(index, number);
        }
        true
    }

    #[cold]
    fn disordered(&mut self, index: usize, number: u64) {
        let next = &mut self.next[index];
        let holes = self.holes.entry(index).or_default();
        if number > *next {
            holes.open(*next..number);
            *next = number + 1;
            self.verdict.delivered += 1;
        } else if holes.fill(number) {
            self.verdict.delivered += 1;
            self.verdict.late += 1;
        } else {
            self.verdict.doubled += 1;
        }
    }

    /// Of a sender that nothing has come from, the numbers begin here for this client.
    pub(crate) fn begin(&mut self, client: usize, sender: usize, number: u64) {
        let next = &mut self.next[client * self.senders + sender];
        if *next == 0 {
            *next = number;
        }
    }

    /// The number that a client expects next of a sender: it saw this one's predecessor.
    pub(crate) fn next(&self, client: usize, sender: usize) -> u64 {
        self.next[client * self.senders + sender]
    }

    /// What a client misses, when so much was sent by each sender.
    pub(crate) fn lost(&self, client: usize, sent: &[u64]) -> u64 {
        sent.iter().enumerate().map(|(sender, sent)| self.missed(client, sender, *sent)).sum()
    }

    /// What a client misses of one sender, who sent so much.
    pub(crate) fn missed(&self, client: usize, sender: usize, sent: u64) -> u64 {
        let index = client * self.senders + sender;
        sent.saturating_sub(self.next[index]) + self.holes.get(&index).map_or(0, Holes::size)
    }

    /// What came so far.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl Holes {
    fn open(&mut self, range: Range<u64>) {
        if self.ranges.len() == HOLES
            && let Some(oldest) = self.ranges.pop_front()
        {
            self.forgotten += oldest.end - oldest.start;
        }
        self.ranges.push_back(range);
    }

    /// Takes a number out of the hole it is missing from, if it is.
    fn fill(&mut self, number: u64) -> bool {
        // They are in order: each was opened behind all others.
        let at = self.ranges.partition_point(|range| range.end <= number);
        let Some(range) = self.ranges.get(at).filter(|range| range.contains(&number)) else {
            return false;
        };
        let rest = [range.start..number, number + 1..range.end];
        self.ranges.remove(at);
        for range in rest.into_iter().rev().filter(|range| !range.is_empty()) {
            self.ranges.insert(at, range);
        }
        true
    }

    fn size(&self) -> u64 {
        self.forgotten + self.ranges.iter().map(|range| range.end - range.start).sum::<u64>()
    }
}

impl Verdict {
    /// What came since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            delivered: self.delivered - before.delivered,
            doubled: self.doubled - before.doubled,
            late: self.late - before.late,
        }
    }

    /// Whether no message came twice or out of order.
    pub(crate) fn is_clean(self) -> bool {
        self.doubled == 0 && self.late == 0
    }

    /// `{"delivered", "doubled", "late"}`.
    pub(crate) fn json(self) -> Value {
        json!({"delivered": self.delivered, "doubled": self.doubled, "late": self.late})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One client of two after sender 1 of two was heard to send these.
    fn heard(numbers: &[u64]) -> Checker {
        let mut checker = Checker::new(2, 2);
        for number in numbers {
            assert!(checker.deliver(1, 1, *number));
        }
        checker
    }

    fn verdict(numbers: &[u64]) -> (u64, u64, u64, u64) {
        let checker = heard(numbers);
        let Verdict { delivered, doubled, late } = checker.verdict();
        (delivered, doubled, late, checker.lost(1, &[0, 5]))
    }

    #[test]
    fn all_in_order_is_clean() {
        assert_eq!(verdict(&[0, 1, 2, 3, 4]), (5, 0, 0, 0));
    }

    #[test]
    fn a_lost_delivery_is_reported_wherever_it_is() {
        assert_eq!(verdict(&[1, 2, 3, 4]), (4, 0, 0, 1));
        assert_eq!(verdict(&[0, 1, 3, 4]), (4, 0, 0, 1));
        assert_eq!(verdict(&[0, 1, 2]), (3, 0, 0, 2));
        assert_eq!(verdict(&[]), (0, 0, 0, 5));
    }

    #[test]
    fn a_doubled_delivery_is_reported() {
        assert_eq!(verdict(&[0, 1, 1, 2, 3, 4]), (5, 1, 0, 0));
        assert_eq!(verdict(&[0, 1, 2, 3, 4, 0]), (5, 1, 0, 0));
        assert_eq!(verdict(&[0, 2, 1, 1, 3, 4]), (5, 1, 1, 0));
    }

    #[test]
    fn swapped_deliveries_are_late_and_not_lost() {
        assert_eq!(verdict(&[0, 2, 1, 3, 4]), (5, 0, 1, 0));
        assert_eq!(verdict(&[4, 2, 0, 3, 1]), (5, 0, 4, 0));
    }

    #[test]
    fn senders_and_clients_are_told_apart() {
        let mut checker = heard(&[0, 1]);
        assert!(checker.deliver(1, 0, 0));
        assert!(checker.deliver(0, 1, 0));
        assert!(!checker.deliver(0, 2, 0), "there are two senders");
        assert_eq!((checker.next(1, 1), checker.next(0, 1)), (2, 1));
        assert_eq!((checker.lost(1, &[1, 2]), checker.lost(0, &[1, 2])), (0, 2));
        assert_eq!(checker.verdict(), Verdict { delivered: 4, doubled: 0, late: 0 });
    }

    #[test]
    fn who_comes_later_misses_nothing_before() {
        let mut checker = Checker::new(1, 1);
        checker.begin(0, 0, 5);
        checker.deliver(0, 0, 5);
        checker.begin(0, 0, 9);
        checker.deliver(0, 0, 7);
        assert_eq!((checker.missed(0, 0, 8), checker.verdict().delivered), (1, 2));
    }

    #[test]
    fn of_too_many_holes_the_size_is_kept() {
        let holes = HOLES as u64 + 10;
        let every_second: Vec<_> = (0..holes).map(|number| 2 * number + 1).collect();
        let checker = heard(&every_second);
        assert_eq!(checker.lost(1, &[0, 2 * holes]), holes);
    }
}
