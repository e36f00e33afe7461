//! How a session treats its peers beside what it tells them: whom it dials and when, how it leaves them, and what it
//! is like when everything has come to rest.

use pgturnout::session::{Action, CloseCause, Event, PeerId, Timer};
use pgturnout::wire::Backend;

use super::catalogue::Phase;
use super::checks::{self, Check};
use super::client::Frame;
use super::door;
use super::duties;
use super::fault::{Damage, Fault, is_spare};
use super::moves;
use super::oracle;
use super::senseless;
use super::server::ServerPhase;
use super::transfers;
use super::world::{Happened, OUTSIDE, Sent, State, World};

/// The upstream that the client logs in to.
pub(crate) fn gate(world: &World<'_>) -> PeerId {
    match world.setup.split && world.setup.gate_is_reader && !world.is_whole() {
        true => PeerId::READER,
        false => PeerId::WRITER,
    }
}

/// The session asks for something.
pub(crate) fn action(world: &mut World<'_>, action: &Action) {
    match action {
        Action::Connect { peer, .. }
            if world.setup.is_found_out() && !world.lies(PeerId::CLIENT) =>
        {
            let detail = format!("the {peer} is dialled for a client that is not who it says");
            world.broken(Check::LoginOrder, detail);
        }
        Action::Connect { peer, .. } if *peer == PeerId::READER && world.is_whole() => {
            world.broken(Check::Direct, "a reader for a session that is not read");
        }
        Action::Connect { peer, .. } if *peer != gate(world) => knows_the_client(world, *peer),
        Action::Close { peer, .. } if peer.is_upstream() => takes_leave(world, *peer),
        _ => {}
    }
}

/// Nobody is logged in to in the name of a client who has not shown who it is.
fn knows_the_client(world: &mut World<'_>, peer: PeerId) {
    let gate = gate(world);
    let proven = world.servers[gate.index()].as_ref().is_some_and(|server| {
        !matches!(
            server.phase(),
            ServerPhase::Opening | ServerPhase::Authenticating
        )
    });
    // The gate may be lost once it has let the client in.
    world.let_in |= world.client.is_ready() || proven;
    if !world.let_in {
        world.broken(
            Check::LoginOrder,
            format!("the {peer} is dialled for a client that the {gate} has not let in"),
        );
    }
}

/// Who does not take what is left for them in time is not taken leave of.
const TOO_SLOW: Event = Event::TimedOut(Timer::Drain);

/// A server that the session has left, or does not move to after all, is told so where it listens.
pub(crate) fn leaves(world: &mut World<'_>, peer: PeerId, cause: &CloseCause) {
    if !matches!(cause, CloseCause::Moved | CloseCause::MoveFailed) || !is_spare(peer) {
        return;
    }
    let link = &world.links[peer.index()];
    let listens = world.servers[peer.index()]
        .as_ref()
        .is_some_and(|server| server.phase() == ServerPhase::Idle);
    // Of a login whose end has not come nobody knows that it is over.
    let began = |event: &Event| matches!(event, Event::MoveBegan { .. });
    let mut told = world.told.iter().rev().take_while(|event| !began(event));
    let known = *cause == CloseCause::Moved
        || told.any(|event| matches!(event, Event::UpstreamReady { peer: of, .. } if *of == peer));
    let hears = link.state == State::Open && !link.has_ended() && !link.stalled;
    let told = world.taken_leave[peer.index()] || world.told.contains(&TOO_SLOW);
    if listens && known && hears && !told && !world.lies(peer) {
        let detail = format!("the {peer} is left without a Terminate: {cause}");
        world.broken(Check::Live, detail);
    }
}

/// A server that waits for requests is told that none will come.
fn takes_leave(world: &mut World<'_>, peer: PeerId) {
    let waits = world.servers[peer.index()]
        .as_ref()
        .is_some_and(|server| server.phase() == ServerPhase::Idle);
    // What no Sync followed may be on its way still, and whether a Sync near a copy is answered may be in doubt.
    let waits = waits && oracle::is_all_asked(world) && !oracle::copies(world);
    let told = match world.happened[peer.index()].last() {
        Some(Happened::Sent(sent)) => sent.bytes().ends_with(b"X\0\0\0\x04"),
        _ => false,
    };
    let ours = waits && !world.is_whole();
    if world.leaving && world.damage == Damage::None && ours && !told {
        world.broken(
            Check::Live,
            format!("the {peer} is left without a Terminate"),
        );
    }
}

