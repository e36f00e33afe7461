//! The parts of an upstream: where it is in its life, and what is known of it while it serves.

use std::sync::Arc;
use std::time::Instant;

use super::effects::Note;
use super::loss::Stream;
use super::reported::Reported;
use super::{Config, Destination, PeerId, TlsInfo};
#[cfg(feature = "scram")]
use crate::auth::Observer;
use crate::auth::{Channel, Credential, Parameters, Replay, TlsEndPoint};
use crate::startup::{CancelKey, UpstreamTls};
use crate::track::pipeline::Pipeline;
use crate::wire::TransactionStatus;

/// One of the session's upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegId {
    Writer,
    Reader,
}

impl LegId {
    pub(super) const COUNT: usize = 2;
    pub(super) const ALL: [LegId; LegId::COUNT] = [LegId::Writer, LegId::Reader];

    pub(super) fn of(peer: PeerId) -> Option<LegId> {
        LegId::ALL.into_iter().find(|leg| leg.peer() == peer)
    }

    pub(super) fn peer(self) -> PeerId {
        match self {
            LegId::Writer => PeerId::WRITER,
            LegId::Reader => PeerId::READER,
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            LegId::Writer => 0,
            LegId::Reader => 1,
        }
    }

    pub(super) fn other(self) -> LegId {
        match self {
            LegId::Writer => LegId::Reader,
            LegId::Reader => LegId::Writer,
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
    /// What its login has brought.
    pub(super) parameters: Parameters,
    /// What it says of its settings now.
    pub(super) reported: Reported,
    pub(super) key: Option<CancelKey>,
    /// The newest change of the journal that it has run.
    pub(super) stamp: u64,
    pub(super) restore: Restore,
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
            newest: 0,
            farewell: Farewell::None,
            recovery: Recovery::NotKnownOver,
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
    pub(super) channel: Channel,
    pub(super) tls: Option<Box<TlsInfo>>,
    pub(super) attempt: Attempt,
    pub(super) dials: u32,
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
            channel: Channel::Clear,
            tls: None,
            attempt: Attempt::First,
            dials: 0,
            questions: 0,
        }
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
            | Phase::Opaque(_)
            | Phase::Relaying(_)
            | Phase::Replaying(_)
            | Phase::Serving(_)
            | Phase::Closing => true,
        };
        open && self.stream == Stream::Open
    }
}

/// The legs of a new session. One reader is chosen for each session.
pub(super) fn legs(config: &Config, choice: u64) -> [Leg; LegId::COUNT] {
    let writer = config.writer().unwrap_or(Destination(0));
    let readers: Vec<Destination> = config.readers().collect();
    let count = u64::try_from(readers.len()).unwrap_or(0);
    let at = choice
        .checked_rem(count)
        .and_then(|at| usize::try_from(at).ok());
    let reader = at.and_then(|at| readers.get(at).copied()).unwrap_or(writer);
    [Leg::new(writer), Leg::new(reader)]
}
