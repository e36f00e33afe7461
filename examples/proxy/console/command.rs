//! What an operator can say: the texts of statements, and what they mean.

use std::fmt;
use std::time::Duration;

use super::manner::{self, Manner};
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
    MigrateSession {
        number: u64,
        leg: MovedLeg,
        to: HostPort,
        terms: Box<Terms>,
    },
    /// All sessions of one server move to another, and new ones go there.
    MigrateAll {
        from: HostPort,
        to: HostPort,
        terms: Box<Terms>,
    },
    /// A session ends.
    Terminate(u64),
}

/// How sessions are to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How long they may take, all of them and with every try.
    pub(crate) within: Duration,
    /// What a try is told.
    pub(crate) manner: Manner,
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

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Show(table) => write!(f, "SHOW {}", format!("{table:?}").to_uppercase()),
            Command::Drain(at) => write!(f, "DRAIN '{at}'"),
            Command::Pause(at, within) => write!(f, "PAUSE '{at}' WITHIN {}", within.as_secs()),
            Command::Resume(at) => write!(f, "RESUME '{at}'"),
            Command::MigrateSession {
                number,
                leg,
                to,
                terms,
            } => {
                let leg = match leg {
                    MovedLeg::Writer => "",
                    MovedLeg::Reader => " READER",
                };
                let within = terms.within.as_secs();
                write!(f, "MIGRATE SESSION {number}{leg} TO '{to}' WITHIN {within}")
            }
            Command::MigrateAll { from, to, terms } => {
                let within = terms.within.as_secs();
                write!(f, "MIGRATE ALL FROM '{from}' TO '{to}' WITHIN {within}")
            }
            Command::Terminate(number) => write!(f, "TERMINATE SESSION {number}"),
        }
    }
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
        "DRAIN 'host:port' TO 'host:port' [WITHIN seconds] [WITH (option = value, ...)]",
        "the same as MIGRATE ALL: who is there moves to the second server, which takes its place",
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
        "MIGRATE SESSION number [READER] TO 'host:port' [WITHIN seconds] [WITH (option = value, ...)]",
        "a session goes to another server: its writer, or its reader",
    ),
    (
        "MIGRATE ALL FROM 'host:port' TO 'host:port' [WITHIN seconds] [WITH (option = value, ...)]",
        "the second server takes the first one's place: new sessions go there, open ones are moved",
    ),
    (
        "TERMINATE SESSION number",
        "ends a session as pg_terminate_backend would",
    ),
];

/// Why a text is no statement of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) cause: Cause,
    /// Where, in characters from 1.
    pub(crate) position: usize,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A quoted word or a comment does not end.
    Unterminated,
    /// The text goes wrong at this word; empty at its end.
    At(String),
    /// A name that is none of a server.
    Address(String, &'static str),
    /// A number that is too large, or none.
    Number(String),
    /// An option of a move.
    Option(manner::Wrong),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unterminated => f.write_str("a quoted word or a comment does not end"),
            Cause::At(word) if word.is_empty() => f.write_str("syntax error at end of input"),
            Cause::At(word) => write!(f, "syntax error at or near \"{word}\""),
            Cause::Address(text, why) => write!(f, "\"{text}\" is no server: {why}"),
            Cause::Number(text) => write!(f, "\"{text}\" is no number that fits here"),
            Cause::Option(wrong) => write!(f, "{wrong}"),
        }
    }
}

impl Cause {
    /// What would be right.
    pub(crate) fn hint(&self) -> String {
        match self {
            Cause::Unterminated | Cause::At(_) => {
                let words: Vec<&str> = COMMANDS.iter().map(|(words, _)| *words).collect();
                format!("The console knows {}.", words.join("; "))
            }
            Cause::Address(..) => {
                "A server is named by its host and port, as SHOW UPSTREAMS has it: 'db1:5432'."
                    .to_owned()
            }
            Cause::Number(_) => format!(
                "SHOW SESSIONS has the numbers of sessions; seconds are at most {PATIENCE_MAX}."
            ),
            Cause::Option(_) => manner::hint(),
        }
    }
}

/// Reads a text of any number of statements. One that is wrong leaves none to run, as with PostgreSQL.
pub(crate) fn parse(text: &str) -> Result<Vec<Command>, Wrong> {
    read(text).map_err(|(cause, at)| {
        let before = text.get(..at).unwrap_or(text);
        let position = before.chars().count() + 1;
        Wrong { cause, position }
    })
}

/// What is wrong, and at which byte.
type Failed = (Cause, usize);

