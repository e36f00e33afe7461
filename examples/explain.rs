//! Says of SQL texts where a session would send them, and why.
//!
//! ```text
//! cargo run --example explain -- [OPTION]... SQL...
//! cargo run --example explain -- [OPTION]... --jsonl < FILE
//!
//! --jsonl           read lines {"sql": "..."} and write a line {"intent": ..., "target": "reader" or "writer",
//!                   "pins": [...], "reason": ...} for each, in order; a line that is none gets {"error": ...}
//! --functions FILE  what a server says of its functions, operators and views: the rows of `Facts::QUERY`, as
//!                   `psql -At -F $'\t'` writes them
//! --scs on|off      standard_conforming_strings (default: on)
//! --encoding NAME   client_encoding (default: UTF8)
//! --hints           believe the comment that a text begins with, as `/* pgturnout: writer */`
//! --no-inspect      no second opinion of the parser on what looks like a call and may be the alias of a table
//! ```
//!
//! `target` is where a session sends the text by what it asks for, with a reader at hand and nothing open or pinned; `pins` is
//! what keeps the session's reads on the writer afterwards.

#![allow(
    clippy::disallowed_methods,
    reason = "a program has a command line, the library has none"
)]

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use pgturnout::route::{
    Encoding, Facts, Intent, Known, LexState, Route as _, RouteContext, Rules, Split, Target, scan,
};
use pgturnout::session::pins_of;

const USAGE: &str = "usage: explain [--functions FILE] [--scs on|off] [--encoding NAME] [--hints] [--no-inspect] \
    (--jsonl | SQL...)";

/// What texts are read with.
struct Reading {
    lex: LexState,
    rules: Rules,
    inspects: bool,
}

impl Reading {
    fn intent(&self, sql: &[u8]) -> Intent {
        #[cfg(feature = "inspect")]
        if self.inspects {
            return pgturnout::route::inspect::inspect(sql, &self.lex, &self.rules).intent;
        }
        let _ = self.inspects;
        scan(sql, &self.lex, &self.rules)
    }

    /// One line of JSON.
    fn json(&self, sql: &str) -> String {
        let intent = self.intent(sql.as_bytes());
        let pins: Vec<String> = pins_of(&intent)
            .iter()
            .map(|pin| quoted(&pin.to_string()))
            .collect();
        format!(
            "{{\"intent\": {}, \"target\": {}, \"pins\": [{}], \"reason\": {}}}",
            quoted(&intent.class.to_string()),
            quoted(target(&intent)),
            pins.join(", "),
            quoted(&intent.reason.to_string()),
        )
    }

    /// A few lines for a human.
    fn words(&self, sql: &str) -> String {
        let intent = self.intent(sql.as_bytes());
        let start = intent.reason.offset;
        let token = sql.as_bytes().get(start..).unwrap_or_default();
        let token = &token[..token.len().min(intent.reason.token_len)];
        let mut lines = format!(
            "{}\n  goes to   {}\n  asks for  {} ({}), statements: {}\n",
            sql.escape_debug(),
            target(&intent),
            intent.class,
            intent.form,
            intent.statements
        );
        let why = intent.reason.why;
        let at = token.escape_ascii().to_string();
        lines += &format!("  because   {why} at byte {start}: \"{at}\"\n");
        for pin in pins_of(&intent) {
            lines += &format!("  pins      {pin}\n");
        }
        for effect in &intent.effects {
            lines += &format!("  leaves    {:?}\n", effect.effect);
        }
        lines
    }
}

fn target(intent: &Intent) -> &'static str {
    match Split.clone().route(intent, &RouteContext::new(true)) {
        Target::Reader => "reader",
        Target::Writer => "writer",
    }
}

/// What the command line asks for.
struct Arguments {
    reading: Reading,
    jsonl: bool,
    texts: Vec<String>,
}

fn arguments(given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        reading: Reading {
            lex: LexState::defaults(),
            rules: Rules::default(),
            inspects: true,
        },
        jsonl: false,
        texts: Vec::new(),
    };
    let mut given = given;
    while let Some(argument) = given.next() {
        let mut value = || {
            given
                .next()
                .ok_or(format!("{argument}: a value is missing"))
        };
        match argument.as_str() {
            "--jsonl" => arguments.jsonl = true,
            "--hints" => {
                let rules = std::mem::take(&mut arguments.reading.rules);
                arguments.reading.rules = rules.with_hints(true);
            }
            "--no-inspect" => arguments.reading.inspects = false,
            "--functions" => arguments.reading.rules.refresh(&facts(&value()?)?),
            "--encoding" => {
                arguments.reading.lex.encoding = Encoding::from_name(value()?.as_bytes());
            }
            "--scs" => {
                let scs = match value()?.as_str() {
                    "on" => true,
                    "off" => false,
                    other => return Err(format!("--scs: {other:?} is neither on nor off")),
                };
                arguments.reading.lex.standard_conforming_strings = Known::Is(scs);
            }
            "--" => arguments.texts.extend(given.by_ref()),
            option if option.starts_with("--") && !option.contains(char::is_whitespace) => {
                return Err(format!("{option}: no such option"));
            }
            _ => arguments.texts.push(argument),
        }
    }
    match arguments.jsonl != arguments.texts.is_empty() {
        true => Err("give either SQL or --jsonl".to_owned()),
        false => Ok(arguments),
    }
}

