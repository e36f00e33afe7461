//! The parts of an upstream: where it is in its life, and what is known of it while it serves.

use std::sync::Arc;
use std::time::Instant;

use super::cancelling::UnderWay;
use super::effects::Note;
use super::gate::has_room;
use super::loss::Stream;
use super::reported::Reported;
use super::{Config, Destination, Moves, PeerId, TlsInfo};
#[cfg(feature = "scram")]
use crate::auth::Observer;
use crate::auth::{Channel, Credential, Parameters, Replay, TlsEndPoint};
use crate::startup::{CancelKey, UpstreamTls};
use crate::track::pipeline::Pipeline;
use crate::wire::TransactionStatus;

/// One of the session's connections to servers: its place among them, whatever it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegId {
    First,
    Second,
    Third,
    Fourth,
}

impl LegId {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [LegId; LegId::COUNT] =
        [LegId::First, LegId::Second, LegId::Third, LegId::Fourth];

    pub(super) fn of(peer: PeerId) -> Option<LegId> {
        LegId::ALL.into_iter().find(|leg| leg.peer() == peer)
    }

    pub(super) fn peer(self) -> PeerId {
        match self {
            LegId::First => PeerId::WRITER,
            LegId::Second => PeerId::READER,
            LegId::Third => PeerId::THIRD,
            LegId::Fourth => PeerId::FOURTH,
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            LegId::First => 0,
            LegId::Second => 1,
            LegId::Third => 2,
            LegId::Fourth => 3,
        }
    }
}

/// How many legs can owe the client anything at a time: the writer and the reader.
pub(super) const SERVING: usize = 2;

/// How many peers a session has at a time: the client, the legs that serve it, and those that it moves to.
pub(super) fn ports(moves: Moves) -> u8 {
    let legs = match moves {
        Moves::Off => SERVING,
        Moves::On => LegId::COUNT,
    };
    u8::try_from(legs.saturating_add(1)).unwrap_or(u8::MAX)
}

/// A value for each leg.
#[derive(Debug, Default)]
pub(super) struct PerLeg<T>(pub(super) [T; LegId::COUNT]);

impl<T> PerLeg<T> {
    pub(super) fn get(&self, id: LegId) -> &T {
        let [first, second, third, fourth] = &self.0;
        match id {
            LegId::First => first,
            LegId::Second => second,
            LegId::Third => third,
            LegId::Fourth => fourth,
        }
    }

    pub(super) fn get_mut(&mut self, id: LegId) -> &mut T {
        let [first, second, third, fourth] = &mut self.0;
        match id {
            LegId::First => first,
            LegId::Second => second,
            LegId::Third => third,
            LegId::Fourth => fourth,
        }
    }
}

/// What a leg is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It takes writes, and everything that is not a proven read.
    Writer,
    /// It takes proven reads.
    Reader,
    /// It serves nobody yet, or no more.
    Spare,
}

/// Which leg has which duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles {
    pub(super) writer: LegId,
    pub(super) reader: LegId,
}

impl Default for Roles {
    fn default() -> Roles {
        Roles {
            writer: LegId::First,
            reader: LegId::Second,
        }
    }
}

impl Roles {
    pub(super) fn duty(self, leg: LegId) -> Duty {
        if leg == self.writer {
            Duty::Writer
        } else if leg == self.reader {
            Duty::Reader
        } else {
            Duty::Spare
        }
    }
}

/// Where an upstream is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    Absent,
    Dialing,
    Asking(UpstreamTls),
    Securing,
    Opaque(Passing),
    Unopened,
    Relaying(Relay),
    Replaying(Box<Login>),
    Serving(Box<Serving>),
    Closing,
}

/// What of an opaque session passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// The client's SSLRequest, and nothing else until the server has said that it starts TLS.
    Request,
    /// Nothing: the server's answer is awaited.
    Answer,
    All,
}

