//! The samples of `tests/data/wire.txt`, and messages written out as that file writes them.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fmt::{Display, Write};

use bytes::BytesMut;
use pgturnout::error::Malformed;
use pgturnout::wire::password::{
    parse_gss, parse_password, parse_sasl_initial, parse_sasl_response,
};
use pgturnout::wire::replication::{FromClient, FromServer};
use pgturnout::wire::{Authentication, Backend, CopyFormats, Fields, Frontend, Header};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Client,
    Server,
    Login,
    Sender,
    Receiver,
}

#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    View(String),
    Fault(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) title: String,
    pub(crate) direction: Direction,
    pub(crate) message: String,
    pub(crate) frame: Vec<u8>,
    pub(crate) verdict: Verdict,
}

impl Sample {
    /// The tag and the body, which must be exactly the frame.
    pub(crate) fn parts(&self) -> (u8, &[u8]) {
        let header = Header::parse(&self.frame).unwrap().unwrap();
        let (body, rest) = header
            .split(&self.frame)
            .unwrap_or_else(|| panic!("{}: shorter than its length word", self.title));
        assert!(
            rest.is_empty(),
            "{}: longer than its length word",
            self.title
        );
        (header.tag, body)
    }

    /// What errors call the message: what CopyData carries has no name until it was read.
    pub(crate) fn subject(&self) -> &str {
        match self.direction {
            Direction::Client | Direction::Server | Direction::Login => &self.message,
            Direction::Sender | Direction::Receiver => "replication data",
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        matches!(self.verdict, Verdict::View(_))
    }
}

/// A message that was read: its name, what it says, and the frame it is encoded to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) view: String,
    pub(crate) frame: Vec<u8>,
}

/// Reads a message in its direction. `message` tells the answers of a login apart.
pub(crate) fn read(
    direction: Direction,
    message: &str,
    tag: u8,
    body: &[u8],
) -> Result<Message, Malformed> {
    match direction {
        Direction::Client => read_client(tag, body),
        Direction::Server => read_server(tag, body),
        Direction::Login => read_login(message, body),
        Direction::Sender => {
            let Backend::CopyData { data } = Backend::parse(tag, body)? else {
                panic!("not CopyData")
            };
            read_sender(data)
        }
        Direction::Receiver => {
            let Frontend::CopyData { data } = Frontend::parse(tag, body)? else {
                panic!("not CopyData")
            };
            read_receiver(data)
        }
    }
}

fn read_client(tag: u8, body: &[u8]) -> Result<Message, Malformed> {
    let message = Frontend::parse(tag, body)?;
    assert_eq!(message.tag(), tag);
    Ok(Message {
        name: message.name(),
        view: view_frontend(&message),
        frame: frame(|out| message.encode(out)),
    })
}

fn read_server(tag: u8, body: &[u8]) -> Result<Message, Malformed> {
    let message = Backend::parse(tag, body)?;
    assert_eq!(message.tag(), tag);
    Ok(Message {
        name: message.name(),
        view: view_backend(&message),
        frame: frame(|out| message.encode(out)),
    })
}

fn read_login(message: &str, body: &[u8]) -> Result<Message, Malformed> {
    Ok(match message {
        "PasswordMessage" => {
            let answer = parse_password(body)?;
            Message {
                name: "PasswordMessage",
                view: format!("password={}", text(answer.password)),
                frame: frame(|out| answer.encode(out)),
            }
        }
        "SASLInitialResponse" => {
            let answer = parse_sasl_initial(body)?;
            let mechanism = text(answer.mechanism);
            Message {
                name: "SASLInitialResponse",
                view: format!("mechanism={mechanism} data={}", value(answer.data)),
                frame: frame(|out| answer.encode(out)),
            }
        }
        "SASLResponse" => {
            let answer = parse_sasl_response(body)?;
            Message {
                name: "SASLResponse",
                view: format!("data={}", text(answer.data)),
                frame: frame(|out| answer.encode(out)),
            }
        }
        "GSSResponse" => {
            let answer = parse_gss(body)?;
            Message {
                name: "GSSResponse",
                view: format!("data={}", text(answer.data)),
                frame: frame(|out| answer.encode(out)),
            }
        }
        other => panic!("no answer is called {other}"),
    })
}

fn read_sender(data: &[u8]) -> Result<Message, Malformed> {
    let message = FromServer::parse(data)?;
    let (name, view) = match message {
        FromServer::WalData {
            start,
            wal_end,
            clock,
            data,
        } => {
            let data = text(data);
            let view = format!("start={start} wal_end={wal_end} clock={clock} data={data}");
            ("WalData", view)
        }
        FromServer::Keepalive {
            wal_end,
            clock,
            reply,
        } => {
            let view = format!("wal_end={wal_end} clock={clock} reply={reply}");
            ("Keepalive", view)
        }
        FromServer::PrimaryStatus {
            wal_end,
            oldest_xid,
            next_xid,
            clock,
        } => {
            let xids = format!("oldest_xid={oldest_xid} next_xid={next_xid}");
            let view = format!("wal_end={wal_end} {xids} clock={clock}");
            ("PrimaryStatus", view)
        }
        FromServer::Unknown { kind, body } => {
            ("Unknown", format!("kind={kind} body={}", text(body)))
        }
    };
    let frame = frame(|out| message.encode(out));
    Ok(Message { name, view, frame })
}