/// The rows in a file, five columns between tabs.
fn facts(path: &str) -> Result<Facts, String> {
    let text = std::fs::read(path).map_err(|error| format!("--functions: {path}: {error}"))?;
    let mut facts = Facts::default();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let columns: Vec<_> = line.split(|byte| *byte == b'\t').map(Some).collect();
        if !line.is_empty() {
            let row = facts.row(&columns);
            row.map_err(|error| format!("--functions: {path}:{}: {error}", number + 1))?;
        }
    }
    Ok(facts)
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("explain: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for text in &arguments.texts {
        write!(out, "{}", arguments.reading.words(text))?;
    }
    if arguments.jsonl {
        for line in io::stdin().lock().split(b'\n') {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let answer = match json::member(&line, "sql") {
                Some(sql) => arguments.reading.json(&sql),
                None => format!(
                    "{{\"error\": {}}}",
                    quoted("no object with a string \"sql\"")
                ),
            };
            writeln!(out, "{answer}")?;
        }
    }
    out.flush()
}

/// A text as a string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// As much of JSON as a line of input has: an object of anything.
mod json {
    /// The string that a member of an object is, if it is one.
    pub(crate) fn member(line: &[u8], name: &str) -> Option<String> {
        let mut text = Text(std::str::from_utf8(line).ok()?);
        let mut found = None;
        text.take('{')?;
        let mut more = !text.next_is('}');
        while more {
            let key = text.string()?;
            text.take(':')?;
            if key == name && text.next_is('"') {
                found = Some(text.string()?);
            } else {
                text.value(0)?;
            }
            more = text.next_is(',');
            if more {
                text.take(',')?;
            }
        }
        text.take('}')?;
        text.0.trim().is_empty().then_some(found)?
    }