/// How often an upstream was dialled for one login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Once.
    First,
    /// It refused a login in clear: its connection closes, and a second one is made for a login over TLS.
    Redial,
    /// Twice.
    Second,
    /// It, or another server in its place, is dialled when its connection is closed.
    Elsewhere,
}

/// What the gate has said of itself while the client logs in.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) parameters: Parameters,
    pub(super) key: Option<CancelKey>,
    pub(super) stage: RelayStage,
    #[cfg(feature = "scram")]
    pub(super) observer: Observer,
}

impl Relay {
    /// `credential` is what is listed of the user.
    #[cfg_attr(
        not(feature = "scram"),
        expect(unused_variables, reason = "only of SCRAM can more be learnt")
    )]
    pub(super) fn new(credential: Arc<Credential>) -> Relay {
        Relay {
            parameters: Parameters::default(),
            key: None,
            stage: RelayStage::default(),
            #[cfg(feature = "scram")]
            observer: Observer::new(credential),
        }
    }
}

/// A login of ours.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) replay: Replay,
    pub(super) awaits: Awaits,
    pub(super) heard: Heard,
}

/// Whether the server of a login of ours has asked for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    Request,
}

/// What a login of ours waits for before it looks at more of the server's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The next message.
    Server,
    /// A password to be hashed.
    Hashing,
    /// The caller's answer. A server that has proven itself may have sent its verdict with the proof.
    Caller,
}

/// Whether a client's login has a password to hash before it looks at more of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hashing {
    Rest,
    Running,
}

/// How far the gate has let the client in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RelayStage {
    /// It has asked for nothing.
    #[default]
    Fresh,
    /// It has negotiated the version and asked for nothing.
    Negotiated,
    Proving,
    Accepted,
}

/// Whether a serving upstream ends the session, or was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    None,
    /// It was sent the client's Terminate, behind requests that it may still answer.
    Terminate,
    /// It said a FATAL error.
    Fatal,
}

/// Whether a serving upstream has said that it is a standby no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    NotKnownOver,
    Over,
}

/// Whether a serving upstream was asked if it serves the session by its default isolation
/// ([`DefaultIsolation`](super::DefaultIsolation)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing of ours or of the client's has run there.
    NotYet,
    /// Now or before, behind the newest settings.
    Once,
    /// It did not say: the read that waits goes to the writer.
    Untold,
    /// It did not say, and the next read asks again.
    Again,
}

/// Whether what an upstream takes over, or is asked, is worth to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    InTime,
    /// It was lost because it did not answer: a server may let sessions in and run nothing.
    Late,
}

/// How an upstream stands to the journal of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restore {
    /// It has run every change up to its stamp, and none is on its way.
    Resting,
    /// Changes are on their way.
    Running,
}

/// An upstream that takes requests.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) pipeline: Pipeline<Note>,
    pub(super) status: TransactionStatus,
    /// What its login has brought, and what it has reported since.
    pub(super) parameters: Parameters,
    /// What it says of its settings now.
    pub(super) reported: Reported,
    pub(super) key: Option<CancelKey>,
    /// The newest change of the journal that it has run.
    pub(super) stamp: u64,
    pub(super) restore: Restore,
    pub(super) asked: Asked,
    /// The tag of the message that was looked at last.
    pub(super) newest: u8,
    farewell: Farewell,
    recovery: Recovery,
}

impl Serving {
    pub(super) fn new(parameters: Parameters, key: Option<CancelKey>, stamp: u64) -> Serving {
        Serving {
            pipeline: Pipeline::new(),
            status: TransactionStatus::Idle,
            reported: Reported::of(&parameters),
            parameters,
            key,
            stamp,
            restore: Restore::Resting,
            asked: Asked::NotYet,
            newest: 0,
            farewell: Farewell::None,
            recovery: Recovery::NotKnownOver,
        }
    }

    /// It reports a parameter. One that is too much to be kept is not known any more.
    pub(super) fn learn(&mut self, name: &[u8], value: &[u8]) {
        self.reported.learn(name, value);
        self.parameters.retain(|(known, _)| **known != *name);
        if has_room(&self.parameters, name, value) {
            self.parameters.push((name.into(), value.into()));
        }
    }

