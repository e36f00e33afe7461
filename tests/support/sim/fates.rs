//! What becomes of every byte of every peer: it is passed on, once, or dropped, for a reason.
//!
//! The model servers tell which message each of theirs answers, and the world knows whose each message was that it
//! brought them. So it is known of each answer whether it is the client's; and of each message of the client's whether
//! there is a reason to keep it from the servers.

use std::collections::VecDeque;

use pgturnout::session::{Event, Lifecycle, PeerId};
use pgturnout::wire::Header;

use super::checks::Check;
use super::conduct;
use super::door;
use super::fault::{Damage, is_spare};
use super::server::Mark;
use super::verdict;
use super::world::{State, World};

/// On whose behalf a server was sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Client,
    /// The session's own.
    Ours,
    /// A copy of the client's, which the reader may refuse.
    Tried,
    /// What stands in the place of what is denied.
    StandsIn,
}

/// What has to become of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Client,
    Nobody,
    /// It depends on what the session knew when it came.
    Either,
}

/// The bytes of one peer, and what was made of them.
#[derive(Debug, Default)]
struct Account {
    came: usize,
    passed_on: usize,
    dropped: usize,
    /// What was in its buffer when its connection was closed.
    left: usize,
    /// How much it was sent since it was connected, and whose that is, from where on.
    told: usize,
    whose: Vec<(usize, Whose)>,
    /// Which of the client's bytes they are, where they are: from where on in what it was sent, and in what the client said.
    said: Vec<(usize, usize)>,
    /// How much of what it said since then was taken, and the messages that are still to be.
    taken: usize,
    marks: VecDeque<Mark>,
    /// Where the message goes that is passing.
    passing: Option<PeerId>,
    /// What the last error answers that answered us and went to the client: where that stands in what the peer was sent. And where
    /// the last Sync of ours begins there.
    failed: Option<usize>,
    synced: Option<usize>,
    /// What was dropped although it is the client's: everything behind it must be dropped too.
    given_up: Option<String>,
}

impl Account {
    /// On whose behalf the peer was sent what it answers with this.
    fn whose(&self, answer: Mark) -> Option<Whose> {
        let cause = answer.cause?;
        let at = self.whose.partition_point(|(begins, _)| *begins <= cause);
        Some(self.whose.get(at.checked_sub(1)?)?.1)
    }

    /// Where in what the peer was sent stands what stands there in the client's stream.
    fn told_at(&self, stands: usize) -> Option<usize> {
        let before = self.said.partition_point(|(_, begins)| *begins <= stands);
        let (told, begins) = self.said.get(before.checked_sub(1)?)?;
        Some(told + (stands - begins))
    }
}

/// The client's messages once it is logged in.
#[derive(Debug, Default)]
struct Requests {
    /// The message that is passing, and where it began to go.
    frame: Vec<u8>,
    to: Option<PeerId>,
    /// How many losses of the reader were known when everything last was at rest, and when the batch began.
    losses: usize,
    began: usize,
    /// What became of the batch so far: whether anything of it was the reader's.
    batch: Option<bool>,
    /// Whether a message of it was denied: up to its Sync a server skips whatever follows.
    denied: bool,
    /// What was dropped for a loss that has to be told of.
    suspect: Option<String>,
}

/// What becomes of every byte.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    accounts: [Account; PeerId::COUNT],
    requests: Requests,
}

fn is_live(world: &World<'_>) -> bool {
    matches!(world.session.lifecycle(), Lifecycle::Live)
}

/// Bytes of a peer have come into its buffer.
pub(crate) fn came(world: &mut World<'_>, peer: PeerId, count: usize) {
    world.fates.accounts[peer.index()].came += count;
}

/// A connection to a peer stands, with a server that knows nothing yet.
pub(crate) fn connected(world: &mut World<'_>, peer: PeerId) {
    let account = &mut world.fates.accounts[peer.index()];
    account.told = 0;
    account.whose.clear();
    account.said.clear();
    account.taken = 0;
    account.marks.clear();
    account.passing = None;
    account.failed = None;
    account.synced = None;
    account.given_up = None;
}

