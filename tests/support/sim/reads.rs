//! Reads that must see what their session wrote, and reads that are tried on the reader.

use std::time::Instant;

use pgturnout::session::{Event, Lifecycle, PeerId};
use pgturnout::wire::Header;

use super::checks::Check;
use super::door;
use super::fault::{Damage, Fault};
use super::oracle;
use super::server::{Node, Write};
use super::setup::{Fresh, KEPT_READS, WINDOW};
use super::world::World;

/// What a session with its eye on its writes asks its servers.
const QUESTIONS: [&[u8]; 2] = [
    b"select pg_catalog.pg_current_wal_insert_lsn()",
    b"select pg_catalog.pg_last_wal_replay_lsn()",
];

/// What is remembered of a session's writes and of what it tries.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// How far the log was when the writer's last answer was taken, as far as the session wrote it, and when that grew.
    written: usize,
    at: Option<Instant>,
    /// Which of the client's requests wrote it, of those that are answered.
    of: Option<usize>,
    /// The request that was tried last, how much of its copy is still to come, and how much of the client's own bytes
    /// was dropped.
    request: Vec<u8>,
    to_come: usize,
    dropped: usize,
    /// How much stands before it: copy data where no copy is, which another server gets.
    lead: usize,
    /// Its reader was lost while nothing was known of its answer: it has to run on the writer.
    runs_again: bool,
}

/// Whether a session of this world may ask that of its own accord.
pub(crate) fn is_question(world: &World<'_>, text: &[u8]) -> bool {
    let asks = world.setup.fittings.asks() && text == b"select 1 as pgturnout";
    asks || world.setup.fresh == Fresh::Replayed && QUESTIONS.contains(&text)
}

/// Whether a text is one by which a session of this world begins a transaction again that it took from the reader.
pub(crate) fn begins_again(world: &World<'_>, text: &[u8]) -> bool {
    let ours = [
        &b"rollback"[..],
        b"commit and chain",
        b"failed with the connection to a replica",
    ];
    world.setup.read_transactions && (ours.contains(&text) || says_modes(text))
}

/// Whether a text begins a transaction, or gives it modes, and says nothing but which: none at all behind one that has
/// failed and that is chained to.
fn says_modes(text: &[u8]) -> bool {
    let (begin, set) = (&b"begin"[..], &b"set transaction "[..]);
    let Some(modes) = text.strip_prefix(begin).or_else(|| text.strip_prefix(set)) else {
        return false;
    };
    let mut words = modes
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let modes = "isolation level serializable repeatable read committed uncommitted only write not deferrable";
    let known = |word: &[u8]| modes.split(' ').any(|mode| mode.as_bytes() == word);
    words.all(known)
}

/// The session has taken a ReadyForQuery of the writer.
pub(crate) fn writer_is_ready(world: &mut World<'_>) {
    let written = world.cluster.committed(|backend| world.is_own(backend));
    if written > world.reads.written {
        world.reads.written = written;
        world.reads.at = Some(world.now);
        world.reads.of = Some(world.client.ready);
    }
}

/// Whether every row that the client is told must be one that a server without a standby has.
pub(crate) fn are_all_fresh(world: &World<'_>) -> bool {
    match world.setup.fresh {
        Fresh::Off | Fresh::Reads => false,
        Fresh::For => world.now - world.start < WINDOW,
        Fresh::Replayed => true,
    }
}

/// A message of the client's has left for the reader: what it reads is as new as what its session wrote. Nothing is
/// written from when it was decided until it has left.
pub(crate) fn reads(world: &mut World<'_>, tag: u8) {
    let asked = requests_since_the_write(world, tag);
    if !matches!(tag, b'Q' | b'B') || !world.client.is_ready() || !world.servers_are_honest() {
        return;
    }
    let written = world.cluster.committed(|backend| world.is_own(backend));
    let (replayed, since) = (
        world.cluster.replayed(world.node_of(PeerId::READER)),
        world.reads.at.map(|at| world.now - at),
    );
    let stale = match world.setup.fresh {
        Fresh::Off => None,
        Fresh::For => since
            .filter(|since| *since < WINDOW)
            .map(|since| format!("{since:?} behind a write")),
        Fresh::Reads => asked
            .filter(|asked| *asked < KEPT_READS as usize)
            .map(|asked| format!("{asked} requests behind a write")),
        Fresh::Replayed => (replayed < written)
            .then(|| format!("which has replayed {replayed} of {written} changes")),
    };
    if let Some(how) = stale {
        let tag = char::from(tag);
        world.broken(Check::Fresh, format!("{tag} for the reader, {how}"));
    }
}

/// How many requests the client has made between its last write that is answered and this message, at most.
fn requests_since_the_write(world: &World<'_>, tag: u8) -> Option<usize> {
    let ends = |(_, tag): &&(Option<PeerId>, u8)| b"QFS".contains(tag);
    let before = world.from_client.begun().iter().filter(ends).count();
    // It is among them unless it is a copy, which is made while nothing else is in flight.
    let itself = usize::from(tag == b'Q' && !world.setup.copies_requests());
    let since = before.checked_sub(itself + world.reads.of? + 1);
    Some(since.unwrap_or_default())
}

