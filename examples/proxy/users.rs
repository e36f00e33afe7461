//! The users file: who may log in to a second upstream, and with what. The file of whom the servers know by another name.
//!
//! Two kinds of line, in any mixture: `NAME:SECRET`, where the secret is everything behind the first colon, and
//! PgBouncer's `"name" "secret"`, where a doubled quote stands for one quote and anything behind the second string
//! is ignored. In the other file each has the name that the servers know before the secret, which may be missing. Blank lines and lines that begin with `#` (or `;`, as PgBouncer has it) are skipped. Text is bytes.

use std::fmt;

/// One user and the secret as written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: Vec<u8>,
    pub(crate) secret: Vec<u8>,
    /// The line it stands in, from 1; 0 when it came from elsewhere.
    pub(crate) line: usize,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({}, line {})", self.name.escape_ascii(), self.line)
    }
}

/// A client, and who it is to the servers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) client: Vec<u8>,
    pub(crate) name: Vec<u8>,
    /// What the server's user logs in with, if that is listed.
    pub(crate) secret: Option<Vec<u8>>,
    /// The line it stands in, from 1.
    pub(crate) line: usize,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, name) = (self.client.escape_ascii(), self.name.escape_ascii());
        write!(f, "Upstream({client}, {name}, line {})", self.line)
    }
}

/// A line that says nothing usable. Holds no part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) message: &'static str,
}

/// Reads a whole file. A name may stand there once.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<User>, BadLine> {
    let mut users: Vec<User> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let bad = |message| BadLine {
            line: number,
            message,
        };
        let Some((name, secret)) = parse_line(line).map_err(bad)? else {
            continue;
        };
        if users.iter().any(|other| other.name == name) {
            return Err(bad("this name has an earlier line"));
        }
        users.push(User {
            name,
            secret,
            line: number,
        });
    }
    Ok(users)
}

/// Reads the file of whom the servers know by another name. A client may stand there once.
pub(crate) fn parse_upstream(text: &[u8]) -> Result<Vec<Upstream>, BadLine> {
    let mut users: Vec<Upstream> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let bad = |message| BadLine {
            line: number,
            message,
        };
        let Some((client, name, secret)) = parse_upstream_line(line).map_err(bad)? else {
            continue;
        };
        if users.iter().any(|other| other.client == client) {
            return Err(bad("this name has an earlier line"));
        }
        users.push(Upstream {
            client,
            name,
            secret,
            line: number,
        });
    }
    Ok(users)
}

type Pair = (Vec<u8>, Vec<u8>);
type Renamed = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn parse_upstream_line(line: &[u8]) -> Result<Option<Renamed>, &'static str> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (client, name, secret) = match line.trim_ascii_start() {
        [] | [b'#' | b';', ..] => return Ok(None),
        [b'"', quoted @ ..] => parse_renamed(quoted)?,
        _ => {
            let mut parts = line.splitn(3, |byte| *byte == b':').map(<[u8]>::to_vec);
            let client = parts.next().unwrap_or_default();
            let name = parts.next().ok_or("expected CLIENT:NAME:SECRET")?;
            (client, name, parts.next())
        }
    };
    let (client, name) = checked((client, name))?;
    match secret {
        None => checked((name, Vec::new())).map(|(name, _)| Some((client, name, None))),
        Some(secret) => {
            checked((name, secret)).map(|(name, secret)| Some((client, name, Some(secret))))
        }
    }
}

/// The rest of `"client" "name" "secret"` behind its first quote.
fn parse_renamed(text: &[u8]) -> Result<Renamed, &'static str> {
    let expected = "expected \"client\" \"name\" \"secret\"";
    let (client, rest) = parse_string(text)?;
    let (name, rest) = parse_string(quoted(rest).ok_or(expected)?)?;
    if rest.trim_ascii().is_empty() {
        return Ok((client, name, None));
    }
    let (secret, rest) = parse_string(quoted(rest).ok_or(expected)?)?;
    match rest.trim_ascii() {
        [] => Ok((client, name, Some(secret))),
        _ => Err("something stands behind the secret"),
    }
}

fn parse_line(line: &[u8]) -> Result<Option<Pair>, &'static str> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.trim_ascii_start() {
        [] | [b'#' | b';', ..] => Ok(None),
        [b'"', quoted @ ..] => parse_quoted(quoted).and_then(checked).map(Some),
        _ => parse_pair(line).map(Some),
    }
}

/// `NAME:SECRET`.
pub(crate) fn parse_pair(text: &[u8]) -> Result<Pair, &'static str> {
    let mut parts = text.splitn(2, |byte| *byte == b':');
    match (parts.next(), parts.next()) {
        (Some(name), Some(secret)) => checked((name.to_vec(), secret.to_vec())),
        _ => Err("expected NAME:SECRET"),
    }
}

/// Refuses what no server can have stored.
fn checked((name, secret): Pair) -> Result<Pair, &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.contains(&0) || secret.contains(&0) {
        return Err("a zero byte cannot be part of a name or secret");
    }
    Ok((name, secret))
}

/// The rest of `"name" "secret"` behind its first quote.
fn parse_quoted(text: &[u8]) -> Result<Pair, &'static str> {
    let (name, rest) = parse_string(text)?;
    let rest = quoted(rest).ok_or("expected \"name\" \"secret\"")?;
    let (secret, rest) = parse_string(rest)?;
    match rest.first() {
        None => Ok((name, secret)),
        Some(byte) if byte.is_ascii_whitespace() => Ok((name, secret)),
        Some(_) => Err("something stands right behind the secret's closing quote"),
    }
}

