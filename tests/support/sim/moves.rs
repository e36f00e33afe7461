//! Sessions that move: that the client is not told, that nothing is under way when the writer changes, and that what was
//! begun is counted.

use std::collections::VecDeque;
use std::time::Instant;

use pgturnout::migrate::postgres::{Listening, Sequences};
use pgturnout::migrate::{CannotStart, Obstacle, Phase, Reason, TransferCounter, Trust};
use pgturnout::session::{
    Accept, Destination, Event, Lifecycle, MoveOrder, MoveTarget, PeerId, Role, Transmit,
};
use pgturnout::wire::{Backend, Header};

use super::checks::Check;
use super::client::Frame;
use super::conduct;
use super::distance::{self, Distance};
use super::fault::{Damage, Fault, is_spare};
use super::oracle;
use super::server::ServerPhase;
use super::setup::{Caller, Method, Spare};
use super::world::{State, World};

/// Under which name a session asks its servers what it moves with.
const STATEMENT: &[u8] = b"pgturnout.probe";

/// What may be held while a session moves, beside everything else: two of its states, and a row that is read.
pub(crate) const HELD: usize = 96 << 10;

/// What is remembered of a session's moves.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// What was ordered and begun.
    orders: Vec<MoveOrder>,
    began: u64,
    /// How often the writer became another.
    cut_overs: usize,
    /// Whether a session was moved that had what no probe finds, as the library's documentation has it: `currval`, and where
    /// only servers are asked custom settings.
    lossy: bool,
    /// Every place that was to be the writer's, or the reader's.
    writers: Vec<Destination>,
    readers: Vec<Destination>,
    /// When the move that is under way, or was last, began; in which phase it is and since when; since when its client is
    /// held.
    ordered: Option<Instant>,
    phase: Option<(Phase, Instant)>,
    held: Option<Instant>,
    /// How many faults had struck when each move began of whose end the driver has not heard; and when the one in each seat
    /// was dialled. Another move may be ordered before it hears.
    struck: VecDeque<usize>,
    dialled: [usize; PeerId::COUNT],
    /// How many messages of the client had been forwarded when the writer became another, each time.
    points: Vec<usize>,
    pub(crate) distance: Distance,
}

impl Moves {
    /// A server is dialled. What has struck the one before it there is nothing to it.
    pub(crate) fn dials(&mut self, peer: PeerId, struck: usize) {
        self.dialled[peer.index()] = struck;
    }

    /// Who was in one seat is in another.
    pub(crate) fn change(&mut self, one: PeerId, other: PeerId) {
        self.dialled.swap(one.index(), other.index());
    }

    /// How many messages of the client had been forwarded when the writer became another, each time.
    pub(crate) fn points(&self) -> &[usize] {
        &self.points
    }

    /// Whether the writer is, or was, to go there. What was called off may be dialled still.
    pub(crate) fn is_writer(&self, to: Destination) -> bool {
        self.writers.contains(&to)
    }

    /// Whether the reader may be there for a move's sake.
    pub(crate) fn is_reader(&self, to: Destination) -> bool {
        self.readers.contains(&to)
    }

    /// Whether the session has another writer than the one that it began with.
    pub(crate) fn has_moved(&self) -> bool {
        self.cut_overs > 0
    }

    /// How often the writer became another.
    pub(crate) fn cut_overs(&self) -> usize {
        self.cut_overs
    }

    /// What was ordered, of the moves that the driver was not told the end of: the one that began first and the last one.
    pub(crate) fn open(&self, world: &World<'_>) -> Option<[&MoveOrder; 2]> {
        let ends = |event: &&Event| matches!(event, Event::Moved { .. } | Event::MoveFailed { .. });
        let ended = world.told.iter().filter(ends).count();
        Some([self.orders.get(ended)?, self.orders.last()?])
    }

    /// Whether it was to move to a server that takes no writes.
    fn went_to_a_standby(&self, world: &World<'_>) -> bool {
        self.writers.iter().any(|to| {
            let upstream = world.config.upstreams.get(to.0);
            upstream.is_none_or(|upstream| upstream.role == Role::Reader)
        })
    }

