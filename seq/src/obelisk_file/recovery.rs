//! What to do with what is found in the directory of an obelisk: a decision table, apart from the disk.

use super::sidecar::{Found, Sidecar};
use crate::limits::STRIDE_MAX;

/// One file that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Generation {
    pub(crate) number: u32,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// What is in the directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    /// By number, lowest first.
    pub(crate) generations: Vec<Generation>,
    pub(crate) sidecar: Found,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// It has never dealt a number: begin at zero.
    Create,
    /// Go on at `value`.
    GoOn { value: u64, sidecar: Sidecar },
    /// It was further than it is.
    CameBackShorter { found: u64, at_least: u64 },
    /// Nobody can tell what it was: there is no sidecar, or a damaged one.
    Unattested,
    /// Written by a later version.
    Newer { version: u16 },
}

impl Facts {
    /// Selects the one row.
    ///
    /// | generations | sidecar | what has happened | decision |
    /// |---|---|---|---|
    /// | any | newer | an older program looks at it | `Newer` |
    /// | any | damaged | the disk or somebody else; never a crash: it is replaced as a whole | `Unattested` |
    /// | none, or the first and empty | missing | nothing, or a creation that was cut short | `Create` |
    /// | others | missing | it was lost, and with it the stride | `Unattested` |
    /// | none | sound | the file was lost: it is made before the sidecar | `CameBackShorter` |
    /// | some, below the bound | sound | the file was cut, or an old one was put back | `CameBackShorter` |
    /// | some, at or above it | sound | nothing, or a crash at any moment | `GoOn` |
    pub(crate) fn decide(&self) -> Decision {
        let untouched = match self.generations[..] {
            [] => true,
            [only] => only == Generation { number: 0, len: 0 },
            _ => false,
        };
        match self.sidecar {
            Found::Newer { version } => Decision::Newer { version },
            Found::Missing if untouched => Decision::Create,
            Found::Missing | Found::Damaged => Decision::Unattested,
            Found::Sound(sidecar) => {
                let value = self.value(sidecar.stride);
                if self.generations.is_empty() || value < sidecar.bound {
                    Decision::CameBackShorter { found: value, at_least: sidecar.bound }
                } else {
                    Decision::GoOn { value, sidecar }
                }
            }
        }
    }

    /// The least value that is no less than any of which the files know: where to go on if somebody answers for it.
    /// Without a sidecar the stride is unknown; the largest there is can only err upwards.
    pub(crate) fn value_at_least(&self) -> u64 {
        match self.sidecar {
            Found::Sound(sidecar) => self.value(sidecar.stride).max(sidecar.bound),
            _ => self.value(STRIDE_MAX),
        }
    }

    /// The greatest value that a file says.
    fn value(&self, stride: u64) -> u64 {
        // A value beyond u64 was never dealt; it only says that there are none left.
        let value_of =
            |one: &Generation| u64::from(one.number).saturating_mul(stride).saturating_add(one.len);
        self.generations.iter().map(value_of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::obelisk::Mode;

    const STRIDE: u64 = 64;

    /// Files, and what follows without a sidecar and with one of each bound.
    type Row = (&'static [(u32, u64)], [Decision; 4]);

    fn sound(bound: u64) -> Found {
        Found::Sound(Sidecar { stride: STRIDE, mode: Mode::Group, bound })
    }

    fn files(files: &[(u32, u64)]) -> Vec<Generation> {
        files.iter().map(|&(number, len)| Generation { number, len }).collect()
    }

    fn facts(generations: &[(u32, u64)], sidecar: Found) -> Facts {
        Facts { generations: files(generations), sidecar }
    }

    #[test]
    fn every_combination_of_facts_selects_the_row_of_the_table() {
        let newer = Decision::Newer { version: 9 };
        let shorter = |found, at_least| Decision::CameBackShorter { found, at_least };
        let on = |value, bound| match sound(bound) {
            Found::Sound(sidecar) => Decision::GoOn { value, sidecar },
            _ => unreachable!(),
        };
        let rows: [Row; 8] = [
            (&[], [Decision::Create, shorter(0, 0), shorter(0, 70), shorter(0, 200)]),
            (&[(0, 0)], [Decision::Create, on(0, 0), shorter(0, 70), shorter(0, 200)]),
            (&[(0, 9)], [Decision::Unattested, on(9, 0), shorter(9, 70), shorter(9, 200)]),
            (&[(1, 0)], [Decision::Unattested, on(64, 0), shorter(64, 70), shorter(64, 200)]),
            (&[(1, 6)], [Decision::Unattested, on(70, 0), on(70, 70), shorter(70, 200)]),
            (
                &[(0, 63), (1, 5)],
                [Decision::Unattested, on(69, 0), shorter(69, 70), shorter(69, 200)],
            ),
            (&[(0, 63), (3, 8)], [Decision::Unattested, on(200, 0), on(200, 70), on(200, 200)]),
            // Somebody made the older file longer than its generation: the greatest value rules.
            (&[(0, 90), (1, 1)], [Decision::Unattested, on(90, 0), on(90, 70), shorter(90, 200)]),
        ];
        for (generations, decisions) in rows {
            let sidecars = [Found::Missing, sound(0), sound(70), sound(200)];
            for (sidecar, decision) in sidecars.into_iter().zip(decisions) {
                let facts = facts(generations, sidecar);
                assert_eq!(facts.decide(), decision, "{facts:?}");
            }
            assert_eq!(facts(generations, Found::Damaged).decide(), Decision::Unattested);
            assert_eq!(facts(generations, Found::Newer { version: 9 }).decide(), newer);
        }
    }

    #[test]
    fn who_answers_for_it_goes_on_above_everything_that_was_found() {
        assert_eq!(facts(&[], Found::Missing).value_at_least(), 0);
        assert_eq!(facts(&[(1, 6)], sound(7)).value_at_least(), 70);
        assert_eq!(facts(&[(1, 6)], sound(700)).value_at_least(), 700);
        assert_eq!(facts(&[(0, 6)], Found::Damaged).value_at_least(), 6);
        assert_eq!(facts(&[(1, 6)], Found::Missing).value_at_least(), STRIDE_MAX + 6);
        assert_eq!(facts(&[(u32::MAX, 6)], Found::Missing).value_at_least(), u64::MAX);
    }
}
