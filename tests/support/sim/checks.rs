//! What must hold: each law and invariant a named check.

use pgturnout::session::{
    Action, CancelTarget, CloseCause, Event, Lifecycle, Metadata, PeerId, RequestEvents,
};
use pgturnout::stats::{Counter, Meter};
use pgturnout::wire::{Frontend, Header, Parse, Query};

use super::codec;
use super::conduct;
use super::deadlines;
use super::door;
use super::duties;
use super::fates::{self, Whose};
use super::fault::Damage;
use super::moves;
use super::needles;
use super::oracle;
use super::reads;
use super::senseless;
use super::server::{Impostor, PASSWORD, Server, ServerPhase};
use super::setup::{Caller, Tls};
use super::torn;
use super::transfers;
use super::verdict;
use super::world::{Chunking, Order, Sent, State, World};

/// A word in texts and values of statements: nothing that is shown may hold it either.
pub(crate) const NEEDLE: &str = "n33dle";

macro_rules! checks {
    ($(#[doc = $law:literal] $name:ident,)*) => {
        /// The name of a check, by which a failure and a canary are known.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Check {
            $(#[doc = $law] $name,)*
        }

        impl Check {
            pub(crate) const ALL: &[Check] = &[$(Check::$name,)*];

            /// What must hold, in a sentence.
            pub(crate) fn law(self) -> &'static str {
                match self {
                    $(Check::$name => $law,)*
                }
            }
        }
    };
}

checks! {
    /// Any cut of the bytes gives the same bytes and actions (invariant 1, L2).
    Chunking,
    /// Each byte of a peer goes to one place, once (2, L3).
    Conservation,
    /// What goes to a peer is whole frames, each of one source (4, 5, L4).
    WholeFrames,
    /// `Demand::Bytes` asks for what is missing and for no more than a buffer holds (6).
    Need,
    /// As many ReadyForQuery as are owed, with the right status (8, L4).
    OneReady,
    /// The client sees what one server would have told it (9, 10, 11, 12, L4).
    Direct,
    /// Nothing follows a FATAL error (13).
    FatalLast,
    /// No statement with an effect runs on the standby (14, L5).
    WrongWrite,
    /// Between BEGIN and its end, one upstream (17).
    Transaction,
    /// Every statement runs with the settings that the client made (21, 22, L7).
    SameSession,
    /// No statement with an effect runs twice (23, L6).
    Twice,
    /// What we send of our own is well formed, and its replies are swallowed (24).
    Injected,
    /// No session byte before the login is done, no secret before TLS (25, L11).
    LoginOrder,
    /// No endless decision, no panic, no misused action (29, L9).
    Total,
    /// A session that is over does nothing (30).
    NothingAfterClose,
    /// To look changes nothing (31).
    Polling,
    /// Everything is answered once the faults are over, and a session ends (32, L10).
    Live,
    /// The heap stays below the bound (33, L8).
    Bounded,
    /// Whatever waits has a deadline (35).
    Deadline,
    /// The same again gives the same (36, L1).
    Determinism,
    /// A cancel goes to who runs the client's request (40).
    CancelHome,
    /// No secret is shown (42, L11).
    Needle,
    /// What is shown has no control characters (43).
    CleanText,
    /// What the client was told is what is counted.
    Counted,
    /// Events tell what happened, and reasons are reasons.
    Told,
    /// A scenario's text reads back as the scenario.
    Notation,
    /// No server hears of what the caller's policy denies.
    Denied,
    /// A read sees what its session wrote, where that is asked for.
    Fresh,
    /// A move is not seen, whatever becomes of it: its client hears of what its new server reports otherwise (38, L12).
    Invisible,
    /// A session moves at rest only, and not away from what no other server has (39).
    Quiescent,
    /// A reader that the driver knows to be down is asked nothing more.
    Excluded,
    /// What is counted of moves adds up (41).
    Accounted,
    /// A peer is called out of step only if it broke the protocol, and what follows is what the setup says.
    OutOfSync,
    /// What is read of a message is what it says, and what is written of that is the message (44).
    Codec,
    /// A session whose move fails stays where it was, or its client is told of its end; which, is known (38, L12).
    Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) check: Check,
    pub(crate) detail: String,
    /// How the scenario was played, if another way to play it came out differently.
    pub(crate) way: Option<(Chunking, Order)>,
}

