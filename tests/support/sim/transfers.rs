//! Sessions that move as CockroachDB's do: what is asked of its servers, what goes wrong with their answers, and how a move
//! ends then.

use pgturnout::migrate::{Outcome, Phase, Reason};
use pgturnout::session::{Event, Lifecycle, PeerId, Timer};
use pgturnout::wire::Backend;

use super::catalogue::Seen;
use super::checks::Check;
use super::client::Frame;
use super::fault::{Damage, Fault, is_spare};
use super::server::{Flaw, FlawKind, ServerPhase};
use super::world::World;

const SHOW: &[u8] = b"SHOW TRANSFER STATE WITH '";
/// What begins and ends a transaction before the session is asked for.
const BEGIN: &[u8] = b"SELECT 1\0";
const TAKE: &[u8] = b"SELECT crdb_internal.deserialize_session(decode('";

/// What is remembered of such moves.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    /// What the next answer of the old server will be like, and of the new one.
    ahead: [Option<Flaw>; 2],
    /// The keys that were asked with.
    keys: Vec<Vec<u8>>,
    /// What was wrong with an answer of the move that is under way, or was last.
    wrong: Option<Flaw>,
    /// Whether the old server owed an answer to a move that was given up.
    owed: bool,
    /// Whether the old server has handed the session out twice: once to whoever asked next.
    again: bool,
}

/// A server's next answer will be like this.
pub(crate) fn arm(world: &mut World<'_>, peer: PeerId, flaw: Flaw) {
    world.transfers.ahead[usize::from(is_spare(peer))] = Some(flaw);
}

/// The faults are over: answers are as they should be.
pub(crate) fn disarm(world: &mut World<'_>) {
    world.transfers.ahead = [None; 2];
}

/// Whether the client may have been told by its server what is the proxy's alone.
pub(crate) fn tells_the_client(world: &World<'_>) -> bool {
    world.transfers.again
}

/// A server is about to work off a message.
pub(crate) fn before_serving(world: &mut World<'_>, peer: PeerId) {
    if let Some(flaw) = world.transfers.ahead[usize::from(is_spare(peer))]
        && let Some(server) = &mut world.servers[peer.index()]
    {
        server.errs(flaw);
    }
}

/// It has, and has sent nothing yet.
pub(crate) fn behind_serving(world: &mut World<'_>, peer: PeerId) {
    let server = world.servers[peer.index()].as_mut();
    if let Some(flaw) = server.and_then(|server| server.has_erred()) {
        world.transfers.ahead[usize::from(is_spare(peer))] = None;
        // What comes behind the first answer nobody can tell from the next request's.
        let again = flaw.kind == FlawKind::Twice;
        world.liars[peer.index()] |= again;
        world.transfers.again |= again && peer == PeerId::WRITER;
        world.strikes(&Fault::Transfer(peer, flaw));
        world.transfers.wrong = Some(flaw);
        let told = matches!(flaw.kind, FlawKind::Parameter | FlawKind::Notice);
        let told = told && peer == PeerId::WRITER;
        world.writer_asides += usize::from(told);
    }
}

/// What a client may notice of an answer like this.
pub(crate) fn damage(peer: PeerId, flaw: Flaw) -> Damage {
    let takes_over = match flaw.kind {
        FlawKind::Dies => flaw.at >= TAKEN_IN,
        FlawKind::Ends => flaw.at % 5 == 4,
        FlawKind::Twice => return Damage::Anything,
        _ => false,
    };
    let hurts = match is_spare(peer) {
        // Who fails before it has taken the session in is left.
        true => takes_over,
        false => !flaw.kind.is_legal(),
    };
    match hurts {
        true => Damage::Session,
        false => Damage::None,
    }
}

/// How long the answer is of a server that takes a session in, in bytes.
const TAKEN_IN: usize = 91;

