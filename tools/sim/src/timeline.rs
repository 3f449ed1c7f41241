//! A run as a picture: one HTML file with a lane per node, to be opened in a browser, without a network.
//!
//! Time goes from left to right. Each lane has the life of a node, what its cores do to its disk, and a line for its
//! network; messages slant from line to line. What was broken, what was noted and what the oracles object to stands out.
//! The file holds the numbers of the trace, and a script that draws the part somebody looks at: a picture drawn in
//! advance would either be too coarse for a microsecond or too large for a minute.
//!
//! | module | what it is |
//! |---|---|
//! | `gather` | from events to tables, one for each kind of symbol |
//! | `messages` | which bytes sent are which bytes received |
//! | `lives` | from when to when a node is dead, paused or cut off |
//! | `table` | rows of numbers, thinned if they are too many, as JSON |
//!
//! The files beside them that are no Rust are the page itself; `draw.js` says how it keeps up with long traces.

mod gather;
mod lives;
mod messages;
mod table;

#[cfg(test)]
mod tests;

use pyralog_runtime::sim::TraceEvent;

use gather::Gather;

/// What the page is made of. The markers `{{…}}` in it come in the order in which [`page`] fills them.
const PAGE: &str = include_str!("timeline/page.html");
const STYLE: &str = include_str!("timeline/style.css");
/// One program in the order in which it is read: what there is, which part of it is seen, how that is drawn, what is
/// said about it, what a hand does.
const SCRIPTS: [&str; 8] = [
    include_str!("timeline/model.js"),
    include_str!("timeline/view.js"),
    include_str!("timeline/draw.js"),
    include_str!("timeline/lanes.js"),
    include_str!("timeline/symbols.js"),
    include_str!("timeline/whole.js"),
    include_str!("timeline/words.js"),
    include_str!("timeline/hands.js"),
];

/// Something that the picture shows beside the trace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// What to say about it.
    pub text: String,
    /// What it is.
    pub kind: MarkKind,
}

/// What a [`Mark`] is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MarkKind {
    /// Something is wrong: a red line over everything.
    Violation {
        /// What shows it, as times and texts; seen when somebody asks for this violation.
        evidence: Vec<(u64, String)>,
    },
    /// A part of the run begins.
    Phase,
    /// A request of a client, from its beginning at `at`.
    Request {
        /// Its node, as an index.
        node: usize,
        /// When its outcome was known; `None` if it never was.
        until: Option<u64>,
        /// The outcome.
        answer: Answer,
    },
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// As it was wished.
    Done,
    /// Certainly without effect.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// The page. The first line of `title` is its heading, the others are below it; `nodes` are the names of the nodes in
/// order, and `trace` has the events in the order in which they happened.
#[must_use]
pub fn html(title: &str, nodes: &[String], trace: &[TraceEvent], marks: &[Mark]) -> String {
    let mut gather = Gather::new(nodes, marks);
    for event in trace {
        gather.add(event);
    }
    let heading = title.lines().next().unwrap_or_default();
    let below: Vec<_> =
        title.lines().skip(1).map(|line| format!("<p>{}</p>", escape(line))).collect();
    page(&[
        &escape(heading),
        STYLE,
        &escape(heading),
        &below.concat(),
        &gather.json(),
        &SCRIPTS.concat(),
    ])
}

/// Fills the markers of the page in their order. A search for markers by name would also find those in what was filled in.
fn page(parts: &[&str]) -> String {
    let mut page =
        String::with_capacity(PAGE.len() + parts.iter().map(|part| part.len()).sum::<usize>());
    let mut rest = PAGE;
    for part in parts {
        let (before, after) = rest.split_once("{{").expect("the page has as many markers as parts");
        let (_, after) = after.split_once("}}").expect("a marker ends");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// `text` as it must be written to be read as text in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}