/// What is behind the quote that begins the next string.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    text.trim_ascii_start().strip_prefix(b"\"")
}

/// A string up to its closing quote, and what is behind it.
fn parse_string(text: &[u8]) -> Result<(Vec<u8>, &[u8]), &'static str> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.iter().position(|byte| *byte == b'"');
        let (before, after) = rest.split_at(end.ok_or("a quote is not closed")?);
        value.extend_from_slice(before);
        match after {
            [b'"', b'"', more @ ..] => {
                value.push(b'"');
                rest = more;
            }
            [_, more @ ..] => return Ok((value, more)),
            [] => return Err("a quote is not closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let text_of = |bytes| String::from_utf8(bytes).unwrap();
        parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|user| (text_of(user.name), text_of(user.secret), user.line))
            .collect()
    }

    fn one(line: &str) -> (String, String) {
        let mut users = pairs(line);
        assert_eq!(users.len(), 1, "{line:?}");
        let (name, secret, _) = users.remove(0);
        (name, secret)
    }

    #[test]
    fn the_secret_is_everything_behind_the_first_colon() {
        for (line, name, secret) in [
            ("alice:pass", "alice", "pass"),
            ("alice: a:b # c \r", "alice", " a:b # c "),
            ("Alice B:\"x\"", "Alice B", "\"x\""),
            (
                "app:SCRAM-SHA-256$4096:c2FsdA==$a:b",
                "app",
                "SCRAM-SHA-256$4096:c2FsdA==$a:b",
            ),
            ("empty:", "empty", ""),
        ] {
            assert_eq!(one(line), (name.to_owned(), secret.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn lines_of_pgbouncer() {
        for (line, name, secret) in [
            (r#""alice" "pass""#, "alice", "pass"),
            (r#"  "a""b"   "c"""  "ignored" too"#, "a\"b", "c\""),
            (r#""x" "" "#, "x", ""),
            ("\"x\"\t\"y\"\r", "x", "y"),
        ] {
            assert_eq!(one(line), (name.to_owned(), secret.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn blank_lines_and_comments_are_counted_but_skipped() {
        let users = pairs("# one\n\n  \t\r\n; four\n  # five\na:1\n\n\"b\" \"2\"");
        let lines: Vec<_> = users
            .iter()
            .map(|(name, _, line)| (name.as_str(), *line))
            .collect();
        assert_eq!(lines, [("a", 6), ("b", 8)]);
    }

    #[test]
    fn errors_name_the_line_and_hold_nothing_of_it() {
        for (text, line, message) in [
            ("a:1\nhunter2", 2, "expected NAME:SECRET"),
            (":hunter2", 1, "the name is empty"),
            // The quotes in the middle are one doubled quote.
            ("\"a\"\"hunter2\"", 1, "expected \"name\" \"secret\""),
            ("\"a\" hunter2", 1, "expected \"name\" \"secret\""),
            ("\"a", 1, "a quote is not closed"),
            ("\"a\" \"hunter2", 1, "a quote is not closed"),
            (
                "\"a\" \"hun\"ter2",
                1,
                "something stands right behind the secret's closing quote",
            ),
            ("a:1\nb:2\na:3", 3, "this name has an earlier line"),
            ("a:\0", 1, "a zero byte cannot be part of a name or secret"),
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(BadLine { line, message }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn other_names_with_a_secret_or_without() {
        for (line, client, name, secret) in [
            ("alice:app:pass:word", "alice", "app", Some("pass:word")),
            ("alice:app:", "alice", "app", Some("")),
            ("alice:app\r", "alice", "app", None),
            (r#" "a""b" "app" "s""x" "#, "a\"b", "app", Some("s\"x")),
            (r#""alice" "app""#, "alice", "app", None),
        ] {
            let users = parse_upstream(format!("# {line}\n{line}\n").as_bytes()).unwrap();
            let expected = Upstream {
                client: client.into(),
                name: name.into(),
                secret: secret.map(Into::into),
                line: 2,
            };
            assert_eq!(users, [expected], "{line:?}");
        }
        for (text, message) in [
            ("alice", "expected CLIENT:NAME:SECRET"),
            (":app:x", "the name is empty"),
            ("alice::x", "the name is empty"),
            (
                "alice:app\0:x",
                "a zero byte cannot be part of a name or secret",
            ),
            ("\"alice\" app", "expected \"client\" \"name\" \"secret\""),
            (
                "\"alice\" \"app\" x",
                "expected \"client\" \"name\" \"secret\"",
            ),
            ("\"a\" \"b\" \"c\" d", "something stands behind the secret"),
            ("a:b:c\na:d", "this name has an earlier line"),
        ] {
            assert_eq!(
                parse_upstream(text.as_bytes()).unwrap_err().message,
                message,
                "{text:?}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let users = parse_upstream(b"alice:app:hunter2").unwrap();
        assert_eq!(format!("{users:?}"), "[Upstream(alice, app, line 1)]");
        let users = parse(b"alice:hunter2").unwrap();
        assert_eq!(format!("{users:?}"), "[User(alice, line 1)]");
    }
}