impl Violation {
    pub(crate) fn new(check: Check, detail: impl Into<String>) -> Violation {
        Violation {
            check,
            detail: detail.into(),
            way: None,
        }
    }
}

/// After each event.
pub(crate) fn step(world: &mut World<'_>) {
    bounded(world);
    fates::step(world);
    if let Some(nonsense) = world.client.nonsense.take()
        && world.servers_are_honest()
        && (world.client.is_ready() || !world.lies(PeerId::CLIENT))
    {
        world.broken(
            Check::WholeFrames,
            format!("the client was told nonsense: {nonsense}"),
        );
    }
    if world.steps == 1 {
        shown(world, "its configuration", &format!("{:?}", world.config));
    }
    // A look at everything is slow, and secrets do not come and go in one step.
    if world.steps % 16 == 1 {
        shown(world, "the session", &format!("{:?}", world.session));
        let life = format!("{:?}", world.session.lifecycle());
        shown(world, "its lifecycle", &life);
    }
    if world.steps % 64 == 5 {
        let lines = format!("{:#?}", world.session);
        shown(world, "the session in lines", &lines);
    }
}

/// Bytes that a session holds beside what the client has said: its tables, the parameters of its logins, its queues.
const HELD_AT_REST: usize = 28 << 10;
/// The same before the client is let in.
const HELD_BEFORE_THE_LOGIN: usize = 16 << 10;
/// What a message may cost until it is answered, its bytes not counted, and what is remembered of it behind that.
const HELD_FOR_A_MESSAGE: usize = 400;
const KEPT_OF_A_MESSAGE: usize = 100;
/// What is remembered of a move: how its new server greeted, what kin the servers are, and the queues of one more connection.
const KEPT_OF_A_MOVE: usize = 4 << 10;
/// How far a queue of events has grown where there are some for each request.
const KEPT_OF_ITS_EVENTS: usize = 300;
/// And where a text's tables are remembered with it.
const KEPT_OF_ITS_TABLES: usize = 25;

fn bounded(world: &mut World<'_>) {
    let messages = world.from_client.begun().len();
    // A statement is remembered before it leaves the client's buffer. Of a short one that is no matter.
    let decided = match world.setup.fittings.roomy {
        true => world.links[PeerId::CLIENT.index()].buffer.len(),
        false => 0,
    };
    let heard = world.heard.len() + decided;
    let outstanding = match world.client.is_ready() {
        true => HELD_AT_REST + 2 * heard + HELD_FOR_A_MESSAGE * messages,
        false => HELD_BEFORE_THE_LOGIN + 2 * heard,
    };
    let held = usize::try_from(world.meter.held()).unwrap_or_default();
    let outstanding = match world.session.migration() {
        Some(_) => outstanding + moves::HELD,
        None => outstanding + world.moves.cut_overs().min(1) * KEPT_OF_A_MOVE,
    };
    if held > outstanding && !world.is_opaque() {
        let detail = format!("{held} bytes held for {heard} in {messages} messages");
        world.broken(Check::Bounded, detail);
    }
    let bound = i64::try_from(world.config.memory_bound()).unwrap_or(i64::MAX);
    if world.meter.peak > bound {
        let peak = world.meter.peak;
        world.broken(
            Check::Bounded,
            format!("{peak} bytes held, {bound} promised"),
        );
    }
}

/// After each decision of the session.
pub(crate) fn after_decision(world: &mut World<'_>) {
    deadlines::watch(world);
    moves::accounted(world);
    at_once(world);
    if world.session.lifecycle().is_dead() {
        inert(world);
    }
}

