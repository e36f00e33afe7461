use std::fmt;

use bytes::BytesMut;

use super::tags::frontend as tags;
use super::{Hidden, ParamTypes, Printable, Reader, Writer};
use crate::error::{Fault, Malformed, TooLong};

mod bind;

pub use bind::{Bind, FunctionCall};

/// A message from the client, as a view of its body.
///
/// The packets that open a connection have no tag and are not among these: see [`startup`](crate::startup).
/// `Debug` shows lengths in place of query texts, values and passwords.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Frontend<'a> {
    /// A query text, to be parsed, planned and run at once.
    Query(Query<'a>),
    /// Makes a prepared statement.
    Parse(Parse<'a>),
    /// Makes a portal.
    Bind(Bind<'a>),
    /// Asks for the columns of a statement or portal.
    Describe(Describe<'a>),
    /// Runs a portal.
    Execute(Execute<'a>),
    /// Drops a statement or portal.
    Close(Close<'a>),
    /// Calls a function by its OID.
    FunctionCall(FunctionCall<'a>),
    /// Ends an extended batch; owes a ReadyForQuery.
    Sync,
    /// Asks for the replies so far.
    Flush,
    /// Ends the session.
    Terminate,
    /// A piece of a COPY stream; in replication see [`replication`](super::replication).
    CopyData {
        /// The piece, whose bounds mean nothing.
        data: &'a [u8],
    },
    /// The end of a COPY stream.
    CopyDone,
    /// The client gives up a COPY stream.
    CopyFail {
        /// Why, for the server's error message.
        reason: &'a [u8],
    },
    /// The whole body of an answer to an authentication request. What it means depends on the request:
    /// see [`password`](super::password).
    Password(&'a [u8]),
    /// A message that this crate does not know. Encoding it writes a frame of any tag.
    Unknown {
        /// The tag.
        tag: u8,
        /// The whole body.
        body: &'a [u8],
    },
}

impl<'a> Frontend<'a> {
    /// Reads the message with this tag out of its exact body.
    ///
    /// # Errors
    /// A missing or left-over byte, or a value that the format does not define.
    pub fn parse(tag: u8, body: &'a [u8]) -> Result<Frontend<'a>, Malformed> {
        match tag {
            tags::QUERY => Query::from_body(body).map(Frontend::Query),
            tags::PARSE => Parse::from_body(body).map(Frontend::Parse),
            tags::BIND => Bind::from_body(body).map(Frontend::Bind),
            tags::DESCRIBE => {
                let (kind, name) = parse_target("Describe", body)?;
                Ok(Frontend::Describe(Describe { kind, name }))
            }
            tags::EXECUTE => Execute::from_body(body).map(Frontend::Execute),
            tags::CLOSE => {
                let (kind, name) = parse_target("Close", body)?;
                Ok(Frontend::Close(Close { kind, name }))
            }
            tags::FUNCTION_CALL => FunctionCall::from_body(body).map(Frontend::FunctionCall),
            tags::SYNC => empty("Sync", body, Frontend::Sync),
            tags::FLUSH => empty("Flush", body, Frontend::Flush),
            tags::TERMINATE => empty("Terminate", body, Frontend::Terminate),
            tags::COPY_DATA => Ok(Frontend::CopyData { data: body }),
            tags::COPY_DONE => empty("CopyDone", body, Frontend::CopyDone),
            tags::COPY_FAIL => {
                let mut reader = Reader::new("CopyFail", body);
                let reason = reader.cstr("reason")?;
                reader.finish()?;
                Ok(Frontend::CopyFail { reason })
            }
            tags::PASSWORD => Ok(Frontend::Password(body)),
            tag => Ok(Frontend::Unknown { tag, body }),
        }
    }

    /// The tag of this message.
    pub const fn tag(&self) -> u8 {
        match *self {
            Frontend::Query(_) => tags::QUERY,
            Frontend::Parse(_) => tags::PARSE,
            Frontend::Bind(_) => tags::BIND,
            Frontend::Describe(_) => tags::DESCRIBE,
            Frontend::Execute(_) => tags::EXECUTE,
            Frontend::Close(_) => tags::CLOSE,
            Frontend::FunctionCall(_) => tags::FUNCTION_CALL,
            Frontend::Sync => tags::SYNC,
            Frontend::Flush => tags::FLUSH,
            Frontend::Terminate => tags::TERMINATE,
            Frontend::CopyData { .. } => tags::COPY_DATA,
            Frontend::CopyDone => tags::COPY_DONE,
            Frontend::CopyFail { .. } => tags::COPY_FAIL,
            Frontend::Password(_) => tags::PASSWORD,
            Frontend::Unknown { tag, .. } => tag,
        }
    }

    /// The name of this message in the protocol chapter.
    pub const fn name(&self) -> &'static str {
        match *self {
            Frontend::Query(_) => "Query",
            Frontend::Parse(_) => "Parse",
            Frontend::Bind(_) => "Bind",
            Frontend::Describe(_) => "Describe",
            Frontend::Execute(_) => "Execute",
            Frontend::Close(_) => "Close",
            Frontend::FunctionCall(_) => "FunctionCall",
            Frontend::Sync => "Sync",
            Frontend::Flush => "Flush",
            Frontend::Terminate => "Terminate",
            Frontend::CopyData { .. } => "CopyData",
            Frontend::CopyDone => "CopyDone",
            Frontend::CopyFail { .. } => "CopyFail",
            Frontend::Password(_) => "PasswordMessage",
            Frontend::Unknown { .. } => "Unknown",
        }
    }

    /// Appends the frame to `out`.
    ///
    /// # Errors
    /// A value that does not fit the format; `out` is then unchanged.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        let mut writer = Writer::message(out, self.name(), self.tag());
        match *self {
            Frontend::Query(query) => writer.cstr("text", query.text),
            Frontend::Parse(parse) => parse.write(&mut writer),
            Frontend::Bind(bind) => bind.write(&mut writer),
            Frontend::Describe(Describe { kind, name }) | Frontend::Close(Close { kind, name }) => {
                writer.u8("kind", kind.byte());
                writer.cstr("name", name);
            }
            Frontend::Execute(execute) => {
                writer.cstr("portal", execute.portal);
                writer.i32("row limit", execute.max_rows);
            }
            Frontend::FunctionCall(call) => call.write(&mut writer),
            Frontend::Sync | Frontend::Flush | Frontend::Terminate | Frontend::CopyDone => {}
            Frontend::CopyFail { reason } => writer.cstr("reason", reason),
            Frontend::CopyData { data: body }
            | Frontend::Password(body)
            | Frontend::Unknown { body, .. } => writer.bytes("body", body),
        }
        writer.finish()
    }
}

impl fmt::Debug for Frontend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frontend::Query(query) => query.fmt(f),
            Frontend::Parse(parse) => parse.fmt(f),
            Frontend::Bind(bind) => bind.fmt(f),
            Frontend::Describe(describe) => describe.fmt(f),
            Frontend::Execute(execute) => execute.fmt(f),
            Frontend::Close(close) => close.fmt(f),
            Frontend::FunctionCall(call) => call.fmt(f),
            Frontend::Sync | Frontend::Flush | Frontend::Terminate | Frontend::CopyDone => {
                f.write_str(self.name())
            }
            Frontend::CopyData { data: body }
            | Frontend::CopyFail { reason: body }
            | Frontend::Password(body) => f.debug_tuple(self.name()).field(&Hidden(body)).finish(),
            Frontend::Unknown { tag, body } => f
                .debug_struct("Unknown")
                .field("tag", &Printable(&[*tag]))
                .field("body", &Hidden(body))
                .finish(),
        }
    }
}

/// A query text, which may hold several statements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The text, in the client's encoding.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    fn from_body(body: &'a [u8]) -> Result<Query<'a>, Malformed> {
        let mut reader = Reader::new("Query", body);
        let text = reader.cstr("text")?;
        reader.finish()?;
        Ok(Query { text })
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("text", &Hidden(self.text))
            .finish()
    }
}

/// Makes a prepared statement of one query text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text, in the client's encoding.
    pub text: &'a [u8],
    /// Types of the first parameters, as far as the client prescribes them.
    pub types: ParamTypes<'a>,
}