/// Who was in one seat is in another.
pub(crate) fn change(world: &mut World<'_>, one: PeerId, other: PeerId) {
    world.fates.accounts.swap(one.index(), other.index());
}

/// A peer's buffer was thrown away with so many bytes in it.
pub(crate) fn closed(world: &mut World<'_>, peer: PeerId, buffered: usize) {
    let account = &mut world.fates.accounts[peer.index()];
    account.left += buffered;
    account.given_up = None;
}

/// Bytes leave for a server, on somebody's behalf.
pub(crate) fn told(world: &mut World<'_>, to: PeerId, whose: Whose, count: usize) {
    let account = &mut world.fates.accounts[to.index()];
    if account.whose.last().is_none_or(|(_, last)| *last != whose) {
        account.whose.push((account.told, whose));
    }
    account.told += count;
}

/// Whether a Sync of ours for a server stands in the place of a Query of the client's, which the server skips behind what we prepared
/// for it: the client has the error of that.
pub(crate) fn ends_a_query(world: &mut World<'_>, to: PeerId, tag: u8) -> bool {
    if tag != b'S' {
        return false;
    }
    learn(world, to);
    let behind = world.injected[to.index()].len();
    let account = &mut world.fates.accounts[to.index()];
    let begins = account.told.saturating_sub(behind + Header::LEN);
    let synced = account.synced.replace(begins);
    let to_come = account.marks.iter().rev();
    let mut errors = to_come.filter(|mark| mark.tag == b'E' && !mark.of_login);
    let error = errors.find(|mark| account.whose(**mark) == Some(Whose::Ours));
    let cause = error.map_or(account.failed, |mark| mark.cause);
    let Some(cause) = cause.filter(|cause| Some(*cause) > synced) else {
        return false;
    };
    let frames = world
        .from_client
        .begun()
        .iter()
        .zip(world.from_client.starts());
    let told_there = frames.rev().filter(|((party, _), _)| *party == Some(to));
    // What follows may have been decided already.
    let behind: Vec<u8> = told_there
        .skip_while(|(_, start)| account.told_at(**start) >= Some(begins))
        .take_while(|(_, start)| account.told_at(**start) > Some(cause))
        .map(|((_, tag), _)| *tag)
        .collect();
    behind.first() == Some(&b'Q') && !behind.contains(&b'S')
}

/// Bytes of the client's leave for a server; it stands here in the client's stream.
pub(crate) fn told_what_was_said(world: &mut World<'_>, to: PeerId, stands: usize) {
    let account = &mut world.fates.accounts[to.index()];
    account.said.push((account.told, stands));
}

/// Where in the client's stream stands what begins there in all that a server was sent, if that is the client's.
pub(crate) fn said_at(world: &World<'_>, to: PeerId, at: usize) -> Option<usize> {
    let said = &world.fates.accounts[to.index()].said;
    let before = said.partition_point(|(begins, _)| *begins <= at);
    let (begins, stands) = said.get(before.checked_sub(1)?)?;
    is_for(world, to, at, Whose::Client).then(|| stands + (at - begins))
}

/// A message of ours to a server, of so many bytes, is known for what it is; so many more have left behind it.
pub(crate) fn told_a_message(
    world: &mut World<'_>,
    to: PeerId,
    whose: Whose,
    count: usize,
    behind: usize,
) {
    let account = &mut world.fates.accounts[to.index()];
    let from = account.told.saturating_sub(count + behind);
    if account.whose.last().is_some_and(|(at, _)| *at >= from) {
        account.whose.pop();
    }
    account.whose.push((from, whose));
}

/// How much has left for a server since it was connected.
pub(crate) fn has_told(world: &World<'_>, to: PeerId) -> usize {
    world.fates.accounts[to.index()].told
}

/// Whether what begins there, in all that a server was sent, was sent on somebody's behalf.
pub(crate) fn is_for(world: &World<'_>, to: PeerId, at: usize, whose: Whose) -> bool {
    let account = &world.fates.accounts[to.index()];
    let before = account.whose.partition_point(|(begins, _)| *begins <= at);
    let last = before.checked_sub(1).and_then(|at| account.whose.get(at));
    last.is_some_and(|(_, of)| *of == whose)
}