/// Whether a Query of ours is one of a transfer, of a server that it is to be asked of.
pub(crate) fn asks(world: &mut World<'_>, to: PeerId, tag: u8, body: &[u8]) -> bool {
    if world.setup.transfers && describes(world, to, tag, body) {
        return true;
    }
    if !world.setup.transfers || tag != b'Q' {
        return false;
    }
    if body == BEGIN {
        return to == PeerId::WRITER && world.moves.has_begun();
    }
    if let Some(key) = body.strip_prefix(SHOW) {
        let key = key.strip_suffix(b"'\0").unwrap_or_default().to_vec();
        let is_new = !world.transfers.keys.contains(&key);
        let fine = is_new && is_uuid(&key) && to == PeerId::WRITER;
        world.transfers.keys.push(key);
        return fine;
    }
    is_spare(to) && body.starts_with(TAKE)
}

/// Whether a Describe of ours asks one of both servers what a statement is.
fn describes(world: &World<'_>, to: PeerId, tag: u8, body: &[u8]) -> bool {
    let statement = tag == b'D' && body.starts_with(b"S") && body != b"S\0";
    statement && world.moves.has_begun() && (is_spare(to) || to == PeerId::WRITER)
}

/// Whether a text is a random UUID's (RFC 9562 §5.4).
fn is_uuid(text: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        14 => *byte == b'4',
        19 => b"89ab".contains(byte),
        _ => b"0123456789abcdef".contains(byte),
    };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

/// A move begins.
pub(crate) fn began(world: &mut World<'_>) {
    world.transfers.wrong = None;
}

/// A session has moved: with nothing that was wrong before its new server had it.
pub(crate) fn moved(world: &mut World<'_>) {
    let harmless = |flaw: &Flaw| {
        matches!(
            flaw.kind,
            // Of these it may be that all was said before.
            FlawKind::Silent
                | FlawKind::Dies
                | FlawKind::Ends
                | FlawKind::Twice
                | FlawKind::Notice
                | FlawKind::Parameter
        )
    };
    if let Some(flaw) = world.transfers.wrong
        && !harmless(&flaw)
        && !world.misused
        && !world.transfers.owed
    {
        world.broken(
            Check::Outcome,
            format!("it moves behind an answer that {flaw}"),
        );
    }
}

/// A move has failed: as the phase and the reason have it.
pub(crate) fn failed(world: &mut World<'_>, outcome: Outcome, phase: Phase, reason: &Reason) {
    if !world.setup.transfers || world.misused || !world.servers_are_honest() {
        return;
    }
    world.transfers.owed |= phase == Phase::Read && !matches!(reason, Reason::State(_));
    let old = world.servers[PeerId::WRITER.index()].as_ref();
    let gone = world.links[PeerId::WRITER.index()].has_ended()
        || old.is_none_or(|server| server.phase() == ServerPhase::Closed);
    let is_over = !matches!(world.session.lifecycle(), Lifecycle::Live);
    let has_no_state = matches!(
        phase,
        Phase::Dial | Phase::Wait | Phase::Drain | Phase::Read
    );
    let fine = match reason {
        Reason::OldFault(_) => outcome == Outcome::Fatal && phase == Phase::Read,
        Reason::OldLost => outcome == Outcome::Fatal && has_no_state,
        Reason::State(_) => outcome == Outcome::Recoverable && phase == Phase::Read,
        Reason::Differs(_) => phase == Phase::Verify && (outcome == Outcome::Recoverable || gone),
        _ => outcome == Outcome::Recoverable || gone && !has_no_state,
    };
    let ends = matches!(reason, Reason::Cancelled | Reason::ClientLost);
    let leaves = ends || world.goodbye;
    let survives = outcome == Outcome::Recoverable && world.damage == Damage::None;
    if !fine || survives && is_over && !leaves {
        let detail = format!("{outcome:?} in {phase:?}: {reason}; over: {is_over}");
        return world.broken(Check::Outcome, detail);
    }
    let struck = |what: &dyn Fn(&Flaw) -> bool| {
        let at_old =
            |fault: &Fault| matches!(fault, Fault::Transfer(PeerId::WRITER, flaw) if what(flaw));
        world.strikes.iter().any(at_old)
    };
    let reasoned = match reason {
        Reason::State(_) => {
            let tied = old.is_some_and(|server| server.tie(&world.cluster, false).is_some());
            let fails = |fault: &Fault| matches!(fault, Fault::FailNext(..) | Fault::Cancel);
            // Which cursor was closed the proxy does not keep.
            let declared = reason
                .to_string()
                .ends_with("a cursor WITH HOLD may be open");
            // Of a server that has ended the session behind its answer nothing is to be seen any more.
            tied || gone
                || declared
                || world.strikes.iter().any(fails)
                || struck(&|flaw| flaw.kind.is_legal())
        }
        Reason::OldFault(_) => struck(&|flaw| !flaw.kind.is_legal()),
        Reason::Differs(_) => world.strikes.iter().any(|fault| match fault {
            Fault::Transfer(_, flaw) => flaw.kind == FlawKind::Swallows,
            Fault::FailNext(..) | Fault::Cancel => true,
            _ => false,
        }),
        _ => true,
    };
    if !reasoned {
        world.broken(Check::Outcome, format!("for no reason: {reason}"));
    }
}