/// Bytes leave for a peer.
pub(crate) fn leaving(world: &mut World<'_>, to: PeerId, sent: &Sent) {
    passes_whole(world, to, sent);
    senseless::leaving(world, to, sent);
    if world.holds_for_a_cancel(to) && !world.misused {
        let detail = format!("bytes for the {to} while a cancel is under way to it");
        world.broken(Check::CancelHome, detail);
    }
    if to == PeerId::CLIENT {
        leaving_for_the_client(world, sent);
    } else if world.stuffed {
        world.broken(
            Check::LoginOrder,
            format!("bytes for the {to} after some were stuffed behind an SSLRequest"),
        );
    } else if matches!(sent, Sent::Spliced(PeerId::CLIENT, _)) {
        asks_who_writes(world, to);
    }
}

/// Whether a READ ONLY transaction of the client's is open on the reader: it stays what it is, whatever the server becomes.
fn stands_there(world: &World<'_>) -> bool {
    let server = world.servers[PeerId::READER.index()].as_ref();
    let open = [ServerPhase::InTransaction, ServerPhase::Failed];
    world.setup.read_transactions && server.is_some_and(|server| open.contains(&server.phase()))
}

/// A message of the client's has left for an upstream.
pub(crate) fn asks_who_writes(world: &mut World<'_>, to: PeerId) {
    if to == PeerId::READER
        && world.client.is_ready()
        && world.takes_writes[to.index()]
        && !world.lies(to)
        && !stands_there(world)
    {
        world.broken(
            Check::WrongWrite,
            "a request for a reader that has said that it takes writes",
        );
    }
}

/// Of a session that is not read everything goes between the client and the writer, and we have nothing to say in it.
fn passes_whole(world: &mut World<'_>, to: PeerId, sent: &Sent) {
    let spliced = |happened: &Happened| matches!(happened, Happened::Sent(Sent::Spliced(..)));
    let silent = match (world.is_opaque(), to == PeerId::CLIENT) {
        // Who waits for the answer to a request can be told that there will be none.
        (true, true) => {
            let decided = world.began_unasked() && world.was_dialled(PeerId::WRITER);
            decided || world.happened[0].iter().any(spliced)
        }
        (true, false) => true,
        (false, _) => world.is_whole() && world.client.is_ready(),
    };
    let (why, wrong) = match sent {
        Sent::Ours(_) => ("ours", silent),
        Sent::Spliced(from, _) => {
            let pair = [*from, to];
            let both = [PeerId::CLIENT, PeerId::WRITER].map(|peer| pair.contains(&peer));
            ("another's", world.is_whole() && both != [true, true])
        }
    };
    if wrong {
        let detail = format!("bytes for the {to} in a session that is not read: {why}");
        world.broken(Check::Conservation, detail);
    }
}