impl<'a> Parse<'a> {
    fn from_body(body: &'a [u8]) -> Result<Parse<'a>, Malformed> {
        let mut reader = Reader::new("Parse", body);
        let name = reader.cstr("name")?;
        let text = reader.cstr("text")?;
        let types = ParamTypes::read_counted(&mut reader, "type count", "type")?;
        reader.finish()?;
        Ok(Parse { name, text, types })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.cstr("name", self.name);
        writer.cstr("text", self.text);
        self.types.write_counted(writer, "type count", "type");
    }
}

impl fmt::Debug for Parse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parse")
            .field("name", &Printable(self.name))
            .field("text", &Hidden(self.text))
            .field("types", &self.types)
            .finish()
    }
}

/// Runs a portal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Most rows to return before PortalSuspended; zero or less is no limit.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    fn from_body(body: &'a [u8]) -> Result<Execute<'a>, Malformed> {
        let mut reader = Reader::new("Execute", body);
        let portal = reader.cstr("portal")?;
        let max_rows = reader.i32("row limit")?;
        reader.finish()?;
        Ok(Execute { portal, max_rows })
    }
}

impl fmt::Debug for Execute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execute")
            .field("portal", &Printable(self.portal))
            .field("max_rows", &self.max_rows)
            .finish()
    }
}

/// What a Describe or Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    /// The byte that stands for it.
    pub const fn byte(self) -> u8 {
        match self {
            Target::Statement => b'S',
            Target::Portal => b'P',
        }
    }

    /// What this byte stands for.
    pub const fn from_byte(byte: u8) -> Option<Target> {
        match byte {
            b'S' => Some(Target::Statement),
            b'P' => Some(Target::Portal),
            _ => None,
        }
    }
}

/// Asks for the parameters and columns of a statement, or the columns of a portal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Describe<'a> {
    /// What kind of thing is named.
    pub kind: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl fmt::Debug for Describe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_target("Describe", self.kind, self.name, f)
    }
}

/// Drops a statement or a portal; it is no error if there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// What kind of thing is named.
    pub kind: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl fmt::Debug for Close<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_target("Close", self.kind, self.name, f)
    }
}

fn parse_target<'a>(
    message: &'static str,
    body: &'a [u8],
) -> Result<(Target, &'a [u8]), Malformed> {
    let mut reader = Reader::new(message, body);
    let unread = reader.clone();
    let Some(kind) = Target::from_byte(reader.u8("kind")?) else {
        return Err(unread.fault("kind", Fault::BadValue));
    };
    let name = reader.cstr("name")?;
    reader.finish()?;
    Ok((kind, name))
}

fn show_target(
    message: &str,
    kind: Target,
    name: &[u8],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.debug_struct(message)
        .field("kind", &kind)
        .field("name", &Printable(name))
        .finish()
}

/// `view`, if the body is empty, as that of a message without fields must be.
pub(super) fn empty<T>(message: &'static str, body: &[u8], view: T) -> Result<T, Malformed> {
    Reader::new(message, body).finish()?;
    Ok(view)
}
