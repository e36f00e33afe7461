//! What goes wrong, or comes from outside, and its text.

mod text;

use std::time::Duration;

use pgturnout::session::PeerId;

use super::catalogue::Phase;
use super::journey::Journey;
use super::server::{Flaw, Impostor, TlsAnswer};
use super::transfers;

/// Who can be struck: whoever takes part in a session that stays on its servers.
pub(crate) const PLAYERS: [PeerId; 3] = [PeerId::CLIENT, PeerId::WRITER, PeerId::READER];

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// A connection breaks. What its peer had sent and nobody read is lost.
    Reset(PeerId),
    /// A peer ends its stream behind what it has sent.
    Eof(PeerId),
    /// A peer takes no bytes until the faults end.
    Stall(PeerId),
    /// Nothing arrives of a peer until the faults end.
    Mute(PeerId),
    /// One byte at a time passes to and from a peer until the faults end.
    Trickle(PeerId),
    /// The next dial is refused.
    RefuseDial(PeerId),
    /// The next dial is not answered until the faults end.
    HangDial(PeerId),
    /// The next TLS handshake fails.
    FailTls(PeerId),
    /// The next TLS handshake agrees on another protocol.
    OtherProtocol(PeerId),
    /// The next TLS handshake agrees on no protocol, which one that nobody asked for has to.
    NoProtocol(PeerId),
    /// The next TLS handshake is not answered until the faults end.
    HangTls(PeerId),
    /// The server does not know our password until the faults end.
    ForgetPassword(PeerId),
    /// The server ends the connection with a FATAL error of this SQLSTATE.
    Shutdown(PeerId, String),
    /// The server refuses logins with this SQLSTATE until the faults end.
    RefuseLogin(PeerId, String),
    /// The server answers questions for TLS like this until the faults end.
    AnswerTls(PeerId, TlsAnswer),
    /// Somebody else is where the server should be, until the faults end.
    Pose(PeerId, Impostor),
    /// The server's next statement fails with this SQLSTATE, as a standby's in a recovery conflict.
    FailNext(PeerId, String),
    /// Only so many bytes of what the peer has sent are still to come, and then its stream ends.
    Cut(PeerId, usize),
    /// A bit is the other one in the byte that a peer sends after so many more.
    Garble(PeerId, usize),
    /// A peer says this although it is not the time for it.
    Lie(PeerId, Vec<u8>),
    /// The server says something of its own accord that it may say at any time.
    Async(PeerId, Aside),
    /// The driver breaks its contract.
    Misuse(PeerId, Misuse),
    /// The client asks, over another connection, to cancel what runs.
    Cancel,
    /// The same with a key that is nobody's.
    StrayCancel,
    /// The proxy is shut down.
    ShutDownProxy,
    /// The standby takes writes from now on.
    Promote,
    /// The primary is a standby from now on.
    Demote,
    /// Somebody else locks the table until the faults end: statements that touch it wait.
    Lock,
    /// The caller puts the client out.
    Expel,
    /// The time up to the next deadline passes.
    Deadline,
    /// So many milliseconds pass.
    Clock(u64),
    /// Each standby applies at most so many transactions.
    Replay(usize),
    /// The one at this place in the configuration does.
    ReplayAt(usize, usize),
    /// The primary logs so much that changes nothing, as of VACUUM.
    Vacuum(usize),
    /// The server takes no settings from now on until the faults end, and says that it does.
    ForgetSettings(PeerId),
    /// The server's next answer about a session's transfer is not as it should be.
    Transfer(PeerId, Flaw),
    /// The driver has the session move.
    Move(Journey),
    /// The driver has it stay after all.
    CallOff,
    /// The driver tells what it knows of the readers, in their order.
    Readers(Vec<Known>),
}

/// What a driver may know of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Up,
    Down,
    /// More bytes behind than it may be, and nothing is known of the time.
    Lags,
    /// A longer time behind than it may be, and nothing is known of the bytes.
    Late,
    /// More bytes behind than it may be, but no time.
    LagsOnly,
    /// A longer time behind than it may be, but no bytes.
    LateOnly,
    /// As far behind as it may be.
    AtTheBound,
}

