//! Messages as text: `P(s,select 1) B(,s) E S` for a client, `1 2 D(x) C(SELECT 1) Z(I)` for a server.
//!
//! A word is a tag with arguments in parentheses, divided by commas; the last argument may hold commas itself and
//! balanced parentheses. What is not in the notation is shown as `tag#length`.

use bytes::BytesMut;
use pgturnout::wire::{
    Authentication, Backend, Bind, Close, Describe, Execute, Fields, Formats, Frontend, Header,
    Names, ParamTypes, Parse, Query, Target, TransactionStatus, Values,
};

/// A frame of any tag and body.
pub(crate) fn raw(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The words of a script with their arguments.
fn words(script: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut rest = script.trim_start();
    while !rest.is_empty() {
        let end = rest.find(['(', ' ']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if !behind.starts_with('(') {
            out.push((word, ""));
            rest = behind.trim_start();
            continue;
        }
        let mut depth = 0;
        let close = behind
            .char_indices()
            .find(|(_, c)| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth == 0
            })
            .map(|(at, _)| at)
            .expect("balanced parentheses");
        out.push((word, &behind[1..close]));
        rest = behind[close + 1..].trim_start();
    }
    out
}

fn two(arguments: &str) -> (&[u8], &[u8]) {
    let (first, second) = arguments.split_once(',').unwrap_or((arguments, ""));
    (first.as_bytes(), second.as_bytes())
}

/// What a client sends.
pub(crate) fn frontend(script: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (word, arguments) in words(script) {
        let (first, second) = two(arguments);
        let message = match word {
            "Q" => Frontend::Query(Query {
                text: arguments.as_bytes(),
            }),
            "P" => Frontend::Parse(Parse {
                name: first,
                text: second,
                types: ParamTypes::new(&[]),
            }),
            "B" => Frontend::Bind(Bind {
                portal: first,
                statement: second,
                formats: Formats::new(&[]),
                values: Values::new(&[]),
                result_formats: Formats::new(&[]),
            }),
            "E" => Frontend::Execute(Execute {
                portal: first,
                max_rows: arguments
                    .split_once(',')
                    .map_or(0, |(_, rows)| rows.parse().unwrap()),
            }),
            "DS" | "DP" => Frontend::Describe(Describe {
                kind: target(word),
                name: first,
            }),
            "CS" | "CP" => Frontend::Close(Close {
                kind: target(word),
                name: first,
            }),
            "S" => Frontend::Sync,
            "H" => Frontend::Flush,
            "X" => Frontend::Terminate,
            "d" => Frontend::CopyData {
                data: arguments.as_bytes(),
            },
            "c" => Frontend::CopyDone,
            "f" => Frontend::CopyFail {
                reason: arguments.as_bytes(),
            },
            other => panic!("{other:?} is no message of a client"),
        };
        message.encode(&mut out).unwrap();
    }
    out.to_vec()
}

fn target(word: &str) -> Target {
    match word.as_bytes() {
        [_, b'S'] => Target::Statement,
        _ => Target::Portal,
    }
}

/// What a server sends.
pub(crate) fn backend(script: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (word, arguments) in words(script) {
        match word {
            "T" => out.extend_from_slice(&raw(
                b'T',
                b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
            )),
            "G" | "H" | "W" => out.extend_from_slice(&raw(word.as_bytes()[0], b"\0\0\x01\0\0")),
            "t" => out.extend_from_slice(&raw(b't', b"\0\0")),
            "V" => out.extend_from_slice(&raw(b'V', b"\xff\xff\xff\xff")),
            _ => message_of_server(word, arguments).encode_to(&mut out, arguments.as_bytes()),
        }
    }
    out.to_vec()
}

/// A message whose fields are not borrowed from a temporary.
enum Plain<'a> {
    Message(Backend<'a>),
    Fields { tag: u8, severity: &'static [u8] },
    Row,
    Sasl(Vec<&'a [u8]>),
}

impl Plain<'_> {
    fn encode_to(&self, out: &mut BytesMut, argument: &[u8]) {
        let done = match self {
            Plain::Message(message) => message.encode(out),
            Plain::Fields { tag, severity } => {
                let fields = [
                    (b'S', *severity),
                    (b'V', *severity),
                    (b'C', argument),
                    (b'M', &b"said by the server"[..]),
                ];
                let fields = Fields::new(&fields);
                match tag {
                    b'E' => Backend::ErrorResponse(fields).encode(out),
                    _ => Backend::NoticeResponse(fields).encode(out),
                }
            }
            Plain::Row => Backend::DataRow {
                values: Values::new(&[Some(argument)]),
            }
            .encode(out),
            Plain::Sasl(mechanisms) => Backend::Authentication(Authentication::Sasl {
                mechanisms: Names::new(mechanisms),
            })
            .encode(out),
        };
        done.unwrap();
    }
}

fn message_of_server<'a>(word: &str, arguments: &'a str) -> Plain<'a> {
    let (first, second) = two(arguments);
    Plain::Message(match word {
        "R" if arguments.is_empty() => Backend::Authentication(Authentication::Ok),
        "Rclear" => Backend::Authentication(Authentication::CleartextPassword),
        "Rmd5" => Backend::Authentication(Authentication::Md5Password { salt: *b"salt" }),
        "Rsasl" => return Plain::Sasl(arguments.split(',').map(str::as_bytes).collect()),
        "Rcont" => Backend::Authentication(Authentication::SaslContinue {
            data: arguments.as_bytes(),
        }),
        "Rfinal" => Backend::Authentication(Authentication::SaslFinal {
            data: arguments.as_bytes(),
        }),
        "S" => Backend::ParameterStatus {
            name: first,
            value: second,
        },
        "K" => Backend::BackendKeyData {
            process_id: std::str::from_utf8(first).unwrap().parse().unwrap(),
            secret: second,
        },
        "A" => Backend::NotificationResponse {
            process_id: 7,
            channel: arguments.as_bytes(),
            payload: b"",
        },
        "Z" => Backend::ReadyForQuery {
            status: match arguments {
                "T" => TransactionStatus::InTransaction,
                "E" => TransactionStatus::Failed,
                _ => TransactionStatus::Idle,
            },
        },
        "E" => return fields(b'E', b"ERROR"),
        "FATAL" => return fields(b'E', b"FATAL"),
        "N" => return fields(b'N', b"NOTICE"),
        "D" => return Plain::Row,
        "C" => Backend::CommandComplete {
            tag: arguments.as_bytes(),
        },
        "I" => Backend::EmptyQueryResponse,
        "1" => Backend::ParseComplete,
        "2" => Backend::BindComplete,
        "3" => Backend::CloseComplete,
        "n" => Backend::NoData,
        "s" => Backend::PortalSuspended,
        "d" => Backend::CopyData {
            data: arguments.as_bytes(),
        },
        "c" => Backend::CopyDone,
        other => panic!("{other:?} is no message of a server"),
    })
}

