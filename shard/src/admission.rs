//! Budgets of bytes: who holds how much, and who has to wait or hear `Busy`.
//!
//! One core's budget is a counter that the core alone touches. What is taken is held by a [`Hold`], which gives it back
//! when dropped, so no path through errors, panics or closed connections can leak any.

use std::cell::Cell;
use std::rc::Rc;

/// A number of bytes that can be held at most. Cheap to clone; all clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    held: Cell<u64>,
    most: u64,
}

/// Bytes taken from a [`Budget`] until dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `most` bytes, none of them held.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { inner: Rc::new(Inner { held: Cell::new(0), most }) }
    }

    /// Takes `bytes`, or nothing if that many are not free. A budget of which nothing is held gives any amount, so that
    /// what is larger than all of it is late and alone instead of impossible.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> Option<Hold> {
        let held = self.inner.held.get();
        let sum = held.checked_add(bytes)?;
        if sum > self.inner.most && held > 0 {
            return None;
        }
        self.inner.held.set(sum);
        Some(Hold { budget: self.clone(), bytes })
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.inner.held.get()
    }

    /// Bytes not held now.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.inner.most.saturating_sub(self.held())
    }

    /// Bytes that can be held.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.inner.most
    }
}

impl Hold {
    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes what is held to `bytes`, also beyond the budget: for what turned out to be of another size after it was
    /// taken, such as the one whole batch that a fetch always returns.
    ///
    /// # Panics
    /// Never: a budget holds at least what its holds do.
    pub fn resize(&mut self, bytes: u64) {
        let held = self.budget.inner.held.get();
        assert!(held >= self.bytes, "{held} bytes held of which this holds {}", self.bytes);
        self.budget.inner.held.set(held - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_by_two_and_never_leaks() {
        let budget = Budget::new(100);
        let first = budget.try_take(60).unwrap();
        assert!(budget.try_take(41).is_none());
        assert_eq!(budget.held(), 60, "a refusal holds nothing");
        let second = budget.try_take(40).unwrap();
        assert_eq!(budget.free(), 0);
        drop(first);
        assert_eq!((budget.held(), budget.free()), (40, 60));
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_larger_than_all_of_it_goes_alone() {
        let budget = Budget::new(100);
        let large = budget.try_take(500).unwrap();
        assert_eq!(budget.free(), 0);
        assert!(budget.try_take(1).is_none());
        drop(large);
        assert!(budget.try_take(1).is_some());
    }

    #[test]
    fn a_hold_follows_what_it_holds() {
        let budget = Budget::new(100);
        let mut hold = budget.try_take(10).unwrap();
        hold.resize(150);
        assert_eq!((budget.held(), budget.free()), (150, 0));
        hold.resize(5);
        assert_eq!(budget.held(), 5);
    }

    #[test]
    fn sums_beyond_64_bits_are_refused() {
        let budget = Budget::new(u64::MAX);
        let _held = budget.try_take(u64::MAX).unwrap();
        assert!(budget.try_take(1).is_none());
    }
}
