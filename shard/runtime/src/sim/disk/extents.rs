//! Which pages of a file have blocks of the disk: reserved or written, as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Page numbers that are allocated. Invariant: the ranges are not empty and do not touch.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// End of each range by its start.
    ranges: BTreeMap<u64, u64>,
}

impl Extents {
    /// How many pages are allocated.
    pub(super) fn count(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// How many pages of `pages` are not allocated.
    pub(super) fn missing(&self, pages: &Range<u64>) -> u64 {
        let have: u64 = self.overlapping(pages).map(|have| have.end - have.start).sum();
        pages.end.saturating_sub(pages.start) - have
    }

    /// The end of the longest start of `pages` for which `available` further pages are enough.
    pub(super) fn reach(&self, pages: &Range<u64>, available: u64) -> u64 {
        let (mut at, mut left) = (pages.start, available);
        for have in self.overlapping(pages).chain(std::iter::once(pages.end..pages.end)) {
            let gap = have.start - at;
            if gap > left {
                return at + left;
            }
            left -= gap;
            at = have.end;
        }
        at
    }

    /// Allocates `pages`.
    pub(super) fn insert(&mut self, pages: Range<u64>) {
        if pages.is_empty() {
            return;
        }
        let (mut start, mut end) = (pages.start, pages.end);
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            if before_end >= end {
                return;
            }
            start = before;
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next() {
            end = end.max(next_end);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// Gives back all pages from `first` on.
    pub(super) fn cut(&mut self, first: u64) {
        self.ranges.split_off(&first);
        if let Some((_, end)) = self.ranges.iter_mut().next_back() {
            *end = first.min(*end);
        }
    }

    /// The allocated parts of `pages`, in order.
    fn overlapping(&self, pages: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let (start, end) = (pages.start, pages.end.max(pages.start));
        let before = self.ranges.range(..start).next_back().filter(|(_, e)| **e > start);
        before
            .into_iter()
            .chain(self.ranges.range(start..end))
            .map(move |(from, to)| (*from).max(start)..(*to).min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::collections::BTreeSet;

    quickcheck! {
        fn ranges_are_a_set_of_pages(steps: Vec<(u8, u8, bool)>) -> bool {
            let (mut extents, mut model) = (Extents::default(), BTreeSet::new());
            steps.into_iter().all(|(start, len, cut)| {
                let pages = u64::from(start % 64)..u64::from(start % 64) + u64::from(len % 16);
                let missing = pages.clone().filter(|page| !model.contains(page)).count() as u64;
                let agreed = extents.missing(&pages) == missing;
                if cut {
                    extents.cut(pages.start);
                    model.retain(|page| *page < pages.start);
                } else {
                    extents.insert(pages.clone());
                    model.extend(pages);
                }
                let ranges = extents.ranges.iter();
                let apart = ranges.clone().zip(ranges.skip(1)).all(|(a, b)| a.1 < b.0);
                agreed && apart && extents.count() == model.len() as u64
            })
        }

        fn reach_takes_what_is_available(taken: Vec<u8>, start: u8, len: u8, available: u8) -> bool {
            let mut extents = Extents::default();
            for page in &taken {
                extents.insert(u64::from(*page)..u64::from(*page) + 1);
            }
            let pages = u64::from(start)..u64::from(start) + u64::from(len);
            let end = extents.reach(&pages, u64::from(available));
            let fits = |end| extents.missing(&(pages.start..end)) <= u64::from(available);
            fits(end) && (end == pages.end || !fits(end + 1))
        }
    }
}