    /// Whether the session may have lost what no probe finds.
    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// The move that is under way is in this phase, or there is none. Whether that is news.
    pub(crate) fn enters(&mut self, phase: Option<Phase>, now: Instant) -> bool {
        let held = phase.is_some_and(|phase| {
            matches!(
                phase,
                Phase::Read | Phase::Restore | Phase::Verify | Phase::CutOver
            )
        });
        if held {
            self.held.get_or_insert(now);
        }
        let is_news = self.phase.map(|(phase, _)| phase) != phase;
        if is_news {
            self.phase = phase.map(|phase| (phase, now));
        }
        is_news
    }

    /// When the phase ends at the latest in which the move is.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let (limits, ordered) = (self.orders.last()?.limits, self.ordered?);
        let (phase, since) = self.phase?;
        let latest = ordered + limits.total;
        let end = match (phase, self.held) {
            (Phase::Dial, _) => ordered + limits.dial,
            // Behind the state of a session of CockroachDB.
            (_, Some(held)) => held + limits.hold,
            (Phase::LogIn, None) => since + limits.login,
            (_, None) => latest,
        };
        Some(end.min(latest))
    }

    /// Whether it was to move at all.
    pub(crate) fn has_begun(&self) -> bool {
        self.began > 0
    }
}

/// The driver has the session move, and it does or does not.
pub(crate) fn begun(world: &mut World<'_>, order: MoveOrder, result: &Result<(), CannotStart>) {
    match result {
        Ok(()) => {
            world.moves.began += 1;
            let (writer, reader) = match order.target {
                MoveTarget::Writer(writer) => (Some(writer), None),
                MoveTarget::Reader(reader) => (None, Some(reader)),
                MoveTarget::Both { writer, reader } => (Some(writer), Some(reader)),
            };
            world.moves.writers.extend(writer);
            world.moves.readers.extend(reader);
            world.moves.orders.push(order);
            let now = world.now;
            let phase = world.session.migration().map(|moving| moving.phase);
            (world.moves.phase, world.moves.held) = (None, None);
            world.moves.ordered = Some(now);
            let struck = world.strikes.len();
            world.moves.struck.push_back(struck);
            world.moves.enters(phase, now);
        }
        Err(CannotStart::NotServing) if !world.is_opaque() && !world.misused => {
            world.broken(Check::Live, "a client that is let in is not to be moved");
        }
        Err(_) => {}
    }
    accounted(world);
}

/// The driver has it stay.
pub(crate) fn called_off(world: &mut World<'_>) {
    if world.session.migration().is_some() {
        world.broken(Check::Accounted, "a move that was called off goes on");
    }
    accounted(world);
}

/// A move is among what began, until it is among what ended, once.
pub(crate) fn accounted(world: &mut World<'_>) {
    let stats = *world.session.transfers();
    let count = |counter| stats.get(counter);
    let began = count(TransferCounter::Attempted);
    let ended = count(TransferCounter::Success)
        + count(TransferCounter::Recoverable)
        + count(TransferCounter::Fatal);
    let runs = u64::from(world.session.migration().is_some());
    if began != world.moves.began || began != ended + runs {
        let ordered = world.moves.began;
        let detail = format!("{ordered} moves ordered, {began} begun, {ended} ended, {runs} run");
        world.broken(Check::Accounted, detail);
    }
}

