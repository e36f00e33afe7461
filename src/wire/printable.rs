use std::fmt::{self, Write};

use crate::limits::PRINTABLE_MAX;

/// Bytes of a peer, made safe for a log line or a terminal.
///
/// Control characters (ESC, line breaks and NUL among them), the marks that reorder text (U+061C, U+200E, U+200F,
/// U+202A–202E, U+2066–2069), line and paragraph separators, backslashes, double quotes and whatever is not UTF-8 are escaped. Text is
/// cut after 128 bytes, at a character, and ends in `…` then. `{:#}` leaves double quotes as they are, for a text that
/// stands between none.
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
        '"' if f.alternate() => f.write_char(c),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_the_reader_is_escaped() {
        let rows: [(&[u8], &str); 8] = [
            (b"plain text, even 100%", "plain text, even 100%"),
            (b"a\0b\x7f\x9b", r"a\u{0}b\u{7f}\x9b"),
            (b"\t\r\n\x1b[31m", r"\t\r\n\u{1b}[31m"),
            (b"say \"no\" \\n", r#"say \"no\" \\n"#),
            (
                "\u{85}\u{2028}\u{2029}".as_bytes(),
                r"\u{85}\u{2028}\u{2029}",
            ),
            (
                "\u{202e}dlrow\u{2066}\u{200f}\u{61c}".as_bytes(),
                r"\u{202e}dlrow\u{2066}\u{200f}\u{61c}",
            ),
            ("größe 日本".as_bytes(), "größe 日本"),
            (b"\xe6\x97\xff\xc3", r"\xe6\x97\xff\xc3"),
        ];
        for (bytes, shown) in rows {
            assert_eq!(Printable(bytes).to_string(), shown);
        }
        assert_eq!(format!("{:?}", Printable(b"a\"b")), r#""a\"b""#);
        assert_eq!(format!("{:#}", Printable(b"a\"b\\\n")), r#"a"b\\\n"#);
    }

    #[test]
    fn text_is_cut_at_a_character_after_128_bytes() {
        let exact = "x".repeat(128);
        assert_eq!(Printable(exact.as_bytes()).to_string(), exact);
        let cut = format!("{exact}…");
        assert_eq!(Printable(cut.as_bytes()).to_string(), cut);
        assert_eq!(
            Printable(&[exact.as_bytes(), b"\xff"].concat()).to_string(),
            cut
        );
        let straddling = format!("{}é", "x".repeat(127));
        assert_eq!(
            Printable(straddling.as_bytes()).to_string(),
            format!("{}…", "x".repeat(127))
        );
    }
}