/// After each event: what has come is somewhere.
pub(crate) fn step(world: &mut World<'_>) {
    for peer in PeerId::ALL {
        let account = &world.fates.accounts[peer.index()];
        let buffered = world.links[peer.index()].buffer.len();
        let known = account.passed_on + account.dropped + account.left + buffered;
        if account.came != known {
            let came = account.came;
            let detail = format!("{came} bytes of the {peer} have come, and {known} are known of");
            world.broken(Check::Conservation, detail);
        }
    }
}

/// Bytes of a peer were written to another, or dropped.
pub(crate) fn taken(world: &mut World<'_>, from: PeerId, to: Option<PeerId>, bytes: &[u8]) {
    let account = &mut world.fates.accounts[from.index()];
    match to {
        Some(_) => account.passed_on += bytes.len(),
        None => account.dropped += bytes.len(),
    }
    if world.misused {
        return;
    }
    if world.is_opaque() {
        return whole_stream(world, from, to, bytes);
    }
    match from == PeerId::CLIENT {
        true if world.client.is_ready() && world.is_whole() => {
            whole_stream(world, from, to, bytes);
        }
        true if world.client.is_ready() => requests(world, to, bytes),
        true => opening(world, to, bytes),
        false => answers(world, from, to, bytes.len()),
    }
}

/// Of a session that is not read nothing is dropped while it lives, but what was decided before anything passed.
fn whole_stream(world: &mut World<'_>, from: PeerId, to: Option<PeerId>, bytes: &[u8]) {
    let is_client = from == PeerId::CLIENT;
    let request = is_client && bytes == GSSENC_REQUEST;
    let gone = is_client && world.links[PeerId::WRITER.index()].has_ended();
    if to.is_none() && is_live(world) && !request && !gone {
        let detail = format!("{} bytes of the {from}, which nobody reads", bytes.len());
        world.broken(Check::Conservation, detail);
    }
}

const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

/// What a client says before it is let in: its opening is for the proxy, its answers for whoever asks.
fn opening(world: &mut World<'_>, to: Option<PeerId>, bytes: &[u8]) {
    let relays = !world.setup.terminate && !world.lies(PeerId::CLIENT);
    let is_answer = bytes.first() == Some(&b'p') && !world.client.login.is_empty();
    // Who has hung up hears nothing, and the session ends with what it has said.
    let gone = world.links[conduct::gate(world).index()].has_ended();
    if relays && is_answer && to.is_none() && is_live(world) && !gone {
        let detail = "an answer of the client's to the server that it logs in to is dropped";
        world.broken(Check::Conservation, detail);
    }
}

/// How many messages the session has refused of its own accord.
fn refused(world: &World<'_>) -> usize {
    let denied = |event: &&Event| matches!(event, Event::StatementDenied { .. });
    match world.setup.read_transactions {
        true => world.told.iter().filter(denied).count(),
        false => 0,
    }
}

/// Of how many losses of the reader is known.
fn losses(world: &World<'_>) -> usize {
    let closes = world.closes.iter();
    let told = world.told.iter().filter(|event| {
        matches!(
            event,
            Event::ReaderLost { .. }
                | Event::UpstreamFailed {
                    peer: PeerId::READER,
                    ..
                }
        )
    });
    closes.filter(|(peer, _)| *peer == PeerId::READER).count() + told.count()
}

/// Messages of a client that is logged in.
fn requests(world: &mut World<'_>, to: Option<PeerId>, mut bytes: &[u8]) {
    if world.lies(PeerId::CLIENT) {
        return;
    }
    while !bytes.is_empty() {
        let requests = &mut world.fates.requests;
        if requests.frame.is_empty() {
            requests.to = to;
        }
        let missing = match Header::parse(&requests.frame) {
            Ok(None) => Header::LEN - requests.frame.len(),
            Ok(Some(header)) => {
                let len = usize::try_from(header.frame_len).unwrap_or(usize::MAX);
                len - requests.frame.len()
            }
            Err(_) => return,
        };
        let n = missing.min(bytes.len());
        requests.frame.extend_from_slice(&bytes[..n]);
        bytes = &bytes[n..];
        let cut_off = requests.to.is_some() && to.is_none();
        let whole = match Header::parse(&requests.frame) {
            Ok(Some(header)) => header.split(&requests.frame).is_some(),
            Ok(None) | Err(_) => false,
        };
        if cut_off && is_live(world) {
            suspects(world, "the rest of a message that was on its way");
        }
        if whole {
            let frame = std::mem::take(&mut world.fates.requests.frame);
            request(world, to, &frame);
        }
    }
}

