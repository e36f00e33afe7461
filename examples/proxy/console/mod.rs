//! The operator's console: a client that connects to the database `pgturnout` from this machine is served by the proxy
//! itself, in PostgreSQL's protocol, so that psql is the tool.
//!
//! | file | what it does |
//! |---|---|
//! | `command`, `manner` | reads statements, and the options of moves |
//! | `dialogue` | the protocol, without a socket |
//! | `table` | values, rows and errors |
//! | `show` | what there is to see |
//! | `seat` | the place that one server takes from another |
//! | `run` | what each statement does |
//! | `claims` | statements of two operators that would undo each other's work |
//! | `look` | whether a server can take another's place |
//! | `moves` | sessions that move to another server |
//!
//! The opening of the connection, TLS included, is the session's, as everybody's. When its StartupMessage turns out to be
//! an operator's, before anybody was dialled or asked for a password, the session is dropped and the console goes on.

mod claims;
mod command;
mod dialogue;
mod look;
mod manner;
mod moves;
mod run;
mod seat;
mod show;
mod table;

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pgturnout::access::Outcome;
use pgturnout::auth::{
    Admission, AdmitNonces, AdmitPolicy, Admitting, Channel, ClientConnection, Credential,
};
use pgturnout::route::Split;
use pgturnout::session::{Lifecycle, Session};
use pgturnout::startup::{CancelKey, ProtocolVersion, Replication, StartupParams};
use pgturnout::stats::ConnectionCounter;
use pgturnout::wire::{Backend, Header, TransactionStatus, sqlstate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::options::{Operators, Proof};
use crate::peer_io::Stream;
use crate::registry::{Aim, Ask, Entry, Mailbox, Moved, Standing, State};
use crate::{Proxy, drive, tls};
pub(crate) use claims::Claims;
use claims::Operator;
use command::Command;
use dialogue::{Dialogue, Step, fatal, notice, say};
pub(crate) use manner::Manner;
use run::{News, Reporter, Work};
use table::Failure;

/// The name of the database that is none.
const DATABASE: &[u8] = b"pgturnout";

/// What a login may take.
const LOGIN: Duration = Duration::from_secs(60);

/// The longest message of a login, in bytes.
const LOGIN_MESSAGE: u32 = 16 << 10;

/// Bytes that a client may send ahead of what is answered.
const AHEAD: usize = 128 << 10;

/// News of a running statement that wait to be written.
const NEWS: usize = 16;

/// A client that wants the console, and what it came with.
pub(crate) struct Caller {
    /// Its connection; nothing if that was lost.
    pub(crate) stream: Option<Stream>,
    /// What it sent behind its StartupMessage.
    pub(crate) read: Vec<u8>,
    pub(crate) startup: StartupParams,
    pub(crate) entry: Entry,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) number: u64,
    pub(crate) begun: Instant,
    pub(crate) proxy: Arc<Proxy>,
}

/// The StartupMessage of a session whose client wants the console, if there is one.
pub(crate) fn caller(proxy: &Proxy, session: &Session<Split>) -> Option<StartupParams> {
    let startup = session.client_startup()?;
    let wanted = startup.database() == DATABASE && startup.replication() == Replication::Off;
    let live = matches!(session.lifecycle(), Lifecycle::Live);
    let wanted = wanted && live && proxy.current().options.console.is_some();
    wanted.then(|| startup.clone())
}

/// Serves an operator until it leaves; `running` is dropped then.
pub(crate) async fn serve(mut caller: Caller, running: mpsc::Sender<()>) {
    if let Some(stream) = caller.stream.take() {
        let mut line = Line::new(stream, &caller.read);
        // Why a connection ended is nobody's to know.
        let _ = converse(&mut caller, &mut line).await;
        drive::leave(line.stream).await;
    }
    caller.proxy.metrics.count(ConnectionCounter::EndedConns);
    drop(running);
}

async fn converse(caller: &mut Caller, line: &mut Line) -> io::Result<()> {
    let admitted = match tokio::time::timeout(LOGIN, admit(caller, line)).await {
        Ok(admitted) => admitted?,
        Err(_) => Err(Failure::new(
            sqlstate::QUERY_CANCELED,
            "canceling authentication due to timeout",
        )),
    };
    if let Err(failure) = admitted {
        fatal(&failure, &mut line.out);
        return line.flush().await;
    }
    welcome(caller, &mut line.out)?;
    line.flush().await?;
    talk(caller, line).await
}

// --- The login --------------------------------------------------------------------------------

