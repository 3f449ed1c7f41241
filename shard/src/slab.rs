//! Numbered places that are used again: what is in flight on a core, and who waits for what.
//!
//! A key is a place and the number of its use, so the key of something that has gone never names what came after it.
//! Places are reused, so in steady state nothing is allocated.

/// Bits of a key that name the place: four billion are more than a core can hold.
const PLACE_BITS: u32 = 32;

#[derive(Debug)]
struct Place<T> {
    uses: u32,
    value: Option<T>,
}

/// A growing set of values, each under a key of its own.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in and returns its key.
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { uses: 0, value: None });
            self.places.len() - 1
        });
        let found = &mut self.places[place];
        assert!(found.value.is_none(), "place {place} was free");
        found.uses = found.uses.wrapping_add(1);
        found.value = Some(value);
        u64::from(found.uses) << PLACE_BITS | place as u64
    }

    /// Takes the value of a key out, if it is still there.
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let place = self.place(key)?;
        let value = self.places[place].value.take()?;
        self.free.push(place);
        Some(value)
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All values, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.value.as_ref())
    }

    fn place(&self, key: u64) -> Option<usize> {
        let place = usize::try_from(key & ((1 << PLACE_BITS) - 1)).ok()?;
        let found = self.places.get(place)?;
        (u64::from(found.uses) == key >> PLACE_BITS).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_never_names_a_new_value() {
        let mut slab = Slab::default();
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.len(), slab.remove(second)), (1, Some("b")));
    }

    #[test]
    fn rubbish_keys_name_nothing() {
        let mut slab = Slab::default();
        let key = slab.insert(1);
        for wrong in [0, key + 1, u64::MAX, key ^ (1 << 32)] {
            assert_eq!(slab.remove(wrong), None);
        }
        assert_eq!(slab.iter().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = Slab::default();
        for round in 0..1000 {
            let key = slab.insert(round);
            assert_eq!(slab.remove(key), Some(round));
        }
        assert_eq!(slab.places.len(), 1);
    }
}
