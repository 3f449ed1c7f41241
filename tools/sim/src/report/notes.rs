//! Log lines of the simulated processes as notes in the trace.

use std::fmt::{Debug, Write};

use pyralog_runtime::sim;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// Has everything that is logged from now on at INFO or above noted in the simulation of the thread that logs it.
///
/// Notes are part of the trace and so of its hash: runs that are to be compared have them both, or neither.
pub(crate) fn notes_from_tracing() {
    // Err: it is installed already.
    set_global_default(Notes).ok();
}

/// Turns events into notes. Spans are of no interest: a note knows its node and core, and there are no others.
struct Notes;

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        sim::note(line(event));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `WARN log::recovery_file: segment header mended path=/data/…`
fn line(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut words = Words::default();
    event.record(&mut words);
    let target = metadata.target().trim_start_matches("pyralog_");
    format!("{} {target}: {}{}", metadata.level(), words.message, words.fields)
}

/// The parts of a log line.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn put(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let written = match field.name() {
            "message" => self.message.write_fmt(value),
            name => write!(self.fields, " {name}={value}"),
        };
        written.expect("a string takes everything");
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Says what [`Notes`] would note; there is no simulation here to note it in.
    struct Ear;

    impl Subscriber for Ear {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            Notes.enabled(metadata)
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            Notes.new_span(span)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            HEARD.with_borrow_mut(|heard| heard.push(line(event)));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_note_has_level_place_message_and_fields() {
        tracing::subscriber::with_default(Ear, || {
            let path = std::path::Path::new("/data/a");
            tracing::warn!(path = %path.display(), taken = 3, name = "x", "not {}", "written");
            tracing::debug!("of no interest");
            tracing::error!(target: "pyralog_log::a", "poisoned");
        });
        let here = module_path!().trim_start_matches("pyralog_").to_owned();
        let expected = [
            format!("WARN {here}: not written path=/data/a taken=3 name=x"),
            "ERROR log::a: poisoned".to_owned(),
        ];
        assert_eq!(HEARD.take(), expected);
    }
}
