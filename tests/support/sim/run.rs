//! A scenario under every chunking.

use std::time::Duration;

use pgturnout::session::{CloseCause, Event as Told, PeerId, StatementKind, Timer};
use pgturnout::wire::SqlState;

use super::alone;
use super::catalogue::Seen;
use super::checks::{Check, Violation};
use super::client::Frame;
use super::comparable::{Comparable, comparable, is_paced};
use super::event::{Event, Scenario};
use super::fault::{Fault, is_spare};
use super::moves;
use super::oracle;
use super::reads;
use super::setup::Setup;
use super::world::{Chunking, Happened, Order, Sent, World};

/// What is compared between two runs of a scenario.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    happened: Vec<Vec<Happened>>,
    /// What the driver was told and asked to close.
    told: Vec<Told>,
    closes: Vec<(PeerId, CloseCause)>,
    rests: Vec<Option<(Duration, Timer)>>,
    client: Vec<String>,
    /// How many of the client's messages it could count on.
    owed: usize,
    /// Whether the bytes that the client is sent depend on when the standby or an aside comes.
    varies: bool,
    /// Whether the session was to move: whether it did before or behind a request depends on when bytes came.
    moves: bool,
    /// Whether the client says what belongs to a copy: out of place it means nothing, and goes to whoever was asked last.
    strays: bool,
    /// Whether rows that a standby has not yet are left out of what the client saw.
    fresh: bool,
    /// How many of the client's messages were forwarded when the writer became another, each time; whether anything but moves
    /// has struck.
    points: Vec<usize>,
    struck: bool,
    /// Whether reads go to the reader as copies where nothing is in flight, and whether the driver knows of readers: what
    /// either leads to depends on when bytes came.
    copies: bool,
    knows_readers: bool,
    /// Where requests went.
    routes: Vec<PeerId>,
    /// Whether each request was answered before the next was made: none is where a server or the caller is silent up to the
    /// end.
    paced: bool,
    comparable: Comparable,
}

impl Story {
    /// What was closed and why, peer by peer: a connection is closed behind its last bytes, and whose last bytes leave
    /// first is the network's affair.
    fn closed(&self, moves: bool) -> Vec<(PeerId, CloseCause)> {
        let mut closes = self.closes.clone();
        // A reader that nothing was asked of was dialled or not, as reads that went to the writer were looked at or not.
        let needed = self.routes.contains(&PeerId::READER);
        let excluded = |cause: &CloseCause| matches!(cause, CloseCause::ReaderExcluded(_));
        closes.retain(|(_, cause)| !excluded(cause));
        // Whether it had refused us before the session ended is the network's affair.
        let of_reader = [
            CloseCause::SessionOver,
            CloseCause::LoginFailed(PeerId::READER),
        ];
        closes.retain(|(peer, cause)| {
            needed || *peer != PeerId::READER || !of_reader.contains(cause)
        });
        if moves {
            closes.retain(|(peer, _)| *peer == PeerId::CLIENT);
        }
        if self.knows_readers {
            closes.retain(|(peer, _)| *peer != PeerId::READER);
        }
        closes.sort_by_key(|(peer, _)| peer.index());
        closes
    }

    /// Whether the session ends for what its client says: how far a login beside it is then depends on when bytes come.
    fn gives_up(&self) -> bool {
        let fault = |cause: &CloseCause| matches!(cause, CloseCause::ClientFault(_));
        self.closes.iter().any(|(_, cause)| fault(cause))
    }

    /// Whether a peer may be sent something else in both.
    fn may_part_from(&self, other: &Story, peer: usize, moves: bool) -> bool {
        let copies = self.copies && !(self.paced && other.paced);
        match peer == PeerId::CLIENT.index() {
            true => self.varies,
            false => copies && peer == PeerId::READER.index() || self.strays && moves,
        }
    }

    /// How much of both can be compared: a fault that waits for its moment may have struck in one of them only.
    fn comparable_with(&self, other: &Story) -> Comparable {
        match self.fresh == other.fresh {
            true => self.comparable.max(other.comparable),
            false => Comparable::Nothing,
        }
    }

