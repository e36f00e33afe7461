//! A fault at every byte that the servers say in a move, of PostgreSQL's and of CockroachDB's: silence, death, another byte.
//! The session is then where the table of `migrate::Migration` says, and whole.

mod session_support;

use std::collections::BTreeSet;
use std::ops::Range;

use pgturnout::migrate::postgres::{Listening, OtherOids};
use pgturnout::migrate::{Outcome, Reason};
use pgturnout::session::{CloseCause, Config, Event, MoveOrder, MoveTarget, PeerId};
use pgturnout::wire::Header;
use session_support::cockroach::{BEGUN, STATE, TOKEN, handed_out, key, servers, taken_in};
use session_support::frames::{backend, frontend, raw, show_backend};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;

/// What the servers say in a move, each behind what it was asked.
#[derive(Clone)]
struct Dialogue {
    config: fn() -> Config,
    /// What the session has done before.
    before: fn(&mut Rig),
    parts: Vec<(PeerId, Vec<u8>)>,
    /// The same in a second move.
    later: Vec<(PeerId, Vec<u8>)>,
}

/// A session that has set something.
fn postgresql() -> Dialogue {
    let state = Had::default().set("work_mem", "64").answer();
    let login = [backend("R"), backend(SPARE_LOGIN)];
    let set = backend("1 2 D(x) C(SELECT 1) 3 Z(I)");
    let parts = vec![
        (NEW, login.concat()),
        (NEW, Had::default().answer()),
        (WRITER, state.clone()),
        (NEW, set),
        (NEW, state),
    ];
    Dialogue {
        config: movable,
        before: |rig| ask(rig, "set work_mem = 64", "C(SET) Z(I)"),
        later: parts.clone(),
        parts,
    }
}

/// A session that has all that a move makes anew, with a type that has another OID on the new server's cluster.
fn of_every_kind() -> Dialogue {
    let fresh = Had {
        system: Some("7714"),
        ..Had::default()
    };
    let has = |of: Had, oids| {
        let mut had = of.set("work_mem", "64");
        let delete = "delete from t where a = $1".to_owned();
        let prepare = "prepare p as select 1".to_owned();
        had.statements = vec![("s", oids, delete, false), ("p", "{}", prepare, true)];
        had.channels = vec!["c"];
        had
    };
    let mut dialogue = Dialogue {
        config: movable,
        before: |rig| {
            ask(rig, "set work_mem = 64", "C(SET) Z(I)");
            ask(rig, "prepare p as select 1", "C(PREPARE) Z(I)");
            ask(rig, "listen c", "C(LISTEN) Z(I)");
            let parse = b"s\0delete from t where a = $1\0\0\x01";
            let parse = [&parse[..], &16_400_u32.to_be_bytes()].concat();
            rig.raw(CLIENT, &[raw(b'P', &parse), frontend("S")].concat());
            rig.take(WRITER);
            rig.writer("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
        },
        parts: vec![
            (NEW, [backend("R"), backend(SPARE_LOGIN)].concat()),
            (NEW, fresh.answer()),
            (WRITER, has(Had::default(), "{16400}").answer()),
            (WRITER, types("16400")),
            (NEW, types("17000")),
        ],
        later: Vec::new(),
    };
    let mut rig = dialogue.said(dialogue.len());
    let (parts, answers) = rig.restore_parts(NEW);
    assert_eq!(
        parts,
        "work_mem=64 P(s,delete from t where a = $1) LISTEN \\\"c\\\" prepare p as select 1"
    );
    let verified = has(fresh, "{17000}").answer();
    dialogue.parts.extend([(NEW, answers), (NEW, verified)]);
    dialogue.later.clone_from(&dialogue.parts);
    dialogue
}

/// The answer to a lookup of one type, `app.mood`.
fn types(oid: &str) -> Vec<u8> {
    let mut table = vec![
        0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1,
    ];
    for cell in [oid, "app", "mood"] {
        table.extend(u32::try_from(cell.len()).unwrap().to_be_bytes());
        table.extend(cell.as_bytes());
    }
    let len = u32::try_from(table.len()).unwrap().to_be_bytes();
    let row = raw(b'D', &[&[0, 1][..], &len, &table].concat());
    [backend("1 2"), row, backend("C(SELECT 1) Z(I) 3 Z(I)")].concat()
}

/// One that has prepared a statement, between servers of CockroachDB.
fn cockroach() -> Dialogue {
    let prepare: fn(&mut Rig) = |rig| {
        rig.client("P(s,delete from t) S");
        rig.take(WRITER);
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
    };
    let described = backend("t T Z(I)");
    // The key is derived from the session's seed, and from the number of the move.
    let mut rig = begun(servers, prepare);
    let with_key = |rig: &mut Rig| {
        rig.take(WRITER);
        rig.raw(WRITER, &described);
        let said = handed_out("", Some(STATE), Some(TOKEN), &key(rig));
        rig.raw(WRITER, &said);
        vec![
            (WRITER, described.clone()),
            (WRITER, [backend(BEGUN), said].concat()),
            (NEW, [backend("R"), backend(SPARE_LOGIN)].concat()),
            (NEW, taken_in("t")),
            (NEW, described.clone()),
        ]
    };
    let parts = with_key(&mut rig);
    rig.eof(NEW);
    rig.migrate(order());
    Dialogue {
        config: servers,
        before: prepare,
        parts,
        later: with_key(&mut rig),
    }
}

fn order() -> MoveOrder {
    let mut order = MoveOrder::new(MoveTarget::Writer(SPARE));
    order.listening = Listening::Move;
    order.other_oids = OtherOids::Remap;
    order
}

/// A session that has done something and is to move.
fn begun(config: fn() -> Config, before: fn(&mut Rig)) -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.logged_in();
    before(&mut rig);
    rig.migrate(order());
    rig
}