fn fields<'a>(tag: u8, severity: &'static [u8]) -> Plain<'a> {
    Plain::Fields { tag, severity }
}

/// Bytes of a client in the notation; the bytes of a frame that is not complete are shown as `~count`.
pub(crate) fn show_frontend(bytes: &[u8]) -> String {
    show(bytes, |tag, body| match Frontend::parse(tag, body) {
        Ok(Frontend::Query(query)) => format!("Q({})", query.text.escape_ascii()),
        Ok(Frontend::Parse(parse)) => format!(
            "P({},{})",
            parse.name.escape_ascii(),
            parse.text.escape_ascii()
        ),
        Ok(Frontend::Bind(bind)) => format!(
            "B({},{})",
            bind.portal.escape_ascii(),
            bind.statement.escape_ascii()
        ),
        Ok(Frontend::Execute(execute)) if execute.max_rows != 0 => {
            format!("E({},{})", execute.portal.escape_ascii(), execute.max_rows)
        }
        Ok(Frontend::Execute(execute)) => with_name("E", execute.portal),
        Ok(Frontend::Describe(describe)) => {
            format!("D{}", with_name(kind(describe.kind), describe.name))
        }
        Ok(Frontend::Close(close)) => format!("C{}", with_name(kind(close.kind), close.name)),
        Ok(Frontend::Sync) => "S".to_owned(),
        Ok(Frontend::Flush) => "H".to_owned(),
        Ok(Frontend::Terminate) => "X".to_owned(),
        Ok(Frontend::CopyData { data }) => format!("d({})", data.escape_ascii()),
        Ok(Frontend::CopyDone) => "c".to_owned(),
        Ok(Frontend::CopyFail { reason }) => format!("f({})", reason.escape_ascii()),
        Ok(_) | Err(_) => other(tag, body),
    })
}