    /// Who was sent the requests, as far as the driver was told.
    fn served(&self) -> Vec<(u64, PeerId)> {
        let began = self.told.iter().filter_map(|event| match event {
            Told::RequestBegan { request, peer } => Some((*request, *peer)),
            _ => None,
        });
        began.collect()
    }

    /// What the driver was told, but for how the login to the reader goes: it may go on beside a request to the writer.
    fn told_in_order(&self) -> Vec<&Told> {
        let of_reader = |event: &Told| {
            matches!(
                event,
                Told::UpstreamReady { peer, .. }
                    | Told::UpstreamFailed { peer, .. }
                    | Told::TlsAfterRefusal { peer, .. }
                    if *peer == PeerId::READER
            )
        };
        let told = self.told.iter().filter(|event| !of_reader(event));
        told.filter(|event| !is_of_a_move(event)).collect()
    }

    /// What the driver was told, sorted. In which order two servers are heard of is the network's affair; so is whether a
    /// transaction was open by the time that the next request was decided, which is the reason of some of those that
    /// would have gone the same way without it. What does not fit beside what is in flight pins the session. A request
    /// that nothing answers has begun or not, as its server was known to skip it or not. A reader that nothing was asked of
    /// is ready before the session ends, or is not. What a Bind or an Execute runs whose Parse is being answered
    /// is known, or is not any more.
    fn told_in_any_order(&self, moves: bool) -> Vec<String> {
        let is_answered = |number: &u64| {
            let of_it = |event: &Told| matches!(event, Told::ResponseBegan { request, .. } if request == number);
            self.told.iter().any(of_it)
        };
        let mut told: Vec<String> = self
            .told
            .iter()
            .filter(|event| !is_of_a_move(event))
            .filter(|event| match event {
                // A reader that moves is ready once more, if it is needed once more.
                Told::UpstreamReady { .. } if moves => false,
                // A reader that is excluded is there to be left, or is not yet.
                Told::Pinned(_) | Told::ReaderLeft { .. } => false,
                Told::Statement { kind, .. } => {
                    !matches!(kind, StatementKind::Bind | StatementKind::Execute)
                }
                Told::RequestBegan { request, .. } => is_answered(request),
                Told::UpstreamReady { peer, .. } | Told::TlsAfterRefusal { peer, .. } => {
                    let used = self.routes.contains(peer) && !self.knows_readers;
                    *peer != PeerId::READER || used
                }
                _ => true,
            })
            .map(|event| match event {
                Told::Routed { request, peer, .. } if moves => {
                    format!("request {request} goes to the {peer}")
                }
                Told::Routed {
                    request, peer, to, ..
                } => format!("request {request} goes to the {peer} at {to:?}"),
                other => format!("{other:?}"),
            })
            .collect();
        told.sort();
        told
    }
}

/// Whether an event tells of a move, or of the server that it is to.
fn is_of_a_move(event: &Told) -> bool {
    let spare = match event {
        Told::UpstreamReady { peer, .. }
        | Told::UpstreamFailed { peer, .. }
        | Told::TlsAfterRefusal { peer, .. } => is_spare(*peer),
        _ => false,
    };
    spare
        || matches!(
            event,
            Told::MoveBegan { .. }
                | Told::MoveHeld
                | Told::MoveReleased
                | Told::Moved { .. }
                | Told::MoveFailed { .. }
        )
}

/// How much of the runs of a scenario was compared. The order is that of how little it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// All that the client, the servers and the driver were told.
    Full,
    /// What may differ was left out: where requests went, or what came behind an end.
    Part,
    Nothing,
}

/// The ways in which a scenario's bytes are cut.
pub(crate) fn chunkings(setup: &Setup) -> [Chunking; 3] {
    let anyhow = Chunking::Seeded(setup.fittings.cuts);
    [Chunking::Whole, Chunking::Bytes, anyhow]
}