#[track_caller]
fn ask(rig: &mut Rig, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(WRITER, &format!("Q({text})"));
    rig.writer(answer);
    rig.see(CLIENT, answer);
}

impl Dialogue {
    fn len(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// A move in which so many bytes are said, from `from` on. What the new server was sent for them.
    fn say(&self, rig: &mut Rig, from: usize, to: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut begins = 0;
        for (peer, bytes) in &self.parts {
            let place = |at: usize| at.saturating_sub(begins).min(bytes.len());
            let (begun, ends) = (place(from), place(to));
            let now = &bytes[begun..ends];
            begins += bytes.len();
            if now.is_empty() {
                continue;
            }
            // Nobody answers what was not asked.
            let asked = rig.take(*peer);
            if (begun == 0 && asked.is_empty()) || !rig.is_open(*peer) {
                return sent;
            }
            if *peer == NEW {
                sent.extend(asked);
            }
            rig.raw(*peer, now);
        }
        sent
    }

    fn said(&self, count: usize) -> Rig {
        let mut rig = begun(self.config, self.before);
        self.say(&mut rig, 0, count);
        rig
    }

    /// Where the old server begins with each of its answers, and where it has given it.
    fn of_old(&self) -> Vec<Range<usize>> {
        let mut begins = 0;
        let mut all = Vec::new();
        for (peer, bytes) in &self.parts {
            let part = begins..begins + bytes.len();
            begins = part.end;
            if *peer == WRITER {
                all.push(part);
            }
        }
        all
    }

    /// How much is said when the old server has answered for the last time.
    fn is_read(&self) -> usize {
        self.of_old().last().expect("it is asked").end
    }

    /// The session goes on where it was, once the old server has said what it owes to us.
    #[track_caller]
    fn goes_on(&self, rig: &mut Rig, said: usize) {
        let owed = self.of_old().into_iter().find(|part| part.contains(&said));
        if let Some(part) = owed {
            self.say(rig, said, part.end);
        }
        rig.take(WRITER);
        rig.see(CLIENT, "");
        ask(rig, "delete from t", "C(DELETE 1) Z(I)");
        assert!(!rig.is_open(NEW), "{said}: the new server is left");
        assert_eq!(rig.transfers(), [1, 0, 1, 0], "{said}");
    }

    /// And moves with the next order, with all that it has.
    #[track_caller]
    fn moves_later(&self, rig: &mut Rig, said: usize) {
        rig.take(WRITER);
        rig.migrate(order());
        let again = Dialogue {
            parts: self.later.clone(),
            ..self.clone()
        };
        again.say(rig, 0, again.len());
        assert_eq!(
            rig.transfers(),
            [2, 1, 1, 0],
            "{said}: {:?}",
            rig.move_ended()
        );
        told_of_parameters_only(rig, "behind a second move");
        serves(rig, NEW, [2, 1, 1, 0], "behind a second move");
    }
}

fn shows_no_secret(rig: &Rig) {
    let shown = format!("{:?} {:?} {:?}", rig.events, rig.closes, rig.session);
    assert!(![STATE, TOKEN].iter().any(|secret| shown.contains(secret)));
}

/// What is waited for runs out, until the move is over. Whether anything did.
fn runs_out(rig: &mut Rig) -> bool {
    let mut any = false;
    while rig.session.migration().is_some() {
        let (_, next) = rig.session.poll_timeout().expect("a deadline");
        rig.expire(next);
        any = true;
    }
    any
}

/// Whoever is silent, and behind whichever byte: the session stays, and is as it was (W4).
#[test]
fn a_server_may_fall_silent_behind_every_byte() {
    for dialogue in [postgresql(), of_every_kind(), cockroach()] {
        for said in 0..dialogue.len() {
            let mut rig = dialogue.said(said);
            assert!(runs_out(&mut rig), "{said}");
            dialogue.goes_on(&mut rig, said);
            shows_no_secret(&rig);
        }
        let rig = dialogue.said(dialogue.len());
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
    }
}

/// A peer dies behind every byte that the servers say: the session is on one of them, whole, and can move again, or has ended and
/// said so.
#[test]
fn a_peer_may_die_behind_every_byte() {
    for dialogue in [postgresql(), of_every_kind(), cockroach()] {
        for reset in [false, true] {
            for said in 0..=dialogue.len() {
                dies_behind(&dialogue, reset, said);
            }
        }
    }
}

fn dies_behind(dialogue: &Dialogue, reset: bool, said: usize) {
    let all = dialogue.len();
    let die = |rig: &mut Rig, peer| match reset {
        false => rig.eof(peer),
        true => rig.reset(peer),
    };
    let mut rig = dialogue.said(said);
    die(&mut rig, NEW);
    if said == all {
        assert!(rig.is_dead(), "it is the writer by now");
    } else {
        dialogue.goes_on(&mut rig, said);
        dialogue.moves_later(&mut rig, said);
    }

    let mut rig = dialogue.said(said);
    rig.take(CLIENT);
    if rig.is_open(WRITER) {
        die(&mut rig, WRITER);
    }
    if said < dialogue.is_read() {
        rig.see(CLIENT, "FATAL(08006)");
        assert_eq!(rig.transfers(), [1, 0, 0, 1], "{said}");
        assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
    } else {
        // The session's state is read, and it goes on elsewhere.
        dialogue.say(&mut rig, said, all);
        told_of_parameters_only(&mut rig, "behind the old server's death");
        serves(&mut rig, NEW, [1, 1, 0, 0], "behind the old server's death");
    }

    let mut rig = dialogue.said(said);
    die(&mut rig, CLIENT);
    assert!(rig.is_dead(), "{said}");
    let success = u64::from(said == all);
    assert_eq!(rig.transfers(), [1, success, 1 - success, 0], "{said}");
}

/// A bit of a message.
#[derive(Clone, Copy, Debug)]
struct Bit {
    /// The part of the dialogue, and where the message begins and ends in it.
    part: usize,
    begins: usize,
    ends: usize,
    tag: u8,
    /// The byte of the message, and the bit of the byte.
    byte: usize,
    mask: u8,
}

impl Bit {
    fn is_of_the_length(self) -> bool {
        (1..Header::LEN).contains(&self.byte)
    }