const KNOWN: [(Known, &str); 7] = [
    (Known::Up, "up"),
    (Known::Down, "down"),
    (Known::Lags, "lags"),
    (Known::Late, "late"),
    (Known::LagsOnly, "lags-only"),
    (Known::LateOnly, "late-only"),
    (Known::AtTheBound, "at-the-bound"),
];

impl Known {
    /// How long and how many bytes it is behind, as far as that is known, where so much is allowed.
    pub(crate) fn lag(self, time: Duration, bytes: u64) -> (Option<Duration>, Option<u64>) {
        let late = time + Duration::from_millis(1);
        match self {
            Known::Up | Known::Down => (None, None),
            Known::Lags => (None, Some(bytes + 1)),
            Known::Late => (Some(late), None),
            Known::LagsOnly => (Some(Duration::ZERO), Some(bytes + 1)),
            Known::LateOnly => (Some(late), Some(0)),
            Known::AtTheBound => (Some(time), Some(bytes)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    Notice,
    Parameter,
    /// Somebody else notifies a channel, and whoever listens there is told.
    Notification,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// More bytes are reported as written than were offered.
    Transmitted,
    /// The same, by one.
    OneMore,
    /// A connection is reported that nobody asked for.
    Connected,
    Secured,
    /// The end of a stream is reported twice.
    EofAgain,
    /// Time goes backwards.
    Backwards,
    /// A question is answered that nobody has asked.
    Answered,
    /// A user is found whom nobody looks for.
    Found,
    /// What has come is not shown.
    Hidden,
}

impl Aside {
    pub(crate) const ALL: [(Aside, &'static str); 3] = [
        (Aside::Notice, "notice"),
        (Aside::Parameter, "parameter"),
        (Aside::Notification, "notification"),
    ];
}

impl Misuse {
    pub(crate) const ALL: [(Misuse, &'static str); 9] = [
        (Misuse::Transmitted, "transmitted"),
        (Misuse::OneMore, "one-more"),
        (Misuse::Connected, "connected"),
        (Misuse::Secured, "secured"),
        (Misuse::EofAgain, "eof-again"),
        (Misuse::Backwards, "backwards"),
        (Misuse::Answered, "answered"),
        (Misuse::Found, "found"),
        (Misuse::Hidden, "hidden"),
    ];

    /// What is no news to a session, or has to end it at once, says nothing that is not so. Whether it is that shows.
    pub(crate) fn is_a_lie(self) -> bool {
        self == Misuse::EofAgain
    }
}

/// How far a fault bends what the client may see. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// The client sees what one server would have told it.
    None,
    /// Requests may fail, each as one server's would.
    Requests,
    /// The session may end; up to there the client sees what one server would have told it.
    Session,
    /// A peer broke the protocol: nothing but the laws of totality holds.
    Anything,
}

/// What a server may answer to an SSLRequest that is not the expected.
pub(crate) const ANSWERS: [(TlsAnswer, &str); 4] = [
    (TlsAnswer::No, "no"),
    (TlsAnswer::Old, "old"),
    (TlsAnswer::Stuffed, "stuffed"),
    (TlsAnswer::Garbage, "garbage"),
];

type AtPeer = fn(PeerId) -> Fault;

/// Faults of a peer without more to them.
const AT_PEER: [(&str, AtPeer); 13] = [
    ("forget-settings", Fault::ForgetSettings),
    ("reset", Fault::Reset),
    ("eof", Fault::Eof),
    ("stall", Fault::Stall),
    ("mute", Fault::Mute),
    ("trickle", Fault::Trickle),
    ("refuse-dial", Fault::RefuseDial),
    ("hang-dial", Fault::HangDial),
    ("fail-tls", Fault::FailTls),
    ("other-protocol", Fault::OtherProtocol),
    ("no-protocol", Fault::NoProtocol),
    ("hang-tls", Fault::HangTls),
    ("forget-password", Fault::ForgetPassword),
];

/// Faults of no peer.
const AT_ALL: [(&str, Fault); 9] = [
    ("call-off", Fault::CallOff),
    ("promote", Fault::Promote),
    ("demote", Fault::Demote),
    ("lock", Fault::Lock),
    ("cancel", Fault::Cancel),
    ("stray-cancel", Fault::StrayCancel),
    ("shut-down-proxy", Fault::ShutDownProxy),
    ("deadline", Fault::Deadline),
    ("expel", Fault::Expel),
];

impl Fault {
    /// The name of its kind in a scenario's text.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Fault::Reset(_) => "reset",
            Fault::Eof(_) => "eof",
            Fault::Stall(_) => "stall",
            Fault::Mute(_) => "mute",
            Fault::Trickle(_) => "trickle",
            Fault::RefuseDial(_) => "refuse-dial",
            Fault::HangDial(_) => "hang-dial",
            Fault::FailTls(_) => "fail-tls",
            Fault::OtherProtocol(_) => "other-protocol",
            Fault::NoProtocol(_) => "no-protocol",
            Fault::HangTls(_) => "hang-tls",
            Fault::ForgetPassword(_) => "forget-password",
            Fault::Shutdown(..) => "shutdown",
            Fault::RefuseLogin(..) => "refuse-login",
            Fault::FailNext(..) => "fail-next",
            Fault::AnswerTls(..) => "answer-tls",
            Fault::Pose(..) => "pose",
            Fault::Cut(..) => "cut",
            Fault::Garble(..) => "garble",
            Fault::Lie(..) => "lie",
            Fault::Async(..) => "async",
            Fault::Misuse(..) => "misuse",
            Fault::Cancel => "cancel",
            Fault::StrayCancel => "stray-cancel",
            Fault::ShutDownProxy => "shut-down-proxy",
            Fault::Expel => "expel",
            Fault::Promote => "promote",
            Fault::Demote => "demote",
            Fault::Lock => "lock",
            Fault::Deadline => "deadline",
            Fault::Clock(_) => "clock",
            Fault::Replay(_) => "replay",
            Fault::ReplayAt(..) => "replay-at",
            Fault::Vacuum(_) => "vacuum",
            Fault::ForgetSettings(_) => "forget-settings",
            Fault::Transfer(..) => "transfer",
            Fault::Move(_) => "move",
            Fault::CallOff => "call-off",
            Fault::Readers(_) => "readers",
        }
    }

    /// The name that it is counted under.
    pub(crate) fn counted_as(&self) -> String {
        match self {
            Fault::Async(_, aside) => format!("async-{}", name_of(&Aside::ALL, *aside)),
            Fault::Misuse(_, misuse) => format!("misuse-{}", name_of(&Misuse::ALL, *misuse)),
            Fault::AnswerTls(_, answer) => format!("answer-tls-{}", name_of(&ANSWERS, *answer)),
            Fault::Pose(_, impostor) => format!("pose-{}", name_of(&Impostor::ALL, *impostor)),
            Fault::Transfer(peer, flaw) => {
                let side = if is_spare(*peer) { "new" } else { "old" };
                format!("transfer-{side}-{}", flaw.kind.name())
            }
            Fault::ReplayAt(..) => Fault::Replay(1).counted_as(),
            other => other.kind().to_owned(),
        }
    }

    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Fault::Reset(peer)
            | Fault::Eof(peer)
            | Fault::Stall(peer)
            | Fault::Mute(peer)
            | Fault::Trickle(peer)
            | Fault::RefuseDial(peer)
            | Fault::HangDial(peer)
            | Fault::FailTls(peer)
            | Fault::OtherProtocol(peer)
            | Fault::NoProtocol(peer)
            | Fault::HangTls(peer)
            | Fault::ForgetPassword(peer)
            | Fault::Shutdown(peer, _)
            | Fault::RefuseLogin(peer, _)
            | Fault::FailNext(peer, _)
            | Fault::AnswerTls(peer, _)
            | Fault::Pose(peer, _)
            | Fault::Cut(peer, _)
            | Fault::Garble(peer, _)
            | Fault::Lie(peer, _)
            | Fault::Async(peer, _)
            | Fault::ForgetSettings(peer)
            | Fault::Transfer(peer, _)
            | Fault::Misuse(peer, _) => Some(*peer),
            Fault::Cancel
            | Fault::StrayCancel
            | Fault::ShutDownProxy
            | Fault::Expel
            | Fault::Promote
            | Fault::Demote
            | Fault::Lock
            | Fault::Deadline
            | Fault::Clock(_)
            | Fault::Move(_)
            | Fault::CallOff
            | Fault::Readers(_)
            | Fault::Replay(_)
            | Fault::ReplayAt(..)
            | Fault::Vacuum(_) => None,
        }
    }