fn read(text: &str) -> Result<Vec<Command>, Failed> {
    let lexemes = lexemes(text)?;
    let mut commands = Vec::new();
    let mut rest = &lexemes[..];
    while !rest.is_empty() {
        let ends = |lexeme: &Lexeme| lexeme.token == Token::End;
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let (words, behind) = rest.split_at(length);
        // Where the statement ends is where a word is missed.
        let end = behind.first().map_or(text.len(), |lexeme| lexeme.at);
        if !words.is_empty() {
            commands.push(statement(Words { words, end })?);
        }
        rest = behind.get(1..).unwrap_or_default();
    }
    Ok(commands)
}

fn statement(mut words: Words<'_>) -> Result<Command, Failed> {
    let (first, at) = words.keyword()?;
    let command = match first.as_str() {
        "show" => {
            let (what, at) = words.keyword()?;
            Command::Show(match what.as_str() {
                "help" => Table::Help,
                "sessions" => Table::Sessions,
                "upstreams" => Table::Upstreams,
                "stats" => Table::Stats,
                "version" => Table::Version,
                _ => return Err((Cause::At(what), at)),
            })
        }
        "drain" => words.drain()?,
        "pause" => Command::Pause(words.address()?, words.within()?),
        "resume" => Command::Resume(words.address()?),
        "migrate" => words.migrate()?,
        "terminate" => {
            words.expect("session")?;
            Command::Terminate(words.number()?.0)
        }
        _ => return Err((Cause::At(first), at)),
    };
    match words.words.first() {
        None => Ok(command),
        Some(next) => Err(next.wrong()),
    }
}

/// What is left of a statement.
struct Words<'a> {
    words: &'a [Lexeme],
    /// Where it ends in the text.
    end: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a Lexeme, Failed> {
        let missing = (Cause::At(String::new()), self.end);
        let (first, rest) = self.words.split_first().ok_or(missing)?;
        self.words = rest;
        Ok(first)
    }

    /// A word without quotes, in small letters, and where it is.
    fn keyword(&mut self) -> Result<(String, usize), Failed> {
        let next = self.next()?;
        match &next.token {
            Token::Word(word) => Ok((word.to_ascii_lowercase(), next.at)),
            Token::Quoted(_) | Token::Mark(_) | Token::End => Err(next.wrong()),
        }
    }

    /// A word that has to stand here.
    fn expect(&mut self, expected: &str) -> Result<(), Failed> {
        match self.keyword()? {
            (word, _) if word == expected => Ok(()),
            (word, at) => Err((Cause::At(word), at)),
        }
    }

    /// Takes this away, if it is the next.
    fn takes(&mut self, token: &Token) -> bool {
        let same = |next: &&Lexeme| match (&next.token, token) {
            (Token::Word(next), Token::Word(word)) => next.eq_ignore_ascii_case(word),
            (next, token) => next == token,
        };
        let found = self.words.first().filter(same).is_some();
        if found {
            self.words = self.words.get(1..).unwrap_or_default();
        }
        found
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Token::Word(word.to_owned()))
    }

    fn number(&mut self) -> Result<(u64, usize), Failed> {
        let next = self.next()?;
        match &next.token {
            Token::Word(text) => match text.parse() {
                Ok(number) => Ok((number, next.at)),
                Err(_) => Err((Cause::Number(text.clone()), next.at)),
            },
            Token::Quoted(_) | Token::Mark(_) | Token::End => Err(next.wrong()),
        }
    }

    /// How long to wait, if it is said.
    fn within(&mut self) -> Result<Duration, Failed> {
        if !self.takes_word("within") {
            return Ok(PATIENCE);
        }
        match self.number()? {
            (seconds, _) if seconds <= PATIENCE_MAX => Ok(Duration::from_secs(seconds)),
            (seconds, at) => Err((Cause::Number(seconds.to_string()), at)),
        }
    }

    /// Where to is what the sessions of a drained server lack: with it they move there, as by `MIGRATE ALL`.
    fn drain(&mut self) -> Result<Command, Failed> {
        let from = self.address()?;
        if !self.takes_word("to") {
            return Ok(Command::Drain(from));
        }
        let to = self.address()?;
        let terms = self.terms()?;
        Ok(Command::MigrateAll { from, to, terms })
    }

    fn migrate(&mut self) -> Result<Command, Failed> {
        if self.takes_word("all") {
            self.expect("from")?;
            let from = self.address()?;
            self.expect("to")?;
            let to = self.address()?;
            let terms = self.terms()?;
            return Ok(Command::MigrateAll { from, to, terms });
        }
        self.expect("session")?;
        let (number, _) = self.number()?;
        let leg = match self.takes_word("reader") {
            true => MovedLeg::Reader,
            false => MovedLeg::Writer,
        };
        self.expect("to")?;
        let to = self.address()?;
        let terms = self.terms()?;
        Ok(Command::MigrateSession {
            number,
            leg,
            to,
            terms,
        })
    }

    fn terms(&mut self) -> Result<Box<Terms>, Failed> {
        let within = self.within()?;
        let mut manner = Manner::default();
        if self.takes_word("with") {
            let opening = self.next()?;
            if opening.token != Token::Mark('(') {
                return Err(opening.wrong());
            }
            loop {
                self.option(&mut manner)?;
                let next = self.next()?;
                match next.token {
                    Token::Mark(',') => {}
                    Token::Mark(')') => break,
                    Token::Mark(_) | Token::Word(_) | Token::Quoted(_) | Token::End => {
                        return Err(next.wrong());
                    }
                }
            }
        }
        Ok(Box::new(Terms { within, manner }))
    }

    /// One option of a move: its name, and its value with or without quotes.
    fn option(&mut self, manner: &mut Manner) -> Result<(), Failed> {
        let (name, at) = self.keyword()?;
        let equals = self.next()?;
        if equals.token != Token::Mark('=') {
            return Err(equals.wrong());
        }
        let value = self.next()?;
        let text = match &value.token {
            Token::Word(text) | Token::Quoted(text) => text,
            Token::Mark(_) | Token::End => return Err(value.wrong()),
        };
        manner.set(&name, text).map_err(|wrong| {
            let at = match wrong {
                manner::Wrong::Unknown(_) | manner::Wrong::Twice(_) => at,
                manner::Wrong::Value { .. } => value.at,
            };
            (Cause::Option(wrong), at)
        })
    }

    /// A server: quoted either way, or bare if its name allows that.
    fn address(&mut self) -> Result<HostPort, Failed> {
        let next = self.next()?;
        match &next.token {
            Token::Word(text) | Token::Quoted(text) => {
                let parsed = HostPort::parse(text, Port::Fixed);
                parsed.map_err(|why| (Cause::Address(text.clone(), why), next.at))
            }
            Token::Mark(_) | Token::End => Err(next.wrong()),
        }
    }
}

