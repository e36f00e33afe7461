//! What a session asks of its driver, and what it tells it: whom to dial and where, how to secure it, whom to cancel,
//! and events that say what happened.

use std::time::Instant;

use pgturnout::session::{
    Action, CancelTarget, CloseCause, Config, Destination, Event, Lifecycle, MoveTarget, PeerId,
    Role, RouteReason, TlsRole,
};
use pgturnout::track::Pin;

use super::catalogue::Phase;
use super::checks::Check;
use super::door;
use super::fault::{Damage, Known};
use super::named;
use super::oracle;
use super::retries;
use super::senseless;
use super::server::{Node, ServerPhase};
use super::setup::{Caller, LAG_ALLOWED, Setup, WINDOW};
use super::world::{Happened, Sent, State, World};

/// What is remembered of what was asked.
#[derive(Default)]
pub(crate) struct Asked {
    /// Where each peer was dialled.
    to: [Option<Destination>; PeerId::COUNT],
    /// Which readers have failed, and when: none of them is to be tried again at once.
    readers_failed: Vec<(Destination, Instant)>,
    /// What the driver has told of readers last.
    known: Vec<Known>,
    /// The reader's connection follows a refusal without TLS.
    for_tls: bool,
}

impl Asked {
    /// Of which version the server is that a peer was dialled at, if it is one to move to.
    pub(crate) fn spare_version(
        &self,
        config: &Config,
        setup: &Setup,
        peer: PeerId,
    ) -> Option<u32> {
        let at = self.to[peer.index()].and_then(|to| config.upstreams.get(to.0));
        at.filter(|upstream| upstream.role == Role::Spare)?;
        setup.spare.version(setup.server_version)
    }

    /// The driver has told what it knows of the readers.
    pub(crate) fn knows_readers(&mut self, known: &[Known]) {
        self.known = known.to_vec();
    }

    /// Whether a reader is known to be down, or for nothing else not to be used.
    fn is_down(&self, to: Destination) -> bool {
        let known = to.0.checked_sub(1).and_then(|at| self.known.get(at));
        known == Some(&Known::Down)
    }

    /// Whether a reader is known to be further behind than it may be, by either measure.
    fn lags(&self, config: &Config, to: Destination) -> bool {
        let known = to.0.checked_sub(1).and_then(|at| self.known.get(at));
        known.is_some_and(|known| is_behind(config, *known))
    }

    /// Who was in one seat is in another.
    pub(crate) fn change(&mut self, one: PeerId, other: PeerId) {
        self.to.swap(one.index(), other.index());
    }

    /// What is where a peer was dialled.
    pub(crate) fn node(&self, setup: &Setup, peer: PeerId) -> Node {
        self.to[peer.index()].map_or(Node::Primary, |to| setup.node_at(to))
    }
}

fn is_behind(config: &Config, known: Known) -> bool {
    let (time, bytes) = known.lag(WINDOW, LAG_ALLOWED);
    let choice = &config.reader_choice;
    let late = time
        .zip(choice.max_lag)
        .is_some_and(|(time, most)| time > most);
    let behind = bytes
        .zip(choice.max_lag_bytes)
        .is_some_and(|(bytes, most)| bytes > most);
    late || behind
}