/// What is wrong as soon as it has happened, whatever follows.
fn at_once(world: &mut World<'_>) {
    let frames = world.client.frames.len();
    let before = std::mem::replace(&mut world.looked_at.frames, frames);
    if frames > before {
        oracle::fatal_is_last(world);
        if world.servers_are_honest() && world.damage < Damage::Anything {
            let new = world.client.frames[before..].to_vec();
            new.iter().for_each(|frame| codec::told(world, frame));
        }
    }
    let cluster = &world.cluster;
    let written = cluster.writes().len() + cluster.refusals().len();
    // A refusal that the session has asked for is told of later.
    let decided = !world.setup.optimistic && !world.setup.read_only;
    if decided && written > std::mem::replace(&mut world.looked_at.written, written) {
        writes(world);
    }
    nobody_hears_what_is_denied(world);
}

/// How much of what has happened was looked at.
#[derive(Debug, Default)]
pub(crate) struct LookedAt {
    frames: usize,
    written: usize,
}

fn inert(world: &mut World<'_>) {
    for peer in PeerId::ALL {
        if world.session.wants_read(peer) || world.session.poll_transmit(peer).is_some() {
            world.broken(
                Check::NothingAfterClose,
                format!("the {peer} is served by a dead session"),
            );
        }
    }
    if world.session.poll_timeout().is_some() {
        world.broken(Check::NothingAfterClose, "a dead session has a deadline");
    }
}

/// Bytes came into a peer's buffer, from `new` on.
pub(crate) fn came(world: &mut World<'_>, peer: PeerId, new: usize) {
    let link = &world.links[peer.index()];
    let bytes = link.buffer.get(new..).unwrap_or_default().to_vec();
    let asked = peer.is_upstream() && world.setup.upstream_tls != Tls::Disable && !link.secure;
    fates::came(world, peer, bytes.len());
    let first = !std::mem::replace(&mut world.answered[peer.index()], true);
    if peer == PeerId::CLIENT {
        let room = 32_usize.saturating_sub(world.first_bytes.len());
        world.first_bytes.extend(bytes.iter().take(room));
        world.opens(&bytes);
    }
    if world.is_opaque() {
        return;
    }
    let framed = match peer == PeerId::CLIENT {
        true => world.client.is_ready(),
        false => !(asked && first && matches!(bytes[..], [b'S' | b'N'])),
    };
    if framed {
        // Whose frames these are is not asked here.
        let _ = world.arrived[peer.index()].pass(&bytes, ());
        let most = codec::longest(world, peer);
        let lengths = world.arrived[peer.index()].lengths();
        if lengths.iter().any(|length| *length > most) {
            world.says_too_much(peer);
        }
    }
}

fn is_framed(world: &World<'_>, peer: PeerId) -> bool {
    match peer == PeerId::CLIENT {
        true => world.client.is_ready(),
        false => world.servers[peer.index()]
            .as_ref()
            .is_some_and(|server| server.phase() > ServerPhase::Authenticating),
    }
}

/// A session asks for `n` bytes of a peer.
pub(crate) fn need(world: &mut World<'_>, peer: PeerId, n: usize) {
    let limit = world.config.limits.read_buffer;
    if n > limit {
        world.broken(
            Check::Need,
            format!("{n} bytes asked of the {peer}, whose buffer holds {limit}"),
        );
    }
    // Of what is buffered some may be spoken for: then it asks for more than it seems to.
    let more = n.saturating_sub(world.links[peer.index()].buffer.len());
    let missing = world.arrived[peer.index()].missing();
    // The next header may be that of the message behind one that is on its way.
    if n > Header::LEN && more > missing && is_framed(world, peer) && !world.lies(peer) {
        world.broken(
            Check::Need,
            format!("{more} more bytes asked of the {peer}, and {missing} end its message"),
        );
    }
}