/// Everything has come to rest: of each move that has ended the driver was told.
pub(crate) fn rests(world: &mut World<'_>) {
    let stats = *world.session.transfers();
    let told = |is: &dyn Fn(&Event) -> bool| {
        let count = world.told.iter().filter(|event| is(event)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    let began = told(&|event| matches!(event, Event::MoveBegan { .. }));
    let moved = told(&|event| matches!(event, Event::Moved { .. }));
    let failed = told(&|event| matches!(event, Event::MoveFailed { .. }));
    let of = |counter| stats.get(counter);
    let counted = [
        of(TransferCounter::Attempted),
        of(TransferCounter::Success),
        of(TransferCounter::Recoverable) + of(TransferCounter::Fatal),
    ];
    if counted != [began, moved, failed] {
        let detail = format!("counted {counted:?}, and told of {began}, {moved} and {failed}");
        return world.broken(Check::Accounted, detail);
    }
    let lives = matches!(world.session.lifecycle(), Lifecycle::Live);
    if world.session.migration().is_some() || world.misused || !lives {
        return;
    }
    let waits = |peer: &PeerId| {
        let link = &world.links[peer.index()];
        is_spare(*peer) && link.state != State::Closed && !link.stalled
    };
    let left = PeerId::ALL.into_iter().find(waits);
    if let Some(peer) = left
        && world.session.poll_transmit(peer).is_none()
        && world.links[peer.index()].buffer.is_empty()
    {
        world.broken(
            Check::Live,
            format!("nobody needs the {peer}, and it stays"),
        );
    }
}

/// The faults are over and everything has come to rest: a move that was asked for has ended, unless it waits for its client.
pub(crate) fn ended(world: &mut World<'_>) {
    let Some(moving) = world.session.migration() else {
        return;
    };
    let phase = moving.phase;
    let why = moving.waits_for.cloned();
    let lives = matches!(world.session.lifecycle(), Lifecycle::Live);
    if !lives || world.misused || !world.servers_are_honest() || world.lies(PeerId::CLIENT) {
        return;
    }
    // Of a message whose length is wrong the rest does not come before the phase is over.
    if world.damage == Damage::Anything {
        return;
    }
    let of_the_client = waits_for_the_client(world);
    if of_the_client.is_some_and(|_| matches!(phase, Phase::Wait | Phase::Drain)) {
        return;
    }
    let obstacles = why.as_ref().map(|why| why.obstacles());
    let pinned = |obstacle: &Obstacle| matches!(obstacle, Obstacle::Pinned(_));
    if phase == Phase::Wait && obstacles.is_some_and(|all| all.iter().any(pinned)) {
        return;
    }
    let why = why.map_or("nothing".to_owned(), |why| why.to_string());
    let detail = format!("a move never ends: {phase}, and it waits for {why}");
    world.broken(Check::Live, detail);
}

/// What the client has to do before its session can move, or to take.
fn waits_for_the_client(world: &World<'_>) -> Option<&'static str> {
    let works = |peer: PeerId| {
        let server = world.servers[peer.index()].as_ref();
        server.is_some_and(|server| match server.phase() {
            ServerPhase::InTransaction
            | ServerPhase::Failed
            | ServerPhase::Batch
            | ServerPhase::Skipping
            | ServerPhase::CopyIn => true,
            ServerPhase::Opening
            | ServerPhase::Authenticating
            | ServerPhase::Idle
            | ServerPhase::Waiting
            | ServerPhase::Closed => false,
        })
    };
    if works(PeerId::WRITER) || works(PeerId::READER) {
        return Some("it has begun something on a server");
    }
    if !world.from_client.is_between() {
        return Some("the rest of a message is to come");
    }
    let mut frames = world.client.frames.iter().rev();
    let ready = frames.find(|frame| frame.tag == b'Z');
    if ready.is_some_and(|frame| frame.body != b"I") {
        return Some("it was told that its transaction is open");
    }
    let client = &world.links[PeerId::CLIENT.index()];
    if client.stalled {
        return Some("it takes nothing");
    }
    None
}

/// The end of a move's phase.
pub(crate) fn deadline(world: &mut World<'_>, at: Instant) {
    let Some(moving) = world.session.migration() else {
        return world.broken(Check::Deadline, "of a move, and none is under way");
    };
    let phase = moving.phase;
    let end = world.moves.ends();
    if end != Some(at) {
        let [at, end] = [Some(at), end].map(|at| at.map(|at| at - world.start));
        let detail = format!("of a move, {phase}: it is at {at:?}, and should be at {end:?}");
        world.broken(Check::Deadline, detail);
    }
}

/// Whether a message of ours to a server is a move's, which has a deadline of its own.
pub(crate) fn asks(world: &World<'_>, to: PeerId) -> bool {
    let reads = world
        .session
        .migration()
        .is_some_and(|moving| moving.phase == Phase::Read);
    // The end of a probe may leave when its move is over.
    let probes = |text: &String| text.starts_with("SELECT pg_catalog.current_setting(");
    let writers = &world.injected_texts[PeerId::WRITER.index()];
    is_spare(to) || to == PeerId::WRITER && (reads || writers.last().is_some_and(probes))
}

/// Whether a Parse or a Close is a move's: what it asks is the servers' own, or what the client has set.
pub(crate) fn is_of_a_move(world: &World<'_>, tag: u8, body: &[u8]) -> bool {
    let name = match tag {
        b'P' => body.split(|byte| *byte == 0).next(),
        b'C' => body
            .strip_prefix(b"S")
            .and_then(|name| name.strip_suffix(b"\0")),
        _ => None,
    };
    world.moves.has_begun() && name == Some(STATEMENT)
}

/// The writer is another from here on; the old one has the other's seat. Nothing was under way, and the new one has what
/// the old one had.
pub(crate) fn cut_over(world: &mut World<'_>, old: PeerId) {
    world.moves.cut_overs += 1;
    distance::cut_over(world);
    let forwarded = world.from_client.begun().len();
    world.moves.points.push(forwarded);
    // What the old one says behind its last answer nobody waits for.
    world.writer_asides = world
        .writer_asides
        .saturating_sub(unread_asides(world, old));
    // What struck the new one strikes who serves.
    let since = world.moves.dialled[old.index()];
    let before = world.strikes[since.min(world.strikes.len())..]
        .iter()
        .filter(|fault| fault.peer() == Some(old));
    let damage = before.map(|fault| fault.damage_by_the_writer()).max();
    world.damage = world.damage.max(damage.unwrap_or(Damage::None));
    if world.damage >= Damage::Anything {
        return;
    }
    let offer = world.session.poll_transmit(PeerId::CLIENT);
    let mut wrong = None;
    // What the new one says behind the cutover may be on its way already.
    let of_another = |from: PeerId| from != PeerId::WRITER;
    if matches!(offer, Some(Transmit::Splice { from, .. }) if of_another(from))
        || !world.to_client.is_between()
    {
        wrong = Some("a message is on its way to the client".to_owned());
    }
    if !world.from_client.is_between() {
        wrong = Some("a message of the client's is on its way".to_owned());
    }
    for peer in [old, PeerId::READER] {
        let Some(server) = &world.servers[peer.index()] else {
            continue;
        };
        let phase = server.phase();
        let works = matches!(
            phase,
            ServerPhase::InTransaction
                | ServerPhase::Failed
                | ServerPhase::Skipping
                | ServerPhase::CopyIn
                | ServerPhase::Waiting
        );
        // A Flush by itself passes for a batch there.
        let works = works || phase == ServerPhase::Batch && peer == old;
        let unread = phase == ServerPhase::Idle && server.has_unread();
        if works || unread && peer == old {
            wrong = Some(format!("the {peer} is {phase:?}, unread: {unread}"));
        }
    }
    let order = world.moves.orders.last();
    let listens = order.is_some_and(|order| order.listening == Listening::Move);
    let probes = order.is_some_and(|order| order.trust == Trust::Probe);
    // CockroachDB's own transfer has all of it.
    let finds_all = world.setup.transfers;
    if let (Some(old), Some(new)) = (&world.servers[old.index()], &world.servers[1])
        && !finds_all
    {
        world.moves.lossy |= old.knows_what_no_probe_finds(new, probes);
    }
    if let Some(server) = &world.servers[old.index()]
        && let Some(tie) = server.tie(&world.cluster, listens)
    {
        wrong = Some(format!("the session is tied to the old server: {tie}"));
    }
    if let Some(what) = wrong {
        return world.broken(Check::Quiescent, what);
    }
    if let Some(what) = unwelcome(world, old) {
        return world.broken(Check::SameSession, what);
    }
    has_what_it_had(world, old);
}

/// What of the new server is not put up with, or would be lost on the way to it that was not to be.
fn unwelcome(world: &World<'_>, old: PeerId) -> Option<String> {
    let order = world.moves.orders.last()?;
    let [old, new] = [old, PeerId::WRITER].map(|peer| world.servers[peer.index()].as_ref());
    let (old, new) = (old?, new?);
    if world.setup.transfers {
        return None;
    }
    if order.sequences == Sequences::Refuse && old.has_values() {
        return Some("a session that was to stay with its sequences' values moves".to_owned());
    }
    // A server that does not say of which cluster it is does not say its timeline either.
    let is_silent = |fault: &Fault| matches!(fault, Fault::FailNext(..));
    let is_told = !world.strikes.iter().any(is_silent);
    let asked = [Accept::OlderTimeline, Accept::Behind];
    let mut all = old.put_up_with(new);
    all.extend(distance::is_behind(world).then_some(Accept::Behind));
    let refused = all
        .into_iter()
        .find(|what| !order.accepts.contains(what) && (is_told || !asked.contains(what)));
    refused.map(|what| format!("a session moves where nobody puts up with the {what:?}"))
}

/// How much of what a server has said of its own accord the session was never shown the end of.
fn unread_asides(world: &World<'_>, peer: PeerId) -> usize {
    let link = &world.links[peer.index()];
    let shown: Vec<u8> = link.buffer.to_vec();
    let all: Vec<u8> = shown.iter().chain(&link.wire).copied().collect();
    let count = |bytes: &[u8], word: &[u8]| {
        bytes
            .windows(word.len())
            .filter(|part| *part == word)
            .count()
    };
    let unread = |word: &[u8]| count(&all, word) - count(&shown, word);
    conduct::ASIDES.iter().map(|(_, word)| unread(word)).sum()
}

/// The new server has the settings that the old one has.
fn has_what_it_had(world: &mut World<'_>, old: PeerId) {
    let servers = [old, PeerId::WRITER].map(|peer| world.servers[peer.index()].as_ref());
    let [Some(old), Some(new)] = servers else {
        return;
    };
    if let Some(what) = new.differs_from(old)
        && !world.moves.lossy
    {
        let detail = format!("behind a move: {what}");
        world.broken(Check::SameSession, detail);
    }
}

/// What the client was told by servers and not by us, once it was let in.
pub(crate) fn of_servers(world: &World<'_>) -> Vec<Frame> {
    if !world.moves.has_moved() {
        return world.client.frames.clone();
    }
    let begun = world
        .to_client
        .begun()
        .iter()
        .skip(world.client.login.len());
    let of_servers = world
        .client
        .frames
        .iter()
        .zip(begun)
        .filter(|(frame, (of, _))| frame.tag != b'S' || of.is_some());
    of_servers.map(|(frame, _)| frame.clone()).collect()
}

/// Behind how many requests the client has asked what servers of different versions answer differently, if it has gone to one
/// of another version: a Query behind a batch that no Sync has ended.
pub(crate) fn tells_versions_apart(world: &World<'_>) -> Option<usize> {
    let version = world.setup.server_version;
    let same = world.setup.spare.version(version) == Some(version);
    if same || !world.moves.has_moved() {
        return None;
    }
    let (mut rest, mut open, mut requests) = (&world.said[..], false, 0);
    while let Ok(Some(header)) = Header::parse(rest) {
        let Some((_, behind)) = header.split(rest) else {
            break;
        };
        rest = behind;
        match header.tag {
            // Of a COPY's data nobody knows here what of it is ignored.
            b'd' | b'c' | b'f' => open = true,
            b'Q' | b'F' if open => return Some(requests),
            b'S' => (open, requests) = (false, requests + 1),
            b'Q' | b'F' => requests += 1,
            b'P' | b'B' | b'D' | b'E' | b'C' => open = true,
            _ => {}
        }
    }
    None
}

fn parameter(frame: &Frame) -> Option<(Vec<u8>, Vec<u8>)> {
    match Backend::parse(frame.tag, &frame.body) {
        Ok(Backend::ParameterStatus { name, value }) => Some((name.to_vec(), value.to_vec())),
        _ => None,
    }
}

/// Everything has come to rest, with a client that was let in: it knows what its writer reports, and was told of our own
/// accord of what had changed and nothing else.
pub(crate) fn at_rest(world: &mut World<'_>) {
    if world.damage >= Damage::Anything || world.is_whole() {
        return;
    }
    let mut known: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let frames = world.client.login.iter().chain(&world.client.frames);
    let mut wrong = None;
    let login = world.client.login.len();
    for (at, (frame, (of, _))) in frames.zip(world.to_client.begun()).enumerate() {
        let Some((name, value)) = parameter(frame) else {
            continue;
        };
        let before = known.iter().position(|(other, _)| *other == name);
        if of.is_none() && at >= login {
            // What an older server does not report may have been another value there.
            let unheard = world.setup.spare == Spare::Older
                && matches!(&*name, b"search_path" | b"scram_iterations");
            let same = !unheard && before.is_some_and(|before| known[before].1 == value);
            if same || !world.moves.has_moved() {
                wrong = Some(format!("it is told {}, no news", oracle::show(frame)));
            }
        }
        match before {
            Some(before) => known[before].1 = value,
            None => known.push((name, value)),
        }
    }
    let lives = matches!(world.session.lifecycle(), Lifecycle::Live);
    if let Some(server) = &world.servers[PeerId::WRITER.index()]
        && world.moves.has_moved()
        && world.session.poll_transmit(PeerId::CLIENT).is_none()
        && lives
        && !world.lies(PeerId::WRITER)
    {
        for (name, value) in server.reported() {
            let of_the_node = ["default_transaction_read_only", "in_hot_standby"];
            let knows = known
                .iter()
                .any(|(other, known)| other == name.as_bytes() && known == value.as_bytes());
            if !knows && !of_the_node.contains(&&*name) {
                wrong = Some(format!(
                    "its writer reports {name}={value}, and it knows not"
                ));
            }
        }
    }
    if let Some(what) = wrong {
        world.broken(Check::Invisible, what);
    }
}

/// The driver hears that a move is done.
pub(crate) fn succeeded(world: &mut World<'_>) {
    world.moves.struck.pop_front();
}

/// A move has failed: for something that has happened, or that the session holds.
pub(crate) fn failed(world: &mut World<'_>, reason: &Reason) {
    let struck = |what: &dyn Fn(&Fault) -> bool| world.strikes.iter().any(what);
    let since = world.moves.struck.pop_front().unwrap_or_default();
    let since = since.min(world.strikes.len());
    let mut newer = world.strikes[since..].iter();
    let of_target = newer.any(|fault| fault.peer().is_some_and(is_spare));
    let time = struck(&|fault| matches!(fault, Fault::Clock(_) | Fault::Deadline))
        || world.cancels.ran_out();
    // Where a server is the other thing from here on, it may have said so before.
    let turned = struck(&|it| matches!(it, Fault::Promote | Fault::Demote));
    let may_be = |said: &str| of_target || turned || distance::may_be(world, said);
    let wrong = match reason {
        Reason::State(why) => !may_be(why),
        // A standby may be behind, a server may be older.
        Reason::Target(_) | Reason::Differs(_) => {
            let other = world.setup.spare == Spare::Older
                || world.setup.caller != Caller::Nobody
                // A token is for one server.
                || world.setup.login == Method::Gss
                // What the client did not show is not known.
                || world.told.iter().any(|event| matches!(event, Event::KeysNotLearnt { .. }))
                // Nor is what a refused password has shown to be wrong.
                || world.setup.verifier && struck(&|it| matches!(it, Fault::ForgetPassword(_)))
                || struck(&is_of_everybody);
            !of_target && !other && !time && !world.moves.went_to_a_standby(world)
                || !may_be(&reason.to_string())
        }
        Reason::Timeout | Reason::NeverSafe(_) => !time,
        // A client may take its leave, or say something else, in the middle of a COPY, for which the server ends the session.
        Reason::OldLost | Reason::OldFault(_) => {
            let ended = world.servers[PeerId::WRITER.index()]
                .as_ref()
                .is_none_or(|server| server.phase() == ServerPhase::Closed);
            world.damage < Damage::Session && !world.goodbye && !world.leaving && !ended
        }
        Reason::NotQuiescent | Reason::OutOfTurn(_) => true,
        _ => false,
    };
    if wrong && !world.misused && world.servers_are_honest() {
        world.broken(
            Check::Live,
            format!("a move failed, and nobody gave it this reason: {reason}"),
        );
    }
}

/// Whether a fault may strike a server that is not named in it.
fn is_of_everybody(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Demote | Fault::Promote | Fault::Lock | Fault::Cancel
    )
}