/// The session asks for something.
pub(crate) fn action(world: &mut World<'_>, action: &Action) {
    match action {
        Action::Connect { peer, to } => {
            dials(world, *peer, *to);
            retries::dials(world, *peer, *to);
            world.duties.to[peer.index()] = Some(*to);
        }
        Action::StartTls {
            peer,
            role: TlsRole::Client(policy),
        } => {
            let to = world.duties.to[peer.index()];
            let wanted = to.and_then(|to| world.config.upstreams.get(to.0));
            let wanted = wanted.map(|upstream| upstream.tls);
            let after = wanted.and_then(|policy| policy.after_refusal());
            if wanted != Some(*policy) && after != Some(*policy) {
                let detail = format!("the {peer} is to be secured by {policy:?}, not {wanted:?}");
                world.broken(Check::LoginOrder, detail);
            }
        }
        Action::Notify(Event::UpstreamFailed {
            peer: PeerId::READER,
            to,
            ..
        }) => {
            // Time may have passed since, but no more than since the driver had nothing left to do.
            let failed = (*to, world.acted);
            world.duties.readers_failed.push(failed);
        }
        Action::Notify(Event::Moved {
            target: MoveTarget::Reader(reader) | MoveTarget::Both { reader, .. },
            ..
        }) => {
            // Whoever says where to go knows better.
            let failed = &mut world.duties.readers_failed;
            failed.retain(|(of, _)| of != reader);
        }
        Action::Notify(Event::OutOfSync { peer, then, .. }) => {
            senseless::told(world, *peer, *then);
        }
        Action::Notify(Event::WriterRetried { .. }) => retries::told(world),
        Action::Notify(Event::TlsAfterRefusal { .. }) => world.duties.for_tls = true,
        Action::Notify(event) => tells(world, event),
        _ => {}
    }
}

/// A peer is dialled where a server of its kind is, and a reader that failed not at once again.
fn dials(world: &mut World<'_>, peer: PeerId, to: Destination) {
    let moves = !matches!(peer, PeerId::WRITER | PeerId::READER);
    let role = match peer {
        PeerId::WRITER if !door::is_read_only(world) => Role::Writer,
        _ => Role::Reader,
    };
    let known = world.config.upstreams.get(to.0);
    let ordered = match moves {
        true => world.moves.is_writer(to),
        false => world.moves.is_reader(to) || known.is_some_and(|known| known.role == role),
    };
    if !ordered {
        world.broken(Check::Total, format!("the {peer} is dialled at {to:?}"));
    }
    // Only the gate's answer lets the client in.
    let lets_in = world.setup.gate_is_reader && !world.client.is_ready();
    // A login that goes on with TLS had begun before.
    let begins = !lets_in && !world.duties.for_tls;
    let why = match (
        world.duties.is_down(to),
        world.duties.lags(&world.config, to),
    ) {
        (true, _) => Some("to be down"),
        (false, lags) => lags.then_some("to lag"),
    };
    if let Some(why) = why
        && peer == PeerId::READER
        && !world.misused
        && begins
    {
        let detail = format!("the reader is dialled at {to:?}, which is known {why}");
        world.broken(Check::Excluded, detail);
    }
    let again = !std::mem::take(&mut world.duties.for_tls);
    let failures = world.duties.readers_failed.iter().rev();
    let last = failures.copied().find(|(of, _)| *of == to);
    if let Some((_, failed)) = last
        && peer == PeerId::READER
        && again
        && !world.misused
        && world.now < failed + world.config.timeouts.reader_retry
    {
        let early = failed + world.config.timeouts.reader_retry - world.now;
        world.broken(
            Check::Deadline,
            format!("the reader failed, and is tried again {early:?} too early"),
        );
    }
}

/// Somebody is to be cancelled where its session was dialled.
pub(crate) fn cancels(world: &mut World<'_>, target: &CancelTarget) {
    if world.duties.to[target.peer.index()] != Some(target.to) {
        world.broken(
            Check::CancelHome,
            format!("a cancel for the {} goes to {:?}", target.peer, target.to),
        );
    }
}

/// Everything has come to rest: a reader that is known to be down is left, unless the client is in the middle of something.
pub(crate) fn rests(world: &mut World<'_>) {
    let at = PeerId::READER.index();
    let down = world.duties.to[at].is_some_and(|to| world.duties.is_down(to));
    let serves = world.links[at].state == State::Open
        && world.seen.phase(PeerId::READER) == Phase::Idle
        && matches!(world.session.lifecycle(), Lifecycle::Live);
    let quiet = world.client.is_ready()
        && world.links[0].buffer.is_empty()
        && !world.session.is_holding()
        && world.session.poll_transmit(PeerId::CLIENT).is_none()
        && world.servers[at]
            .as_ref()
            .is_some_and(|server| server.phase() == ServerPhase::Idle && !server.has_unread());
    let hears = !world.links[at].stalled && !world.lies(PeerId::READER);
    if down && serves && quiet && hears && oracle::is_all_asked(world) && !oracle::copies(world) {
        world.broken(
            Check::Excluded,
            "a reader that is known to be down serves on",
        );
    }
}

