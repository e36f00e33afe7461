//! The messages that make a fresh session on the new server what the old one was, and the reader of their answers.

use std::collections::VecDeque;
use std::fmt;

use bytes::BytesMut;

use super::super::reply::{
    AnswerFault, Failure, Heard, Look, failure, fits, idle, is_aside, shown,
};
use super::settings::{is_placeholder, must_agree, rank};
use super::{Found, Listening, Origin, PROBE_STATEMENT, Settable, TypeMap};
use crate::error::TooLong;
use crate::wire::tags::{backend as tags, frontend};
use crate::wire::{
    Backend, Bind, Close, Execute, Formats, Frontend, Header, ParamTypes, Parse, Printable,
    SqlState, Target, Values,
};

/// Qualified, so that it means the same under any search path.
const SET: &[u8] = b"SELECT pg_catalog.set_config($1, $2, false)";
/// OID of the type `text`.
const TEXT: u32 = 25;

/// The answers to what is run once.
const ONCE: &[u8] = &[
    tags::PARSE_COMPLETE,
    tags::BIND_COMPLETE,
    tags::COMMAND_COMPLETE,
    tags::CLOSE_COMPLETE,
];

/// What a part of a restore is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Our own preparations.
    Ours,
    /// The session user.
    SessionUser,
    /// The role.
    Role,
    /// A setting.
    Setting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A prepared statement; an empty name is the unnamed one.
    Statement {
        /// Its name.
        name: Box<[u8]>,
    },
    /// LISTEN.
    Channel {
        /// The channel.
        name: Box<[u8]>,
    },
    /// The end of it all.
    End,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Ours => f.write_str("the restore's own statement"),
            Part::SessionUser => f.write_str("the session user"),
            Part::Role => f.write_str("the role"),
            Part::Setting { name } => write!(f, "the setting {}", Printable(name)),
            Part::Statement { name } if name.is_empty() => f.write_str("the unnamed statement"),
            Part::Statement { name } => write!(f, "the statement {}", Printable(name)),
            Part::Channel { name } => write!(f, "the channel {}", Printable(name)),
            Part::End => f.write_str("the end of the restore"),
        }
    }
}

/// Why a session was not restored. The old server has it still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreFailed {
    /// The new server refuses a part.
    Refused {
        /// Which.
        part: Part,
        /// Why.
        state: Option<SqlState>,
    },
    /// The new server ended the session.
    Ended(Option<SqlState>),
    /// A setting that was changed in the session does not exist on the new server.
    UnknownSetting {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A prepared statement is none that can be read.
    Statement,
}

impl fmt::Display for RestoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreFailed::Refused { part, state } => {
                write!(f, "the new server refuses {part}{}", shown(*state))
            }
            RestoreFailed::Ended(state) => {
                write!(f, "the new server ended the session{}", shown(*state))
            }
            RestoreFailed::UnknownSetting { name } => {
                write!(f, "the new server has no setting {}", Printable(name))
            }
            RestoreFailed::Statement => f.write_str("a prepared statement that cannot be read"),
        }
    }
}

impl std::error::Error for RestoreFailed {}

/// One thing to do on the new server.
enum Step<S> {
    /// Parse of `set_config`.
    Prepare,
    /// One call of it.
    Set {
        part: Part,
        name: Box<[u8]>,
        value: Box<[u8]>,
    },
    /// Close of `set_config`.
    Unprepare,
    /// Parse of a client's statement, and the length of its name.
    Statement(S),
    /// A PREPARE of the client's.
    Query {
        name: Box<[u8]>,
        text: S,
    },
    Listen {
        channel: Box<[u8]>,
    },
    Sync,
}

/// What a step is answered with, and what it is about.
struct Expected {
    part: Part,
    tags: &'static [u8],
}

