//! Silence or death behind every byte that the servers say in a move, of PostgreSQL's and of CockroachDB's: the session is
//! then where the table of `migrate::Migration` says, and whole.

mod session_support;

use pgturnout::session::{CloseCause, Config, MoveOrder, MoveTarget, PeerId};
use session_support::cockroach::{STATE, TOKEN, handed_out, key, servers, taken_in};
use session_support::frames::backend;
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;

/// What the servers say in a move, each behind what it was asked.
struct Dialogue {
    config: fn() -> Config,
    parts: Vec<(PeerId, Vec<u8>)>,
}

fn postgresql() -> Dialogue {
    let state = Had::default().set("work_mem", "64").answer();
    let login = [backend("R"), backend(SPARE_LOGIN), Had::default().answer()];
    let set = backend("1 2 D(x) C(SELECT 1) 3 Z(I)");
    Dialogue {
        config: movable,
        parts: vec![
            (NEW, login.concat()),
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

    /// A move in which so many bytes are said, from `from` on.
    fn say(&self, rig: &mut Rig, from: usize, to: usize) {
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
            let asked = begun > 0 || !rig.take(*peer).is_empty();
            if !asked || !rig.is_open(*peer) {
                return;
            }
            rig.raw(*peer, now);
        }
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