/// A whole message of the client's is taken.
fn request(world: &mut World<'_>, to: Option<PeerId>, frame: &[u8]) {
    let (tag, body) = (frame[0], &frame[Header::LEN..]);
    let known = losses(world);
    // Who answers before it is asked has accepted what was to be tried.
    let accepted = world.setup.copies_requests() && world.lies(PeerId::READER);
    let (judged, goodbye) = (world.setup.judges(), world.goodbye);
    let shown = world.setup.shown();
    let requests = &mut world.fates.requests;
    if requests.batch.is_none() {
        requests.began = known;
    }
    let of_reader = requests.batch == Some(true) || to == Some(PeerId::READER);
    let lost = of_reader && known > requests.began;
    // One that is dropped is skipped up to the Sync, as what failed before it has a server do; and so may one be in the batch of a
    // reader, which is lost before it says so.
    let skipped = requests.denied || requests.batch == Some(true) || to.is_none() && lost;
    let asks_alone = matches!(tag, b'Q' | b'F') && !skipped;
    let ends = tag == b'S' || asks_alone;
    let denied = judged && verdict::denies(tag, body, shown);
    let reasoned = to.is_some() || goodbye || tag == b'X' || denied || lost || accepted;
    // What stands in the place of a denied message may be with the reader.
    let may_be = to.is_none() && (denied || !reasoned);
    requests.batch = (!ends).then_some(of_reader || may_be);
    requests.denied = !ends && (requests.denied || denied);
    if !reasoned && is_live(world) {
        let shown: String = frame.escape_ascii().to_string().chars().take(60).collect();
        suspects(world, &format!("`{shown}` of the client"));
    }
}

fn suspects(world: &mut World<'_>, what: &str) {
    let requests = &mut world.fates.requests;
    requests.suspect.get_or_insert_with(|| what.to_owned());
}

/// Everything that can happen has: of a loss that something was dropped for the driver has been told.
pub(crate) fn rests(world: &mut World<'_>) {
    let losses = losses(world) + refused(world);
    let before = std::mem::replace(&mut world.fates.requests.losses, losses);
    let suspect = world.fates.requests.suspect.take();
    if let Some(what) = suspect
        && losses == before
        && is_live(world)
        && !world.misused
    {
        let detail = format!("{what} is dropped, for no reason");
        world.broken(Check::Conservation, detail);
    }
    for peer in PeerId::ALL {
        let stands = world.links[peer.index()].state == State::Open;
        let given_up = world.fates.accounts[peer.index()].given_up.clone();
        if let Some(what) = given_up
            && stands
            && is_live(world)
            && !world.misused
        {
            world.broken(Check::Conservation, what);
        }
    }
}

/// Hears from a server what its messages answer.
fn learn(world: &mut World<'_>, from: PeerId) {
    let at = from.index();
    let marks = world.servers[at].as_mut().map(|server| server.marks());
    let account = &mut world.fates.accounts[at];
    account.marks.extend(marks.into_iter().flatten());
}

/// So many bytes of a server are taken.
fn answers(world: &mut World<'_>, from: PeerId, to: Option<PeerId>, count: usize) {
    let at = from.index();
    learn(world, from);
    let account = &mut world.fates.accounts[at];
    let begins = account.taken;
    account.taken += count;
    let ends = account.taken;
    if world.lies(from) || world.posing[at].is_some() {
        return;
    }
    let live = is_live(world);
    let account = &mut world.fates.accounts[at];
    let continues = account.marks.front().is_none_or(|mark| mark.at > begins);
    if continues && account.passing != to && live && account.passing.is_some() {
        let detail = format!("the rest of a message of the {from}, whose beginning was passed on");
        account.given_up.get_or_insert(detail);
    }
    while let Some(mark) = world.fates.accounts[at].marks.front().copied()
        && mark.at < ends
    {
        let account = &mut world.fates.accounts[at];
        account.marks.pop_front();
        account.passing = to;
        answer(world, from, to, mark);
    }
}