/// Bytes leave for a peer.
pub(crate) fn leaving(world: &mut World<'_>, to: PeerId, sent: &Sent) {
    conduct::leaving(world, to, sent);
    if let Sent::Spliced(PeerId::CLIENT, _) = sent {
        fates::told_what_was_said(world, to, world.from_client.passed());
    }
    let whose = match sent {
        Sent::Spliced(PeerId::CLIENT, _) => Whose::Client,
        Sent::Spliced(..) | Sent::Ours(_) => Whose::Ours,
    };
    fates::told(world, to, whose, sent.bytes().len());
    if world.is_opaque() {
        return;
    }
    if to == PeerId::CLIENT {
        torn::leaves(world, sent);
        if world.client.reads_frames() {
            let of = match sent {
                Sent::Ours(_) => None,
                Sent::Spliced(from, _) => Some(*from),
            };
            let before = world.to_client.lengths().len();
            if let Err(why) = world.to_client.pass(sent.bytes(), of)
                && !senseless::is_unread(world)
            {
                world.broken(Check::WholeFrames, format!("to the client: {why}"));
            }
            let lengths = world.to_client.lengths()[before..].iter();
            if let (Some(from), Some(length)) = (of, lengths.copied().max())
                && world.client.is_ready()
            {
                codec::not_too_long(world, from, length);
            }
        }
        return;
    }
    if world.taken_leave[to.index()] && !world.is_whole() {
        let detail = format!("bytes for the {to} behind its Terminate");
        world.broken(Check::NothingAfterClose, detail);
    }
    let gate = conduct::gate(world);
    let opening = world.servers[to.index()].as_ref().is_none_or(|server| {
        matches!(
            server.phase(),
            ServerPhase::Opening | ServerPhase::Authenticating
        )
    });
    match sent {
        Sent::Ours(bytes) => {
            if !opening {
                injected(world, to, bytes);
            }
            // A login is over before the next step.
            if opening && bytes.len() > 4 {
                shown(
                    world,
                    "the session in a login",
                    &format!("{:?}", world.session),
                );
            }
            let link = &world.links[to.index()];
            let needs_tls = world.setup.upstream_tls == Tls::Require && !link.secure;
            let asks = !world.setup.is_direct();
            if needs_tls && !(asks && bytes.iter().all(|byte| SSL_REQUEST.contains(byte))) {
                world.broken(Check::LoginOrder, format!("bytes for the {to} before TLS"));
            }
            let bound = link_is_secure(world, to) && world.setup.bound && !world.lies(to);
            let asks_us =
                world.setup.caller == Caller::Nobody && world.posing[to.index()].is_none();
            if bound && asks_us && opening && contains(bytes, b"SCRAM-SHA-256\0") {
                let detail = format!("a login to the {to} that could be bound to its certificate");
                world.broken(Check::LoginOrder, detail);
            }
            let its_own = opening && contains(bytes, b"database\0app\0");
            if its_own && world.setup.has_tenants() && !world.lies(PeerId::CLIENT) {
                let detail = format!("the {to} is told of the client's own database");
                world.broken(Check::SameSession, detail);
            }
            if !link_is_secure(world, to) && contains(bytes, PASSWORD.as_bytes()) {
                world.broken(
                    Check::LoginOrder,
                    format!("a password for the {to} in the clear"),
                );
            }
        }
        Sent::Spliced(from, bytes) => {
            world.clocks.passed_on(to);
            let shows = opening && contains(bytes, PASSWORD.as_bytes());
            if shows && !world.setup.may_relay_the_password() && !world.lies(to) {
                let detail =
                    format!("the client's password for the {to}, which may not have it so");
                world.broken(Check::LoginOrder, detail);
            }
            if opening && to != gate {
                world.broken(
                    Check::LoginOrder,
                    format!("bytes of the {from} for the {to}, which is not logged in to"),
                );
            }
            let poses = world.posing[to.index()].filter(|impostor| {
                impostor.must_fail()
                    || *impostor == Impostor::Downgrade && !link_is_secure(world, to)
            });
            if let Some(impostor) = poses
                && to != gate
            {
                world.broken(
                    Check::LoginOrder,
                    format!("bytes of the {from} for the {to}, which poses: {impostor:?}"),
                );
            }
        }
    }
}

