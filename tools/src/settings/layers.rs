//! Layers of settings: what was set, by whom, and every problem found on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use pyralog_seq::pharaoh::SlotSet;

use super::key::{self, KEYS, Key};
use super::toml_file;
use super::value::Value;
use crate::limits::SUGGESTION_DISTANCE_MAX;

/// What an environment variable that sets a key starts with.
pub(crate) const ENV_PREFIX: &str = "PYRALOG__";

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// Line of a TOML file, from 1.
    File { path: String, line: usize },
    /// An environment variable.
    Env(String),
    /// `--set`.
    Set,
    /// A flag, such as `--data-dir`.
    Flag(&'static str),
}

impl Origin {
    /// The stronger layer has the higher rank.
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Env(_) => 2,
            Self::Set => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A setting that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands.
    pub(crate) origin: Origin,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// What one layer says about one key, before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// Text, which the key's kind parses.
    Text(String),
    /// A number or a truth value of TOML, as written.
    Bare(String),
    /// An array of texts of TOML.
    List(Vec<String>),
}

/// Values by key with their origins. Invariant: every value is of its key's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    problems: Vec<Problem>,
}

impl Default for Layers {
    /// The defaults alone.
    fn default() -> Self {
        let values = KEYS.iter().map(|key| {
            let value = key.kind.parse(key.default).expect("the test `defaults_parse` checks it");
            (key.name, (value, Origin::Default))
        });
        Self { values: values.collect(), problems: Vec::new() }
    }
}

impl Layers {
    /// Lays a TOML file over what is there. `path` is only named in messages.
    pub(crate) fn file(&mut self, path: &str, text: &str) {
        for entry in toml_file::read(path, text) {
            match entry {
                Ok((name, raw, origin)) => self.put(&name, &raw, origin),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// Lays the variables that start with [`ENV_PREFIX`] over what is there, in the order of names.
    pub(crate) fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let ours: BTreeMap<String, String> =
            variables.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        for (variable, text) in ours {
            let name = variable[ENV_PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            self.put(&name, &Raw::Text(text), Origin::Env(variable));
        }
    }

    /// Lays one `section.key=value` of `--set` over what is there.
    pub(crate) fn assignment(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((name, text)) => {
                self.put(name.trim(), &Raw::Text(text.trim().to_owned()), Origin::Set);
            }
            None => self.problems.push(Problem {
                origin: Origin::Set,
                message: format!("expected section.key=value, found {assignment:?}"),
            }),
        }
    }

    /// Lays the value of a flag over what is there.
    pub(crate) fn flag_value(&mut self, flag: &'static str, name: &str, text: String) {
        self.put(name, &Raw::Text(text), Origin::Flag(flag));
    }

    /// Everything that was refused so far, in the order in which it was found.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Each key with its value and origin, in the order of the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, &Value, &Origin)> {
        KEYS.iter().map(|key| {
            let (value, origin) = &self.values[key.name];
            (key, value, origin)
        })
    }

    /// Where the value of a known key stands.
    ///
    /// # Panics
    /// If there is no such key.
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        &self.values[name].1
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match &self.values[name].0 {
            Value::Text(text) => text,
            other => panic!("{name} is {other:?}, not a text"),
        }
    }

    pub(super) fn address(&self, name: &str) -> Option<SocketAddr> {
        match &self.values[name].0 {
            Value::Address(address) => *address,
            other => panic!("{name} is {other:?}, not an address"),
        }
    }

    pub(super) fn integer(&self, name: &str) -> u64 {
        match &self.values[name].0 {
            Value::Integer(number) => *number,
            other => panic!("{name} is {other:?}, not an integer"),
        }
    }

    /// An integer in a narrower type that its key's bounds fit.
    pub(super) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        let Ok(number) = T::try_from(self.integer(name)) else {
            panic!("the bounds of {name} exceed the type it is used as");
        };
        number
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match &self.values[name].0 {
            Value::Flag(flag) => *flag,
            other => panic!("{name} is {other:?}, not a flag"),
        }
    }

    pub(super) fn size(&self, name: &str) -> u64 {
        match &self.values[name].0 {
            Value::Size(bytes) => *bytes,
            other => panic!("{name} is {other:?}, not a size"),
        }
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        match &self.values[name].0 {
            Value::Duration(duration) => *duration,
            other => panic!("{name} is {other:?}, not a duration"),
        }
    }

    pub(super) fn slots(&self, name: &str) -> SlotSet {
        match &self.values[name].0 {
            Value::Slots(slots) => *slots,
            other => panic!("{name} is {other:?}, not slots"),
        }
    }

    pub(super) fn choice(&self, name: &str) -> &'static str {
        match &self.values[name].0 {
            Value::Choice(word) => word,
            other => panic!("{name} is {other:?}, not a choice"),
        }
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match &self.values[name].0 {
            Value::List(items) => items,
            other => panic!("{name} is {other:?}, not a list"),
        }
    }

    fn put(&mut self, name: &str, raw: &Raw, origin: Origin) {
        let Some(key) = key::find(name) else {
            self.problems.push(Problem { origin, message: unknown(name) });
            return;
        };
        match parsed(key, raw) {
            // Ranks make the order in which layers are laid not matter.
            Ok(value) if origin.rank() >= self.values[key.name].1.rank() => {
                self.values.insert(key.name, (value, origin));
            }
            Ok(_) => {}
            Err(expected) => {
                let shown = match raw {
                    Raw::Text(text) | Raw::Bare(text) => text.clone(),
                    Raw::List(items) => format!("{items:?}"),
                };
                let message = format!("{} = {shown}: {expected}", key.name);
                self.problems.push(Problem { origin, message });
            }
        }
    }
}

fn parsed(key: &Key, raw: &Raw) -> Result<Value, String> {
    use super::value::{Kind, list_value};
    match (key.kind, raw) {
        (Kind::List { items_max }, Raw::List(items)) => list_value(items.clone(), items_max),
        (_, Raw::List(_)) => Err(format!("expected {}, not a list", key.kind.describe())),
        (Kind::Integer { .. } | Kind::Flag | Kind::Size { .. }, Raw::Bare(text)) => {
            key.kind.parse(text)
        }
        (Kind::Duration { .. }, Raw::Bare(text)) => {
            Err(format!("a duration needs a unit: write \"{text}ms\" or \"{text}s\""))
        }
        (kind, Raw::Bare(_)) => Err(format!("expected {} in quotes", kind.describe())),
        (kind, Raw::Text(text)) => kind.parse(text),
    }
}

/// The message for a key that does not exist, with the nearest one that does.
fn unknown(name: &str) -> String {
    let distance = |key: &&Key| {
        // A right leaf in a wrong section is as good a guess as a small typing mistake.
        let same_leaf = name.rsplit('.').next() == Some(key.leaf());
        if same_leaf { 1 } else { strsim::damerau_levenshtein(name, key.name) }
    };
    let nearest =
        KEYS.iter().min_by_key(distance).filter(|key| distance(key) <= SUGGESTION_DISTANCE_MAX);
    match nearest {
        Some(key) => format!("unknown setting {name:?}; did you mean {:?}?", key.name),
        None => {
            format!("unknown setting {name:?}; `pyralog config print-default` lists all of them")
        }
    }
}

#[cfg(test)]
mod tests;