    /// Whether it makes a message one that comes unasked.
    fn becomes_an_aside(self) -> bool {
        self.byte == 0 && b"ANS".contains(&(self.tag ^ self.mask))
    }
}

impl Dialogue {
    fn bits(&self) -> Vec<Bit> {
        let mut all = Vec::new();
        for (part, (_, bytes)) in self.parts.iter().enumerate() {
            let mut begins = 0;
            while let Some(header) = Header::parse(&bytes[begins..]).expect("a message") {
                let ends = begins + usize::try_from(header.frame_len).expect("it fits");
                let of = |byte| (0..8).map(move |at| (byte, 1 << at));
                all.extend((0..ends - begins).flat_map(of).map(|(byte, mask)| Bit {
                    part,
                    begins,
                    ends,
                    tag: header.tag,
                    byte,
                    mask,
                }));
                begins = ends;
            }
        }
        all
    }

    fn turned(&self, bit: Bit) -> Dialogue {
        let mut wrong = self.clone();
        wrong.parts[bit.part].1[bit.begins + bit.byte] ^= bit.mask;
        wrong
    }

    fn message(&self, bit: Bit) -> &[u8] {
        &self.parts[bit.part].1[bit.begins..bit.ends]
    }
}

/// What became of a session in whose move one bit was another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    /// It has moved. The bit is in a value that nobody needs: the new server is asked what it is asked without it.
    Moved,
    /// It has moved, with the state or the token as the old server said them: nobody but a server can read those.
    MovedAsSaid,
    /// It is where it was.
    Stays,
    /// It is where it was, behind a message that the old server says is longer than what comes. It is waited for no
    /// longer than any; what comes next is the rest of it, as with every client of such a server.
    StaysBehindTheRest,
    /// The old server's stream makes no sense any more, and the client was told.
    Ended,
}

