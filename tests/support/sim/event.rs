//! What a scenario consists of, and its text: one line for the set-up, one for each event.
//!
//! The text of a failing scenario is its report and its regression test. A line that cannot be carried out where it
//! stands does nothing, so that every part of a scenario is a scenario.

use pgturnout::session::PeerId;

use super::message::ClientMessage;
use super::setup::Setup;
use super::text::{Words, hex, unhex};

/// A world's set-up and what happens in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    pub(crate) setup: Setup,
    pub(crate) events: Vec<Event>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The client says this, once it is logged in.
    Say(ClientMessage),
    /// The client sends these bytes, whatever its state.
    Raw(Vec<u8>),
    /// Everything that can happen without a fault happens.
    Calm,
    /// At most so many bytes of what a peer sent arrive in the driver's buffer.
    Arrive(PeerId, usize),
    /// At most so many bytes are written to a peer.
    Leave(PeerId, usize),
    /// The driver carries out what it was asked to do.
    Act,
    /// A server works off one message.
    Serve(PeerId),
    Fault(Fault),
}

/// What goes wrong, or comes from outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A connection breaks. What its peer had sent and nobody read is lost.
    Reset(PeerId),
    /// A peer ends its stream behind what it has sent.
    Eof(PeerId),
    /// A peer takes no bytes until the faults end.
    Stall(PeerId),
    /// The next dial is refused.
    RefuseDial(PeerId),
    /// The next dial is not answered until the faults end.
    HangDial(PeerId),
    /// The next TLS handshake fails.
    FailTls(PeerId),
    /// The next TLS handshake is not answered until the faults end.
    HangTls(PeerId),
    /// The server ends the connection with a FATAL error of this SQLSTATE.
    Shutdown(PeerId, String),
    /// The server refuses logins with this SQLSTATE until the faults end.
    RefuseLogin(PeerId, String),
    /// The server does not know our password until the faults end.
    ForgetPassword(PeerId),
    /// The server's next statement fails with this SQLSTATE, as a standby's in a recovery conflict.
    FailNext(PeerId, String),
    /// The server says this although nobody asked it.
    Lie(PeerId, Vec<u8>),
    /// Only so many bytes of what the peer has sent are still to come, and then its stream ends.
    Cut(PeerId, usize),
    /// The server says something of its own accord that it may say at any time: a notice, a parameter.
    Async(PeerId, Aside),
    /// The client asks, over another connection, to cancel what runs.
    Cancel,
    /// The proxy is shut down.
    ShutDownProxy,
    /// So many milliseconds pass.
    Clock(u64),
    /// The time up to the next deadline passes.
    Deadline,
    /// The standby applies at most so many transactions.
    Replay(usize),
    /// The driver breaks its contract.
    Misuse(PeerId, Misuse),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    Notice,
    Parameter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// More bytes are reported as written than were offered.
    Transmitted,
    /// A connection is reported that nobody asked for.
    Connected,
    Secured,
    /// The end of a stream is reported twice.
    EofAgain,
    /// Time goes backwards.
    Backwards,
}

