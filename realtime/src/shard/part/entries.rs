//! What frames in one piece are: how many messages, of a log which, and which of them are fleeting.

use uuid::Uuid;

/// The messages of frames in one piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    /// How many.
    pub(crate) messages: u64,
    /// The place of the first in its room's log, if it has one.
    first: u64,
    /// Where each ends, if they are entries of a log: those follow each other.
    ends: Vec<u32>,
    /// Each of them, if they are fleeting: no piece is of both kinds.
    fleeting: Vec<Fleeting>,
}

/// Presence or typing: not kept, the first to be dropped, and of no use to the user whom it is about.
#[derive(Debug, Clone)]
struct Fleeting {
    /// Where its frame ends.
    end: u32,
    /// Who does not get it.
    except: Option<Uuid>,
}

/// What of a piece a member is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Reach {
    /// What begins at this byte: it has what stands before.
    From(usize),
    /// Nothing: it has everything.
    Nothing,
    /// Nothing yet: it lacks what stood before this piece, and must read that first.
    Behind,
}

impl Entries {
    /// Takes one more message, which ends at this byte; `seq` is its place in the log, 0 without one.
    pub(in crate::shard) fn push(&mut self, seq: u64, end: usize) {
        self.messages += 1;
        if seq > 0 {
            if self.ends.is_empty() {
                self.first = seq;
            }
            debug_assert!(self.joins(seq), "{} before {seq}", self.last());
            self.ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
    }

    /// Takes one more fleeting message, which ends at this byte, for all but one user.
    pub(in crate::shard) fn push_fleeting(&mut self, end: usize, except: Option<Uuid>) {
        self.messages += 1;
        self.fleeting.push(Fleeting { end: u32::try_from(end).unwrap_or(u32::MAX), except });
    }

    /// Whether they are fleeting.
    pub(in crate::shard) fn are_fleeting(&self) -> bool {
        !self.fleeting.is_empty()
    }

    /// Whether all of it is for this user.
    pub(in crate::shard) fn is_for(&self, user: Uuid) -> bool {
        self.fleeting.iter().all(|one| one.except != Some(user))
    }

    /// What of these bytes, which are the piece, is for this user.
    pub(in crate::shard) fn only_for(&self, user: Uuid, bytes: &[u8]) -> Vec<u8> {
        let (mut theirs, mut start) = (Vec::new(), 0);
        for &Fleeting { end, except } in &self.fleeting {
            let frame = bytes.get(start..end as usize).unwrap_or_default();
            if except != Some(user) {
                theirs.extend_from_slice(frame);
            }
            start = end as usize;
        }
        theirs
    }

    /// Takes those of another piece, which begins at this byte.
    pub(in crate::shard) fn append(&mut self, others: &Self, start: usize) {
        if self.ends.is_empty() {
            self.first = others.first;
        }
        self.messages += others.messages;
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        self.ends.extend(others.ends.iter().map(|end| end.saturating_add(start)));
        self.fleeting.extend(
            others
                .fleeting
                .iter()
                .map(|one| Fleeting { end: one.end.saturating_add(start), except: one.except }),
        );
    }

    /// Whether an entry at this place follows; 0 is none, and follows anything.
    pub(in crate::shard) fn joins(&self, seq: u64) -> bool {
        seq == 0 || self.ends.is_empty() || self.last() + 1 == seq
    }

    /// The place of the first entry; 0 without one.
    pub(in crate::shard) fn first(&self) -> u64 {
        if self.ends.is_empty() { 0 } else { self.first }
    }

    /// The place of the last entry; of none, the one before the first.
    pub(in crate::shard) fn last(&self) -> u64 {
        (self.first + self.ends.len() as u64).saturating_sub(1)
    }

    /// What of it a member gets that has everything up to `at`.
    pub(in crate::shard) fn reach(&self, at: u64) -> Reach {
        if self.ends.is_empty() || at + 1 == self.first {
            Reach::From(0)
        } else if at >= self.last() {
            Reach::Nothing
        } else if at + 1 < self.first {
            Reach::Behind
        } else {
            let has = usize::try_from(at - self.first).unwrap_or(usize::MAX);
            self.ends.get(has).map_or(Reach::Nothing, |end| Reach::From(*end as usize))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_a_place_are_everybodys() {
        let mut entries = Entries::default();
        entries.push(0, 10);
        entries.push(0, 20);
        assert_eq!(
            (entries.messages, entries.reach(0), entries.reach(9)),
            (2, Reach::From(0), Reach::From(0))
        );
    }

    #[test]
    fn nobody_gets_what_is_fleeting_and_of_oneself() {
        let (ann, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (mut first, mut more) = (Entries::default(), Entries::default());
        first.push_fleeting(3, Some(ann));
        more.push_fleeting(2, None);
        more.push_fleeting(4, Some(bob));
        first.append(&more, 3);
        assert!(first.are_fleeting() && !Entries::default().are_fleeting());
        assert_eq!((first.messages, first.first(), first.reach(9)), (3, 0, Reach::From(0)));
        let bytes = b"annalbob";
        assert!(!first.is_for(ann) && !first.is_for(bob) && first.is_for(Uuid::from_u128(3)));
        assert_eq!(first.only_for(ann, &bytes[..7]), b"albo");
        assert_eq!(first.only_for(bob, &bytes[..7]), b"annal");
    }

    #[test]
    fn a_member_gets_what_joins_what_it_has() {
        let mut entries = Entries::default();
        for (seq, end) in [(5, 10), (6, 30), (7, 35)] {
            entries.push(seq, end);
        }
        let mut more = Entries::default();
        more.push(8, 4);
        assert!(entries.joins(8) && entries.joins(0) && !entries.joins(9) && !entries.joins(7));
        entries.append(&more, 35);
        assert_eq!(entries.last(), 8);
        for (at, reach) in [
            (3, Reach::Behind),
            (4, Reach::From(0)),
            (5, Reach::From(10)),
            (6, Reach::From(30)),
            (7, Reach::From(35)),
            (8, Reach::Nothing),
            (9, Reach::Nothing),
        ] {
            assert_eq!(entries.reach(at), reach, "{at}");
        }
    }
}
