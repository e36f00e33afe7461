//! What an operator can say: the texts of statements, and what they mean.

use std::fmt;
use std::time::Duration;

use crate::options::{HostPort, Port};
use crate::registry::MovedLeg;

/// How long sessions are waited for unless the statement says it: what a person waits before asking why.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that may be asked for: a day, in seconds.
const PATIENCE_MAX: u64 = 86_400;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Show(Table),
    /// No new session dials this upstream.
    Drain(HostPort),
    /// The same, and sessions there are kept from their next transaction.
    Pause(HostPort, Duration),
    /// It may be used again.
    Resume(HostPort),
    /// One session moves to another server.
    MigrateSession(u64, MovedLeg, HostPort, Duration),
    /// All sessions of one server move to another, and new ones go there.
    MigrateAll {
        from: HostPort,
        to: HostPort,
        within: Duration,
    },
    /// A session ends.
    Terminate(u64),
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Help,
    Sessions,
    Upstreams,
    Stats,
    Version,
}

/// A statement, by its words, and what it does. The words are what the hint of an error lists.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    ("SHOW HELP", "this list"),
    (
        "SHOW SESSIONS",
        "who is connected, where each is served, and what it does",
    ),
    (
        "SHOW UPSTREAMS",
        "the servers, what they are for, and the connections to each",
    ),
    ("SHOW STATS", "everything that is counted"),
    ("SHOW VERSION", "the version of the proxy"),
    (
        "DRAIN 'host:port'",
        "no new session dials this server; logins wait for it, or for RESUME",
    ),
    (
        "PAUSE 'host:port' [WITHIN seconds]",
        "the same, and sessions that write there are held between two transactions; done when all are",
    ),
    (
        "RESUME 'host:port'",
        "the server is used again, and who waits for it goes on",
    ),
    (
        "MIGRATE SESSION number [READER] TO 'host:port' [WITHIN seconds]",
        "a session goes to another server: its writer, or its reader",
    ),
    (
        "MIGRATE ALL FROM 'host:port' TO 'host:port' [WITHIN seconds]",
        "the second server takes the first one's place: new sessions go there, open ones are moved",
    ),
    (
        "TERMINATE SESSION number",
        "ends a session as pg_terminate_backend would",
    ),
];

/// Why a text is no statement of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A quoted word or a comment does not end.
    Unterminated,
    /// The text goes wrong at this word; empty at its end.
    At(String),
    /// A name that is none of a server.
    Address(String, &'static str),
    /// A number that is too large, or none.
    Number(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unterminated => f.write_str("a quoted word or a comment does not end"),
            Wrong::At(word) if word.is_empty() => f.write_str("syntax error at end of input"),
            Wrong::At(word) => write!(f, "syntax error at or near \"{word}\""),
            Wrong::Address(text, why) => write!(f, "\"{text}\" is no server: {why}"),
            Wrong::Number(text) => write!(f, "\"{text}\" is no number that fits here"),
        }
    }
}

/// The words of every statement, for the hint of an error.
pub(crate) fn hint() -> String {
    let words: Vec<&str> = COMMANDS.iter().map(|(words, _)| *words).collect();
    format!("The console knows {}.", words.join("; "))
}

/// Reads a text of any number of statements. One that is wrong leaves none to run, as with PostgreSQL.
pub(crate) fn parse(text: &str) -> Result<Vec<Command>, Wrong> {
    let tokens = tokens(text)?;
    tokens
        .split(|token| *token == Token::End)
        .filter(|words| !words.is_empty())
        .map(statement)
        .collect()
}

fn statement(words: &[Token]) -> Result<Command, Wrong> {
    let mut words = Words(words);
    let command = match words.keyword()?.as_str() {
        "show" => Command::Show(match words.keyword()?.as_str() {
            "help" => Table::Help,
            "sessions" => Table::Sessions,
            "upstreams" => Table::Upstreams,
            "stats" => Table::Stats,
            "version" => Table::Version,
            other => return Err(Wrong::At(other.to_owned())),
        }),
        "drain" => Command::Drain(words.address()?),
        "pause" => Command::Pause(words.address()?, words.within()?),
        "resume" => Command::Resume(words.address()?),
        "migrate" => words.migrate()?,
        "terminate" => {
            words.expect("session")?;
            Command::Terminate(words.number()?)
        }
        other => return Err(Wrong::At(other.to_owned())),
    };
    match words.0 {
        [] => Ok(command),
        [next, ..] => Err(Wrong::At(next.to_string())),
    }
}

/// What is left of a statement.
struct Words<'a>(&'a [Token]);