impl Aside {
    const ALL: [(Aside, &'static str); 2] =
        [(Aside::Notice, "notice"), (Aside::Parameter, "parameter")];
}

impl Misuse {
    pub(crate) const ALL: [(Misuse, &'static str); 5] = [
        (Misuse::Transmitted, "transmitted"),
        (Misuse::Connected, "connected"),
        (Misuse::Secured, "secured"),
        (Misuse::EofAgain, "eof-again"),
        (Misuse::Backwards, "backwards"),
    ];
}

/// How far a fault bends what the client may see. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// The client sees what one server would have told it.
    None,
    /// Requests may fail that were read from the reader.
    Reader,
    /// The session may end; up to there the client sees what one server would have told it.
    Session,
    /// A peer broke the protocol: nothing but the laws of totality holds.
    Anything,
}

impl Fault {
    /// The name of its kind in a scenario's text.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Fault::Reset(_) => "reset",
            Fault::Eof(_) => "eof",
            Fault::Stall(_) => "stall",
            Fault::RefuseDial(_) => "refuse-dial",
            Fault::HangDial(_) => "hang-dial",
            Fault::FailTls(_) => "fail-tls",
            Fault::HangTls(_) => "hang-tls",
            Fault::Shutdown(..) => "shutdown",
            Fault::RefuseLogin(..) => "refuse-login",
            Fault::ForgetPassword(_) => "forget-password",
            Fault::FailNext(..) => "fail-next",
            Fault::Lie(..) => "lie",
            Fault::Cut(..) => "cut",
            Fault::Async(..) => "async",
            Fault::Cancel => "cancel",
            Fault::ShutDownProxy => "shut-down-proxy",
            Fault::Clock(_) => "clock",
            Fault::Deadline => "deadline",
            Fault::Replay(_) => "replay",
            Fault::Misuse(..) => "misuse",
        }
    }

    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Fault::Reset(peer)
            | Fault::Eof(peer)
            | Fault::Stall(peer)
            | Fault::RefuseDial(peer)
            | Fault::HangDial(peer)
            | Fault::FailTls(peer)
            | Fault::HangTls(peer)
            | Fault::Shutdown(peer, _)
            | Fault::RefuseLogin(peer, _)
            | Fault::ForgetPassword(peer)
            | Fault::FailNext(peer, _)
            | Fault::Lie(peer, _)
            | Fault::Cut(peer, _)
            | Fault::Async(peer, _)
            | Fault::Misuse(peer, _) => Some(*peer),
            Fault::Cancel
            | Fault::ShutDownProxy
            | Fault::Clock(_)
            | Fault::Deadline
            | Fault::Replay(_) => None,
        }
    }

    pub(crate) fn damage(&self) -> Damage {
        match self {
            Fault::Stall(_) | Fault::Replay(_) | Fault::Async(..) => Damage::None,
            Fault::Lie(..) | Fault::Misuse(..) => Damage::Anything,
            Fault::Cancel | Fault::ShutDownProxy | Fault::Clock(_) | Fault::Deadline => {
                Damage::Session
            }
            Fault::Reset(peer)
            | Fault::Eof(peer)
            | Fault::RefuseDial(peer)
            | Fault::HangDial(peer)
            | Fault::FailTls(peer)
            | Fault::HangTls(peer)
            | Fault::Shutdown(peer, _)
            | Fault::RefuseLogin(peer, _)
            | Fault::ForgetPassword(peer)
            | Fault::FailNext(peer, _)
            | Fault::Cut(peer, _) => {
                if *peer == PeerId::READER {
                    Damage::Reader
                } else {
                    Damage::Session
                }
            }
        }
    }
}

pub(crate) fn peer_named(name: &str) -> Result<PeerId, String> {
    PeerId::ALL
        .into_iter()
        .find(|peer| peer.to_string() == name)
        .ok_or_else(|| format!("{name:?} is no peer"))
}

fn named<T: Copy>(all: &[(T, &str)], name: &str) -> Result<T, String> {
    all.iter()
        .find(|(_, known)| *known == name)
        .map(|(what, _)| *what)
        .ok_or_else(|| format!("{name:?} is not known"))
}