/// One bit of what a server says is another.
#[test]
fn every_bit_may_be_another() {
    let both = [
        Became::Moved,
        Became::Stays,
        Became::StaysBehindTheRest,
        Became::Ended,
    ];
    let cases = [
        (postgresql(), BTreeSet::from(both)),
        (of_every_kind(), BTreeSet::from(both)),
        (
            cockroach(),
            BTreeSet::from_iter(both.into_iter().chain([Became::MovedAsSaid])),
        ),
    ];
    for (dialogue, expected) in cases {
        let sent = dialogue.say(
            &mut begun(dialogue.config, dialogue.before),
            0,
            dialogue.len(),
        );
        let bits = dialogue.bits();
        let became = bits.into_iter().map(|bit| judge(&dialogue, bit, &sent));
        assert_eq!(became.collect::<BTreeSet<_>>(), expected);
    }
}

fn judge(dialogue: &Dialogue, bit: Bit, sent: &[u8]) -> Became {
    let wrong = dialogue.turned(bit);
    let mut rig = begun(dialogue.config, dialogue.before);
    let now_sent = wrong.say(&mut rig, 0, dialogue.len());
    runs_out(&mut rig);
    shows_no_secret(&rig);
    let peer = dialogue.parts[bit.part].0;
    let what = format!("the {peer}'s {bit:?}");
    let (outcome, reason) = match rig.move_ended() {
        Some(Event::Moved { .. }) => {
            let is_value = b"CDKST".contains(&bit.tag) && bit.byte >= Header::LEN;
            assert!(is_value, "{what}");
            told_of_parameters_only(&mut rig, &what);
            serves(&mut rig, NEW, [1, 1, 0, 0], &what);
            assert!(!rig.is_open(WRITER), "{what}");
            if now_sent == sent {
                return Became::Moved;
            }
            let others = now_sent.iter().zip(sent).filter(|(now, then)| now != then);
            assert_eq!((now_sent.len(), others.count()), (sent.len(), 1), "{what}");
            // It is the row in which a server of CockroachDB hands the session out.
            assert_eq!((bit.part, peer, bit.tag), (1, WRITER, b'D'), "{what}");
            return Became::MovedAsSaid;
        }
        Some(Event::MoveFailed {
            outcome, reason, ..
        }) => (outcome, reason),
        other => panic!("{what}: {other:?}"),
    };
    match (outcome, peer) {
        (Outcome::Recoverable, WRITER) if reason == Reason::Timeout => {
            // Of a message that has one length only, another is a fault at once.
            let varies = b"CDTt".contains(&bit.tag);
            assert!(varies && bit.is_of_the_length(), "{what}");
            rig.see(CLIENT, "");
            says_the_rest(&mut rig, &wrong, bit);
            serves(&mut rig, WRITER, [1, 0, 1, 0], &what);
            Became::StaysBehindTheRest
        }
        (Outcome::Recoverable, _) => {
            serves(&mut rig, WRITER, [1, 0, 1, 0], &what);
            assert!(!rig.is_open(NEW), "{what}");
            Became::Stays
        }
        (Outcome::Fatal, WRITER) => {
            assert!(matches!(reason, Reason::OldFault(_)), "{what}: {reason:?}");
            let told = rig.take(CLIENT);
            let fatal = match bit.becomes_an_aside() {
                // That is the client's at any time, and passes as it is.
                true => told.strip_prefix(wrong.message(bit)),
                false => Some(&told[..]),
            };
            assert_eq!(
                fatal.map(show_backend).as_deref(),
                Some("FATAL(08P01)"),
                "{what}"
            );
            assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER), "{what}");
            assert_eq!(rig.transfers(), [1, 0, 0, 1], "{what}");
            assert!(!rig.is_open(NEW), "{what}");
            Became::Ended
        }
        (Outcome::Fatal | Outcome::Success, _) => panic!("{what}: {outcome:?}, {reason:?}"),
    }
}