/// Plays a scenario three times, cut differently, and compares. Whether all of it was compared.
pub(crate) fn play(scenario: &Scenario, seen: &mut Seen) -> Result<Extent, Violation> {
    let mut first: Option<Story> = None;
    let mut extent = Extent::Full;
    for chunking in chunkings(&scenario.setup) {
        let story = once(scenario, chunking, seen)?;
        match &first {
            None => first = Some(story),
            Some(first) => {
                let how = (chunking, Order::ClientFirst);
                extent = extent.max(agree(first, &story, how)?);
            }
        }
    }
    Ok(extent)
}

/// Every way in which a scenario is played: how its bytes are cut, and whom the driver turns to first.
pub(crate) fn ways(setup: &Setup) -> [(Chunking, Order); 5] {
    let [whole, bytes, anyhow] = chunkings(setup);
    [
        (whole, Order::ClientFirst),
        (bytes, Order::ClientFirst),
        (anyhow, Order::ClientFirst),
        (Chunking::Seeded(3), Order::ClientFirst),
        (whole, Order::ReaderFirst),
    ]
}

/// A way to play a scenario, in words.
pub(crate) fn way((chunking, order): (Chunking, Order)) -> String {
    let cut = match chunking {
        Chunking::Whole => "as they were sent",
        Chunking::Bytes => "one by one",
        Chunking::Seeded(_) => "in pieces of up to 23",
    };
    match order {
        Order::ClientFirst => format!("where bytes arrive {cut}"),
        Order::ReaderFirst => format!("where bytes arrive {cut}, the reader's before others"),
    }
}

/// What happens in a scenario, in words, and whether a law is broken in it: not where two ways to play it are told apart.
pub(crate) fn tell(scenario: &Scenario, (chunking, order): (Chunking, Order)) -> (String, bool) {
    let (mut seen, mut others) = (Seen::default(), Seen::default());
    seen.begin();
    others.begin();
    let mut world = World::new(&scenario.setup, chunking, &mut seen).in_order(order);
    if scenario.setup.clients > 1 {
        world = world.with_neighbour(World::new(&scenario.setup, chunking, &mut others));
    }
    world.log = Some(Vec::new());
    let played = alone::caught(|| {
        world.play(scenario);
        Ok(())
    });
    let mut lines = world.log.take().unwrap_or_default();
    let violation = played.err().or(world.violation.take());
    if let Some(Violation { check, detail, .. }) = &violation {
        lines.extend(world.not_taken());
        lines.push(format!("broken: {check:?}: {detail}"));
    }
    (lines.join("\n"), violation.is_some())
}

/// What the oracle says of a scenario if the session had refused, in a transaction on the reader, what was asked last.
pub(crate) fn with_its_last_request_refused(scenario: &Scenario) -> Option<Violation> {
    let mut seen = Seen::default();
    seen.begin();
    let mut world = World::new(&scenario.setup, Chunking::Whole, &mut seen);
    world.play_events(scenario);
    assert!(world.violation.is_none(), "{:?}", world.violation);
    let frames = &mut world.client.frames;
    let ready: Vec<usize> = (0..frames.len())
        .filter(|at| frames[*at].tag == b'Z')
        .collect();
    frames.truncate(ready[ready.len() - 2] + 1);
    let frame = |tag, body: &[u8]| Frame {
        tag,
        body: body.to_vec(),
    };
    frames.push(frame(b'E', b"SERROR\0VERROR\0C0A000\0Mhas no place\0\0"));
    frames.push(frame(b'Z', b"E"));
    world.told.push(Told::StatementDenied {
        request: 3,
        peer: PeerId::READER,
        state: SqlState(*b"0A000"),
    });
    oracle::compare(&mut world);
    world.violation
}

/// What the oracle says of a scenario if the last message that its client was told had been lost on the way.
pub(crate) fn without_its_last_answer(scenario: &Scenario) -> Option<Violation> {
    let mut seen = Seen::default();
    seen.begin();
    let mut world = World::new(&scenario.setup, Chunking::Whole, &mut seen);
    world.play_events(scenario);
    assert!(world.violation.is_none(), "{:?}", world.violation);
    world.client.frames.pop().expect("the client was answered");
    oracle::compare(&mut world);
    world.violation
}