/// A restore, from the order of its messages to their last answer.
///
/// One batch, in one implicit transaction: settings that need a superuser, if the login is one, the session user, the
/// role, the other settings, the named statements, the unnamed one, LISTEN, Sync. What the new server has already is left
/// out. `S` holds the body of a Parse message; it is not copied.
///
/// Write with [`write`](Restore::write) until all is written, and show every message of the new server to
/// [`header`](Restore::header). An asynchronous message is nobody's but the keeper of the new server's parameters. Nothing waits
/// for an answer, so that a restore costs one round trip.
pub struct Restore<S> {
    steps: VecDeque<Step<S>>,
    expected: VecDeque<Expected>,
    /// How many answers of the first expectation have come.
    answered: usize,
    types: TypeMap,
    over: bool,
}

/// Shows no value of a setting and no text.
impl<S> fmt::Debug for Restore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore")
            .field("to_write", &self.steps.len())
            .field("to_be_answered", &self.expected.len())
            .finish_non_exhaustive()
    }
}

impl<S: AsRef<[u8]>> Restore<S> {
    /// What makes `target`, the findings of a probe behind the login to the new server, into `source`, those of a probe of
    /// the session. `statements` are the bodies of the Parse messages to repeat.
    ///
    /// # Errors
    /// What can be seen to fail.
    pub fn new(
        source: &Found,
        target: &Found,
        statements: impl IntoIterator<Item = S>,
        types: TypeMap,
        listening: Listening,
    ) -> Result<Restore<S>, RestoreFailed> {
        let mut steps = settings(source, target)?;
        let mut unnamed = None;
        for statement in statements {
            let Ok(Frontend::Parse(parse)) = Frontend::parse(frontend::PARSE, statement.as_ref())
            else {
                return Err(RestoreFailed::Statement);
            };
            if parse.name.is_empty() {
                unnamed = Some(Step::Statement(statement));
            } else {
                steps.push_back(Step::Statement(statement));
            }
        }
        steps.extend(unnamed);
        if listening == Listening::Move {
            let channels = source.channels.iter().cloned();
            steps.extend(channels.map(|channel| Step::Listen { channel }));
        }
        steps.push_back(Step::Sync);
        Ok(Restore {
            steps,
            expected: VecDeque::new(),
            answered: 0,
            types,
            over: false,
        })
    }

    /// The same, and statements that the client prepared in SQL, with their names and the texts that prepare them again, as
    /// the server keeps them: whole.
    #[must_use]
    pub fn preparing(mut self, statements: impl IntoIterator<Item = (Box<[u8]>, S)>) -> Restore<S> {
        let sync = self.steps.pop_back();
        let statements = statements.into_iter();
        self.steps
            .extend(statements.map(|(name, text)| Step::Query { name, text }));
        self.steps.extend(sync);
        self
    }

    /// Appends as many messages to `out` as `room` bytes take, of whole steps, and one step at least. Whether all is
    /// written now.
    ///
    /// # Errors
    /// A value with a NUL, which no server has sent.
    pub fn write(&mut self, out: &mut BytesMut, room: usize) -> Result<bool, TooLong> {
        let before = out.len();
        while let Some(step) = self.steps.front() {
            let start = out.len();
            write_step(step, &self.types, out)?;
            if start > before && out.len().saturating_sub(before) > room {
                out.truncate(start);
                return Ok(false);
            }
            if let Some(step) = self.steps.pop_front() {
                self.expected.push_back(expected(step));
            }
        }
        Ok(true)
    }