/// An encryption request was answered with a byte: it was one, of its kind the first, and as long as those are.
fn asked_for(world: &mut World<'_>) {
    let asked: Vec<&[u8]> = world
        .first_bytes
        .chunks_exact(8)
        .take(world.answers)
        .collect();
    let requests = [&SSL_REQUEST[..], &GSSENC_REQUEST[..]];
    let fine = asked.len() == world.answers
        && asked.iter().all(|request| requests.contains(request))
        && (1..asked.len()).all(|at| !asked[..at].contains(&asked[at]));
    if !fine {
        let opening = world.first_bytes.escape_ascii().to_string();
        let detail = format!("{} answers of a byte to `{opening}`", world.answers);
        world.broken(Check::LoginOrder, detail);
    }
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// None are of a reader that the client has asked nothing.
fn leaving_for_the_client(world: &mut World<'_>, sent: &Sent) {
    // The answer to an encryption request: who says more before it is not our client alone.
    let answer = matches!(sent, Sent::Ours(bytes) if matches!(&bytes[..], b"N" | b"S"));
    let so_far = world.happened[PeerId::CLIENT.index()].iter();
    let said = so_far.map(|happened| match happened {
        Happened::Sent(sent) => sent.bytes().len(),
        _ => 0,
    });
    if answer && said.sum::<usize>() == world.answers {
        world.answers += 1;
        asked_for(world);
        world.stuffed |= world.client_bytes > 8 * world.answers;
    }
    if matches!(sent, Sent::Spliced(PeerId::READER, _))
        && world.client.is_ready()
        && !world.reader_asked
        && !world.lies(PeerId::READER)
    {
        world.broken(
            Check::Direct,
            "bytes of the reader, of which the client has asked nothing",
        );
    }
}

/// The client's frames from the `from`th on were taken: none that goes on to a server stands behind a Terminate, and none
/// that came after a shutdown begins a request.
pub(crate) fn begins(world: &mut World<'_>, from: usize) {
    if world.is_whole() {
        return;
    }
    let (frames, starts) = (world.from_client.begun(), world.from_client.starts());
    let mut wrong = None;
    for at in from..frames.len() {
        let (to, tag) = frames[at];
        let Some(to) = to else { continue };
        if frames[..at].iter().any(|(_, tag)| *tag == b'X') {
            let detail = format!("a message for the {to} from behind the client's Terminate");
            wrong = Some((Check::NothingAfterClose, detail));
        }
        let late = world
            .shut_down_at
            .is_some_and(|offset| starts[at] >= offset);
        // In a copy it is nothing that the server runs: it ends the copy with an error.
        let copies = world.seen.phase(to) == Phase::CopyIn;
        if late && !copies && begins_request(&frames[..at], tag) {
            let shown = char::from(tag);
            let detail = format!("a request ({shown}) for the {to} that came after the shutdown");
            wrong = Some((Check::NothingAfterClose, detail));
        }
        if tag == b'X' {
            world.taken_leave[to.index()] = true;
        }
    }
    if let Some((check, detail)) = wrong {
        world.broken(check, detail);
    }
}

/// Whether a message belongs to nothing that was begun before it: to no batch, and to no copy.
fn begins_request(before: &[(Option<PeerId>, u8)], tag: u8) -> bool {
    let batch = before.iter().rev().take_while(|(_, tag)| *tag != b'S');
    let goes_on = batch.clone().any(|(_, tag)| b"PBDECH".contains(tag));
    let copies = before.last().is_some_and(|(_, tag)| *tag == b'd');
    b"QFPBDEC".contains(&tag) && !goes_on && !copies
}

/// Everything has come to rest.
pub(crate) fn at_rest(world: &mut World<'_>) {
    if world.damage >= Damage::Anything || !world.client.is_ready() {
        return;
    }
    if !world.setup.has_tls_enough() {
        world.broken(
            Check::LoginOrder,
            "a client was let in although there is less TLS than required",
        );
    }
    if !world.setup.lets_client_in() && world.damage < Damage::Session {
        world.broken(
            Check::LoginOrder,
            "a client was let in whom no server lets in",
        );
    }
    told_at_login(world);
    tells_clean_text(world);
    duties::at_rest(world);
    moves::at_rest(world);
    match world.session.ended() {
        None if world.damage == Damage::None => {
            hears_the_writer(world);
            hears_notifications(world);
            // A move waits for as long as its client is busy.
            if let Some((_, timer)) = world.session.poll_timeout()
                && (timer != Timer::Move || world.session.migration().is_none())
            {
                world.broken(
                    Check::Deadline,
                    format!("{timer}: a deadline, and nothing to wait for"),
                );
            }
        }
        Some(
            CloseCause::UpstreamLost(PeerId::READER)
            | CloseCause::UpstreamEnded(PeerId::READER)
            | CloseCause::UpstreamFault(PeerId::READER),
        ) if world.client.torn() == 0 => {
            world.broken(Check::Live, "the session ended with its reader");
        }
        None | Some(_) => {}
    }
}

/// What tells what a server has said of its own accord from everything else.
pub(crate) const ASIDES: [(u8, &[u8]); 2] = [
    (b'N', b"no cause for alarm"),
    (b'S', b"default_transaction_read_only"),
];

/// What the writer says of its own accord arrives.
fn hears_the_writer(world: &mut World<'_>) {
    let asides = |frames: &[Frame]| {
        let aside = frames.iter().filter(|frame| {
            let has = |word: &[u8]| frame.body.windows(word.len()).any(|part| part == word);
            ASIDES
                .iter()
                .any(|(tag, word)| frame.tag == *tag && has(word))
        });
        aside.count()
    };
    let heard = asides(&world.client.login) + asides(&world.client.frames);
    let said = asides(&oracle::login(world)) + world.writer_asides;
    if heard < said {
        world.broken(
            Check::Direct,
            format!("the writer had {said} things to say, and the client heard {heard}"),
        );
    }
}

/// What we tell the client of our own may repeat what a server said, and its log may be shown by a terminal.
fn tells_clean_text(world: &mut World<'_>) {
    let frames = world.client.login.iter().chain(&world.client.frames);
    let dirty = frames
        .zip(world.to_client.begun())
        .filter(|(frame, (of, tag))| of.is_none() && frame.tag == *tag)
        .filter(|(frame, _)| matches!(frame.tag, b'E' | b'N'))
        // A server that ends the session in its answer to us is passed on as it is.
        .filter(|(frame, _)| !transfers::is_farewell(world, frame))
        .find(|(frame, _)| {
            let fields = frame.body.split(|byte| *byte == 0);
            !fields
                .map(std::str::from_utf8)
                .all(|field| field.is_ok_and(checks::is_clean))
        });
    if let Some((frame, _)) = dirty {
        let detail = frame.body.escape_ascii().to_string();
        world.broken(Check::CleanText, detail);
    }
}

/// So does what somebody else notified.
fn hears_notifications(world: &mut World<'_>) {
    let word = OUTSIDE.as_bytes();
    let heard = world.client.frames.iter().filter(|frame| {
        frame.tag == b'A' && frame.body.windows(word.len()).any(|part| part == word)
    });
    let (heard, due) = (heard.count(), world.notifications);
    // A server says it when it is idle, which it never is again behind a batch without Sync.
    let mut answers = world.client.frames.iter().rev();
    let last = answers.find(|frame| !matches!(frame.tag, b'A' | b'N' | b'S'));
    let may_miss = last.is_none_or(|frame| frame.tag != b'Z');
    if heard > due || heard < due && !may_miss {
        world.broken(
            Check::Direct,
            format!("{due} notifications were due to the client, and it heard {heard}"),
        );
    }
}

/// The client was told at its login what the primary tells, and a key that is its own.
fn told_at_login(world: &mut World<'_>) {
    let demoted = world.strikes.contains(&Fault::Demote) || door::is_promoted(world);
    fn name(told: &Frame) -> &[u8] {
        told.body
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
    }
    let parameters = |frames: &[Frame]| {
        let mut told: Vec<Frame> = frames
            .iter()
            .filter(|frame| frame.tag == b'S')
            .filter(|frame| !frame.body.starts_with(b"default_transaction_read_only"))
            .filter(|frame| !demoted || !frame.body.starts_with(b"in_hot_standby"))
            .cloned()
            .collect();
        // What is told again counts as it is told last.
        told.reverse();
        told.sort_by(|a, b| name(a).cmp(name(b)));
        told.dedup_by(|a, b| name(a) == name(b));
        told
    };
    let ours = parameters(&world.client.login);
    let theirs = parameters(&oracle::login(world));
    if ours != theirs {
        let list = |frames: &[Frame]| {
            frames
                .iter()
                .map(oracle::show)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (ours, theirs) = (list(&ours), list(&theirs));
        world.broken(
            Check::Direct,
            format!("the login told `{ours}`, one server tells `{theirs}`"),
        );
    }
    let keys = world.client.login.iter().filter(|frame| frame.tag == b'K');
    let wrong = match world.session.client_key() {
        Some(key) => keys.clone().any(|frame| {
            !matches!(
                Backend::parse(b'K', &frame.body),
                Ok(Backend::BackendKeyData { process_id, secret })
                    if process_id == key.process_id() && secret == key.secret()
            )
        }),
        None => false,
    };
    #[cfg(feature = "scram")]
    let wrong = wrong || {
        let (ring, key) = (&world.config.cancel_ring, world.session.client_key());
        ring.as_ref()
            .zip(key)
            .is_some_and(|(ring, key)| !ring.may_be_own(key))
    };
    if wrong || keys.count() != 1 {
        world.broken(
            Check::CancelHome,
            "the client's key is not the one that its session is known by",
        );
    }
}