/// Plays a scenario with a driver that turns to its peers in another order: that changes nothing either.
pub(crate) fn play_reordered(scenario: &Scenario, seen: &mut Seen) -> Result<(), Violation> {
    let first = ordered(scenario, Chunking::Whole, Order::ClientFirst, seen)?;
    let second = ordered(scenario, Chunking::Whole, Order::ReaderFirst, seen)?;
    let same = agree(&first, &second, (Chunking::Whole, Order::ReaderFirst));
    same.map(|_| ()).map_err(|violation| Violation {
        check: Check::Polling,
        ..violation
    })
}

/// Plays a scenario twice in the same way: nothing may differ.
pub(crate) fn play_twice(scenario: &Scenario, seen: &mut Seen) -> Result<(), Violation> {
    let first = once(scenario, Chunking::Seeded(3), seen)?;
    let second = once(scenario, Chunking::Seeded(3), seen)?;
    match first == second {
        true => Ok(()),
        false => Err(Violation::new(
            Check::Determinism,
            "the same scenario came out differently",
        )),
    }
}

fn once(scenario: &Scenario, chunking: Chunking, seen: &mut Seen) -> Result<Story, Violation> {
    ordered(scenario, chunking, Order::ClientFirst, seen)
}

fn ordered(
    scenario: &Scenario,
    chunking: Chunking,
    order: Order,
    seen: &mut Seen,
) -> Result<Story, Violation> {
    seen.begin();
    let mut others = Seen::default();
    others.begin();
    let mut world = World::new(&scenario.setup, chunking, seen).in_order(order);
    if scenario.setup.clients > 1 {
        world = world.with_neighbour(World::new(&scenario.setup, chunking, &mut others));
    }
    world.play(scenario);
    if let Some(mut violation) = world.violation.take() {
        violation.detail = format!("{} ({})", violation.detail, way((chunking, order)));
        return Err(violation);
    }
    Ok(Story {
        comparable: comparable(&world, scenario),
        client: oracle::seen_by(&moves::of_servers(&world), &world),
        owed: oracle::owed(&world),
        varies: scenario.setup.lag
            || scenario.has_aims()
            || world
                .strikes
                .iter()
                .any(|fault| matches!(fault, Fault::Async(..) | Fault::Transfer(..))),
        moves: world.moves.has_begun(),
        strays: scenario.events.iter().any(Event::is_of_a_copy),
        fresh: reads::are_all_fresh(&world),
        points: world.moves.points().to_vec(),
        struck: world
            .strikes
            .iter()
            .any(|fault| !matches!(fault, Fault::Move(_))),
        copies: scenario.setup.copies_requests(),
        knows_readers: !is_paced(scenario)
            && world
                .strikes
                .iter()
                .any(|fault| matches!(fault, Fault::Readers(_))),
        routes: world
            .told
            .iter()
            .filter_map(|event| match event {
                Told::Routed { peer, .. } => Some(*peer),
                _ => None,
            })
            .collect(),
        // When a promotion is noticed depends on when its reader is asked how far it is.
        paced: is_paced(scenario)
            && !world
                .strikes
                .iter()
                .any(|fault| matches!(fault, Fault::Promote))
            && !world.behind,
        happened: world.happened.to_vec(),
        told: std::mem::take(&mut world.told),
        closes: std::mem::take(&mut world.closes),
        rests: std::mem::take(&mut world.rests),
    })
}

/// Where two ways to play a scenario part, in words: the whole of both would hide it.
fn parting<T: std::fmt::Debug + PartialEq>(
    what: &str,
    a: &[T],
    b: &[T],
    how: (Chunking, Order),
) -> String {
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let said = |all: &[T]| match all.get(at) {
        Some(one) => format!("`{one:?}`"),
        None => "nothing more".to_owned(),
    };
    let behind = match at.checked_sub(1).and_then(|before| a.get(before)) {
        Some(before) => format!(" behind `{before:?}`"),
        None => " at first".to_owned(),
    };
    format!("{what}{behind} {}, and {} {}", said(a), said(b), way(how))
}