    /// The same of one that has struck a server which is the writer now.
    pub(crate) fn damage_by_the_writer(&self) -> Damage {
        match self {
            Fault::FailNext(..) => Damage::Requests,
            fault => match fault.damage() {
                Damage::None if fault.ends_a_connection() => Damage::Session,
                other => other,
            },
        }
    }

    /// Whether it ends the connection that it strikes, or leaves something out of it.
    fn ends_a_connection(&self) -> bool {
        matches!(
            self,
            Fault::Reset(_)
                | Fault::Eof(_)
                | Fault::Shutdown(..)
                | Fault::Cut(..)
                | Fault::Pose(..)
        )
    }

    /// What the client may notice of it once it has struck.
    pub(crate) fn damage(&self) -> Damage {
        match self {
            Fault::Stall(_)
            | Fault::Mute(_)
            | Fault::Trickle(_)
            | Fault::Replay(_)
            | Fault::ReplayAt(..)
            | Fault::Vacuum(_)
            | Fault::Async(..)
            | Fault::Lock
            | Fault::ForgetSettings(_)
            | Fault::Move(_)
            | Fault::CallOff
            | Fault::Readers(_)
            | Fault::StrayCancel => Damage::None,
            Fault::Transfer(peer, flaw) => transfers::damage(*peer, *flaw),
            Fault::Misuse(_, misuse) if !misuse.is_a_lie() => Damage::None,
            // Until it serves the client does not know of it.
            Fault::FailNext(peer, _) if is_spare(*peer) => Damage::None,
            Fault::FailNext(..) | Fault::Cancel | Fault::Promote | Fault::Demote => {
                Damage::Requests
            }
            Fault::Lie(..) | Fault::Garble(..) | Fault::Misuse(..) => Damage::Anything,
            Fault::ShutDownProxy | Fault::Expel | Fault::Clock(_) | Fault::Deadline => {
                Damage::Session
            }
            Fault::Reset(peer)
            | Fault::Eof(peer)
            | Fault::RefuseDial(peer)
            | Fault::HangDial(peer)
            | Fault::FailTls(peer)
            | Fault::OtherProtocol(peer)
            | Fault::NoProtocol(peer)
            | Fault::HangTls(peer)
            | Fault::ForgetPassword(peer)
            | Fault::Shutdown(peer, _)
            | Fault::RefuseLogin(peer, _)
            | Fault::AnswerTls(peer, _)
            | Fault::Pose(peer, _)
            | Fault::Cut(peer, _) => match *peer {
                PeerId::READER => Damage::Requests,
                peer if is_spare(peer) => Damage::None,
                _ => Damage::Session,
            },
        }
    }
}