/// A token, and the byte of the text that it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lexeme {
    token: Token,
    at: usize,
}

impl Lexeme {
    /// The text goes wrong here.
    fn wrong(&self) -> Failed {
        (Cause::At(self.token.to_string()), self.at)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Everything up to white space, a quote or a mark.
    Word(String),
    Quoted(String),
    /// One of `( ) , =`.
    Mark(char),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) => f.write_str(text),
            Token::Quoted(text) => write!(f, "'{text}'"),
            Token::Mark(mark) => write!(f, "{mark}"),
            Token::End => f.write_str(";"),
        }
    }
}

/// Takes a text apart. Quotes are doubled inside quotes; comments are PostgreSQL's, which nest.
fn lexemes(text: &str) -> Result<Vec<Lexeme>, Failed> {
    let mut lexemes = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let unterminated = (Cause::Unterminated, at);
        let (token, behind) = match first {
            ';' => (Some(Token::End), &rest[1..]),
            '(' | ')' | ',' | '=' => (Some(Token::Mark(first)), &rest[1..]),
            '\'' | '"' => {
                let (quoted, behind) = quoted(&rest[1..], first).ok_or(unterminated)?;
                (Some(Token::Quoted(quoted)), behind)
            }
            '-' if rest.starts_with("--") => {
                let behind = rest.find('\n').map_or("", |end| &rest[end..]);
                (None, behind)
            }
            '/' if rest.starts_with("/*") => (None, comment(rest).ok_or(unterminated)?),
            _ => {
                let ends = |c: char| {
                    c.is_whitespace() || matches!(c, ';' | '\'' | '"' | '(' | ')' | ',' | '=')
                };
                let end = rest.find(ends).unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                (Some(Token::Word(word.to_owned())), behind)
            }
        };
        lexemes.extend(token.map(|token| Lexeme { token, at }));
        rest = behind.trim_start();
    }
    Ok(lexemes)
}

/// A quoted word, behind its first quote, and what follows; nothing if it does not end.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(quote)?;
        word.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix(quote) {
            Some(behind) => {
                word.push(quote);
                rest = behind;
            }
            None => return Some((word, rest)),
        }
    }
}

