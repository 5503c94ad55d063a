//! A list whose places stay where they are while others come and go.
//!
//! A half-flushed room keeps its place in the list as a number; moving members about would make it
//! skip one or serve one twice.

/// Members by place.
#[derive(Debug)]
pub(crate) struct Members<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Members<T> {
    /// Takes a member in; its place.
    ///
    /// # Panics
    /// With more than 2^32 members, which no file limit allows.
    pub(crate) fn insert(&mut self, member: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(member);
            return place;
        }
        self.places.push(Some(member));
        u32::try_from(self.places.len() - 1).expect("fewer sockets than 2^32")
    }

    /// Lets a member go.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let member = self.places.get_mut(place as usize)?.take()?;
        self.free.push(place);
        if self.free.len() == self.places.len() {
            // What a crowd needed is not kept for ever.
            *self = Self::default();
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
        assert_eq!(members.remove(places[1]), Some(1));
        assert_eq!(members.remove(places[1]), None);
        assert_eq!(members.get(places[3]), Some(&3));
        assert_eq!(members.insert(9), places[1], "a free place is taken first");
        assert_eq!(members.iter().copied().collect::<Vec<_>>(), [0, 9, 2, 3]);
        assert_eq!(members.places(), 4);
    }

    #[test]
    fn an_empty_list_holds_nothing() {
        let mut members = Members::default();
        let places: Vec<_> = (0..1_000).map(|n| members.insert(n)).collect();
        for place in places {
            members.remove(place);
        }
        assert_eq!(members.places(), 0);
        assert_eq!(members.places.capacity(), 0);
    }
}