impl Words<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A word without quotes, in small letters.
    fn keyword(&mut self) -> Result<String, Wrong> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word.to_ascii_lowercase()),
            Some(other) => Err(Wrong::At(other.to_string())),
            None => Err(Wrong::At(String::new())),
        }
    }

    /// A word that has to stand here.
    fn expect(&mut self, expected: &str) -> Result<(), Wrong> {
        match self.keyword()? {
            word if word == expected => Ok(()),
            word => Err(Wrong::At(word)),
        }
    }

    /// Takes this word away, if it is the next.
    fn takes(&mut self, word: &str) -> bool {
        let next =
            |token: &&Token| matches!(token, Token::Word(next) if next.eq_ignore_ascii_case(word));
        let found = self.0.first().filter(next).is_some();
        if found {
            self.next();
        }
        found
    }

    fn number(&mut self) -> Result<u64, Wrong> {
        match self.next() {
            Some(Token::Word(text)) => text.parse().map_err(|_| Wrong::Number(text.clone())),
            Some(other) => Err(Wrong::At(other.to_string())),
            None => Err(Wrong::At(String::new())),
        }
    }

    /// How long to wait, if it is said.
    fn within(&mut self) -> Result<Duration, Wrong> {
        if !self.takes("within") {
            return Ok(PATIENCE);
        }
        match self.number()? {
            seconds if seconds <= PATIENCE_MAX => Ok(Duration::from_secs(seconds)),
            seconds => Err(Wrong::Number(seconds.to_string())),
        }
    }

    fn migrate(&mut self) -> Result<Command, Wrong> {
        if self.takes("all") {
            self.expect("from")?;
            let from = self.address()?;
            self.expect("to")?;
            let to = self.address()?;
            let within = self.within()?;
            return Ok(Command::MigrateAll { from, to, within });
        }
        self.expect("session")?;
        let number = self.number()?;
        let leg = match self.takes("reader") {
            true => MovedLeg::Reader,
            false => MovedLeg::Writer,
        };
        self.expect("to")?;
        let to = self.address()?;
        Ok(Command::MigrateSession(number, leg, to, self.within()?))
    }

    /// A server: quoted either way, or bare if its name allows that.
    fn address(&mut self) -> Result<HostPort, Wrong> {
        match self.next() {
            Some(Token::Word(text) | Token::Quoted(text)) => {
                HostPort::parse(text, Port::Fixed).map_err(|why| Wrong::Address(text.clone(), why))
            }
            Some(Token::End) | None => Err(Wrong::At(String::new())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Everything up to white space, a quote or a semicolon.
    Word(String),
    Quoted(String),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) => f.write_str(text),
            Token::Quoted(text) => write!(f, "'{text}'"),
            Token::End => f.write_str(";"),
        }
    }
}

/// Takes a text apart. Quotes are doubled inside quotes; comments are PostgreSQL's, which nest.
fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ';' => {
                tokens.push(Token::End);
                &rest[1..]
            }
            '\'' | '"' => {
                let (quoted, behind) = quoted(&rest[1..], first)?;
                tokens.push(Token::Quoted(quoted));
                behind
            }
            '-' if rest.starts_with("--") => rest.find('\n').map_or("", |at| &rest[at..]),
            '/' if rest.starts_with("/*") => comment(rest)?,
            _ => {
                let end = |c: char| c.is_whitespace() || matches!(c, ';' | '\'' | '"');
                let at = rest.find(end).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(at);
                tokens.push(Token::Word(word.to_owned()));
                behind
            }
        }
        .trim_start();
    }
    Ok(tokens)
}

/// A quoted word, behind its first quote, and what follows.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Wrong> {
    let mut word = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(quote).ok_or(Wrong::Unterminated)?;
        word.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(quote) {
            Some(behind) => {
                word.push(quote);
                rest = behind;
            }
            None => return Ok((word, rest)),
        }
    }
}