/// What follows a comment; nothing if it does not end.
fn comment(text: &str) -> Option<&str> {
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
            chars.next()?;
            chars.as_str()
        };
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text is, or what is wrong with it.
    fn parse(text: &str) -> Result<Vec<Command>, Cause> {
        super::parse(text).map_err(|wrong| wrong.cause)
    }

    fn at(word: &str) -> Result<Vec<Command>, Cause> {
        Err(Cause::At(word.to_owned()))
    }

    fn terms(within: Duration) -> Box<Terms> {
        let manner = Manner::default();
        Box::new(Terms { within, manner })
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
        for rest in ["", " within 5", " with (listen = move)"] {
            let moved = parse(&format!("drain a:1 to b:2{rest}"));
            let all = parse(&format!("migrate all from a:1 to b:2{rest}"));
            assert_eq!(moved, all, "{rest}");
            assert!(matches!(all.as_deref(), Ok([Command::MigrateAll { .. }])));
        }
        assert_eq!(parse("drain a:1 to"), at(""));
        assert_eq!(parse("drain a:1 within 5"), at("within"));
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
            assert_eq!(wrong, Err(Cause::Number(number.to_owned())));
        }
        assert_eq!(parse("pause a:1 within"), at(""));
    }

    #[test]
    fn moves() {
        let all = |within| {
            let (from, to) = (host("a", 1), host("b", 2));
            let terms = terms(within);
            Ok(vec![Command::MigrateAll { from, to, terms }])
        };
        assert_eq!(parse("migrate all from 'a:1' to 'b:2'"), all(PATIENCE));
        let ten = Duration::from_secs(10);
        let text = "MIGRATE ALL FROM a:1 TO b:2 WITHIN 10";
        assert_eq!(parse(text), all(ten));
        let one = |leg| {
            Ok(vec![Command::MigrateSession {
                number: 7,
                leg,
                to: host("b", 2),
                terms: terms(PATIENCE),
            }])
        };
        let text = "migrate session 7 to 'b:2'";
        assert_eq!(parse(text), one(MovedLeg::Writer));
        let text = "migrate session 7 reader to 'b:2'";
        assert_eq!(parse(text), one(MovedLeg::Reader));
        assert_eq!(parse("migrate 7 to 'b:2'"), at("7"));
        assert_eq!(parse("migrate all to 'b:2'"), at("to"));
        assert_eq!(parse("migrate session 'a' to 'b:2'"), at("'a'"));
        let wrong = parse("migrate session x to 'b:2'");
        assert_eq!(wrong, Err(Cause::Number("x".to_owned())));
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
            assert_eq!(parse(text), Err(Cause::Unterminated), "{text:?}");
        }
        let quoted = parse("drain 'it''s'").unwrap_err();
        assert!(matches!(quoted, Cause::Address(text, _) if text == "it's"));
    }

    #[test]
    fn the_list_and_the_parser_know_the_same_statements() {
        for (words, _) in COMMANDS {
            let text = words.replace("host:port", "db:1");
            let text = text.replace("number", "1").replace("seconds", "2");
            let text = text.replace("option = value, ...", "listen = move");
            let all = text.replace(['[', ']'], "");
            assert!(parse(&all).is_ok_and(|read| read.len() == 1), "{words}");
        }
    }

    #[test]
    fn a_mistake_has_its_place() {
        let place = |text: &str| super::parse(text).unwrap_err().position;
        assert_eq!(place("shw sessions"), 1);
        assert_eq!(place("show sessions; show nothing"), 21);
        assert_eq!(place("drain ; show help"), 7, "where the word is missed");
        assert_eq!(place("drain"), 6);
        assert_eq!(place("/* \u{fc} */ drain 'db1"), 15, "in characters");
        assert_eq!(place("pause 'a:1' within x"), 20);
        assert_eq!(place("drain 'a'"), 7);
        let with = "migrate session 1 to 'b:2' with ";
        let behind = |rest: &str| place(&format!("{with}{rest}")) - with.len();
        assert_eq!(behind("listen"), 1);
        assert_eq!(behind("(lissen = move)"), 2);
        assert_eq!(behind("(listen move)"), 9);
        assert_eq!(behind("(listen = mve)"), 11);
        assert_eq!(behind("(listen = move, listen = move)"), 17);
        assert_eq!(behind("(listen = move"), 15);
        assert_eq!(behind("(listen = move,)"), 16);
    }

    #[test]
    fn how_sessions_move_can_be_said() {
        let text = "migrate all from a:1 to b:2 within 9 with (LISTEN = 'Move', timeout=5)";
        let read = parse(text).unwrap();
        let [Command::MigrateAll { terms: said, .. }] = &read[..] else {
            panic!("{read:?}");
        };
        let mut manner = Manner::default();
        manner.set("listen", "move").unwrap();
        manner.set("timeout", "5").unwrap();
        let within = Duration::from_secs(9);
        assert_eq!(**said, Terms { within, manner });
        assert_eq!(parse("pause a:1 with (listen = move)"), at("with"));
    }

    #[test]
    fn a_statement_is_told_as_it_can_be_said() {
        for text in [
            "SHOW SESSIONS",
            "DRAIN 'a:1'",
            "PAUSE 'a:1' WITHIN 9",
            "RESUME 'a:1'",
            "MIGRATE SESSION 7 READER TO 'b:2' WITHIN 60",
            "MIGRATE ALL FROM 'a:1' TO 'b:2' WITHIN 60",
            "TERMINATE SESSION 7",
        ] {
            let told = parse(text).unwrap();
            assert_eq!(told[0].to_string(), text);
        }
    }
}
