//! What of a SQL text is code: a second reading, for comparison with the crate's, by the rules of PostgreSQL's
//! `scan.l`, one after the other and without a thought of speed.

/// A text with nothing in its literals, names for quoted names and spaces for comments. `None` if something has no
/// end. Numbers are not looked at: what touches one is to be compared only where both readings know what it is.
pub(crate) fn visible(sql: &[u8], standard_conforming_strings: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.first() {
        let lower: Vec<u8> = rest.iter().take(3).map(u8::to_ascii_lowercase).collect();
        let plain_escapes = !standard_conforming_strings;
        let (seen, left): (&[u8], &[u8]) = match lower.as_slice() {
            [b'-', b'-', ..] => (b" ", line_comment(rest)),
            [b'/', b'*', ..] => (b" ", block_comment(rest)?),
            [b'\'', ..] => (b"''", literal(&rest[1..], plain_escapes)?),
            [b'n', b'\'', ..] => (b"''", literal(&rest[2..], plain_escapes)?),
            [b'e', b'\'', ..] => (b"''", literal(&rest[2..], true)?),
            [b'b' | b'x', b'\'', ..] => (b"''", literal(&rest[2..], false)?),
            [b'u', b'&', b'\''] => (b"''", literal(&rest[3..], false)?),
            [b'u', b'&', b'"'] => (b" quoted ", name(&rest[3..])?),
            [b'"', ..] => (b" quoted ", name(&rest[1..])?),
            [b'$', ..] => match dollar_tag(rest) {
                Some(tag) => (b"''", dollar_quoted(&rest[tag.len()..], tag)?),
                None => rest.split_at(1),
            },
            _ if starts_name(*first) => rest.split_at(name_length(rest)),
            _ => rest.split_at(1),
        };
        out.extend_from_slice(seen);
        rest = left;
    }
    Some(out)
}

/// The statements of what [`visible`] returned, empty ones left out. Semicolons in parentheses part nothing.
pub(crate) fn statements(code: &[u8]) -> Vec<&[u8]> {
    let mut depth = 0_i32;
    let parts = code.split(|byte| {
        depth += i32::from(*byte == b'(') - i32::from(*byte == b')');
        *byte == b';' && depth == 0
    });
    parts
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty())
        .collect()
}

/// `identifier` in `scan.l`.
fn starts_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..)
}

fn name_length(text: &[u8]) -> usize {
    let goes_on = |byte: &u8| starts_name(*byte) || matches!(byte, b'0'..=b'9' | b'$');
    text.iter().take_while(|byte| goes_on(byte)).count()
}

fn line_comment(text: &[u8]) -> &[u8] {
    let length = text
        .iter()
        .take_while(|byte| !matches!(byte, b'\n' | b'\r'))
        .count();
    &text[length..]
}

/// The states `xc` with `xcdepth`.
fn block_comment(mut text: &[u8]) -> Option<&[u8]> {
    let mut depth = 0;
    loop {
        text = match text {
            [b'/', b'*', rest @ ..] => {
                depth += 1;
                rest
            }
            [b'*', b'/', rest @ ..] => {
                depth -= 1;
                if depth == 0 {
                    return Some(rest);
                }
                rest
            }
            [_, rest @ ..] => rest,
            [] => return None,
        }
    }
}

/// The states `xq`, `xe`, `xb`, `xh`, `xus` and `xqs`: what is behind the literal whose inside begins here.
fn literal(mut text: &[u8], escapes: bool) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'\'', b'\'', rest @ ..] => rest,
            [b'\\', _, rest @ ..] if escapes => rest,
            [b'\'', rest @ ..] => match continuation(rest) {
                Some(inside) => inside,
                None => return Some(rest),
            },
            [_, rest @ ..] => rest,
            [] => return None,
        }
    }
}

/// `quotecontinue`: white space with a newline, comments among it, and one more quote.
fn continuation(mut text: &[u8]) -> Option<&[u8]> {
    let mut newline = false;
    loop {
        text = match text {
            [b'\n' | b'\r', rest @ ..] => {
                newline = true;
                rest
            }
            [b' ' | b'\t' | 0x0c, rest @ ..] => rest,
            [b'-', b'-', ..] => line_comment(text),
            [b'\'', rest @ ..] if newline => return Some(rest),
            _ => return None,
        }
    }
}

/// The state `xd`.
fn name(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', b'"', rest @ ..] => rest,
            [b'"', rest @ ..] => return Some(rest),
            [_, rest @ ..] => rest,
            [] => return None,
        }
    }
}

/// `dolqdelim`.
fn dollar_tag(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().skip(1).position(|byte| *byte == b'$')? + 1;
    let tag = &text[1..end];
    let fits = tag.first().is_none_or(|first| starts_name(*first)) && name_length(tag) == tag.len();
    (fits).then(|| &text[..=end])
}

/// The state `xdolq`.
fn dollar_quoted<'a>(text: &'a [u8], tag: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(tag.len()).position(|window| window == tag)?;
    Some(&text[at + tag.len()..])
}