/// Whether a message is what the old server has said when it ended the session in its answer to us.
pub(crate) fn is_farewell(world: &World<'_>, frame: &Frame) -> bool {
    let ends = |fault: &Fault| {
        let code = match fault {
            Fault::Transfer(PeerId::WRITER, flaw) if flaw.kind == FlawKind::Ends => "57P01",
            Fault::Shutdown(PeerId::WRITER, code) => code,
            _ => return false,
        };
        let field = [b"C", code.as_bytes()].concat();
        let mut fields = frame.body.split(|byte| *byte == 0);
        frame.tag == b'E' && fields.any(|other| *other == field)
    };
    world.moves.has_begun() && world.strikes.iter().any(ends)
}

/// Somebody is struck whose answer may be on its way already that makes it the writer.
pub(crate) fn strikes_late(world: &World<'_>, fault: &Fault) -> Damage {
    let sends = matches!(fault, Fault::Eof(_) | Fault::Cut(..) | Fault::Shutdown(..));
    let takes_over = world
        .session
        .migration()
        .is_some_and(|moving| matches!(moving.phase, Phase::Restore | Phase::Verify));
    match sends && takes_over && fault.peer().is_some_and(is_spare) {
        true => Damage::Session,
        false => Damage::None,
    }
}

/// Everything has come to its end: a client whose session ended with a move was told so.
pub(crate) fn answered(world: &mut World<'_>) {
    let fatal = |event: &Event| {
        matches!(
            event,
            Event::MoveFailed {
                outcome: Outcome::Fatal,
                reason,
                ..
            } if !matches!(reason, Reason::ClientLost)
        )
    };
    let drained = |event: &Event| matches!(event, Event::TimedOut(Timer::Drain));
    let hears = !world.links[PeerId::CLIENT.index()].has_ended() && world.client.is_ready();
    if !world.told.iter().any(fatal)
        || !hears
        || world.misused
        || world.damage >= Damage::Anything
        || world.goodbye
        || world.told.iter().any(drained)
    {
        return;
    }
    let last = world.client.frames.last();
    let is_fatal = last.is_some_and(|frame| {
        matches!(Backend::parse(frame.tag, &frame.body), Ok(Backend::ErrorResponse(fields)) if fields.is_fatal())
    });
    if !is_fatal && world.client.torn() == 0 {
        let detail = "a session that was lost on the way ends without a word";
        world.broken(Check::Outcome, detail);
    }
}

/// How often each thing was wrong with an answer: of the old server, and of the new one.
pub(crate) fn table(seen: &Seen) -> String {
    let mut out = format!("{:24} {:>8} {:>8}\n", "transfer", "old", "new");
    for (kind, name) in FlawKind::ALL {
        let [old, new] = [PeerId::WRITER, PeerId::THIRD].map(|peer| count(seen, peer, kind));
        out.push_str(&format!("{name:24} {old:>8} {new:>8}\n"));
    }
    out
}

fn count(seen: &Seen, peer: PeerId, kind: FlawKind) -> u64 {
    let name = Fault::Transfer(peer, Flaw { kind, at: 0 }).counted_as();
    let of_it = seen.faults.iter().filter(|((known, ..), _)| *known == name);
    of_it.map(|(_, count)| count).sum()
}