/// What we say of our own to a server that is logged in to: whole messages, of the kinds that restore a session, with
/// nothing in them that the client has not said.
fn injected(world: &mut World<'_>, to: PeerId, bytes: &[u8]) {
    world.injected[to.index()].extend_from_slice(bytes);
    while let Some((tag, body)) = next_frame(&mut world.injected[to.index()]) {
        let refuses = world.setup.judges() || world.setup.read_transactions;
        let ends = fates::ends_a_query(world, to, tag);
        let stands_in = ends || refuses && verdict::stands_in(tag, &body);
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        let frame = [&[tag][..], &length.to_be_bytes(), &body].concat();
        let behind = world.injected[to.index()].len();
        let is_tried = reads::is_tried(world, to, &frame);
        let whose = match is_tried {
            true => Whose::Tried,
            false if stands_in => Whose::StandsIn,
            false => Whose::Ours,
        };
        fates::told_a_message(world, to, whose, frame.len(), behind);
        if stands_in {
            world.client_serves = Some(to);
        }
        if is_tried {
            world.clocks.passed_on(to);
            tries(world, to, tag);
            continue;
        }
        // What stands in for the client's may take as long as the client's.
        if !stands_in && !moves::asks(world, to) {
            let now = world.now;
            world.clocks.injected(to, tag, now);
        }
        world.taken_leave[to.index()] |= tag == b'X';
        let message = Frontend::parse(tag, &body);
        if let Ok(Frontend::Query(Query { text }) | Frontend::Parse(Parse { text, .. })) = message {
            let text = text.escape_ascii().to_string();
            world.injected_texts[to.index()].push(text);
        }
        let known = b"QPBECSHXDp".contains(&tag) && message.is_ok();
        if stands_in {
            continue;
        }
        let allowed = transfers::asks(world, to, tag, &body)
            || is_of_the_client(world, tag, &body)
            || moves::is_of_a_move(world, tag, &body);
        if !known || !allowed {
            let shown = format!("{} {}", char::from(tag), body.escape_ascii());
            world.broken(Check::Injected, format!("to the {to}: {shown}"));
        }
    }
}

/// A copy of a message of the client's has left for an upstream, which may refuse it.
fn tries(world: &mut World<'_>, to: PeerId, tag: u8) {
    world.client_serves = Some(to);
    world.reader_asked |= to == PeerId::READER;
    conduct::asks_who_writes(world, to);
    reads::reads(world, tag);
}

fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let header = Header::parse(bytes).ok()??;
    let body = header.split(bytes)?.0.to_vec();
    bytes.drain(..body.len() + Header::LEN);
    Some((header.tag, body))
}

/// Whether a message of ours repeats what the client has said: a Parse to the letter, a statement that stands in one of
/// its texts, the name of one of its statements; or is one of the few that we make.
fn is_of_the_client(world: &World<'_>, tag: u8, body: &[u8]) -> bool {
    let text = body.strip_suffix(b"\0").unwrap_or(body);
    match tag {
        b'P' => contains(&world.heard, body) || said_in_prepare(world, body),
        b'C' => {
            let ours = body.starts_with(b"Spgturnout_fence_");
            // Servers know a longer name by its first 63 bytes; one that PREPARE made stands in a text.
            let name = text.get(1..).unwrap_or_default();
            ours != contains(&world.heard, name)
        }
        b'Q' => {
            let made = [&b"RESET ALL"[..], b"DISCARD ALL"].contains(&text);
            made || reads::begins_again(world, text)
                || reads::is_question(world, text)
                || said_in_set_config(world, text)
                || {
                    let statements: Vec<&[u8]> = text.split(|byte| *byte == b';').collect();
                    let said = |one: &&[u8]| contains(&world.heard, one.trim_ascii());
                    statements.iter().all(said)
                }
        }
        _ => true,
    }
}

/// Whether a Parse prepares what a PREPARE of the client's does.
fn said_in_prepare(world: &World<'_>, body: &[u8]) -> bool {
    let Ok(Frontend::Parse(Parse { name, text, .. })) = Frontend::parse(b'P', body) else {
        return false;
    };
    !name.is_empty() && [name, text].iter().all(|word| contains(&world.heard, word))
}

/// Whether a text sets what a set_config of the client's did, to the same value, or lets a setting of its own be known.
fn said_in_set_config(world: &World<'_>, text: &[u8]) -> bool {
    let arguments = text.strip_prefix(b"select pg_catalog.set_config(");
    let value = arguments.and_then(|arguments| {
        let comma = arguments.iter().position(|byte| *byte == b',')?;
        arguments.get(comma..)
    });
    value.is_some_and(|value| value == b", '', true)" || contains(&world.heard, value))
}