/// What follows a comment.
fn comment(text: &str) -> Result<&str, Wrong> {
    let mut depth = 0_usize;
    let mut rest = text;
    loop {
        rest = if let Some(inside) = rest.strip_prefix("/*") {
            depth += 1;
            inside
        } else if let Some(behind) = rest.strip_prefix("*/") {
            depth -= 1;
            behind
        } else {
            let mut chars = rest.chars();
            chars.next().ok_or(Wrong::Unterminated)?;
            chars.as_str()
        };
        if depth == 0 {
            return Ok(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(word: &str) -> Result<Vec<Command>, Wrong> {
        Err(Wrong::At(word.to_owned()))
    }

    fn host(host: &str, port: u16) -> HostPort {
        HostPort {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn statements_in_every_spelling() {
        let sessions = Command::Show(Table::Sessions);
        for text in [
            "show sessions",
            "SHOW SESSIONS;",
            " ;; Show\n\tSessions ; ",
            "-- who\nshow /* who /* is */ there */ sessions -- now",
        ] {
            assert_eq!(parse(text), Ok(vec![sessions.clone()]), "{text:?}");
        }
        let drain = Command::Drain(host("db1", 5432));
        for text in ["drain 'db1:5432'", "DRAIN \"db1:5432\"", "drain db1:5432;"] {
            assert_eq!(parse(text), Ok(vec![drain.clone()]), "{text:?}");
        }
        let six = parse("resume '[::1]:1'");
        assert_eq!(six, Ok(vec![Command::Resume(host("::1", 1))]));
        for text in ["", " ", ";", "-- nothing", "/* nothing */"] {
            assert_eq!(parse(text), Ok(Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn several_statements_are_read_before_one_runs() {
        let both = parse("show help; show stats");
        let expected = vec![Command::Show(Table::Help), Command::Show(Table::Stats)];
        assert_eq!(both, Ok(expected));
        assert_eq!(parse("show help; shw stats"), at("shw"));
    }

    #[test]
    fn what_waits_may_say_for_how_long() {
        let seconds = Duration::from_secs;
        let pause = |within| Ok(vec![Command::Pause(host("a", 1), within)]);
        assert_eq!(parse("pause 'a:1'"), pause(PATIENCE));
        assert_eq!(parse("pause 'a:1' WITHIN 5"), pause(seconds(5)));
        assert_eq!(parse("pause a:1 within 86400"), pause(seconds(86_400)));
        for number in ["86401", "-1", "5s", "99999999999999999999"] {
            let wrong = parse(&format!("pause a:1 within {number}"));
            assert_eq!(wrong, Err(Wrong::Number(number.to_owned())));
        }
        assert_eq!(parse("pause a:1 within"), at(""));
    }

    #[test]
    fn moves() {
        let all = |within| {
            let (from, to) = (host("a", 1), host("b", 2));
            Ok(vec![Command::MigrateAll { from, to, within }])
        };
        assert_eq!(parse("migrate all from 'a:1' to 'b:2'"), all(PATIENCE));
        let ten = Duration::from_secs(10);
        let text = "MIGRATE ALL FROM a:1 TO b:2 WITHIN 10";
        assert_eq!(parse(text), all(ten));
        let one = |leg| {
            Ok(vec![Command::MigrateSession(
                7,
                leg,
                host("b", 2),
                PATIENCE,
            )])
        };
        let text = "migrate session 7 to 'b:2'";
        assert_eq!(parse(text), one(MovedLeg::Writer));
        let text = "migrate session 7 reader to 'b:2'";
        assert_eq!(parse(text), one(MovedLeg::Reader));
        assert_eq!(parse("migrate 7 to 'b:2'"), at("7"));
        assert_eq!(parse("migrate all to 'b:2'"), at("to"));
        assert_eq!(parse("migrate session 'a' to 'b:2'"), at("'a'"));
        let wrong = parse("migrate session x to 'b:2'");
        assert_eq!(wrong, Err(Wrong::Number("x".to_owned())));
        let ended = parse("terminate session 3");
        assert_eq!(ended, Ok(vec![Command::Terminate(3)]));
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        assert_eq!(parse("select 1"), at("select"));
        assert_eq!(parse("show"), at(""));
        assert_eq!(parse("show nothing"), at("nothing"));
        assert_eq!(parse("show 'sessions'"), at("'sessions'"));
        assert_eq!(parse("show sessions please"), at("please"));
        assert_eq!(parse("drain"), at(""));
        for text in ["drain 'db1", "drain \"it''s", "show /* /* */ sessions"] {
            assert_eq!(parse(text), Err(Wrong::Unterminated), "{text:?}");
        }
        let quoted = parse("drain 'it''s'").unwrap_err();
        assert!(matches!(quoted, Wrong::Address(text, _) if text == "it's"));
    }

    #[test]
    fn the_list_and_the_parser_know_the_same_statements() {
        for (words, _) in COMMANDS {
            let text = words.replace("host:port", "db:1");
            let text = text.replace("number", "1").replace("seconds", "2");
            let all = text.replace(['[', ']'], "");
            assert!(parse(&all).is_ok_and(|read| read.len() == 1), "{words}");
        }
    }
}
