//! Rows of numbers that begin with a time, in order, and their form in the page.
//!
//! A table of the page is one flat list: the first number of each row is the time since the row before, the others are
//! as they are. That is a third of what a list of objects takes, and the script makes one typed array of it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Rows of a time and `N` more numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<const N: usize> {
    rows: Vec<(u64, [i64; N])>,
}

impl<const N: usize> Table<N> {
    pub(super) fn push(&mut self, at: u64, cells: [i64; N]) {
        self.rows.push((at, cells));
    }

    pub(super) fn rows(&self) -> &[(u64, [i64; N])] {
        &self.rows
    }

    pub(super) fn rows_mut(&mut self) -> &mut [(u64, [i64; N])] {
        &mut self.rows
    }

    /// Brings the rows in the order of their times; those of one time keep theirs.
    pub(super) fn sort(&mut self) {
        self.rows.sort_by_key(|(at, _)| *at);
    }

    /// Leaves out rows, evenly, until at most about `most` are left; first of those that are not to be `kept`. Returns
    /// how many.
    pub(super) fn thin(&mut self, most: usize, kept: impl Fn(u64, &[i64; N]) -> bool) -> usize {
        let before = self.rows.len();
        if before <= most {
            return 0;
        }
        let wanted = self.rows.iter().filter(|(at, cells)| kept(*at, cells)).count();
        if wanted < most {
            let every = (before - wanted).div_ceil(most - wanted);
            let mut number = 0;
            self.rows.retain(|(at, cells)| {
                number += 1;
                kept(*at, cells) || number % every == 0
            });
        } else {
            self.rows.retain(|(at, cells)| kept(*at, cells));
            let every = wanted.div_ceil(most);
            let mut number = 0;
            self.rows.retain(|_| {
                number += 1;
                number % every == 0
            });
        }
        before - self.rows.len()
    }

    /// As a list. The rows must be in order.
    pub(super) fn json(&self) -> String {
        let mut json = String::with_capacity(self.rows.len() * (N + 1) * 3 + 2);
        let mut last = 0;
        for (at, cells) in &self.rows {
            put(&mut json, format_args!("{},", at - last));
            last = *at;
            for cell in cells {
                put(&mut json, format_args!("{cell},"));
            }
        }
        json.pop();
        format!("[{json}]")
    }
}

/// Texts that rows name by number, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    numbers: BTreeMap<String, i64>,
    texts: Vec<String>,
}

impl Texts {
    /// The number of `text`.
    pub(super) fn number(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = cell(self.texts.len());
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    pub(super) fn json(&self) -> String {
        strings(&self.texts)
    }
}

/// Rows on which things that last are drawn without lying on each other, as far as there are rows.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    most: usize,
    /// For each track: until when each of its rows is taken.
    taken: BTreeMap<(i64, i64), Vec<u64>>,
}

impl Rows {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: BTreeMap::new() }
    }

    /// A row of `track` for what goes from `from` to `until`; asked for in the order of `from`.
    pub(super) fn place(&mut self, track: (i64, i64), from: u64, until: u64) -> usize {
        let rows = self.taken.entry(track).or_default();
        let row = match rows.iter().position(|taken| *taken <= from) {
            Some(free) => free,
            None if rows.len() < self.most => {
                rows.push(0);
                rows.len() - 1
            }
            // All taken: over the one that ends first, which covers the least of it.
            None => (0..rows.len()).min_by_key(|row| rows[*row]).unwrap_or(0),
        };
        rows[row] = rows[row].max(until);
        row
    }

    /// The rows that `track` has, at least one.
    pub(super) fn count(&self, track: (i64, i64)) -> usize {
        self.taken.get(&track).map_or(1, |rows| rows.len().max(1))
    }
}

/// A number as a cell; what is too large for one is of no interest exactly.
pub(super) fn cell(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A list of strings.
pub(super) fn strings(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| string(text)).collect();
    format!("[{}]", quoted.join(","))
}

/// A string, such that it can stand inside a script element: what HTML would read as its end or as a comment is escaped.
pub(super) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '<' | '>' | '&' | '\0'..='\x1f' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                put(&mut json, format_args!("\\u{:04x}", u32::from(c)));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
    json
}

pub(super) fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(times: impl IntoIterator<Item = u64>) -> Table<1> {
        let mut table = Table::default();
        for at in times {
            table.push(at, [cell(at) * 10]);
        }
        table
    }

    #[test]
    fn times_are_written_as_steps() {
        let mut table = table([5, 3, 9]);
        table.sort();
        assert_eq!(table.json(), "[3,30,2,50,4,90]");
        assert_eq!(Table::<3>::default().json(), "[]");
    }

    #[test]
    fn a_short_table_is_not_thinned() {
        let mut table = table(0..10);
        assert_eq!(table.thin(10, |_, _| false), 0);
        assert_eq!(table.rows().len(), 10);
    }

    #[test]
    fn thinning_is_even_and_spares_what_is_kept() {
        let mut table = table(0..1000);
        let gone = table.thin(100, |at, _| at >= 990);
        let left: Vec<u64> = table.rows().iter().map(|row| row.0).collect();
        assert_eq!(gone + left.len(), 1000);
        assert!((80..=110).contains(&left.len()), "{}", left.len());
        assert!(left.ends_with(&(990..1000).collect::<Vec<_>>()));
        assert!(left.windows(2).all(|pair| pair[1] - pair[0] <= 11), "{left:?}");
    }

    #[test]
    fn what_is_kept_is_thinned_when_it_is_too_much_itself() {
        let mut table = table(0..1000);
        table.thin(100, |_, _| true);
        assert_eq!(table.rows().len(), 100);
    }

    #[test]
    fn a_text_has_one_number() {
        let mut texts = Texts::default();
        assert_eq!([texts.number("a"), texts.number("b"), texts.number("a")], [0, 1, 0]);
        assert_eq!(texts.json(), r#"["a","b"]"#);
    }

    #[test]
    fn what_overlaps_gets_rows_of_its_own_until_there_are_no_more() {
        let mut rows = Rows::new(2);
        let track = (0, 0);
        assert_eq!(rows.place(track, 0, 10), 0);
        assert_eq!(rows.place(track, 1, 4), 1);
        assert_eq!(rows.place(track, 2, 3), 1, "over what ends first");
        assert_eq!(rows.place(track, 5, 6), 1);
        assert_eq!(rows.place(track, 10, 11), 0);
        assert_eq!((rows.count(track), rows.count((1, 1))), (2, 1));
    }

    #[test]
    fn no_text_can_end_the_script_that_holds_it() {
        let json = string("</script><!-- \"a\\b\" &\n\u{1}\u{2028}é");
        assert_eq!(
            json,
            "\"\\u003c/script\\u003e\\u003c!-- \\\"a\\\\b\\\" \\u0026\\n\\u0001\\u2028é\""
        );
    }
}
