//! What is said on the console's connection, once its client is logged in: a server's side of PostgreSQL's protocol, in
//! both its forms, without a socket.
//!
//! | messages | answer |
//! |---|---|
//! | Query | its statements, one by one, up to the first that fails; ReadyForQuery |
//! | Parse, Bind, Describe, Execute, Close, Flush, Sync | as a server's; statements take no parameters, rows come all at once |
//! | FunctionCall | an error, ReadyForQuery |
//! | CopyData, CopyDone, CopyFail | nothing: there is no COPY that they could belong to |
//! | Terminate | the end |
//! | anything else, or what cannot be read | a FATAL error, the end |

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, BytesMut};
use pgturnout::wire::{
    Backend, Bind, Close, Column as WireColumn, Columns, Describe, Execute, Fields, Frontend,
    Header, ParamTypes, Parse, Severity, SqlState, Target, TransactionStatus, Values, sqlstate,
};

use super::command::{self, Cause, Command};
use super::table::{Column, Failure, Row};

/// The longest message in bytes: statements are short.
const MESSAGE: u32 = 64 << 10;

/// How many statements, and how many portals, a client may keep: drivers keep a few.
const KEPT: usize = 256;

const SYNTAX_ERROR: SqlState = SqlState(*b"42601");
const UNDEFINED_CURSOR: SqlState = SqlState(*b"34000");

/// What has to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes have to come.
    Wait,
    /// A statement is to run. Its rows are for [`Dialogue::row`], its end is for [`Dialogue::end`].
    Run(Command),
    /// Nothing more is said; what is written is the last.
    Close,
}

/// The state of the connection.
#[derive(Default)]
pub(crate) struct Dialogue {
    /// Statements of a Query that wait for those before them; `None` outside of one.
    query: Option<VecDeque<Command>>,
    /// `None` is a text without a statement.
    statements: BTreeMap<Vec<u8>, Option<Command>>,
    portals: BTreeMap<Vec<u8>, Portal>,
    /// In which form the running statement's values are asked for.
    binary: Binary,
    batch: Batch,
}

struct Portal {
    command: Option<Command>,
    binary: Binary,
}

/// Which columns are asked for in binary form.
#[derive(Clone, Default)]
struct Binary(Vec<i16>);

impl Binary {
    /// No format means text, one is that of all.
    fn column(&self, at: usize) -> bool {
        let format = match self.0.as_slice() {
            [one] => *one,
            each => each.get(at).copied().unwrap_or(0),
        };
        format == 1
    }
}

/// What becomes of extended messages.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Batch {
    #[default]
    Answered,
    /// One has failed: those up to Sync are dropped.
    Skipped,
}