    /// What is left of a line.
    struct Text<'a>(&'a str);

    impl Text<'_> {
        fn next_is(&mut self, c: char) -> bool {
            self.0 = self.0.trim_start();
            self.0.starts_with(c)
        }

        fn take(&mut self, c: char) -> Option<()> {
            self.0 = self.0.trim_start().strip_prefix(c)?;
            Some(())
        }

        fn string(&mut self) -> Option<String> {
            self.take('"')?;
            let mut out = String::new();
            loop {
                let c = self.0.chars().next()?;
                self.0 = &self.0[c.len_utf8()..];
                match c {
                    '"' => return Some(out),
                    '\\' => out.push(self.escaped()?),
                    c => out.push(c),
                }
            }
        }

        fn escaped(&mut self) -> Option<char> {
            let c = self.0.chars().next()?;
            self.0 = &self.0[c.len_utf8()..];
            Some(match c {
                '"' | '\\' | '/' => c,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => match self.unit()? {
                    high @ 0xd800..0xdc00 => {
                        self.0 = self.0.strip_prefix("\\u")?;
                        let low = self.unit()?.checked_sub(0xdc00)?;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
                    }
                    unit => char::from_u32(unit)?,
                },
                _ => return None,
            })
        }

        fn unit(&mut self) -> Option<u32> {
            let digits = self.0.get(..4)?;
            self.0 = &self.0[4..];
            u32::from_str_radix(digits, 16).ok()
        }

        /// Steps over a value of any kind.
        fn value(&mut self, depth: usize) -> Option<()> {
            if depth > 100 {
                return None;
            }
            if self.next_is('"') {
                return self.string().map(|_| ());
            }
            for (open, close) in [('{', '}'), ('[', ']')] {
                if self.next_is(open) {
                    self.take(open)?;
                    while !self.next_is(close) {
                        if open == '{' {
                            self.string()?;
                            self.take(':')?;
                        }
                        self.value(depth + 1)?;
                        if !self.next_is(close) {
                            self.take(',')?;
                        }
                    }
                    return self.take(close);
                }
            }
            let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            let rest = self.0.trim_start_matches(word);
            let is_word = rest.len() < self.0.len();
            self.0 = rest;
            is_word.then_some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(given: &[&str]) -> Arguments {
        arguments(given.iter().map(|word| (*word).to_owned())).unwrap()
    }

    #[test]
    fn a_line_of_json_says_it_all() {
        let reading = asked(&["--jsonl"]).reading;
        assert_eq!(
            reading.json("select 1"),
            r#"{"intent": "Read", "target": "reader", "pins": [], "reason": "PlainSelect at 0+6"}"#
        );
        assert_eq!(
            reading.json("create temp table \"t\" (a int)"),
            r#"{"intent": "Write", "target": "writer", "pins": ["temporary objects"], "reason": "Keyword at 0+6"}"#
        );
        assert_eq!(
            reading.json("select f(1)"),
            r#"{"intent": "Unproven", "target": "writer", "pins": [], "reason": "UnknownFunction at 7+1"}"#
        );
    }

    #[test]
    fn words_show_the_token() {
        let words = asked(&["select 1 for update"])
            .reading
            .words("select 1 for update");
        assert!(words.contains("goes to   writer"), "{words}");
        assert!(
            words.contains("LockingClause at byte 13: \"update"),
            "{words}"
        );
    }

    #[test]
    fn options_change_how_texts_are_read() {
        let target_of = |given: &[&str], sql: &str| {
            let reading = asked(given).reading;
            target(&reading.intent(sql.as_bytes()))
        };
        let quote = r"select '\'; delete from t --'";
        assert_eq!(target_of(&["--jsonl"], quote), "writer");
        assert_eq!(target_of(&["--jsonl", "--scs", "off"], quote), "reader");
        let sjis = "select 'a'";
        assert_eq!(
            target_of(&["--jsonl", "--encoding", "SJIS"], "select '\u{e9}'"),
            "writer"
        );
        assert_eq!(
            target_of(&["--jsonl", "--encoding", "LATIN1"], sjis),
            "reader"
        );
        let hint = "/* pgturnout: writer */ select 1";
        assert_eq!(target_of(&["--jsonl", "--hints"], hint), "writer");
        assert_eq!(target_of(&["--jsonl"], hint), "reader");
        let alias = "select * from pg_class j(id)";
        assert_eq!(target_of(&["--jsonl", "--no-inspect"], alias), "writer");
        #[cfg(feature = "inspect")]
        assert_eq!(target_of(&["--jsonl"], alias), "reader");
    }

    #[test]
    fn functions_come_from_a_file() {
        let path = std::env::temp_dir().join(format!("pgturnout-explain-{}", std::process::id()));
        std::fs::write(
            &path,
            "stable\tpublic\tprice\t\t\nvolatile\tpublic\tcharge\t\t\n",
        )
        .unwrap();
        let reading = asked(&["--functions", path.to_str().unwrap(), "x"]).reading;
        std::fs::write(&path, "stable\tpublic\n").unwrap();
        let wrong = arguments(["--functions".to_owned(), path.display().to_string()].into_iter());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(target(&reading.intent(b"select price(1)")), "reader");
        assert_eq!(target(&reading.intent(b"select charge(1)")), "writer");
        assert!(
            wrong
                .err()
                .unwrap()
                .ends_with(":1: a row of facts has 2 columns and not 5")
        );
    }

    #[test]
    fn json_is_read_as_it_may_be_written() {
        for (line, sql) in [
            (r#"{"sql": "select 1"}"#, Some("select 1")),
            (
                r#" { "sql" : "a\"\\\/\n\u00e9\ud83d\ude00" } "#,
                Some("a\"\\/\n\u{e9}\u{1f600}"),
            ),
            (
                r#"{"id": [1, {"a": null}], "sql": "x", "n": -1.5e3}"#,
                Some("x"),
            ),
            (r#"{"sql": 1}"#, None),
            (r#"{"sql": "x""#, None),
            (r#"{"sql": "x"} y"#, None),
            (r#"{"sql": "\ud83d"}"#, None),
            (r#"{}"#, None),
            ("select 1", None),
        ] {
            assert_eq!(
                json::member(line.as_bytes(), "sql").as_deref(),
                sql,
                "{line}"
            );
        }
        assert_eq!(json::member(b"{\"sql\": \"\xff\"}", "sql"), None);
        assert_eq!(quoted("a\"\\\n\u{e9}"), "\"a\\\"\\\\\\u000a\u{e9}\"");
    }

    #[test]
    fn the_command_line_is_checked() {
        let wrong = |given: &[&str]| {
            let given = given.iter().map(|word| (*word).to_owned());
            arguments(given).err().unwrap()
        };
        assert_eq!(wrong(&[]), "give either SQL or --jsonl");
        assert_eq!(
            wrong(&["--jsonl", "select 1"]),
            "give either SQL or --jsonl"
        );
        assert_eq!(wrong(&["--scs"]), "--scs: a value is missing");
        assert_eq!(wrong(&["--what"]), "--what: no such option");
        assert_eq!(asked(&["--", "--jsonl"]).texts, ["--jsonl"]);
        // A comment is SQL.
        assert_eq!(asked(&["-- select 1"]).texts, ["-- select 1"]);
    }
}
