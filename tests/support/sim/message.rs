//! What a client says, as text and as bytes.

use bytes::BytesMut;
use pgturnout::wire::{
    Bind, Close, Describe, Execute, Formats, Frontend, FunctionCall, ParamTypes, Parse, Query,
    Target, Values,
};

use super::text::{RUN, Words, quote};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClientMessage {
    Query(String),
    Parse {
        name: String,
        text: String,
    },
    /// The same with types of parameters.
    ParseAs {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        values: Vec<String>,
    },
    /// The same with formats of values and of results; `None` is NULL.
    BindAs {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        values: Vec<Option<String>>,
        results: Vec<i16>,
    },
    DescribeStatement(String),
    DescribePortal(String),
    Execute {
        portal: String,
        max_rows: i32,
    },
    CloseStatement(String),
    ClosePortal(String),
    FunctionCall(u32),
    /// The same with formats and arguments, as in [`ClientMessage::BindAs`].
    CallAs {
        function: u32,
        formats: Vec<i16>,
        arguments: Vec<Option<String>>,
    },
    Sync,
    Flush,
    Terminate,
    CopyData(String),
    CopyDone,
    CopyFail(String),
    /// A message with this tag that has none, and a body nevertheless.
    Malformed(char),
}

impl ClientMessage {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let done = match self {
            ClientMessage::Query(text) => Frontend::Query(Query {
                text: text.as_bytes(),
            })
            .encode(out),
            ClientMessage::Parse { name, text } => parse(name, text, &[]).encode(out),
            ClientMessage::ParseAs { name, text, types } => parse(name, text, types).encode(out),
            ClientMessage::Bind {
                portal,
                statement,
                values,
            } => {
                let values: Vec<Option<&[u8]>> =
                    values.iter().map(|value| Some(value.as_bytes())).collect();
                bind([portal, statement], &[], &values, &[]).encode(out)
            }
            ClientMessage::BindAs {
                portal,
                statement,
                formats,
                values,
                results,
            } => bind([portal, statement], formats, &optional(values), results).encode(out),
            ClientMessage::DescribeStatement(name) => describe(Target::Statement, name).encode(out),
            ClientMessage::DescribePortal(name) => describe(Target::Portal, name).encode(out),
            ClientMessage::Execute { portal, max_rows } => Frontend::Execute(Execute {
                portal: portal.as_bytes(),
                max_rows: *max_rows,
            })
            .encode(out),
            ClientMessage::CloseStatement(name) => close(Target::Statement, name).encode(out),
            ClientMessage::ClosePortal(name) => close(Target::Portal, name).encode(out),
            ClientMessage::FunctionCall(oid) => Frontend::Unknown {
                tag: b'F',
                body: &[&oid.to_be_bytes()[..], &[0; 6]].concat(),
            }
            .encode(out),
            ClientMessage::CallAs {
                function,
                formats,
                arguments,
            } => Frontend::FunctionCall(FunctionCall {
                function: *function,
                formats: Formats::new(formats),
                arguments: Values::new(&optional(arguments)),
                result_format: 0,
            })
            .encode(out),
            ClientMessage::Sync => Frontend::Sync.encode(out),
            ClientMessage::Flush => Frontend::Flush.encode(out),
            ClientMessage::Terminate => Frontend::Terminate.encode(out),
            ClientMessage::CopyData(data) => Frontend::CopyData {
                data: data.as_bytes(),
            }
            .encode(out),
            ClientMessage::CopyDone => Frontend::CopyDone.encode(out),
            ClientMessage::CopyFail(reason) => Frontend::CopyFail {
                reason: reason.as_bytes(),
            }
            .encode(out),
            ClientMessage::Malformed(tag) => Frontend::Unknown {
                tag: u8::try_from(*tag).expect("a tag is a byte"),
                body: b"?",
            }
            .encode(out),
        };
        done.expect("a message of a scenario fits a frame");
    }

    pub(crate) fn parse(words: &mut Words<'_>) -> Result<ClientMessage, String> {
        Ok(match words.word()? {
            "Query" => ClientMessage::Query(words.quoted()?),
            "Parse" => ClientMessage::Parse {
                name: words.quoted()?,
                text: words.quoted()?,
            },
            "ParseAs" => ClientMessage::ParseAs {
                name: words.quoted()?,
                text: words.quoted()?,
                types: counted(words, Words::number)?,
            },
            "Bind" => {
                let portal = words.quoted()?;
                let statement = words.quoted()?;
                let mut values = Vec::new();
                while !words.is_empty() {
                    values.push(words.quoted()?);
                }
                ClientMessage::Bind {
                    portal,
                    statement,
                    values,
                }
            }
            "BindAs" => ClientMessage::BindAs {
                portal: words.quoted()?,
                statement: words.quoted()?,
                formats: counted(words, Words::number)?,
                values: counted(words, Words::quoted_or_null)?,
                results: counted(words, Words::number)?,
            },
            "DescribeStatement" => ClientMessage::DescribeStatement(words.quoted()?),
            "DescribePortal" => ClientMessage::DescribePortal(words.quoted()?),
            "Execute" => ClientMessage::Execute {
                portal: words.quoted()?,
                max_rows: words.number()?,
            },
            "CloseStatement" => ClientMessage::CloseStatement(words.quoted()?),
            "ClosePortal" => ClientMessage::ClosePortal(words.quoted()?),
            "FunctionCall" => ClientMessage::FunctionCall(words.number()?),
            "CallAs" => ClientMessage::CallAs {
                function: words.number()?,
                formats: counted(words, Words::number)?,
                arguments: counted(words, Words::quoted_or_null)?,
            },
            "Sync" => ClientMessage::Sync,
            "Flush" => ClientMessage::Flush,
            "Terminate" => ClientMessage::Terminate,
            "CopyData" => ClientMessage::CopyData(words.quoted()?),
            "CopyDone" => ClientMessage::CopyDone,
            "CopyFail" => ClientMessage::CopyFail(words.quoted()?),
            "Malformed" => {
                let tag = words.quoted()?;
                ClientMessage::Malformed(tag.chars().next().ok_or("a tag is missing")?)
            }
            other => return Err(format!("{other:?} is no message of a client")),
        })
    }
}

