//! Texts in the client's encoding. The server's own is UTF-8.

use std::borrow::Cow;

use super::fault::Fault;

/// The one character of two bytes that the model knows of SJIS: its second byte is that of a backslash.
const OF_TWO: ([u8; 2], char) = ([0x89, 0x5C], '噂');

/// The characters of one byte beyond ASCII of SJIS, and the byte of the first.
const KATAKANA: std::ops::RangeInclusive<char> = '\u{ff61}'..='\u{ff9f}';
const KATAKANA_FROM: u32 = 0xA1;

/// What WIN1252 has where LATIN1 has control characters; NUL where it has nothing.
const WINDOWS: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘',
    '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

fn invalid(encoding: &str) -> Fault {
    let text = format!("invalid byte sequence for encoding \"{encoding}\"");
    Fault::new("22021", text)
}

fn unequalled(from: &str, to: &str) -> Fault {
    let text = format!("character of encoding \"{from}\" has no equivalent in encoding \"{to}\"");
    Fault::new("22P05", text)
}

/// A client's text.
pub(super) fn decode<'b>(bytes: &'b [u8], encoding: &str) -> Result<Cow<'b, str>, Fault> {
    match encoding {
        "LATIN1" => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        "WIN1252" => bytes.iter().map(|byte| of_windows(*byte)).collect(),
        "SJIS" => of_sjis(bytes).map(Cow::Owned),
        // What has no encoding is taken for the server's own.
        _ => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| invalid("UTF8")),
    }
}

fn of_windows(byte: u8) -> Result<char, Fault> {
    let special = byte
        .checked_sub(0x80)
        .and_then(|at| WINDOWS.get(usize::from(at)));
    match special {
        Some('\0') => Err(unequalled("WIN1252", "UTF8")),
        Some(known) => Ok(*known),
        None => Ok(char::from(byte)),
    }
}

fn of_sjis(bytes: &[u8]) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            0..0x80 => char::from(byte),
            0xA1..=0xDF => {
                let code = u32::from(*KATAKANA.start()) + u32::from(byte) - KATAKANA_FROM;
                char::from_u32(code).expect("a character")
            }
            0x81..=0x9F | 0xE0..=0xFC => match rest.next() {
                Some(second) if [byte, second] == OF_TWO.0 => OF_TWO.1,
                Some(0x40..=0x7E | 0x80..=0xFC) => return Err(unequalled("SJIS", "UTF8")),
                Some(_) | None => return Err(invalid("SJIS")),
            },
            0x80 | 0xA0 | 0xFD.. => return Err(invalid("SJIS")),
        });
    }
    Ok(out)
}

/// A text as the client gets it.
pub(super) fn encode(text: &str, encoding: &str) -> Result<Vec<u8>, Fault> {
    if text.is_ascii() || !matches!(encoding, "LATIN1" | "WIN1252" | "SJIS") {
        return Ok(text.as_bytes().to_vec());
    }
    let mut out = Vec::new();
    for c in text.chars() {
        let code = u32::from(c);
        let byte = match encoding {
            _ if c.is_ascii() => Some(code),
            "LATIN1" => (code <= 0xFF).then_some(code),
            "WIN1252" if (0xA0..=0xFF).contains(&code) => Some(code),
            "WIN1252" => {
                let at = WINDOWS.iter().position(|known| *known == c);
                at.and_then(|at| u32::try_from(0x80 + at).ok())
            }
            _ if c == OF_TWO.1 => {
                out.extend(OF_TWO.0);
                continue;
            }
            _ => {
                let katakana = KATAKANA.contains(&c);
                katakana.then(|| code - u32::from(*KATAKANA.start()) + KATAKANA_FROM)
            }
        };
        let byte = byte.ok_or_else(|| unequalled("UTF8", encoding))?;
        out.push(u8::try_from(byte).expect("a byte"));
    }
    Ok(out)
}