fn read_receiver(data: &[u8]) -> Result<Message, Malformed> {
    let message = FromClient::parse(data)?;
    let (name, view) = match message {
        FromClient::StandbyStatus {
            written,
            flushed,
            applied,
            clock,
            reply,
        } => {
            let positions = format!("written={written} flushed={flushed} applied={applied}");
            let view = format!("{positions} clock={clock} reply={reply}");
            ("StandbyStatus", view)
        }
        FromClient::HotStandbyFeedback {
            clock,
            xmin,
            xmin_epoch,
            catalog_xmin,
            catalog_xmin_epoch,
        } => {
            let xmin = format!("xmin={xmin}/{xmin_epoch}");
            let catalog = format!("catalog_xmin={catalog_xmin}/{catalog_xmin_epoch}");
            let view = format!("clock={clock} {xmin} {catalog}");
            ("HotStandbyFeedback", view)
        }
        FromClient::StatusRequest { clock } => ("StatusRequest", format!("clock={clock}")),
        FromClient::Unknown { kind, body } => {
            ("Unknown", format!("kind={kind} body={}", text(body)))
        }
    };
    let frame = frame(|out| message.encode(out));
    Ok(Message { name, view, frame })
}

fn view_frontend(message: &Frontend<'_>) -> String {
    match *message {
        Frontend::Query(query) => format!("text={}", text(query.text)),
        Frontend::Parse(parse) => {
            let (name, query) = (text(parse.name), text(parse.text));
            format!("name={name} text={query} types={}", numbers(parse.types))
        }
        Frontend::Bind(bind) => {
            let (portal, statement) = (text(bind.portal), text(bind.statement));
            let (formats, results) = (numbers(bind.formats), numbers(bind.result_formats));
            let values = list(bind.values.iter().map(value));
            format!(
                "portal={portal} statement={statement} formats={formats} values={values} results={results}"
            )
        }
        Frontend::Describe(describe) => {
            format!("kind={:?} name={}", describe.kind, text(describe.name))
        }
        Frontend::Close(close) => format!("kind={:?} name={}", close.kind, text(close.name)),
        Frontend::Execute(execute) => {
            let portal = text(execute.portal);
            format!("portal={portal} max_rows={}", execute.max_rows)
        }
        Frontend::FunctionCall(call) => {
            let (function, formats) = (call.function, numbers(call.formats));
            let arguments = list(call.arguments.iter().map(value));
            let result = call.result_format;
            format!("function={function} formats={formats} arguments={arguments} result={result}")
        }
        Frontend::Sync | Frontend::Flush | Frontend::Terminate | Frontend::CopyDone => {
            String::new()
        }
        Frontend::CopyData { data } => format!("data={}", text(data)),
        Frontend::CopyFail { reason } => format!("reason={}", text(reason)),
        Frontend::Password(body) => format!("body={}", text(body)),
        Frontend::Unknown { tag, body } => format!("tag={tag} body={}", text(body)),
    }
}

fn view_backend(message: &Backend<'_>) -> String {
    match *message {
        Backend::Authentication(request) => view_authentication(&request),
        Backend::BackendKeyData { process_id, secret } => {
            format!("process_id={process_id} secret={}", text(secret))
        }
        Backend::ParameterStatus { name, value } => {
            format!("name={} value={}", text(name), text(value))
        }
        Backend::ReadyForQuery { status } => format!("status={status:?}"),
        Backend::ErrorResponse(fields) | Backend::NoticeResponse(fields) => view_fields(&fields),
        Backend::NotificationResponse {
            process_id,
            channel,
            payload,
        } => {
            let (channel, payload) = (text(channel), text(payload));
            format!("process_id={process_id} channel={channel} payload={payload}")
        }
        Backend::NegotiateProtocolVersion { newest, options } => {
            format!("newest={newest} options={}", list(options.iter().map(text)))
        }
        Backend::CommandComplete { tag } => format!("tag={}", text(tag)),
        Backend::EmptyQueryResponse
        | Backend::ParseComplete
        | Backend::BindComplete
        | Backend::CloseComplete
        | Backend::NoData
        | Backend::PortalSuspended
        | Backend::CopyDone => String::new(),
        Backend::ParameterDescription { types } => format!("types={}", numbers(types)),
        Backend::RowDescription { columns } => {
            let columns = list(columns.iter().map(|c| {
                let name = text(c.name);
                let origin = format!("{}.{}", c.table, c.attribute);
                let type_ = format!("{}/{}/{}", c.type_oid, c.type_size, c.type_modifier);
                format!("{name}:{origin}:{type_}:{}", c.format)
            }));
            format!("columns={columns}")
        }
        Backend::DataRow { values } => format!("values={}", list(values.iter().map(value))),
        Backend::CopyInResponse(copy)
        | Backend::CopyOutResponse(copy)
        | Backend::CopyBothResponse(copy) => {
            let CopyFormats { overall, columns } = copy;
            format!("overall={overall} columns={}", numbers(columns))
        }
        Backend::CopyData { data } => format!("data={}", text(data)),
        Backend::FunctionCallResponse { value: result } => format!("value={}", value(result)),
        Backend::Unknown { tag, body } => format!("tag={tag} body={}", text(body)),
    }
}