fn agree(first: &Story, other: &Story, how: (Chunking, Order)) -> Result<Extent, Violation> {
    let wrong = |detail: String| {
        Err(Violation {
            way: Some(how),
            ..Violation::new(Check::Chunking, detail)
        })
    };
    let moves = first.moves || other.moves;
    let comparable = first.comparable_with(other);
    if comparable == Comparable::Nothing {
        return Ok(Extent::Nothing);
    }
    // What was not asked for yet may have come or not.
    let (a, b) = (&first.client, &other.client);
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let client =
        common == a.len().max(b.len()) || common >= first.owed && common == a.len().min(b.len());
    if !client && comparable == Comparable::All {
        return wrong(parting("the client saw", a, b, how));
    }
    if first.routes != other.routes && first.paced && comparable == Comparable::All {
        let (a, b) = (&first.routes, &other.routes);
        return wrong(parting("requests went to", a, b, how));
    }
    let in_order = first.told_in_order() == other.told_in_order();
    if !in_order && first.paced && comparable == Comparable::All {
        let (a, b) = (first.told_in_order(), other.told_in_order());
        return wrong(parting("the driver was told", &a, &b, how));
    }
    if first.points != other.points && (first.struck || other.struck) {
        // What a fault did to a move depends on how much of it was done when it struck.
        return Ok(Extent::Part);
    }
    if first.routes != other.routes || moves && first.served() != other.served() {
        // A request that was decided while others were in flight may have gone to the writer for their sake; which
        // were in flight depends on when bytes came. What shows no statement goes where the last did, which moves.
        return Ok(Extent::Part);
    }
    if comparable == Comparable::All {
        let (a, b) = (first.closed(moves), other.closed(moves));
        if a != b {
            return wrong(parting("what was closed was", &a, &b, how));
        }
        if first.rests != other.rests && !first.varies && !moves && !first.gives_up() {
            let (a, b) = (&first.rests, &other.rests);
            return wrong(parting("what was waited for at rest was", a, b, how));
        }
        let (a, b) = (
            first.told_in_any_order(moves),
            other.told_in_any_order(moves),
        );
        if a != b {
            return wrong(parting("the driver was told", &a, &b, how));
        }
    }
    for (peer, (a, b)) in first.happened.iter().zip(&other.happened).enumerate() {
        if first.may_part_from(other, peer, moves) {
            continue;
        }
        let (a, b) = (sent(a, moves), sent(b, moves));
        let same = match comparable {
            // What no Sync follows may be forwarded early or late, and answered or not.
            Comparable::All | Comparable::Beginning => a.starts_with(&b) || b.starts_with(&a),
            Comparable::Nothing => true,
        };
        if !same {
            let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            let part = |bytes: &[u8]| {
                let from = at.saturating_sub(20);
                bytes[from..bytes.len().min(at + 60)]
                    .escape_ascii()
                    .to_string()
            };
            return wrong(format!(
                "the {} was sent `{}`, and {} `{}`",
                PeerId::ALL[peer],
                part(&a),
                way(how),
                part(&b)
            ));
        }
    }
    Ok(match comparable {
        Comparable::All => Extent::Full,
        Comparable::Beginning => Extent::Part,
        Comparable::Nothing => Extent::Nothing,
    })
}

/// All that a peer was sent of the others', over all its connections.
fn sent(happened: &[Happened], moves: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for what in happened {
        match what {
            // Whether a statement is repeated on a server may depend on whether it has failed already.
            Happened::Sent(Sent::Ours(_)) => {}
            Happened::Sent(Sent::Spliced(_, bytes)) => out.extend_from_slice(bytes),
            Happened::Connected | Happened::Secured if moves => {}
            Happened::Connected => out.extend_from_slice(b"<connected>"),
            Happened::Secured => out.extend_from_slice(b"<secured>"),
            Happened::Dropped(_) | Happened::Closed => {}
        }
    }
    out
}
