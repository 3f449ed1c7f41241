//! The table of keys as a commented TOML file and as a page of the manual.

use std::fmt::Write;

use super::key::{KEYS, SECTIONS};
use super::layers::ENV_PREFIX;

/// Every setting at its default, commented, ready to be used as `pyralog.toml`.
pub(crate) fn print_default() -> String {
    let mut out = String::from(
        "# Settings of Pyralog, each at its default. Delete what you do not change.\n\
         #\n\
         # Stronger than this file, in this order: environment variables (section.key is\n\
         # PYRALOG__SECTION__KEY), `--set section.key=value`, flags.\n\
         # Sizes: 64MiB, 4GB or a number of bytes. Durations: 50us, 10ms, 1h30m.\n\
         # `pyralog config validate FILE` checks a file; changes need a restart.\n",
    );
    for (section, about) in SECTIONS {
        line(&mut out, format_args!("\n# {about}\n[{section}]"));
        for key in KEYS.iter().filter(|key| key.section() == section) {
            for doc in key.doc {
                line(&mut out, format_args!("# {doc}"));
            }
            let value = key.kind.parse(key.default).expect("the test `defaults_parse` checks it");
            line(&mut out, format_args!("{} = {}", key.leaf(), value.to_toml()));
        }
    }
    out
}

/// The table of keys in Markdown, as it stands in `docs/CONFIG.md`.
pub(crate) fn print_reference() -> String {
    let mut out = String::new();
    for (section, about) in SECTIONS {
        line(&mut out, format_args!("### [{section}]\n\n{about}\n"));
        line(&mut out, format_args!("| key | default | values | environment |\n|---|---|---|---|"));
        for key in KEYS.iter().filter(|key| key.section() == section) {
            let variable = key.name.to_ascii_uppercase().replace('.', "__");
            let value = key.kind.parse(key.default).expect("the test `defaults_parse` checks it");
            let (name, kind) = (key.name, key.kind.describe());
            line(
                &mut out,
                format_args!(
                    "| `{name}` | `{}` | {kind} | `{ENV_PREFIX}{variable}` |",
                    value.to_toml()
                ),
            );
        }
        out.push('\n');
        for key in KEYS.iter().filter(|key| key.section() == section) {
            line(&mut out, format_args!("- `{}`: {}", key.leaf(), key.doc.join(" ")));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(out, "{arguments}").expect("a String takes every write");
}