    pub(super) fn said_fatal(&self) -> bool {
        self.farewell == Farewell::Fatal
    }

    /// Whether the client's Terminate was passed on to it.
    pub(super) fn was_terminated(&self) -> bool {
        self.farewell == Farewell::Terminate
    }

    pub(super) fn terminate(&mut self) {
        self.farewell = Farewell::Terminate;
    }

    pub(super) fn says_fatal(&mut self) {
        self.farewell = Farewell::Fatal;
    }

    pub(super) fn is_promoted(&self) -> bool {
        self.recovery == Recovery::Over
    }

    pub(super) fn says_promoted(&mut self) {
        self.recovery = Recovery::Over;
    }
}

/// One upstream of the session.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) to: Destination,
    pub(super) phase: Phase,
    pub(super) stream: Stream,
    pub(super) retry_at: Option<Instant>,
    pub(super) answers: Answers,
    pub(super) channel: Channel,
    pub(super) tls: Option<Box<TlsInfo>>,
    pub(super) attempt: Attempt,
    pub(super) dials: u32,
    /// How often it was dialled again because it could not be had.
    pub(super) retries: u32,
    /// The cancel that is under way to it.
    pub(super) cancel: Option<UnderWay>,
    /// Up to where in what it is sent a cancel has come already.
    pub(super) cancelled_within: u64,
    /// How many bytes it was ever sent.
    pub(super) written: u64,
    /// How many questions of its logins the caller was asked.
    pub(super) questions: u64,
}

impl Leg {
    fn new(to: Destination) -> Leg {
        Leg {
            to,
            phase: Phase::Absent,
            stream: Stream::Open,
            retry_at: None,
            answers: Answers::InTime,
            channel: Channel::Clear,
            tls: None,
            attempt: Attempt::First,
            dials: 0,
            retries: 0,
            cancel: None,
            cancelled_within: 0,
            written: 0,
            questions: 0,
        }
    }

    /// Its connection is closed.
    pub(super) fn is_gone(&mut self) {
        self.phase = Phase::Absent;
        self.stream = Stream::Open;
        self.cancel = None;
        self.cancelled_within = 0;
    }

    /// Whether more can come from it.
    pub(super) fn is_open(&self) -> bool {
        self.stream == Stream::Open
    }

    /// The certificate that it has shown.
    pub(super) fn end_point(&self) -> Option<TlsEndPoint> {
        self.tls.as_ref()?.end_point.clone()
    }

    pub(super) fn serving(&self) -> Option<&Serving> {
        match &self.phase {
            Phase::Serving(serving) => Some(serving),
            Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Closing => None,
        }
    }

    pub(super) fn serving_mut(&mut self) -> Option<&mut Serving> {
        match &mut self.phase {
            Phase::Serving(serving) => Some(serving),
            Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Closing => None,
        }
    }

    pub(super) fn take_serving(&mut self) -> Option<Box<Serving>> {
        self.serving()?;
        match std::mem::replace(&mut self.phase, Phase::Closing) {
            Phase::Serving(serving) => Some(serving),
            Phase::Absent
            | Phase::Dialing
            | Phase::Asking(_)
            | Phase::Securing
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Closing => None,
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        let open = match self.phase {
            Phase::Absent | Phase::Dialing | Phase::Securing => false,
            Phase::Asking(_)
            | Phase::Unopened
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_)
            | Phase::Closing => true,
        };
        open && self.stream == Stream::Open
    }
}

/// The legs of a new session. Which reader it has is chosen when that is dialled.
pub(super) fn legs(config: &Config) -> PerLeg<Leg> {
    let writer = config.writer().unwrap_or(Destination(0));
    let reader = config.readers().next().unwrap_or(writer);
    PerLeg([writer, reader, writer, writer].map(Leg::new))
}
