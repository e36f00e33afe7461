//! What a scenario consists of, and its text: one line for the set-up, one for each event.
//!
//! The text of a failing scenario is its report and its regression test. A line that cannot be carried out where it
//! stands does nothing, so that every part of a scenario is a scenario.

use pgturnout::session::PeerId;

use super::catalogue::Phase;
use super::fault::{Fault, peer_named, word_for};
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
    /// The second client says this, if there is one.
    SayBeside(ClientMessage),
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
    /// The fault waits until this peer is in this phase, and then for so many more bytes or messages to pass.
    Aim(PeerId, Phase, usize, Fault),
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}",
            ["setup", &self.setup.peculiar()].join(" ").trim_end()
        )?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Event::Say(message) => write!(f, "client {message}"),
            Event::SayBeside(message) => write!(f, "beside {message}"),
            Event::Raw(bytes) => write!(f, "raw {}", hex(bytes)),
            Event::Calm => f.write_str("calm"),
            Event::Arrive(peer, most) => write!(f, "arrive {} {most}", word_for(*peer)),
            Event::Leave(peer, most) => write!(f, "leave {} {most}", word_for(*peer)),
            Event::Act => f.write_str("act"),
            Event::Serve(peer) => write!(f, "serve {}", word_for(*peer)),
            Event::Fault(fault) => write!(f, "fault {fault}"),
            Event::Aim(peer, phase, beats, fault) => {
                write!(f, "aim {} {phase} {beats} {fault}", word_for(*peer))
            }
        }
    }
}

impl Event {
    /// Whether the client says what belongs to a copy.
    pub(crate) fn is_of_a_copy(&self) -> bool {
        use ClientMessage::{CopyData, CopyDone, CopyFail};
        matches!(self, Event::Say(CopyData(_) | CopyDone | CopyFail(_)))
    }
}

impl Scenario {
    /// Whether a fault waits for its moment, which depends on how bytes are cut.
    pub(crate) fn has_aims(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Aim(..)))
    }

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
            "beside" => Event::SayBeside(ClientMessage::parse(&mut words)?),
            "raw" => Event::Raw(unhex(words.word()?)?),
            "calm" => Event::Calm,
            "arrive" => Event::Arrive(peer_named(words.word()?)?, words.number()?),
            "leave" => Event::Leave(peer_named(words.word()?)?, words.number()?),
            "act" => Event::Act,
            "serve" => Event::Serve(peer_named(words.word()?)?),
            "fault" => Event::Fault(Fault::parse(&mut words)?),
            "aim" => {
                let peer = peer_named(words.word()?)?;
                let phase = Phase::named(words.word()?)?;
                let beats = words.number()?;
                Event::Aim(peer, phase, beats, Fault::parse(&mut words)?)
            }
            other => return Err(format!("{other:?} is no event")),
        };
        words.end()?;
        Ok(event)
    }
}
