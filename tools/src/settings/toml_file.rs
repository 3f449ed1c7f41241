//! A TOML file as flat entries `section.key` with the line of each.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::{Origin, Problem, Raw};

/// An entry of a file: its dotted name, what it says, and where.
pub(super) type Entry = Result<(String, Raw, Origin), Problem>;

/// Entries of `text` in the order of their lines, or one problem if it is not TOML.
pub(super) fn read(path: &str, text: &str) -> Vec<Entry> {
    let file = File { path, text };
    match DeTable::parse(text) {
        Ok(table) => {
            let mut entries = Vec::new();
            file.flatten("", table.get_ref(), &mut entries);
            entries.sort_by_key(|(position, _)| *position);
            entries.into_iter().map(|(_, entry)| entry).collect()
        }
        Err(error) => {
            let position = error.span().map_or(0, |span| span.start);
            vec![Err(file.problem(position, format!("not valid TOML: {}", error.message())))]
        }
    }
}

struct File<'a> {
    path: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn flatten(&self, prefix: &str, table: &DeTable<'_>, out: &mut Vec<(usize, Entry)>) {
        for (key, value) in table {
            let name = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            if let DeValue::Table(inner) = value.get_ref() {
                self.flatten(&name, inner, out);
            } else {
                let position = key.span().start;
                out.push((position, self.entry(name, value, position)));
            }
        }
    }

    fn entry(&self, name: String, value: &Spanned<DeValue<'_>>, position: usize) -> Entry {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Array(items) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                let Some(texts) = texts else {
                    let message = format!("{name}: a list may hold texts only");
                    return Err(self.problem(position, message));
                };
                Raw::List(texts)
            }
            _ => Raw::Bare(self.text[value.span()].to_owned()),
        };
        Ok((name, raw, self.origin(position)))
    }

    fn problem(&self, position: usize, message: String) -> Problem {
        Problem { origin: self.origin(position), message }
    }

    fn origin(&self, position: usize) -> Origin {
        let before = &self.text.as_bytes()[..position.min(self.text.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}