/// Whether a seat is for a server that a session moves to, or has left.
pub(crate) fn is_spare(peer: PeerId) -> bool {
    !PLAYERS.contains(&peer)
}

/// One fault of every kind at every peer that it can strike. What strikes nobody in particular is counted at the client.
pub(crate) fn every() -> Vec<Fault> {
    let upstreams = [
        PeerId::WRITER,
        PeerId::READER,
        PeerId::THIRD,
        PeerId::FOURTH,
    ];
    let mut all = Vec::new();
    for (name, make) in AT_PEER {
        let of = match name {
            "refuse-dial" | "hang-dial" | "forget-password" => &upstreams[..],
            "forget-settings" => &[PeerId::THIRD, PeerId::FOURTH],
            _ => &PeerId::ALL[..],
        };
        all.extend(of.iter().map(|peer| make(*peer)));
    }
    for peer in PeerId::ALL {
        all.extend([
            Fault::Cut(peer, 3),
            Fault::Garble(peer, 2),
            Fault::Lie(peer, b"1\0\0\0\x04".to_vec()),
        ]);
        all.extend(Misuse::ALL.map(|(misuse, _)| Fault::Misuse(peer, misuse)));
    }
    for peer in upstreams {
        all.extend([
            Fault::Shutdown(peer, "57P01".to_owned()),
            Fault::RefuseLogin(peer, "53300".to_owned()),
            Fault::FailNext(peer, "40001".to_owned()),
        ]);
        // Nobody listens on a server before it serves.
        let asides = Aside::ALL.into_iter().map(|(aside, _)| aside);
        let asides = asides.filter(|aside| !is_spare(peer) || *aside != Aside::Notification);
        all.extend(asides.map(|aside| Fault::Async(peer, aside)));
        all.extend(ANSWERS.map(|(answer, _)| Fault::AnswerTls(peer, answer)));
        all.extend(Impostor::ALL.map(|(impostor, _)| Fault::Pose(peer, impostor)));
    }
    all.extend([
        Fault::Clock(1_000),
        Fault::Replay(1),
        Fault::Move(Journey::to(2)),
        Fault::Readers(vec![Known::Down]),
    ]);
    all.extend(AT_ALL.iter().map(|(_, fault)| fault.clone()));
    all
}