    /// A message with this header comes from the new server.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
        let tag = header.tag;
        if self.over {
            return Err(AnswerFault::Ended);
        }
        if is_aside(tag) {
            return Ok(Look::Aside);
        }
        let awaited = "an answer to the restore";
        let next = self
            .expected
            .front()
            .and_then(|first| first.tags.get(self.answered));
        let is_error = tag == tags::ERROR_RESPONSE;
        if next != Some(&tag) && !is_error {
            self.over = true;
            return Err(AnswerFault::Unexpected { tag, awaited });
        }
        // What a setting has become is as long as the setting, and dropped.
        if tag != tags::DATA_ROW {
            fits(header, awaited).inspect_err(|_| self.over = true)?;
        }
        if is_error || tag == tags::READY_FOR_QUERY {
            return Ok(Look::Body);
        }
        self.answered = self.answered.saturating_add(1);
        if self
            .expected
            .front()
            .is_some_and(|first| first.tags.len() == self.answered)
        {
            self.expected.pop_front();
            self.answered = 0;
        }
        Ok(Look::Discard)
    }

    /// The body of a message that was asked for.
    ///
    /// # Errors
    /// An [`AnswerFault`].
    pub fn body(
        &mut self,
        tag: u8,
        body: &[u8],
    ) -> Result<Heard<Result<(), RestoreFailed>>, AnswerFault> {
        if std::mem::replace(&mut self.over, true) {
            return Err(AnswerFault::Ended);
        }
        let message = Backend::parse(tag, body)?;
        if let Backend::ErrorResponse(fields) = message {
            return Ok(Heard::Done(Err(match failure(&fields) {
                Failure::Session(state) => RestoreFailed::Ended(state),
                Failure::Statement(state) => RestoreFailed::Refused {
                    part: self
                        .expected
                        .pop_front()
                        .map_or(Part::End, |first| first.part),
                    state,
                },
            })));
        }
        let Backend::ReadyForQuery { status } = message else {
            let awaited = "an answer to the restore";
            return Err(AnswerFault::Unexpected { tag, awaited });
        };
        idle(status)?;
        Ok(Heard::Done(Ok(())))
    }
}

/// A setting and its value. `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its name.
    pub name: Box<[u8]>,
    /// The value, as `set_config` takes it.
    pub value: Box<[u8]>,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = <{} bytes>",
            Printable(&self.name),
            self.value.len()
        )
    }
}

/// The settings that nobody has changed in the session and that a [`Restore`] sets all the same, since the defaults of the new
/// server are others. A server beside the new one has its defaults, so it needs them too.
#[must_use]
pub fn defaults_taken_along(source: &Found, target: &Found) -> Vec<Assignment> {
    let others = source.settings.iter().filter(|(name, setting)| {
        let there = target.settings.get(*name);
        setting.origin == Origin::Elsewhere
            && must_agree(name, setting)
            && there.is_some_and(|there| there.value != setting.value)
    });
    let assigned = others.map(|(name, setting)| Assignment {
        name: name.clone(),
        value: setting.value.clone(),
    });
    assigned.collect()
}

/// The steps up to the last setting.
fn settings<S>(source: &Found, target: &Found) -> Result<VecDeque<Step<S>>, RestoreFailed> {
    let mut first = Vec::new();
    let mut others = Vec::new();
    for (name, setting) in source
        .settings
        .iter()
        .filter(|(name, setting)| must_agree(name, setting))
    {
        let Some(there) = target.settings.get(name) else {
            match setting.origin {
                Origin::Session if !is_placeholder(source, name) => {
                    return Err(RestoreFailed::UnknownSetting { name: name.clone() });
                }
                Origin::Session | Origin::Elsewhere => continue,
            }
        };
        if there.value == setting.value && setting.origin == Origin::Elsewhere {
            continue;
        }
        let privileged = setting.settable == Settable::ByPrivileged && target.superuser;
        let step = set(Part::Setting { name: name.clone() }, name, &setting.value);
        // The encoding is that of every name and value behind it.
        if privileged || rank(name) == 0 {
            first.push((rank(name), step));
        } else {
            others.push((rank(name), step));
        }
    }
    first.sort_by_key(|(rank, _)| *rank);
    for (name, value) in &source.custom {
        if let (Some(value), true) = (value, target.custom.get(name) != Some(value)) {
            others.push((1, set(Part::Setting { name: name.clone() }, name, value)));
        }
    }
    others.sort_by_key(|(rank, _)| *rank);
    let mut who = Vec::new();
    let other_user = source.session_user != target.session_user;
    if other_user {
        who.push(set(
            Part::SessionUser,
            b"session_authorization",
            &source.session_user,
        ));
    }
    let has_role = &*source.role != b"none";
    if source.role != target.role || (other_user && has_role) {
        who.push(set(Part::Role, b"role", &source.role));
    }
    let steps = |list: Vec<(u8, Step<S>)>| list.into_iter().map(|(_, step)| step);
    let mut all: VecDeque<Step<S>> = steps(first).chain(who).chain(steps(others)).collect();
    if !all.is_empty() {
        all.push_front(Step::Prepare);
        all.push_back(Step::Unprepare);
    }
    Ok(all)
}