fn tells(world: &mut World<'_>, event: &Event) {
    lags_and_told(world, event);
    if let Event::LoggedIn = event
        && world.told.contains(event)
    {
        world.broken(Check::Told, "the client logs in twice");
    }
    if let Event::Routed {
        reason: RouteReason::ReaderDown,
        ..
    } = event
        && world.links[PeerId::READER.index()].state == State::Closed
        && world.duties.known.is_empty()
        && let Some(closed) = world.reader_closed
        && world.acted >= closed + world.config.timeouts.reader_retry
    {
        let since = world.acted - closed;
        let detail = format!("the reader is down since {since:?}, and not dialled again");
        world.broken(Check::Live, detail);
    }
    if let Event::Pinned(Pin::TooManyStatements) = event
        && world.damage < Damage::Anything
        && !world.misused
        && named::has_room(world)
    {
        let detail = "statements are too many to be followed, and there is room for all of them";
        world.broken(Check::Told, detail);
    }
    if let Event::Routed { peer, to, .. } = event
        && world.duties.to[peer.index()] != Some(*to)
    {
        world.broken(
            Check::Told,
            format!("a request for the {peer} is told to go to {to:?}"),
        );
    }
}

/// A request goes to a reader that is not too far behind, unless it goes on with what that has begun; and if one goes to the
/// writer because readers are, some are.
fn lags_and_told(world: &mut World<'_>, event: &Event) {
    let Event::Routed {
        peer, to, reason, ..
    } = event
    else {
        return;
    };
    let asks = *peer == PeerId::READER && matches!(reason, RouteReason::Intent(_));
    let begins = world.seen.phase(PeerId::READER) == Phase::Idle;
    if asks && begins && world.duties.lags(&world.config, *to) && !world.misused {
        let detail = format!("a request goes to {to:?}, which is known to lag");
        world.broken(Check::Excluded, detail);
    }
    let mut known = world.duties.known.iter();
    if *reason == RouteReason::Lagging && !known.any(|known| is_behind(&world.config, *known)) {
        world.broken(
            Check::Excluded,
            "no reader lags, and a read is kept from one that does",
        );
    }
}

/// Everything has come to rest, with a client that was let in.
pub(crate) fn at_rest(world: &mut World<'_>) {
    of_its_own_accord(world);
    asides_in_their_place(world);
    lost_and_told(world);
    reads_are_read(world);
    nonces(world);
}

/// Nobody has done anything wrong: the session has no reason to end.
fn of_its_own_accord(world: &mut World<'_>) {
    let Some(cause) = world.session.ended() else {
        return;
    };
    if world.damage == Damage::None
        && !matches!(cause, CloseCause::UpstreamEnded(PeerId::WRITER))
        && !oracle::says_goodbye(world)
        && world.setup.lets_client_in()
    {
        world.broken(
            Check::Live,
            format!("the session ended of its own accord: {cause}"),
        );
    }
}

/// While the reader answers a request, nobody else's asides stand in the answer.
fn asides_in_their_place(world: &mut World<'_>) {
    if world.damage > Damage::Requests {
        return;
    }
    // What stands behind the reader's part of an answer, until more of the reader's comes.
    let (mut reader_answers, mut aside, mut wrong) = (false, None, None);
    for (at, (of, tag)) in world.to_client.begun().iter().enumerate() {
        match (of, tag) {
            (_, b'Z') => (reader_answers, aside) = (false, None),
            (Some(PeerId::READER), _) => {
                wrong = wrong.or(aside);
                reader_answers = true;
            }
            (Some(PeerId::WRITER), b'N' | b'A' | b'S') if reader_answers => aside = Some(at),
            (Some(_) | None, _) => {}
        }
    }
    // At the login the gate's settings come with the keys; only answers are looked at.
    if let Some(at) = wrong
        && at >= world.client.login.len()
    {
        let detail = format!(
            "message {} to the client is the writer's, within an answer of the reader's",
            at + 1
        );
        world.broken(Check::Direct, detail);
    }
}

