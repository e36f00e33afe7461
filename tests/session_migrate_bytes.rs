//! A fault at every byte that the servers say in a move, of PostgreSQL's and of CockroachDB's: silence, death, another byte.
//! The session is then where the table of `migrate::Migration` says, and whole.

mod session_support;

use std::collections::BTreeSet;

use pgturnout::migrate::{Outcome, Reason};
use pgturnout::session::{CloseCause, Config, Event, MoveOrder, MoveTarget, PeerId};
use pgturnout::wire::Header;
use session_support::cockroach::{STATE, TOKEN, handed_out, key, servers, taken_in};
use session_support::frames::{backend, show_backend};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;

/// What the servers say in a move, each behind what it was asked.
#[derive(Clone)]
struct Dialogue {
    config: fn() -> Config,
    parts: Vec<(PeerId, Vec<u8>)>,
}

fn postgresql() -> Dialogue {
    let state = Had::default().set("work_mem", "64").answer();
    let login = [backend("R"), backend(SPARE_LOGIN)];
    let set = backend("1 2 D(x) C(SELECT 1) 3 Z(I)");
    Dialogue {
        config: movable,
        parts: vec![
            (NEW, login.concat()),
            (NEW, Had::default().answer()),
            (WRITER, state.clone()),
            (NEW, set),
            (NEW, state),
        ],
    }
}

fn cockroach() -> Dialogue {
    // The key is derived from the session's seed.
    let mut rig = begun(servers);
    let key = key(&mut rig);
    Dialogue {
        config: servers,
        parts: vec![
            (WRITER, handed_out("", Some(STATE), Some(TOKEN), &key)),
            (NEW, [backend("R"), backend(SPARE_LOGIN)].concat()),
            (NEW, taken_in("t")),
        ],
    }
}

/// A session that has set something and is to move.
fn begun(config: fn() -> Config) -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.logged_in();
    ask(&mut rig, "set work_mem = 64", "C(SET) Z(I)");
    rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
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
        let mut rig = begun(self.config);
        self.say(&mut rig, 0, count);
        rig
    }

    /// Where the old server begins to answer, and where it has answered.
    fn of_old(&self) -> (usize, usize) {
        let at = self.parts.iter().position(|(peer, _)| *peer == WRITER);
        let at = at.expect("it is asked");
        let before: usize = self.parts[..at].iter().map(|(_, bytes)| bytes.len()).sum();
        (before, before + self.parts[at].1.len())
    }

    /// The session goes on where it was, once the old server has said what it owes to us.
    #[track_caller]
    fn goes_on(&self, rig: &mut Rig, said: usize) {
        let (begins, ends) = self.of_old();
        if (begins..ends).contains(&said) {
            self.say(rig, said, ends);
        }
        rig.take(WRITER);
        rig.see(CLIENT, "");
        ask(rig, "delete from t", "C(DELETE 1) Z(I)");
        assert!(!rig.is_open(NEW), "{said}: the new server is left");
        assert_eq!(rig.transfers(), [1, 0, 1, 0], "{said}");
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
    for dialogue in [postgresql(), cockroach()] {
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

#[test]
fn a_peer_of_cockroachs_may_die_behind_every_byte() {
    let dialogue = cockroach();
    let all = dialogue.len();
    for reset in [false, true] {
        let die = |rig: &mut Rig, peer| match reset {
            false => rig.eof(peer),
            true => rig.reset(peer),
        };
        for said in 0..=all {
            let mut rig = dialogue.said(said);
            die(&mut rig, NEW);
            match said == all {
                true => assert!(rig.is_dead(), "it is the writer by now"),
                false => dialogue.goes_on(&mut rig, said),
            }

            let mut rig = dialogue.said(said);
            rig.take(CLIENT);
            if rig.is_open(WRITER) {
                die(&mut rig, WRITER);
            }
            if said < dialogue.of_old().1 {
                rig.see(CLIENT, "FATAL(08006)");
                assert_eq!(rig.transfers(), [1, 0, 0, 1], "{said}");
                assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
            } else {
                // The session is handed out, and goes on elsewhere.
                dialogue.say(&mut rig, said, all);
                assert_eq!(rig.transfers(), [1, 1, 0, 0], "{said}");
                assert!(!rig.is_dead());
            }

            let mut rig = dialogue.said(said);
            die(&mut rig, CLIENT);
            assert!(rig.is_dead(), "{said}");
            let success = u64::from(said == all);
            assert_eq!(rig.transfers(), [1, success, 1 - success, 0], "{said}");
        }
    }
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
        (
            cockroach(),
            BTreeSet::from_iter(both.into_iter().chain([Became::MovedAsSaid])),
        ),
    ];
    for (dialogue, expected) in cases {
        let sent = dialogue.say(&mut begun(dialogue.config), 0, dialogue.len());
        let bits = dialogue.bits();
        let became = bits.into_iter().map(|bit| judge(&dialogue, bit, &sent));
        assert_eq!(became.collect::<BTreeSet<_>>(), expected);
    }
}

fn judge(dialogue: &Dialogue, bit: Bit, sent: &[u8]) -> Became {
    let wrong = dialogue.turned(bit);
    let mut rig = begun(dialogue.config);
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
            // It is the row with which CockroachDB's dialogue begins.
            assert_eq!((bit.part, peer, bit.tag), (0, WRITER, b'D'), "{what}");
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
            let varies = b"CDT".contains(&bit.tag);
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