fn name_of<T: Copy + PartialEq>(all: &[(T, &'static str)], what: T) -> &'static str {
    all.iter()
        .find(|(known, _)| *known == what)
        .map_or("?", |(_, name)| name)
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "setup {}", self.setup)?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Say(message) => write!(f, "client {message}"),
            Event::Raw(bytes) => write!(f, "raw {}", hex(bytes)),
            Event::Calm => f.write_str("calm"),
            Event::Arrive(peer, most) => write!(f, "arrive {peer} {most}"),
            Event::Leave(peer, most) => write!(f, "leave {peer} {most}"),
            Event::Act => f.write_str("act"),
            Event::Serve(peer) => write!(f, "serve {peer}"),
            Event::Fault(fault) => write!(f, "fault {fault}"),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())?;
        if let Some(peer) = self.peer() {
            write!(f, " {peer}")?;
        }
        match self {
            Fault::Shutdown(_, state)
            | Fault::RefuseLogin(_, state)
            | Fault::FailNext(_, state) => {
                write!(f, " {state}")
            }
            Fault::Lie(_, bytes) => write!(f, " {}", hex(bytes)),
            Fault::Cut(_, left) => write!(f, " {left}"),
            Fault::Async(_, aside) => write!(f, " {}", name_of(&Aside::ALL, *aside)),
            Fault::Misuse(_, misuse) => write!(f, " {}", name_of(&Misuse::ALL, *misuse)),
            Fault::Clock(millis) => write!(f, " {millis}"),
            Fault::Replay(count) => write!(f, " {count}"),
            Fault::Reset(_)
            | Fault::Eof(_)
            | Fault::Stall(_)
            | Fault::RefuseDial(_)
            | Fault::HangDial(_)
            | Fault::FailTls(_)
            | Fault::HangTls(_)
            | Fault::ForgetPassword(_)
            | Fault::Cancel
            | Fault::ShutDownProxy
            | Fault::Deadline => Ok(()),
        }
    }
}

impl Scenario {
    /// Reads a scenario's text. Empty lines and lines that begin with `#` are left out.
    pub(crate) fn parse(text: &str) -> Result<Scenario, String> {
        let mut setup = None;
        let mut events = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |why: String| format!("line {}: {why}", at + 1);
            if let Some(rest) = line.strip_prefix("setup") {
                setup = Some(Setup::parse(rest).map_err(fail)?);
            } else {
                events.push(Event::parse(line).map_err(fail)?);
            }
        }
        let setup = setup.ok_or("there is no line `setup …`")?;
        Ok(Scenario { setup, events })
    }
}

impl Event {
    fn parse(line: &str) -> Result<Event, String> {
        let mut words = Words::new(line);
        let event = match words.word()? {
            "client" => Event::Say(ClientMessage::parse(&mut words)?),
            "raw" => Event::Raw(unhex(words.word()?)?),
            "calm" => Event::Calm,
            "arrive" => Event::Arrive(peer_named(words.word()?)?, words.number()?),
            "leave" => Event::Leave(peer_named(words.word()?)?, words.number()?),
            "act" => Event::Act,
            "serve" => Event::Serve(peer_named(words.word()?)?),
            "fault" => Event::Fault(Fault::parse(&mut words)?),
            other => return Err(format!("{other:?} is no event")),
        };
        words.end()?;
        Ok(event)
    }
}

impl Fault {
    fn parse(words: &mut Words<'_>) -> Result<Fault, String> {
        let kind = words.word()?;
        match kind {
            "cancel" => return Ok(Fault::Cancel),
            "shut-down-proxy" => return Ok(Fault::ShutDownProxy),
            "deadline" => return Ok(Fault::Deadline),
            "clock" => return Ok(Fault::Clock(words.number()?)),
            "replay" => return Ok(Fault::Replay(words.number()?)),
            _ => {}
        }
        let peer = peer_named(words.word()?)?;
        Ok(match kind {
            "reset" => Fault::Reset(peer),
            "eof" => Fault::Eof(peer),
            "stall" => Fault::Stall(peer),
            "refuse-dial" => Fault::RefuseDial(peer),
            "hang-dial" => Fault::HangDial(peer),
            "fail-tls" => Fault::FailTls(peer),
            "hang-tls" => Fault::HangTls(peer),
            "shutdown" => Fault::Shutdown(peer, words.word()?.to_owned()),
            "refuse-login" => Fault::RefuseLogin(peer, words.word()?.to_owned()),
            "forget-password" => Fault::ForgetPassword(peer),
            "fail-next" => Fault::FailNext(peer, words.word()?.to_owned()),
            "lie" => Fault::Lie(peer, unhex(words.word()?)?),
            "cut" => Fault::Cut(peer, words.number()?),
            "async" => Fault::Async(peer, named(&Aside::ALL, words.word()?)?),
            "misuse" => Fault::Misuse(peer, named(&Misuse::ALL, words.word()?)?),
            other => return Err(format!("{other:?} is no fault")),
        })
    }
}