#[track_caller]
fn told_of_parameters_only(rig: &mut Rig, what: &str) {
    let told = rig.take(CLIENT);
    let mut rest = &told[..];
    while let Some(header) = Header::parse(rest).expect("a message") {
        assert_eq!(header.tag, b'S', "{what}");
        rest = header.split(rest).expect("all of it").1;
    }
}

/// The client has heard nothing of the move, and its next answer is whole.
#[track_caller]
fn serves(rig: &mut Rig, peer: PeerId, transfers: [u64; 4], what: &str) {
    assert_eq!(rig.shown(CLIENT), "", "{what}");
    assert_eq!(rig.transfers(), transfers, "{what}");
    rig.take(peer);
    rig.client("Q(delete from t)");
    assert_eq!(rig.shown(peer), "Q(delete from t)", "{what}");
    rig.say(peer, "C(DELETE 1) Z(I)");
    assert_eq!(rig.shown(CLIENT), "C(DELETE 1) Z(I)", "{what}");
}

/// The old server says what is missing of a message whose length is wrong, and what it owes behind it.
fn says_the_rest(rig: &mut Rig, wrong: &Dialogue, bit: Bit) {
    let bytes = &wrong.parts[bit.part].1;
    let header = Header::parse(&bytes[bit.begins..])
        .expect("a length")
        .expect("a header");
    let mut missing =
        bit.begins + usize::try_from(header.frame_len).expect("it fits") - bytes.len();
    while missing > 0 {
        let now = missing.min(1 << 24);
        rig.raw(WRITER, &vec![b'x'; now]);
        missing -= now;
    }
    rig.raw(WRITER, &bytes[bit.ends..]);
}