/// A count and so many of these.
fn counted<'w, T: Clone>(
    words: &mut Words<'w>,
    one: impl Fn(&mut Words<'w>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let count: usize = words.number()?;
    let mut all = Vec::new();
    while all.len() < count {
        let times = words.times().min(count - all.len());
        let again = one(words)?;
        all.extend(std::iter::repeat_n(again, times));
    }
    Ok(all)
}

/// What [`counted`] reads back.
fn list<T: PartialEq>(
    f: &mut std::fmt::Formatter<'_>,
    all: &[T],
    word: impl Fn(&T) -> String,
) -> std::fmt::Result {
    write!(f, " {}", all.len())?;
    for same in all.chunk_by(|one, other| one == other) {
        let (word, times) = (word(&same[0]), same.len());
        match times < RUN {
            true => same.iter().try_for_each(|_| write!(f, " {word}"))?,
            false => write!(f, " {times}*{word}")?,
        }
    }
    Ok(())
}

/// Values of which some are NULL.
fn optional(values: &[Option<String>]) -> Vec<Option<&[u8]>> {
    let values = values.iter();
    values
        .map(|value| value.as_ref().map(String::as_bytes))
        .collect()
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map_or("null".to_owned(), |text| quote(text))
}

fn parse<'a>(name: &'a str, text: &'a str, types: &'a [u32]) -> Frontend<'a> {
    Frontend::Parse(Parse {
        name: name.as_bytes(),
        text: text.as_bytes(),
        types: ParamTypes::new(types),
    })
}

fn bind<'a>(
    [portal, statement]: [&'a String; 2],
    formats: &'a [i16],
    values: &'a [Option<&'a [u8]>],
    results: &'a [i16],
) -> Frontend<'a> {
    Frontend::Bind(Bind {
        portal: portal.as_bytes(),
        statement: statement.as_bytes(),
        formats: Formats::new(formats),
        values: Values::new(values),
        result_formats: Formats::new(results),
    })
}

fn describe(kind: Target, name: &str) -> Frontend<'_> {
    Frontend::Describe(Describe {
        kind,
        name: name.as_bytes(),
    })
}

fn close(kind: Target, name: &str) -> Frontend<'_> {
    Frontend::Close(Close {
        kind,
        name: name.as_bytes(),
    })
}

impl std::fmt::Display for ClientMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientMessage::Query(text) => write!(f, "Query {}", quote(text)),
            ClientMessage::Parse { name, text } => {
                write!(f, "Parse {} {}", quote(name), quote(text))
            }
            ClientMessage::ParseAs { name, text, types } => {
                write!(f, "ParseAs {} {}", quote(name), quote(text))?;
                list(f, types, u32::to_string)
            }
            ClientMessage::Bind {
                portal,
                statement,
                values,
            } => {
                write!(f, "Bind {} {}", quote(portal), quote(statement))?;
                values
                    .iter()
                    .try_for_each(|value| write!(f, " {}", quote(value)))
            }
            ClientMessage::BindAs {
                portal,
                statement,
                formats,
                values,
                results,
            } => {
                write!(f, "BindAs {} {}", quote(portal), quote(statement))?;
                list(f, formats, i16::to_string)?;
                list(f, values, shown)?;
                list(f, results, i16::to_string)
            }
            ClientMessage::DescribeStatement(name) => {
                write!(f, "DescribeStatement {}", quote(name))
            }
            ClientMessage::DescribePortal(name) => write!(f, "DescribePortal {}", quote(name)),
            ClientMessage::Execute { portal, max_rows } => {
                write!(f, "Execute {} {max_rows}", quote(portal))
            }
            ClientMessage::CloseStatement(name) => write!(f, "CloseStatement {}", quote(name)),
            ClientMessage::ClosePortal(name) => write!(f, "ClosePortal {}", quote(name)),
            ClientMessage::FunctionCall(oid) => write!(f, "FunctionCall {oid}"),
            ClientMessage::CallAs {
                function,
                formats,
                arguments,
            } => {
                write!(f, "CallAs {function}")?;
                list(f, formats, i16::to_string)?;
                list(f, arguments, shown)
            }
            ClientMessage::Sync => f.write_str("Sync"),
            ClientMessage::Flush => f.write_str("Flush"),
            ClientMessage::Terminate => f.write_str("Terminate"),
            ClientMessage::CopyData(data) => write!(f, "CopyData {}", quote(data)),
            ClientMessage::CopyDone => f.write_str("CopyDone"),
            ClientMessage::CopyFail(reason) => write!(f, "CopyFail {}", quote(reason)),
            ClientMessage::Malformed(tag) => write!(f, "Malformed {}", quote(&tag.to_string())),
        }
    }
}
