//! The words of a scenario's text.

/// The words of one line: bare ones, and ones in double quotes with Rust's escapes.
pub(crate) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str) -> Words<'a> {
        Words {
            rest: line.trim_start(),
        }
    }

    /// The next bare word.
    pub(crate) fn word(&mut self) -> Result<&'a str, String> {
        let end = self.rest.find(' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        match word {
            "" => Err("a word is missing".to_owned()),
            word => Ok(word),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word:?} is no number"))
    }

    /// The next word in quotes.
    pub(crate) fn quoted(&mut self) -> Result<String, String> {
        let inner = self
            .rest
            .strip_prefix('"')
            .ok_or_else(|| format!("a quoted word is missing at {:?}", self.rest))?;
        let mut out = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = inner[at + 1..].trim_start();
                    return Ok(out);
                }
                '\\' if inner[at + 1..].starts_with('{') => {
                    let (again, count, read) = repeated(&inner[at + 2..])?;
                    out.extend(std::iter::repeat_n(again, count));
                    let end = at + 2 + read;
                    while chars.clone().next().is_some_and(|(at, _)| at < end) {
                        chars.next();
                    }
                }
                '\\' => out.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, 'r')) => '\r',
                    Some((_, '0')) => '\0',
                    Some((_, other)) => other,
                    None => break,
                }),
                c => out.push(c),
            }
        }
        Err("a quoted word has no end".to_owned())
    }

    /// The same, or the bare word `null`.
    pub(crate) fn quoted_or_null(&mut self) -> Result<Option<String>, String> {
        if self.rest.starts_with('"') {
            return self.quoted().map(Some);
        }
        match self.word()? {
            "null" => Ok(None),
            word => Err(format!("{word:?} is neither quoted nor null")),
        }
    }

    /// How often the next word stands for itself: `count*` before it says so.
    pub(crate) fn times(&mut self) -> usize {
        let end = self.rest.find(|c: char| !c.is_ascii_digit());
        let (digits, behind) = self.rest.split_at(end.unwrap_or(0));
        match (digits.parse(), behind.strip_prefix('*')) {
            (Ok(count), Some(word)) => {
                self.rest = word;
                count
            }
            (Ok(_) | Err(_), _) => 1,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        match self.rest {
            "" => Ok(()),
            rest => Err(format!("{rest:?} is too much")),
        }
    }
}

/// A run of one character, or of one word in a list, so long is told by its length.
pub(crate) const RUN: usize = 100;

/// What is told of a run: `{count}` and the character. Which, how many, and how many bytes tell it.
fn repeated(told: &str) -> Result<(char, usize, usize), String> {
    let (count, rest) = told.split_once('}').ok_or("a count has no end")?;
    let again = rest.chars().next().ok_or("what is repeated is missing")?;
    let number = count
        .parse()
        .map_err(|_| format!("{count:?} is no count"))?;
    Ok((again, number, count.len() + 1 + again.len_utf8()))
}

/// A word in quotes that [`Words::quoted`] reads back.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let behind = rest.trim_start_matches(c);
        let count = (rest.len() - behind.len()) / c.len_utf8();
        if count >= RUN && c.is_ascii_alphanumeric() {
            out.push_str(&format!("\\{{{count}}}{c}"));
            rest = behind;
            continue;
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out.push('"');
    out
}

/// Bytes as hexadecimal digits; none at all are `-`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    if text == "-" {
        return Ok(Vec::new());
    }
    if digits.len() % 2 != 0 {
        return Err(format!("{text:?} has half a byte"));
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is no byte"))
        })
        .collect()
}