impl Fault {
    /// Whether it waits for somebody to dial, and strikes in no other phase than the opening.
    pub(crate) fn waits_for_a_dial(&self) -> bool {
        matches!(
            self,
            Fault::RefuseDial(_)
                | Fault::HangDial(_)
                | Fault::FailTls(_)
                | Fault::OtherProtocol(_)
                | Fault::NoProtocol(_)
                | Fault::HangTls(_)
                | Fault::ForgetPassword(_)
                | Fault::ForgetSettings(_)
                | Fault::RefuseLogin(..)
                | Fault::AnswerTls(..)
                | Fault::Pose(..)
        )
    }
}

/// Each fault with each phase of a session that moves in which it can strike.
pub(crate) fn on_the_way() -> Vec<(Fault, Phase)> {
    let of_a_move = [
        Phase::MoveDial,
        Phase::MoveLogIn,
        Phase::MoveWait,
        Phase::MoveDrain,
        Phase::MoveRead,
        Phase::MoveRestore,
        Phase::MoveVerify,
        Phase::MoveCutOver,
    ];
    let of_a_server = [
        Phase::Opening,
        Phase::Login,
        Phase::Idle,
        Phase::Asked,
        Phase::Busy,
    ];
    let mut all = Vec::new();
    for fault in every() {
        let spare = fault.peer().is_some_and(is_spare);
        let phases: Vec<Phase> = match (spare, fault.waits_for_a_dial()) {
            (true, true) => vec![Phase::Opening],
            (true, false) => [&of_a_server[..], &of_a_move].concat(),
            (false, true) => Vec::new(),
            (false, false) => of_a_move.to_vec(),
        };
        all.extend(phases.into_iter().map(|phase| (fault.clone(), phase)));
    }
    all
}

/// The name of a peer in a scenario's text: a word.
pub(crate) fn word_for(peer: PeerId) -> String {
    let name = peer.to_string();
    name.split(' ').next().unwrap_or_default().to_owned()
}

pub(crate) fn peer_named(name: &str) -> Result<PeerId, String> {
    PeerId::ALL
        .into_iter()
        .find(|peer| word_for(*peer) == name)
        .ok_or_else(|| format!("{name:?} is no peer"))
}

fn name_of<T: Copy + PartialEq>(all: &[(T, &'static str)], what: T) -> &'static str {
    all.iter()
        .find(|(known, _)| *known == what)
        .map_or("?", |(_, name)| name)
}