async fn admit(caller: &Caller, line: &mut Line) -> io::Result<Result<(), Failure>> {
    let Caller { startup, proxy, .. } = caller;
    let (address, user) = (caller.entry.whence().address, startup.user());
    startup.negotiate(ProtocolVersion::V3_2, &mut line.out);
    let options = Arc::clone(&proxy.current().options);
    let Some(operators) = &options.console else {
        return Ok(Err(refused("there is no console any more")));
    };
    if !is_here(address) {
        return Ok(Err(refused("the console is for users of this machine")
            .with_hint(
                "Connect from the machine that the proxy runs on, to a loopback address.",
            )));
    }
    let attempt = match proxy.door.begin(address, user, Instant::now()) {
        Ok(attempt) => attempt,
        Err(throttled) => return Ok(Err(refused(&throttled.to_string()))),
    };
    let credential = match operators.names.contains(user) {
        true => options.identities.users.get(user),
        false => Arc::new(Credential::None),
    };
    let nonces = AdmitNonces::derive(&tls::random::<32>()?, 0);
    let connection = ClientConnection::default();
    let policy = policy(operators, user, proxy.mock);
    let mut admission = Admission::with_credential(user, credential, &policy, connection, nonces);
    let mut step = admission.start(&mut line.out);
    let result = loop {
        step = match step {
            Admitting::Wait => match line.message(LOGIN_MESSAGE).await? {
                Ok((tag, body)) => admission.handle(tag, &body, &mut line.out),
                Err(failure) => break Err(failure),
            },
            Admitting::Working => {
                tokio::task::yield_now().await;
                admission.work(&mut line.out)
            }
            Admitting::Accepted(_) => break Ok(()),
            Admitting::Refused(why) => break Err(Failure::new(why.sqlstate(), why.to_string())),
        };
    };
    let outcome = match &result {
        Ok(()) => Outcome::Accepted,
        Err(failure) => Outcome::of_refusal(failure.state),
    };
    if let Err(throttled) = proxy.door.settle(attempt, outcome, Instant::now()) {
        return Ok(Err(refused(&throttled.to_string())));
    }
    let (number, result_word) = (caller.number, if result.is_ok() { "in" } else { "refused" });
    let user = pgturnout::wire::Printable(user);
    proxy.log.line(&format!(
        "session {number} from {address}: console, \"{user}\" {result_word}"
    ));
    Ok(result)
}

fn refused(why: &str) -> Failure {
    Failure::new(sqlstate::INVALID_AUTHORIZATION, why)
}

/// Whether a client is on this machine.
fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// What a user is asked for. Who is not listed is asked for what others have, and does not have it.
fn policy(operators: &Operators, user: &[u8], mock: [u8; 32]) -> AdmitPolicy {
    let policy = AdmitPolicy::new(mock);
    match operators.proof {
        Proof::Nothing if operators.names.contains(user) => policy.allow_trust(Channel::Clear),
        Proof::Nothing | Proof::Secret => policy.allow_scram().allow_md5(Channel::Clear),
    }
}

/// What a server says at the end of a login.
fn welcome(caller: &mut Caller, out: &mut BytesMut) -> io::Result<()> {
    let user = caller.startup.user();
    let application = caller.startup.get(b"application_name").unwrap_or_default();
    for (name, value) in [
        (&b"application_name"[..], application),
        (b"client_encoding", b"UTF8"),
        (b"DateStyle", b"ISO, MDY"),
        (b"integer_datetimes", b"on"),
        (b"is_superuser", b"on"),
        (
            b"server_version",
            concat!(env!("CARGO_PKG_VERSION"), "/pgturnout").as_bytes(),
        ),
        (b"server_encoding", b"UTF8"),
        (b"session_authorization", user),
        (b"standard_conforming_strings", b"on"),
        (b"TimeZone", b"UTC"),
    ] {
        say(Backend::ParameterStatus { name, value }, out);
    }
    let [a, b, c, d, secret @ ..]: [u8; 20] = tls::random()?;
    // Process ids are positive.
    let process_id = i32::from_be_bytes([a & 0x7f, b, c, d | 1]);
    // Everybody takes a secret of four bytes.
    let key = CancelKey::new(process_id, &secret[..4]).map_err(io::Error::other)?;
    if let Err(why) = caller.entry.publish(&key) {
        let session = caller.number;
        let line = format!("session {session} cannot be cancelled: {why}");
        caller.proxy.log.line(&line);
    }
    let secret = &secret[..4];
    say(Backend::BackendKeyData { process_id, secret }, out);
    let status = TransactionStatus::Idle;
    say(Backend::ReadyForQuery { status }, out);
    Ok(())
}

// --- Statements -------------------------------------------------------------------------------

async fn talk(caller: &Caller, line: &mut Line) -> io::Result<()> {
    let mut dialogue = Dialogue::default();
    loop {
        match dialogue.next(&mut line.input, &mut line.out) {
            Step::Run(command) => match run_one(caller, line, &dialogue, command).await? {
                Ended::Statement(result) => {
                    dialogue.end(result.as_deref(), &mut line.out);
                }
                Ended::Connection(failure) => {
                    fatal(&failure, &mut line.out);
                    return line.flush().await;
                }
            },
            Step::Close => return line.flush().await,
            Step::Wait => {
                line.flush().await?;
                tokio::select! {
                    read = line.fill() => read?,
                    ask = heard(&caller.mailbox) => if let Some(Order::End(failure)) = caller.obey(ask) {
                        fatal(&failure, &mut line.out);
                        return line.flush().await;
                    }
                }
            }
        }
    }
}