fn set<S>(part: Part, name: &[u8], value: &[u8]) -> Step<S> {
    Step::Set {
        part,
        name: Box::from(name),
        value: Box::from(value),
    }
}

fn write_step<S: AsRef<[u8]>>(
    step: &Step<S>,
    types: &TypeMap,
    out: &mut BytesMut,
) -> Result<(), TooLong> {
    match step {
        Step::Prepare => parse(SET, &[TEXT, TEXT], out),
        Step::Set { name, value, .. } => run(&[Some(name), Some(value)], out),
        Step::Unprepare => close(out),
        Step::Statement(body) if types.is_identity() => Frontend::Unknown {
            tag: frontend::PARSE,
            body: body.as_ref(),
        }
        .encode(out),
        Step::Statement(body) => match Frontend::parse(frontend::PARSE, body.as_ref()) {
            Ok(Frontend::Parse(parse)) => types.write_parse(parse, out),
            // It was read before.
            Ok(_) | Err(_) => Ok(()),
        },
        Step::Listen { channel } => {
            let mut text = b"LISTEN \"".to_vec();
            for byte in channel {
                if *byte == b'"' {
                    text.push(b'"');
                }
                text.push(*byte);
            }
            text.push(b'"');
            once(&text, out)
        }
        Step::Query { text, .. } => once(text.as_ref(), out),
        Step::Sync => Frontend::Sync.encode(out),
    }
}

/// Runs a text, and leaves the unnamed statement alone.
fn once(text: &[u8], out: &mut BytesMut) -> Result<(), TooLong> {
    parse(text, &[], out)?;
    run(&[], out)?;
    close(out)
}

fn parse(text: &[u8], types: &[u32], out: &mut BytesMut) -> Result<(), TooLong> {
    Frontend::Parse(Parse {
        name: PROBE_STATEMENT,
        text,
        types: ParamTypes::new(types),
    })
    .encode(out)
}

fn run(values: &[Option<&[u8]>], out: &mut BytesMut) -> Result<(), TooLong> {
    Frontend::Bind(Bind {
        portal: b"",
        statement: PROBE_STATEMENT,
        formats: Formats::new(&[]),
        values: Values::new(values),
        result_formats: Formats::new(&[]),
    })
    .encode(out)?;
    Frontend::Execute(Execute {
        portal: b"",
        max_rows: 0,
    })
    .encode(out)
}

fn close(out: &mut BytesMut) -> Result<(), TooLong> {
    Frontend::Close(Close {
        kind: Target::Statement,
        name: PROBE_STATEMENT,
    })
    .encode(out)
}

fn expected<S: AsRef<[u8]>>(step: Step<S>) -> Expected {
    let (part, tags): (Part, &'static [u8]) = match step {
        Step::Prepare => (Part::Ours, &[tags::PARSE_COMPLETE]),
        Step::Set { part, .. } => (
            part,
            &[tags::BIND_COMPLETE, tags::DATA_ROW, tags::COMMAND_COMPLETE],
        ),
        Step::Unprepare => (Part::Ours, &[tags::CLOSE_COMPLETE]),
        Step::Statement(body) => {
            let name = match Frontend::parse(frontend::PARSE, body.as_ref()) {
                Ok(Frontend::Parse(parse)) => Box::from(parse.name),
                Ok(_) | Err(_) => Box::default(),
            };
            (Part::Statement { name }, &[tags::PARSE_COMPLETE])
        }
        Step::Listen { channel } => (Part::Channel { name: channel }, ONCE),
        Step::Query { name, .. } => (Part::Statement { name }, ONCE),
        Step::Sync => (Part::End, &[tags::READY_FOR_QUERY]),
    };
    Expected { part, tags }
}
