//! Text that is safe inside HTML.

use std::fmt::Write as _;

/// Letters of a text that are shown; longer ones come from a broken or a hostile file.
const TEXT_MAX: usize = 20_000;

/// `text` for the content of an element or a quoted attribute. Control characters, which can hide or turn text around, are
/// replaced; what is longer than [`TEXT_MAX`] is cut, and says so.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for (at, letter) in text.chars().enumerate() {
        if at == TEXT_MAX {
            safe.push_str(" … (cut)");
            break;
        }
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            // The directions of writing are no control characters by class.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            letter if letter.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// JSON for the content of a script element that is data: nothing in it can end the element.
pub(super) fn json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Rows of a name and a text.
pub(super) fn definitions<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut html = String::from("<dl>");
    for (name, text) in rows {
        write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(text))
            .expect("a string takes all");
    }
    html.push_str("</dl>");
    html
}