/// Bytes of a peer were written to another, or dropped.
pub(crate) fn taken(world: &mut World<'_>, from: PeerId, to: Option<PeerId>, bytes: &[u8]) {
    let tried = from == PeerId::CLIENT && reads::was_tried(world, to, bytes);
    let to = if tried { Some(PeerId::READER) } else { to };
    fates::taken(world, from, to, bytes);
    senseless::taken(world, from, to);
    let asks = world.client.is_ready() || world.lies(PeerId::CLIENT);
    if from == PeerId::CLIENT && asks && to.is_some() {
        world.client_serves = to;
        world.reader_asked |= to == Some(PeerId::READER);
    }
    if from == PeerId::CLIENT && to.is_none() {
        // Of a frame whose upstream is lost the rest is dropped.
        world.from_client.hand_over(None);
    }
    let read = !senseless::is_unread(world);
    let known = world.client.is_ready() && !world.ahead && !world.misused && read;
    if from == PeerId::CLIENT && known && !world.is_opaque() {
        let before = world.from_client.begun().len();
        if let Err(why) = world.from_client.pass(bytes, to) {
            world.broken(Check::Conservation, format!("from the client: {why}"));
        }
        conduct::begins(world, before);
        let begun = world.from_client.begun()[before..].iter();
        let passed = begun.zip(&world.from_client.lengths()[before..]);
        let passed = passed.filter(|((to, _), _)| to.is_some());
        if let Some(length) = passed.map(|(_, length)| *length).max() {
            codec::not_too_long(world, from, length);
        }
        if to == Some(PeerId::READER) && !tried {
            let begun = world.from_client.begun()[before..].to_vec();
            begun.iter().for_each(|(_, tag)| reads::reads(world, *tag));
        }
    }
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn link_is_secure(world: &World<'_>, peer: PeerId) -> bool {
    world.links[peer.index()].secure
}

/// The session asks for something.
pub(crate) fn action(world: &mut World<'_>, action: &Action) {
    shown(world, "an action", &format!("{action:?}"));
    shown(world, "an action in lines", &format!("{action:#?}"));
    conduct::action(world, action);
    door::action(world, action);
    duties::action(world, action);
    match action {
        Action::Close { peer, cause } if peer.is_upstream() => conduct::leaves(world, *peer, cause),
        Action::Close { cause, .. } => torn::closes(world, cause),
        Action::Notify(Event::MoveBegan { .. }) => transfers::began(world),
        Action::Notify(Event::Moved { .. }) => {
            moves::succeeded(world);
            transfers::moved(world);
        }
        Action::Notify(Event::MoveFailed {
            outcome,
            phase,
            reason,
            ..
        }) => {
            clean(world, &reason.to_string());
            shown(world, "why a move failed", &reason.to_string());
            moves::failed(world, reason);
            transfers::failed(world, *outcome, *phase, reason);
        }
        _ => {}
    }
    match action {
        Action::Connect { peer, .. }
            if world.links[peer.index()].state != State::Closed || !peer.is_upstream() =>
        {
            world.broken(Check::Total, format!("the {peer} is dialled twice"));
        }
        Action::StartTls { peer, .. } if world.links[peer.index()].state != State::Open => {
            world.broken(
                Check::Total,
                format!("TLS with the {peer}, which is not there"),
            );
        }
        Action::Close {
            cause: cause @ CloseCause::Misuse(_),
            ..
        } if !world.misused => {
            let detail = format!("{cause}, which it did not");
            world.broken(Check::Total, detail);
        }
        Action::Close { cause, .. } => {
            clean(world, &cause.to_string());
            shown(world, "a cause", &cause.to_string());
        }
        Action::Notify(Event::UpstreamFailed { why, .. }) => {
            clean(world, why);
            codec::untranslated(world, why);
        }
        _ => {}
    }
}

fn clean(world: &mut World<'_>, text: &str) {
    if !is_clean(text) {
        world.broken(Check::CleanText, format!("{text:?}"));
    }
}

/// Whether a terminal may be shown this: no controls, nothing that turns the direction of writing.
pub(crate) fn is_clean(text: &str) -> bool {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.chars().any(|c| c.is_control() || turns(c))
}

/// Something is shown to whoever reads logs. Neighbouring lines may be read as one.
fn shown(world: &mut World<'_>, what: &str, text: &str) {
    let both = [&std::mem::take(&mut world.shown), text].concat();
    if let Some(needle) = needles::found(&both, world) {
        let at = both.find(&needle).unwrap_or(0);
        let before = both[..at].chars().count().saturating_sub(60);
        let around: String = both.chars().skip(before).take(140).collect();
        world.broken(Check::Needle, format!("{what} shows {needle:?}: {around}"));
    }
    let from = text
        .char_indices()
        .rev()
        .nth(needles::LONGEST)
        .map_or(0, |(at, _)| at);
    world.shown = text[from..].to_owned();
}

/// The driver is about to cancel what the session names.
pub(crate) fn cancelled(world: &mut World<'_>, target: &CancelTarget) {
    let owed = world.servers[target.peer.index()]
        .as_ref()
        .is_some_and(|server| target.key.secret() == server.key().1);
    if let Some(last) = world.client_serves
        && world.links[0].buffer.is_empty()
        && world.servers_are_honest()
        && last != target.peer
        && world.session.poll_transmit(target.peer).is_none()
    {
        world.broken(
            Check::CancelHome,
            format!(
                "a cancel for the {} while the {last} serves the client",
                target.peer
            ),
        );
    }
    if !owed && !world.links[target.peer.index()].ends() {
        world.broken(
            Check::CancelHome,
            format!("a cancel for the {} with a key of nobody's", target.peer),
        );
    }
}

/// The faults are over and everything has come to rest, with the client still there.
pub(crate) fn answered(world: &mut World<'_>) {
    rested(world);
    step(world);
    writes(world);
    if world.violation.is_none() {
        oracle::compare(world);
    }
    if world.violation.is_none() {
        conduct::at_rest(world);
    }
    counted(world);
    moves::ended(world);
    transfers::answered(world);
}

/// Everything is answered: what is held is what is remembered.
fn rested(world: &mut World<'_>) {
    let (heard, messages) = (world.heard.len(), world.from_client.begun().len());
    let held = usize::try_from(world.meter.held()).unwrap_or_default();
    let moves = world.session.migration().map_or(0, |_| moves::HELD);
    let moved = world.moves.cut_overs().min(1) * KEPT_OF_A_MOVE;
    let tables = match world.config.metadata {
        Metadata::On => KEPT_OF_ITS_TABLES,
        Metadata::Off => 0,
    };
    let events = match world.config.request_events {
        RequestEvents::On => KEPT_OF_ITS_EVENTS,
        RequestEvents::Off => 0,
    };
    let of_each = KEPT_OF_A_MESSAGE + tables + events;
    let kept = HELD_AT_REST + heard + of_each * messages + moves + moved;
    if held > kept && world.client.is_ready() {
        let detail = format!("{held} bytes held at rest, behind {heard} in {messages} messages");
        world.broken(Check::Bounded, detail);
    }
}

/// Counts what the client was told, message by message, as the session does where it decides. A session that ended may
/// have counted what never arrived.
fn counted(world: &mut World<'_>) {
    let heard =
        world.damage < Damage::Anything && matches!(world.session.lifecycle(), Lifecycle::Live);
    if heard && let Some(detail) = spans(&world.told, world.damage) {
        return world.broken(Check::Counted, detail);
    }
    let told_all = world.damage == Damage::None
        && !world.is_whole()
        && world.client.is_ready()
        && matches!(world.session.lifecycle(), Lifecycle::Live);
    if !told_all {
        return;
    }
    let mut meter = Meter::default();
    for frame in world.client.login.iter().chain(&world.client.frames) {
        meter.backend(frame.tag, &frame.body);
    }
    let theirs = [
        "messages_frontend",
        "sessions_terminated_ssl",
        "sessions_upstream_ssl_success",
        "sessions_upstream_ssl_failed",
        "statements_parsed",
        "statements_parse_error",
    ];
    let stats = *world.session.stats();
    if let Some(detail) = codec::severities(world, &stats) {
        return world.broken(Check::Counted, detail);
    }
    let clients = stats.get(Counter::MessagesFrontend);
    for (counter, count) in stats.iter() {
        let told = match counter {
            Counter::Messages => meter.stats().get(counter) + clients,
            Counter::MessagesUnknown => continue,
            _ => meter.stats().get(counter),
        };
        // Of the last message the client may have got a part only.
        let torn = u64::from(world.client.torn() > 0);
        if !theirs.contains(&counter.name()) && !(told..=told + torn).contains(&count) {
            let detail = format!("{counter}: {count} counted, {told} told to the client");
            return world.broken(Check::Counted, detail);
        }
    }
}

/// What is wrong with the events about the time of requests: each begins once, its answer once behind that, and ends
/// once behind that, all in one order. What a server skips has no answer, and what is lost with one may have none.
fn spans(told: &[Event], damage: Damage) -> Option<String> {
    let (mut began, mut answered, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for event in told {
        match event {
            Event::RequestBegan { request, .. } => began.push(*request),
            Event::ResponseBegan { request, .. } => answered.push(*request),
            Event::ResponseEnded { request, .. } => ended.push(*request),
            _ => {}
        }
    }
    let rises = |numbers: &[u64]| numbers.windows(2).all(|pair| pair[0] < pair[1]);
    let among = |part: &[u64], whole: &[u64]| part.iter().all(|request| whole.contains(request));
    let fine = [&began, &answered, &ended]
        .into_iter()
        .all(|numbers| rises(numbers))
        && among(&answered, &began)
        && among(&ended, &began)
        && (damage > Damage::None || among(&ended, &answered) && answered.len() <= ended.len() + 1);
    (!fine).then(|| format!("began {began:?}, answered {answered:?}, ended {ended:?}"))
}

/// The client has left.
pub(crate) fn ended(world: &mut World<'_>) {
    if world.violation.is_some() {
        return;
    }
    if !world.session.lifecycle().is_dead() {
        let life = format!("{:?}", world.session.lifecycle());
        world.broken(
            Check::Live,
            format!("the client left, and the session is {life}"),
        );
        return;
    }
    step(world);
    door::ended(world);
    senseless::ended(world);
    late_events(world);
    for peer in PeerId::ALL {
        if world.links[peer.index()].state != State::Closed {
            world.broken(Check::Live, format!("the {peer} was never closed"));
        }
    }
    writes(world);
    nobody_hears_what_is_denied(world);
    for peer in PeerId::ALL {
        if let Some(secret) = needles::sent(world, peer) {
            world.broken(Check::Needle, format!("the {peer} was sent {secret:?}"));
        }
    }
}

fn nobody_hears_what_is_denied(world: &mut World<'_>) {
    if !world.setup.judges() {
        return;
    }
    let servers = world.servers.iter().flatten();
    let retired = world.retired.iter().map(|(_, server, _)| server);
    let heard: usize = servers.chain(retired).map(Server::heard_denied).sum();
    if heard > 0 && world.damage < Damage::Anything {
        world.broken(Check::Denied, format!("{heard} messages"));
    }
}

/// A dead session takes every event and does nothing.
fn late_events(world: &mut World<'_>) {
    let now = world.now;
    for peer in PeerId::ALL {
        let buffer = b"Q\0\0\0\x0dselect 1\0";
        let _ = world.session.handle_input(now, peer, buffer);
        world.session.handle_eof(now, peer);
        world.session.handle_reset(now, peer);
    }
    world.session.handle_timeout(now);
    world.session.shutdown(now);
    world.session.expel(now, door::expulsion());
    world.session.handle_user(now, Err(String::new()));
    if let Some(action) = world.session.poll_action() {
        world.broken(
            Check::NothingAfterClose,
            format!("a dead session asks for {action:?}"),
        );
    }
    inert(world);
}

fn writes(world: &mut World<'_>) {
    // Whatever a client says, an honest standby is asked for nothing that writes, but what is tried there.
    if !duties::servers_lie(world)
        && let Some(text) = reads::wrongly_asked(world)
    {
        world.broken(Check::WrongWrite, format!("on the standby: {text:?}"));
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || text.windows(needle.len()).any(|window| window == needle)
}