fn view_authentication(request: &Authentication<'_>) -> String {
    match *request {
        Authentication::Ok => "Ok".into(),
        Authentication::KerberosV5 => "KerberosV5".into(),
        Authentication::CleartextPassword => "CleartextPassword".into(),
        Authentication::Md5Password { salt } => format!("Md5Password salt={}", text(&salt)),
        Authentication::Gss => "Gss".into(),
        Authentication::GssContinue { data } => format!("GssContinue data={}", text(data)),
        Authentication::Sspi => "Sspi".into(),
        Authentication::Sasl { mechanisms } => {
            format!("Sasl mechanisms={}", list(mechanisms.iter().map(text)))
        }
        Authentication::SaslContinue { data } => format!("SaslContinue data={}", text(data)),
        Authentication::SaslFinal { data } => format!("SaslFinal data={}", text(data)),
        Authentication::Other { code, data } => format!("Other code={code} data={}", text(data)),
    }
}

fn view_fields(fields: &Fields<'_>) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(code, value)| format!("{}={}", char::from(code), text(value)))
        .collect();
    fields.join(" ")
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    format!("[{}]", items.join(" "))
}

fn numbers(items: impl IntoIterator<Item = impl Display>) -> String {
    list(items.into_iter())
}

fn value(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "NULL".into(), text)
}

/// Bytes in quotes; all but printable ASCII, and the quote, in hexadecimal.
fn text(bytes: &[u8]) -> String {
    let mut out = String::from("'");
    for &byte in bytes {
        match byte {
            b'\'' | b'\\' => write!(out, "\\x{byte:02x}").unwrap(),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\x{byte:02x}").unwrap(),
        }
    }
    out.push('\'');
    out
}

fn frame<E: std::fmt::Debug>(encode: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out).unwrap();
    out.to_vec()
}

/// All samples, in the order of the file.
pub(crate) fn samples() -> Vec<Sample> {
    load(include_str!("../data/wire.txt")).unwrap_or_else(|error| panic!("wire.txt: {error}"))
}

/// The samples of such a file. A line that means nothing is an error.
pub(crate) fn load(file: &str) -> Result<Vec<Sample>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |what: &str| format!("line {number}: {what}: {line}");
        let Some(content) = line.strip_prefix("    ") else {
            if entries.iter().any(|entry| entry.title == line) {
                return Err(at("title used before"));
            }
            entries.push(Entry::open(line).ok_or_else(|| at("not a title"))?);
            continue;
        };
        let entry = entries.last_mut().ok_or_else(|| at("outside an entry"))?;
        let (keyword, rest) = content.split_once(' ').unwrap_or((content, ""));
        match (keyword, &entry.verdict) {
            ("bytes", None) => entry
                .frame
                .extend(bytes(rest).ok_or_else(|| at("not bytes"))?),
            ("view", None) => entry.verdict = Some(Verdict::View(rest.into())),
            ("fault", None) => entry.verdict = Some(Verdict::Fault(rest.into())),
            _ => return Err(at("not used")),
        }
    }
    entries.into_iter().map(Entry::close).collect()
}

struct Entry {
    title: String,
    direction: Direction,
    message: String,
    frame: Vec<u8>,
    verdict: Option<Verdict>,
}

impl Entry {
    fn open(title: &str) -> Option<Entry> {
        let (head, _) = title.split_once(':')?;
        let (direction, message) = head.split_once(' ')?;
        let direction = match direction {
            "client" => Direction::Client,
            "server" => Direction::Server,
            "login" => Direction::Login,
            "sender" => Direction::Sender,
            "receiver" => Direction::Receiver,
            _ => return None,
        };
        Some(Entry {
            title: title.into(),
            direction,
            message: message.into(),
            frame: Vec::new(),
            verdict: None,
        })
    }

    fn close(self) -> Result<Sample, String> {
        let Some(verdict) = self.verdict else {
            return Err(format!("{}: neither view nor fault", self.title));
        };
        Ok(Sample {
            title: self.title,
            direction: self.direction,
            message: self.message,
            frame: self.frame,
            verdict,
        })
    }
}

/// Hex digits in groups, and ASCII in single quotes.
fn bytes(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut quoted = false;
    for part in line.split('\'') {
        if quoted {
            bytes.extend(part.bytes());
        } else {
            for group in part.split_ascii_whitespace() {
                if group.len() % 2 != 0 {
                    return None;
                }
                for at in (0..group.len()).step_by(2) {
                    bytes.push(u8::from_str_radix(group.get(at..at + 2)?, 16).ok()?);
                }
            }
        }
        quoted = !quoted;
    }
    quoted.then_some(bytes)
}