/// How a statement ended.
enum Ended {
    Statement(Result<String, Failure>),
    /// The console is closed to its operator.
    Connection(Failure),
}

async fn run_one(
    caller: &Caller,
    line: &mut Line,
    dialogue: &Dialogue,
    command: Command,
) -> io::Result<Ended> {
    let (reporter, mut news) = mpsc::channel(NEWS);
    let by = Arc::new(Operator {
        session: caller.number,
        statement: command.to_string(),
    });
    let (proxy, news_to) = (&caller.proxy, Reporter::new(reporter));
    let mut work = pin!(run::run(Work::new(proxy, by, news_to), command));
    let result = loop {
        tokio::select! {
            biased;
            Some(first) = news.recv() => {
                write_news(dialogue, first, &mut line.out);
                // What has come meanwhile shares a write.
                while let Ok(news) = news.try_recv() {
                    write_news(dialogue, news, &mut line.out);
                }
                line.flush().await?;
            }
            result = &mut work => break result,
            ask = heard(&caller.mailbox) => match caller.obey(ask) {
                Some(Order::End(failure)) => return Ok(Ended::Connection(failure)),
                Some(Order::Cancel) => {
                    let message = "canceling statement due to user request";
                    break Err(Failure::new(sqlstate::QUERY_CANCELED, message));
                }
                None => {}
            },
            read = line.fill_ahead() => read?,
        }
    };
    while let Ok(news) = news.try_recv() {
        write_news(dialogue, news, &mut line.out);
    }
    Ok(Ended::Statement(result))
}

fn write_news(dialogue: &Dialogue, news: News, out: &mut BytesMut) {
    match news {
        News::Row(row) => dialogue.row(&row, out),
        News::Notice(text) => notice(&text, out),
    }
}

// --- What other tasks want --------------------------------------------------------------------

/// What is to be done about it.
enum Order {
    /// The running statement is given up.
    Cancel,
    End(Failure),
}

async fn heard(mailbox: &Mailbox) -> Ask {
    poll_fn(|cx| match mailbox.poll(cx) {
        Some(ask) => Poll::Ready(ask),
        None => Poll::Pending,
    })
    .await
}

impl Caller {
    fn obey(&self, ask: Ask) -> Option<Order> {
        let end = |message: &str| Order::End(Failure::new(sqlstate::ADMIN_SHUTDOWN, message));
        match ask {
            Ask::Aim(_, answer) => {
                let _ = answer.send(Aim::Nothing);
                Some(Order::Cancel)
            }
            Ask::Shutdown => Some(end(
                "terminating connection because the proxy is shutting down",
            )),
            Ask::Expel(_) => Some(end("terminating connection due to administrator command")),
            Ask::Recheck => {
                let startup = Some(&self.startup);
                let denied = self.proxy.door.denies(self.entry.whence(), startup);
                denied.map(|_| end("the proxy does not serve this client"))
            }
            Ask::Describe(answer) => {
                drop(answer.send(self.standing()));
                None
            }
            Ask::Move(order) => {
                let why = "the console is served by the proxy".to_owned();
                drop(order.answer.send(Moved::Impossible { why }));
                None
            }
            Ask::CancelBegins(_, answer) => {
                let _ = answer.send(None);
                None
            }
            Ask::CancelEnded(..) | Ask::Changed | Ask::Publish(_) => None,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            number: self.number,
            client: self.entry.whence().address,
            startup: Some(self.startup.clone()),
            state: State::Console,
            writer: None,
            reader: None,
            pins: Vec::new(),
            age: self.begun.elapsed(),
        }
    }
}

// --- The connection ---------------------------------------------------------------------------

struct Line {
    stream: Stream,
    input: BytesMut,
    out: BytesMut,
}

impl Line {
    fn new(stream: Stream, read: &[u8]) -> Line {
        Line {
            stream,
            input: BytesMut::from(read),
            out: BytesMut::new(),
        }
    }

    /// Reads what there is, at least a byte.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The same, unless enough waits to be answered.
    async fn fill_ahead(&mut self) -> io::Result<()> {
        if self.input.len() >= AHEAD {
            return std::future::pending().await;
        }
        self.fill().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.out).await?;
        self.stream.flush().await
    }

    /// The next message, behind what is yet to be written.
    async fn message(&mut self, longest: u32) -> io::Result<Result<(u8, Vec<u8>), Failure>> {
        self.flush().await?;
        loop {
            match Header::parse_within(&self.input, longest) {
                Err(bad) => return Ok(Err(Failure::protocol(bad.to_string()))),
                Ok(Some(header)) if header.split(&self.input).is_some() => {
                    let len = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
                    let frame = self.input.split_to(len);
                    return Ok(Ok((header.tag, frame[Header::LEN..].to_vec())));
                }
                Ok(_) => self.fill().await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        for (address, here) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_here(address.parse().unwrap()), here, "{address}");
        }
    }
}