/// A message of ours for an upstream. Whether it is a part of a copy of the client's next request, for which the reader
/// is tried.
pub(crate) fn is_tried(world: &mut World<'_>, to: PeerId, frame: &[u8]) -> bool {
    if !world.setup.copies_requests() || to != PeerId::READER {
        return false;
    }
    // What begins or ends transactions is not tried, so it is ours, even if the client says the same.
    let text = match Header::parse(frame) {
        Ok(Some(header)) if header.tag == b'Q' => frame.get(Header::LEN..frame.len() - 1),
        Ok(_) | Err(_) => None,
    };
    if text.is_some_and(|text| begins_again(world, text)) {
        return false;
    }
    let reads = &world.reads;
    let rest = &reads.request[reads.request.len() - reads.to_come..];
    if !rest.starts_with(frame) {
        let (lead, request) = first_request(&world.links[PeerId::CLIENT.index()].buffer);
        if !request.starts_with(frame) {
            return false;
        }
        world.reads.lead = lead;
        world.reads.to_come = request.len();
        world.reads.dropped = 0;
        world.reads.runs_again = false;
        world.reads.request = request;
    }
    world.reads.to_come -= frame.len();
    true
}

/// The session has taken these bytes of the client. Whether they are of a request that the reader was tried for and is
/// done with.
pub(crate) fn was_tried(world: &mut World<'_>, to: Option<PeerId>, bytes: &[u8]) -> bool {
    let reads = &mut world.reads;
    if reads.lead > 0 && !bytes.is_empty() {
        reads.lead = reads.lead.saturating_sub(bytes.len());
        return false;
    }
    let rest = &reads.request[reads.dropped..];
    let of_it = to.is_none() && !bytes.is_empty() && rest.starts_with(bytes);
    match of_it {
        true => reads.dropped += bytes.len(),
        false if reads.to_come == 0 => reads.request.clear(),
        false => {}
    }
    if reads.request.is_empty() {
        reads.dropped = 0;
    }
    let due = of_it && reads.runs_again;
    if due && matches!(world.session.lifecycle(), Lifecycle::Live) && !door::is_read_only(world) {
        world.broken(
            Check::Live,
            "the reader was lost, and the read that was to run on the writer does not",
        );
    }
    of_it
}

/// The reader's connection is lost. What becomes of a read whose answer has not begun is known from here on.
pub(crate) fn reader_is_lost(world: &mut World<'_>) {
    let reads = &world.reads;
    let buffer = &world.links[PeerId::CLIENT.index()].buffer;
    let open = !reads.request.is_empty()
        && reads.dropped == 0
        && buffer.len() >= reads.request.len()
        && buffer.iter().zip(&reads.request).all(|(a, b)| a == b);
    // What may be a write is not run again.
    world.reads.runs_again = open && world.setup.fittings.again && !world.setup.optimistic;
}

/// The messages at the front of a client's bytes up to the one that ends a request, and how much before them is none of it.
fn first_request(buffer: &[u8]) -> (usize, Vec<u8>) {
    let (mut rest, mut lead) = (buffer, 0);
    while let Ok(Some(header)) = Header::parse(rest) {
        let Some((_, behind)) = header.split(rest) else {
            break;
        };
        rest = behind;
        if matches!(header.tag, b'Q' | b'S') {
            return (lead, buffer[lead..buffer.len() - rest.len()].to_vec());
        }
        let passed = buffer.len() - rest.len();
        // A Flush is by itself, too.
        let alone = matches!(header.tag, b'c' | b'd' | b'f' | b'H');
        let first = lead + usize::try_from(header.frame_len).unwrap_or(usize::MAX) == passed;
        lead = if alone && first { passed } else { lead };
    }
    (0, Vec::new())
}

/// What the standby was asked to write and should not have been.
pub(crate) fn wrongly_asked(world: &World<'_>) -> Option<String> {
    let on_standby = |write: &&Write| write.node != Node::Primary && world.is_own(write.backend);
    let refused: Vec<&Write> = world.cluster.refusals().iter().filter(on_standby).collect();
    let done = world.cluster.writes().iter().find(on_standby);
    // One refusal for each of which the driver was told, and one that each lost connection may have held.
    let told = |event: &&Event| matches!(event, Event::ReaderRefused { .. });
    let lost = world
        .closes
        .iter()
        .filter(|(peer, _)| *peer == PeerId::READER);
    let may = match world.setup.optimistic {
        // In a transaction on the reader a refusal is the answer.
        true if world.setup.read_transactions => match answers_are_known(world) {
            false => refused.len(),
            true => {
                let answers = world.client.frames.iter();
                let answered = answers.filter(|frame| oracle::show(frame).starts_with("E(25006"));
                world.told.iter().filter(told).count() + lost.count() + answered.count()
            }
        },
        true => world.told.iter().filter(told).count() + lost.count(),
        false => 0,
    };
    if door::is_read_only(world) || world.moves.distance.gave_up_writing(Node::Primary) {
        return done
            .filter(|_| !door::is_promoted(world))
            .map(|write| write.text.clone());
    }
    let wrong = refused.get(may).copied();
    let wrong = wrong.or(done.filter(|_| !writes_anywhere(world)));
    wrong.map(|write| write.text.clone())
}

/// Whether the client has heard whatever it was answered.
fn answers_are_known(world: &World<'_>) -> bool {
    world.damage < Damage::Session && matches!(world.session.lifecycle(), Lifecycle::Live)
}

/// Whether a request that is tried may have met a standby that was promoted and has not said so yet.
pub(crate) fn writes_anywhere(world: &World<'_>) -> bool {
    world.setup.optimistic && world.strikes.contains(&Fault::Promote)
}
