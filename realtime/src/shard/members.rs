//! A list whose places stay where they are while others come and go.
//!
//! A half-flushed room keeps its place in the list as a number; moving members about would make it
//! skip one or serve one twice.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Members by place.
#[derive(Debug)]
pub(crate) struct Members<T> {
    places: Vec<Option<T>>,
    /// Places that became free. The lowest is taken first, so that those at the end become free and
    /// go; some of these have gone.
    free: BinaryHeap<Reverse<u32>>,
}

/// Fewer places are not worth giving back.
const KEPT: usize = 64;

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: BinaryHeap::new() }
    }
}

impl<T> Members<T> {
    /// Takes a member in; its place.
    ///
    /// # Panics
    /// With more than 2^32 members, which no file limit allows.
    pub(crate) fn insert(&mut self, member: T) -> u32 {
        if let Some(Reverse(place)) = self.free.pop() {
            if let Some(free) = self.places.get_mut(place as usize) {
                *free = Some(member);
                return place;
            }
            // It has gone, and with it all that come after it.
            self.free.clear();
        }
        self.places.push(Some(member));
        self.places() - 1
    }

    /// Lets a member go. What a crowd needed is not kept for ever, nor looked through.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let member = self.places.get_mut(place as usize)?.take()?;
        self.free.push(Reverse(place));
        while matches!(self.places.last(), Some(None)) {
            self.places.pop();
        }
        if self.places.len().max(KEPT) < self.places.capacity() / 4 {
            let places = self.places();
            self.places.shrink_to(self.places.len() * 2);
            self.free.retain(|Reverse(place)| *place < places);
            self.free.shrink_to(self.places.len() * 2);
        }
        Some(member)
    }

    /// The member at a place.
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_ref()
    }

    /// Places there are, empty ones included.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.places.len()).expect("fewer sockets than 2^32")
    }

    /// All members.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_while_others_come_and_go() {
        let mut members = Members::default();
        let places: Vec<_> = (0..4).map(|n| members.insert(n)).collect();
        assert_eq!(members.remove(places[2]), Some(2));
        assert_eq!(members.remove(places[1]), Some(1));
        assert_eq!(members.remove(places[1]), None);
        assert_eq!(members.get(places[3]), Some(&3));
        assert_eq!(members.insert(9), places[1], "the lowest free place is taken first");
        assert_eq!(members.iter().copied().collect::<Vec<_>>(), [0, 9, 3]);
        assert_eq!(members.places(), 4);
    }

    #[test]
    fn what_a_crowd_needed_is_given_back_although_some_stay() {
        let mut members = Members::default();
        let places: Vec<_> = (0..10_000).map(|n| members.insert(n)).collect();
        for place in &places[10..] {
            members.remove(*place);
        }
        assert_eq!(members.places(), 10);
        assert!(members.places.capacity() <= 4 * KEPT, "{}", members.places.capacity());
        assert!(members.free.capacity() <= 4 * KEPT, "{}", members.free.capacity());
        assert_eq!(members.insert(1), 10);
        assert_eq!(members.insert(2), 11, "each place is given once");
    }

    #[test]
    fn an_empty_place_that_went_is_never_given_twice() {
        let mut members = Members::default();
        for n in 0..100 {
            members.insert(n);
        }
        for place in [99, 50, 98, 97] {
            members.remove(place);
        }
        let taken: Vec<_> = (0..5).map(|n| members.insert(n)).collect();
        assert_eq!(taken, [50, 97, 98, 99, 100]);
        assert_eq!(members.iter().count(), 101);
    }
}