fn answer(world: &mut World<'_>, from: PeerId, to: Option<PeerId>, mark: Mark) {
    let account = &world.fates.accounts[from.index()];
    let whose = account.whose(mark);
    let due = match mark.of_login {
        true => due_in_login(world, from, mark),
        false if world.is_whole() => Due::Client,
        false => due(world, from, mark, whose),
    };
    let tag = char::from(mark.tag);
    let of = match whose {
        _ if mark.of_login => "of its login".to_owned(),
        Some(whose) => format!("for {whose:?}"),
        None => "that nobody asked for".to_owned(),
    };
    match (to, due) {
        (Some(_), Due::Nobody) => {
            let check = match whose {
                Some(Whose::Ours | Whose::StandsIn) if !mark.of_login => Check::Injected,
                _ => Check::Conservation,
            };
            let detail = format!("a message {tag} of the {from} {of} goes to the client");
            world.broken(check, detail);
        }
        // The error of a Flush with a body that crossed a copy's end may come as the answer to what a move asks.
        (None, Due::Client)
            if mark.tag == b'E' && world.lies(PeerId::CLIENT) && world.moves.has_begun() => {}
        (None, Due::Client) if is_live(world) => {
            let detail = format!("a message {tag} of the {from} {of} is dropped, for no reason");
            world.fates.accounts[from.index()]
                .given_up
                .get_or_insert(detail.clone());
            if world.damage == Damage::None {
                world.broken(Check::Conservation, detail);
            }
        }
        (Some(_), Due::Client | Due::Either) => {
            let ours = mark.tag == b'E' && whose == Some(Whose::Ours);
            if ours {
                world.fates.accounts[from.index()].failed = mark.cause;
            }
            let account = &world.fates.accounts[from.index()];
            // Who has been given up says nothing more.
            if let Some(what) = account.given_up.clone()
                && !world.lies(from)
            {
                world.broken(Check::Conservation, what);
            }
        }
        (None, Due::Client | Due::Nobody | Due::Either) => {}
    }
}

/// What has to become of a message of a login: the client hears those of the server that it logs in to, but for the
/// server's key, and what a reader says of itself.
fn due_in_login(world: &World<'_>, from: PeerId, mark: Mark) -> Due {
    if world.setup.terminate || world.client.is_ready() {
        return Due::Nobody;
    }
    if from != conduct::gate(world) {
        return match world.setup.read_only {
            true => Due::Either,
            false => Due::Nobody,
        };
    }
    match mark.tag {
        b'K' => Due::Nobody,
        // Replaced by ours, tried again over TLS, or denied.
        b'R' | b'E' | b'v' => Due::Either,
        b'S' | b'Z' | b'N' if from == PeerId::READER => Due::Either,
        // A login that is denied ends with the denial.
        _ => Due::Client,
    }
}

/// What has to become of what a server says that is logged in to.
fn due(world: &World<'_>, from: PeerId, mark: Mark, whose: Option<Whose>) -> Due {
    let is_main = from == PeerId::WRITER || door::is_read_only(world) && !is_spare(from);
    match (mark.tag, whose) {
        (b'S' | b'A', _) if is_main => Due::Client,
        (b'S' | b'A', _) => Due::Nobody,
        (b'E', _) if mark.fatal && is_main => Due::Client,
        (b'E', _) if mark.fatal => Due::Nobody,
        (_, Some(Whose::Tried)) => Due::Either,
        (_, Some(Whose::Client)) => Due::Client,
        (b'N', _) => Due::Either,
        (b'E', Some(Whose::StandsIn)) => Due::Nobody,
        (b'E', _) => Due::Either,
        (_, Some(Whose::StandsIn)) => Due::Client,
        (_, Some(Whose::Ours)) => Due::Nobody,
        (_, None) => Due::Either,
    }
}