/// As many requests were lost with readers as the client was told.
fn lost_and_told(world: &mut World<'_>) {
    if world.damage > Damage::Requests {
        return;
    }
    let told: usize = world
        .told
        .iter()
        .map(|event| match event {
            Event::ReaderLost { failed_requests } => *failed_requests,
            // At the next statement of a transaction that was lost between two.
            Event::StatementDenied { state, .. } if state.0 == *b"08006" => 1,
            _ => 0,
        })
        .sum();
    let frames = world.client.frames.iter();
    let heard = frames
        .filter(|frame| oracle::show(frame) == "E(08006 ERROR)")
        .count();
    if told < heard {
        world.broken(
            Check::Told,
            format!("{heard} requests were lost for the client, {told} are told of"),
        );
    }
}

/// A proven read goes to the reader unless there is a reason, and the reason is told.
fn reads_are_read(world: &mut World<'_>) {
    let wrong = world.told.iter().find(|event| {
        let kept = matches!(
            event,
            Event::Routed {
                peer: PeerId::WRITER,
                class: pgturnout::route::Class::Read,
                reason: RouteReason::Intent(_),
                ..
            }
        );
        kept && !world.setup.fittings.whims
    });
    let not_split = world.told.iter().find(|event| {
        matches!(
            event,
            Event::Routed {
                reason: RouteReason::NotSplit,
                ..
            }
        )
    });
    let splits = world.setup.split && !door::is_read_only(world);
    let wrong = wrong.or(not_split.filter(|_| splits));
    if let Some(event) = wrong.cloned() {
        world.broken(Check::Told, format!("a read is not read: {event:?}"));
    }
    // Nobody else is left to read.
    if door::is_read_only(world) {
        return;
    }
    let down = world.told.iter().any(|event| {
        matches!(
            event,
            Event::Routed {
                reason: RouteReason::ReaderDown,
                ..
            }
        )
    });
    // A reader that is dialled once more, for TLS, is not waited for.
    let once = world.setup.has_tls_enough() && !world.setup.servers_want_tls;
    // Nor is one that moves.
    let stays = !world.moves.has_begun() && world.duties.known.is_empty();
    if down && world.damage == Damage::None && once && stays && !quits(world) {
        world.broken(Check::Told, "the reader is down for no reason");
    }
}

/// Whether a login of ours to the reader cannot succeed although nothing went wrong.
fn quits(world: &World<'_>) -> bool {
    world.told.iter().any(|event| {
        matches!(
            event,
            Event::UpstreamFailed {
                peer: PeerId::READER,
                ..
            }
        )
    })
}

/// No nonce of SCRAM is used twice.
fn nonces(world: &mut World<'_>) {
    if world.setup.caller != Caller::Nobody {
        // Then they are the caller's, who uses one.
        return;
    }
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut twice = false;
    for peer in [PeerId::WRITER, PeerId::READER] {
        for happened in &world.happened[peer.index()] {
            let Happened::Sent(Sent::Ours(bytes)) = happened else {
                continue;
            };
            let mut rest = &bytes[..];
            let marker = b"n=,r=";
            while let Some(at) = rest.windows(marker.len()).position(|part| part == marker) {
                rest = &rest[at + marker.len()..];
                let nonce = &rest[..rest.len().min(16)];
                twice |= seen.contains(&nonce);
                seen.push(nonce);
            }
        }
    }
    if twice {
        world.broken(Check::LoginOrder, "a nonce was used twice");
    }
}

/// Whether a fault made a server say what it should not, or the driver do so.
pub(crate) fn servers_lie(world: &World<'_>) -> bool {
    !world.servers_are_honest()
}