fn kind(target: Target) -> &'static str {
    match target {
        Target::Statement => "S",
        Target::Portal => "P",
    }
}

fn with_name(word: &str, name: &[u8]) -> String {
    if name.is_empty() {
        word.to_owned()
    } else {
        format!("{word}({})", name.escape_ascii())
    }
}

/// Bytes of a server in the notation.
pub(crate) fn show_backend(bytes: &[u8]) -> String {
    show(bytes, |tag, body| match Backend::parse(tag, body) {
        Ok(Backend::Authentication(Authentication::Ok)) => "R".to_owned(),
        Ok(Backend::Authentication(Authentication::CleartextPassword)) => "Rclear".to_owned(),
        Ok(Backend::Authentication(Authentication::Md5Password { .. })) => "Rmd5".to_owned(),
        Ok(Backend::Authentication(Authentication::Sasl { mechanisms })) => {
            let names: Vec<String> = mechanisms
                .iter()
                .map(|name| name.escape_ascii().to_string())
                .collect();
            format!("Rsasl({})", names.join(","))
        }
        Ok(Backend::Authentication(Authentication::SaslContinue { data })) => {
            format!("Rcont({})", data.escape_ascii())
        }
        Ok(Backend::Authentication(Authentication::SaslFinal { data })) => {
            format!("Rfinal({})", data.escape_ascii())
        }
        Ok(Backend::ParameterStatus { name, value }) => {
            format!("S({},{})", name.escape_ascii(), value.escape_ascii())
        }
        Ok(Backend::NotificationResponse { channel, .. }) => {
            format!("A({})", channel.escape_ascii())
        }
        Ok(Backend::ReadyForQuery { status }) => format!("Z({})", char::from(status.byte())),
        Ok(Backend::ErrorResponse(fields)) if fields.is_fatal() => code("FATAL", &fields),
        Ok(Backend::ErrorResponse(fields)) => code("E", &fields),
        Ok(Backend::NoticeResponse(fields)) => code("N", &fields),
        Ok(Backend::CommandComplete { tag }) => format!("C({})", tag.escape_ascii()),
        Ok(Backend::CopyData { data }) => format!("d({})", data.escape_ascii()),
        Ok(Backend::DataRow { values }) => {
            let value = values.iter().next().flatten().unwrap_or_default();
            format!("D({})", value.escape_ascii())
        }
        Ok(
            Backend::EmptyQueryResponse
            | Backend::ParseComplete
            | Backend::BindComplete
            | Backend::CloseComplete
            | Backend::NoData
            | Backend::PortalSuspended
            | Backend::CopyDone
            | Backend::RowDescription { .. }
            | Backend::ParameterDescription { .. }
            | Backend::CopyInResponse(_)
            | Backend::CopyOutResponse(_)
            | Backend::CopyBothResponse(_)
            | Backend::FunctionCallResponse { .. },
        ) => char::from(tag).to_string(),
        Ok(Backend::BackendKeyData { process_id, secret }) => {
            format!("K({process_id},{} bytes)", secret.len())
        }
        Ok(_) | Err(_) => other(tag, body),
    })
}

fn code(word: &str, fields: &Fields<'_>) -> String {
    let code = fields.get(b'C').unwrap_or_default();
    format!("{word}({})", code.escape_ascii())
}

fn other(tag: u8, body: &[u8]) -> String {
    format!("{}#{}", tag.escape_ascii(), body.len())
}

fn show(mut bytes: &[u8], word: impl Fn(u8, &[u8]) -> String) -> String {
    let mut out = Vec::new();
    while let Ok(Some(header)) = Header::parse(bytes) {
        let Some((body, rest)) = header.split(bytes) else {
            break;
        };
        out.push(word(header.tag, body));
        bytes = rest;
    }
    if !bytes.is_empty() {
        out.push(format!("~{}", bytes.len()));
    }
    out.join(" ").replace("\\'", "'")
}
