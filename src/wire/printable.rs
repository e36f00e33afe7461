use std::fmt::{self, Write};

use crate::limits::PRINTABLE_MAX;

/// Bytes of a peer, made safe for a log line or a terminal.
///
/// Control characters (ESC, line breaks and NUL among them), the marks that reorder text (U+061C, U+200E, U+200F,
/// U+202A–202E, U+2066–2069), line and paragraph separators, backslashes, double quotes and whatever is not UTF-8 are escaped. Text is
/// cut after 128 bytes, at a character, and ends in `…` then.
///
/// Showing a peer's text is the caller's decision: the `Debug` of a message never does it for passwords, query
/// texts and values.
///
/// ```
/// use pgturnout::wire::Printable;
///
/// assert_eq!(Printable(b"no\nLOG:  forged").to_string(), r"no\nLOG:  forged");
/// assert_eq!(Printable(b"\x1b[2J caf\xc3\xa9 \xff").to_string(), r"\u{1b}[2J café \xff");
/// ```
#[derive(Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = 0_usize;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                shown = shown.saturating_add(c.len_utf8());
                if shown > PRINTABLE_MAX {
                    return f.write_char('…');
                }
                show(c, f)?;
            }
            for byte in chunk.invalid() {
                shown = shown.saturating_add(1);
                if shown > PRINTABLE_MAX {
                    return f.write_char('…');
                }
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn show(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let reorders = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(c, '\u{2028}' | '\u{2029}');
    match c {
        '\\' | '"' | '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default()),
        c if c.is_control() || reorders || breaks_line => write!(f, "{}", c.escape_unicode()),
        c => f.write_char(c),
    }
}

/// Bytes that `Debug` must not show: only their number is.
pub(super) struct Hidden<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