impl Dialogue {
    /// Takes messages from the input up to one that needs something done; its answers are appended to `out`.
    pub(crate) fn next(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Step {
        loop {
            if let Some(waiting) = &mut self.query {
                if let Some(command) = waiting.pop_front() {
                    describe(&command, &Binary::default(), out);
                    self.binary = Binary::default();
                    return Step::Run(command);
                }
                self.query = None;
                ready(out);
            }
            let header = match Header::parse_within(input, MESSAGE) {
                Ok(Some(header)) => header,
                Ok(None) => return Step::Wait,
                Err(bad) => return fatal(&Failure::protocol(bad.to_string()), out),
            };
            let Some((body, rest)) = header.split(input) else {
                return Step::Wait;
            };
            let left = rest.len();
            let step = match Frontend::parse(header.tag, body) {
                Ok(message) => self.take(message, out),
                Err(bad) => Some(fatal(&Failure::protocol(bad.to_string()), out)),
            };
            input.advance(input.len() - left);
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// A row of the running statement.
    pub(crate) fn row(&self, row: &Row, out: &mut BytesMut) {
        let values: Vec<_> = row
            .iter()
            .enumerate()
            .map(|(at, value)| value.bytes(self.binary.column(at)))
            .collect();
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        let values = Values::new(&values);
        say(Backend::DataRow { values }, out);
    }

    /// The running statement is over: its tag, or why it failed.
    pub(crate) fn end(&mut self, result: Result<&str, &Failure>, out: &mut BytesMut) {
        match result {
            Ok(tag) => complete(tag, out),
            Err(failure) => self.fail(failure, out),
        }
    }

    fn take(&mut self, message: Frontend<'_>, out: &mut BytesMut) -> Option<Step> {
        match message {
            Frontend::Terminate => return Some(Step::Close),
            Frontend::Sync => {
                self.batch = Batch::Answered;
                // Portals end with their transaction, and every batch is one.
                self.portals.clear();
                ready(out);
            }
            Frontend::Query(query) => {
                self.batch = Batch::Answered;
                self.query(query.text, out);
            }
            Frontend::FunctionCall(_) => {
                let message = "the console has no functions";
                error(&Failure::new(sqlstate::FEATURE_NOT_SUPPORTED, message), out);
                ready(out);
            }
            Frontend::CopyData { .. } | Frontend::CopyDone | Frontend::CopyFail { .. } => {}
            Frontend::Flush => {}
            Frontend::Password(_) | Frontend::Unknown { .. } => {
                let failure = Failure::protocol("a message that does not belong here");
                return Some(fatal(&failure, out));
            }
            Frontend::Parse(_)
            | Frontend::Bind(_)
            | Frontend::Describe(_)
            | Frontend::Execute(_)
            | Frontend::Close(_)
                if self.batch == Batch::Skipped => {}
            Frontend::Parse(parse) => self.parse(&parse, out),
            Frontend::Bind(bind) => self.bind(&bind, out),
            Frontend::Describe(what) => self.describe(&what, out),
            Frontend::Execute(execute) => return self.execute(&execute, out),
            Frontend::Close(close) => self.close(&close, out),
        }
        None
    }

    fn query(&mut self, sql: &[u8], out: &mut BytesMut) {
        match read(sql) {
            Ok(commands) if commands.is_empty() => {
                say(Backend::EmptyQueryResponse, out);
                ready(out);
            }
            Ok(commands) => self.query = Some(commands.into()),
            Err(failure) => {
                error(&failure, out);
                ready(out);
            }
        }
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut BytesMut) {
        let result = read(parse.text).and_then(|mut commands| {
            let command = commands.pop();
            if !commands.is_empty() {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(Failure::new(SYNTAX_ERROR, message));
            }
            let known = self.statements.contains_key(parse.name);
            if known && !parse.name.is_empty() {
                let state = sqlstate::DUPLICATE_PREPARED_STATEMENT;
                return Err(Failure::new(state, "there is a statement of this name"));
            }
            if !known && self.statements.len() >= KEPT {
                return Err(too_many("statements"));
            }
            Ok(command)
        });
        match result {
            Ok(command) => {
                self.statements.insert(parse.name.to_vec(), command);
                say(Backend::ParseComplete, out);
            }
            Err(failure) => self.fail(&failure, out),
        }
    }

    fn bind(&mut self, bind: &Bind<'_>, out: &mut BytesMut) {
        let Some(command) = self.statements.get(bind.statement) else {
            return self.fail(&unknown_statement(), out);
        };
        let formats: Vec<i16> = bind.result_formats.iter().collect();
        let columns = command.as_ref().map_or(0, |command| columns(command).len());
        let failure = if !bind.values.is_empty() {
            Failure::protocol("statements of the console take no parameters")
        } else if formats.len() > 1 && formats.len() != columns {
            let count = formats.len();
            let message = format!("{count} formats for {columns} columns");
            Failure::protocol(message)
        } else if formats.iter().any(|format| !matches!(format, 0 | 1)) {
            let message = "a format that is neither text nor binary";
            Failure::new(sqlstate::INVALID_PARAMETER_VALUE, message)
        } else if self.portals.len() >= KEPT && !self.portals.contains_key(bind.portal) {
            too_many("portals")
        } else {
            let portal = Portal {
                command: command.clone(),
                binary: Binary(formats),
            };
            self.portals.insert(bind.portal.to_vec(), portal);
            return say(Backend::BindComplete, out);
        };
        self.fail(&failure, out);
    }

    fn describe(&mut self, what: &Describe<'_>, out: &mut BytesMut) {
        match what.kind {
            Target::Statement => match self.statements.get(what.name) {
                Some(command) => {
                    let types = ParamTypes::new(&[]);
                    say(Backend::ParameterDescription { types }, out);
                    describe_any(command.as_ref(), &Binary::default(), out);
                }
                None => self.fail(&unknown_statement(), out),
            },
            Target::Portal => match self.portals.get(what.name) {
                Some(portal) => describe_any(portal.command.as_ref(), &portal.binary, out),
                None => self.fail(&unknown_portal(), out),
            },
        }
    }

    fn execute(&mut self, execute: &Execute<'_>, out: &mut BytesMut) -> Option<Step> {
        let failure = if execute.max_rows > 0 {
            let message = "the console sends all rows at once, without a limit";
            Failure::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
        } else {
            match self.portals.remove(execute.portal) {
                Some(Portal {
                    command: Some(command),
                    binary,
                }) => {
                    self.binary = binary;
                    return Some(Step::Run(command));
                }
                Some(Portal { command: None, .. }) => {
                    say(Backend::EmptyQueryResponse, out);
                    return None;
                }
                None => unknown_portal(),
            }
        };
        self.fail(&failure, out);
        None
    }

    fn close(&mut self, close: &Close<'_>, out: &mut BytesMut) {
        match close.kind {
            Target::Statement => drop(self.statements.remove(close.name)),
            Target::Portal => drop(self.portals.remove(close.name)),
        }
        say(Backend::CloseComplete, out);
    }

    /// What was asked for has failed: the rest of the Query does not run, the rest of the batch is skipped.
    fn fail(&mut self, failure: &Failure, out: &mut BytesMut) {
        error(failure, out);
        match &mut self.query {
            Some(waiting) => waiting.clear(),
            None => self.batch = Batch::Skipped,
        }
    }
}

/// The columns of what a statement answers.
fn columns(command: &Command) -> &'static [Column] {
    super::show::columns(command)
}

fn read(sql: &[u8]) -> Result<Vec<Command>, Failure> {
    let text = String::from_utf8_lossy(sql);
    command::parse(&text).map_err(|wrong| {
        let state = match wrong.cause {
            Cause::Address(..) | Cause::Number(_) | Cause::Option(_) => {
                sqlstate::INVALID_PARAMETER_VALUE
            }
            Cause::Unterminated | Cause::At(_) => SYNTAX_ERROR,
        };
        Failure::new(state, wrong.cause.to_string())
            .with_hint(wrong.cause.hint())
            .with_position(wrong.position)
    })
}

fn too_many(what: &str) -> Failure {
    let message = format!("more than {KEPT} {what}");
    Failure::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, message)
}

fn unknown_statement() -> Failure {
    let message = "there is no statement of this name";
    Failure::new(sqlstate::INVALID_SQL_STATEMENT_NAME, message)
}

fn unknown_portal() -> Failure {
    Failure::new(UNDEFINED_CURSOR, "there is no portal of this name")
}

// --- Messages ---------------------------------------------------------------------------------

/// Appends a message. None of ours can be too long or hold what its format cannot: texts have no NUL
/// ([`plain`]), and counts are small.
pub(crate) fn say(message: Backend<'_>, out: &mut BytesMut) {
    let _ = message.encode(out);
}

fn ready(out: &mut BytesMut) {
    let status = TransactionStatus::Idle;
    say(Backend::ReadyForQuery { status }, out);
}

fn complete(tag: &str, out: &mut BytesMut) {
    let tag = tag.as_bytes();
    say(Backend::CommandComplete { tag }, out);
}

fn describe_any(command: Option<&Command>, binary: &Binary, out: &mut BytesMut) {
    match command {
        Some(command) if !columns(command).is_empty() => describe(command, binary, out),
        Some(_) | None => say(Backend::NoData, out),
    }
}

/// RowDescription, for what has rows.
fn describe(command: &Command, binary: &Binary, out: &mut BytesMut) {
    let columns: Vec<WireColumn<'_>> = columns(command)
        .iter()
        .enumerate()
        .map(|(at, (name, of))| {
            let (type_oid, type_size) = of.oid_and_size();
            WireColumn {
                name: name.as_bytes(),
                table: 0,
                attribute: 0,
                type_oid,
                type_size,
                type_modifier: -1,
                format: i16::from(binary.column(at)),
            }
        })
        .collect();
    if !columns.is_empty() {
        let columns = Columns::new(&columns);
        say(Backend::RowDescription { columns }, out);
    }
}

/// Without what would end a text.
fn plain(text: &str) -> String {
    text.replace('\0', "")
}

fn error(failure: &Failure, out: &mut BytesMut) {
    report(Severity::Error, failure, out);
}

/// Says why nothing more is said.
pub(crate) fn fatal(failure: &Failure, out: &mut BytesMut) -> Step {
    report(Severity::Fatal, failure, out);
    Step::Close
}

/// A line for the operator to read while a statement runs.
pub(crate) fn notice(text: &str, out: &mut BytesMut) {
    let state = SqlState(*b"00000");
    report(Severity::Notice, &Failure::new(state, text), out);
}

fn report(severity: Severity, failure: &Failure, out: &mut BytesMut) {
    let word = severity.word().as_bytes();
    let message = plain(&failure.message);
    let detail = failure.detail.as_deref().map(plain);
    let hint = failure.hint.as_deref().map(plain);
    let position = failure.position.map(|at| at.to_string());
    let mut fields: Vec<(u8, &[u8])> = vec![
        (b'S', word),
        (b'V', word),
        (b'C', &failure.state.0),
        (b'M', message.as_bytes()),
    ];
    fields.extend(detail.as_ref().map(|text| (b'D', text.as_bytes())));
    fields.extend(hint.as_ref().map(|text| (b'H', text.as_bytes())));
    fields.extend(position.as_ref().map(|text| (b'P', text.as_bytes())));
    let fields = Fields::new(&fields);
    let message = match severity {
        Severity::Error | Severity::Fatal | Severity::Panic => Backend::ErrorResponse(fields),
        Severity::Debug | Severity::Log | Severity::Info | Severity::Notice | Severity::Warning => {
            Backend::NoticeResponse(fields)
        }
    };
    say(message, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::table::Value;
    use pgturnout::wire::{FunctionCall, Query};

    /// A client that says this; the tags of what it is answered, and the dialogue's last word.
    ///
    /// Every statement answers with one row, or fails if it resumes a server.
    fn said(messages: &[Frontend<'_>]) -> (String, Step) {
        let mut bytes = BytesMut::new();
        for message in messages {
            message.encode(&mut bytes).unwrap();
        }
        let (whole, last) = spoken(&bytes, bytes.len());
        assert_eq!(spoken(&bytes, 1), (whole.clone(), last.clone()));
        let mut rest = &whole[..];
        let mut tags = String::new();
        while let Some(header) = Header::parse(rest).unwrap() {
            let (body, behind) = header.split(rest).unwrap();
            Backend::parse(header.tag, body).unwrap();
            tags.push(char::from(header.tag));
            rest = behind;
        }
        assert!(rest.is_empty());
        (tags, last)
    }

    fn spoken(bytes: &[u8], piece: usize) -> (BytesMut, Step) {
        let mut dialogue = Dialogue::default();
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let mut last = Step::Wait;
        for piece in bytes.chunks(piece.max(1)) {
            input.extend_from_slice(piece);
            last = loop {
                match dialogue.next(&mut input, &mut out) {
                    Step::Run(Command::Resume(_)) => {
                        let failure = Failure::new(UNDEFINED_CURSOR, "no\0good").with_detail("d");
                        dialogue.end(Err(&failure), &mut out);
                    }
                    Step::Run(command) => {
                        if !columns(&command).is_empty() {
                            let row = vec![Value::Null; columns(&command).len()];
                            dialogue.row(&row, &mut out);
                        }
                        dialogue.end(Ok("DONE"), &mut out);
                    }
                    step => break step,
                }
            };
        }
        (out, last)
    }

    fn query(text: &str) -> Frontend<'_> {
        let text = text.as_bytes();
        Frontend::Query(Query { text })
    }

    fn parse<'a>(name: &'a str, text: &'a str) -> Frontend<'a> {
        Frontend::Parse(Parse {
            name: name.as_bytes(),
            text: text.as_bytes(),
            types: ParamTypes::new(&[]),
        })
    }

    fn bind<'a>(statement: &'a str, formats: &'a [i16]) -> Frontend<'a> {
        Frontend::Bind(Bind {
            portal: b"",
            statement: statement.as_bytes(),
            formats: pgturnout::wire::Formats::new(&[]),
            values: Values::new(&[]),
            result_formats: pgturnout::wire::Formats::new(formats),
        })
    }

    const STATEMENT: Frontend<'_> = Frontend::Describe(Describe {
        kind: Target::Statement,
        name: b"",
    });
    const PORTAL: Frontend<'_> = Frontend::Describe(Describe {
        kind: Target::Portal,
        name: b"",
    });
    const EXECUTE: Frontend<'_> = Frontend::Execute(Execute {
        portal: b"",
        max_rows: 0,
    });

    #[test]
    fn queries_of_one_statement_of_many_and_of_none() {
        for (text, tags) in [
            ("show help", "TDCZ"),
            ("show help; drain 'a:1'; show version", "TDCCTDCZ"),
            ("", "IZ"),
            ("-- nothing", "IZ"),
            ("drain 'a:1'; resume 'a:1'; show help", "CEZ"),
            ("show help; select 1", "EZ"),
        ] {
            assert_eq!(
                said(&[query(text)]),
                (tags.to_owned(), Step::Wait),
                "{text}"
            );
        }
        let both = [query("resume 'a:1'"), query("show help")];
        assert_eq!(said(&both).0, "EZTDCZ");
    }

    #[test]
    fn the_extended_protocol() {
        let show = parse("", "show sessions");
        let formats = [1];
        let all = [
            show,
            STATEMENT,
            bind("", &formats),
            PORTAL,
            EXECUTE,
            Frontend::Sync,
        ];
        assert_eq!(said(&all).0, "1tT2TDCZ");
        let none = [
            parse("", ""),
            STATEMENT,
            bind("", &[]),
            PORTAL,
            EXECUTE,
            Frontend::Sync,
        ];
        assert_eq!(said(&none).0, "1tn2nIZ");
        let kept = [
            parse("s", "drain 'a:1'"),
            Frontend::Sync,
            bind("s", &[]),
            PORTAL,
            EXECUTE,
            Frontend::Sync,
            Frontend::Close(Close {
                kind: Target::Statement,
                name: b"s",
            }),
            bind("s", &[]),
            Frontend::Sync,
        ];
        assert_eq!(said(&kept).0, "1Z2nCZ3EZ");
    }

    #[test]
    fn what_is_wrong_fails_up_to_the_sync() {
        let wide = [0, 1, 0];
        let strange = [7];
        let limited = Frontend::Execute(Execute {
            portal: b"",
            max_rows: 5,
        });
        let value = Frontend::Bind(Bind {
            portal: b"",
            statement: b"",
            formats: pgturnout::wire::Formats::new(&[]),
            values: Values::new(&[None]),
            result_formats: pgturnout::wire::Formats::new(&[]),
        });
        for wrong in [
            parse("", "show nothing"),
            parse("", "show help; show help"),
            bind("unknown", &[]),
            bind("", &wide),
            bind("", &strange),
            value,
            EXECUTE,
            PORTAL,
            limited,
        ] {
            let batch = [
                parse("", "show help"),
                wrong,
                bind("", &[]),
                EXECUTE,
                Frontend::Sync,
                query("show version"),
            ];
            assert_eq!(said(&batch).0, "1EZTDCZ", "{wrong:?}");
        }
        let failed = [
            parse("", "resume 'a:1'"),
            bind("", &[]),
            EXECUTE,
            EXECUTE,
            Frontend::Sync,
        ];
        assert_eq!(said(&failed).0, "12EZ");
        let twice = [
            parse("s", "show help"),
            parse("s", "show help"),
            Frontend::Sync,
        ];
        assert_eq!(said(&twice).0, "1EZ");
    }

    #[test]
    fn a_portal_ends_with_its_batch() {
        let batch = [
            parse("", "show help"),
            bind("", &[]),
            Frontend::Sync,
            EXECUTE,
            Frontend::Sync,
        ];
        assert_eq!(said(&batch).0, "12ZEZ");
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let names: Vec<String> = (0..=KEPT).map(|number| format!("s{number}")).collect();
        let mut all: Vec<_> = names.iter().map(|name| parse(name, "show help")).collect();
        let one_too_many = all.pop().unwrap();
        let mut tags = "1".repeat(KEPT);
        assert_eq!(said(&all).0, tags);
        all.push(one_too_many);
        tags.push('E');
        assert_eq!(said(&all).0, tags);
    }

    #[test]
    fn messages_that_belong_nowhere() {
        let copy = [
            Frontend::CopyData { data: b"x" },
            Frontend::CopyDone,
            Frontend::CopyFail { reason: b"" },
            Frontend::Flush,
            query("show help"),
        ];
        assert_eq!(said(&copy).0, "TDCZ");
        let call = Frontend::FunctionCall(FunctionCall {
            function: 1,
            formats: pgturnout::wire::Formats::new(&[]),
            arguments: Values::new(&[]),
            result_format: 0,
        });
        assert_eq!(said(&[call]).0, "EZ");
        let end = |message| said(&[message]);
        assert_eq!(end(Frontend::Terminate), (String::new(), Step::Close));
        assert_eq!(end(Frontend::Password(b"x")), ("E".to_owned(), Step::Close));
        let body = b"";
        let unknown = Frontend::Unknown { tag: b'?', body };
        assert_eq!(end(unknown), ("E".to_owned(), Step::Close));
    }

    #[test]
    fn what_cannot_be_read_ends_it() {
        for bytes in [
            &b"Q\0\0\0\x05x"[..],
            b"Q\0\0\0\x03",
            b"Q\0\x01\0\0",
            b"B\0\0\0\x04",
        ] {
            let (out, last) = spoken(bytes, bytes.len());
            assert_eq!(last, Step::Close);
            assert_eq!(out[0], b'E');
            assert!(out.windows(6).any(|field| field == b"C08P01"));
        }
        let longest = [&b"Q\0\0\xff\xff"[..], &[b' '; 65_530], b"\0"].concat();
        assert_eq!(spoken(&longest, longest.len()).1, Step::Wait);
    }

    #[test]
    fn numbers_in_both_formats() {
        let row = vec![Value::Number(-2), Value::text("x"), Value::Number(1)];
        let mut out = BytesMut::new();
        let mut dialogue = Dialogue::default();
        dialogue.row(&row, &mut out);
        assert_eq!(
            &out[..],
            b"D\0\0\0\x16\0\x03\0\0\0\x02-2\0\0\0\x01x\0\0\0\x011"
        );
        out.clear();
        dialogue.binary = Binary(vec![0, 0, 1]);
        dialogue.row(&row, &mut out);
        let binary = b"D\0\0\0\x1d\0\x03\0\0\0\x02-2\0\0\0\x01x\0\0\0\x08\0\0\0\0\0\0\0\x01";
        assert_eq!(&out[..], binary);
    }

    #[test]
    fn an_error_says_what_and_what_to_do() {
        let mut bytes = BytesMut::new();
        query("shw sessions").encode(&mut bytes).unwrap();
        let (out, _) = spoken(&bytes, bytes.len());
        let text = String::from_utf8_lossy(&out);
        for part in [
            "VERROR\0C42601\0Msyntax error at or near \"shw\"\0",
            "SHOW SESSIONS; ",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
