//! A live session moves between servers of CockroachDB, which hand a session out and take it in themselves.

mod session_support;

use bytes::BytesMut;
use pgturnout::limits::TRANSFER_STATE_MAX;
use pgturnout::migrate::{Outcome, Phase, Reason, Trust};
use pgturnout::session::{
    CloseCause, ConfigError, Event, MoveOrder, MoveTarget, PeerId, Split, Timer,
};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::wire::{Backend, Column, Columns, ParamTypes, TransactionStatus};
use session_support::cockroach::{
    BEGUN, STATE, TOKEN, handed_out, key, key_at, key_before, query, servers, taken_in,
};
use session_support::frames::{backend, raw};
use session_support::moving::{SPARE, SPARE_LOGIN};
use session_support::{Chunk, Dial, Rig, each, login};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;
const ADDRESS: &str = "192.0.2.7:5000";
/// What the client is told of the new server.
const TOLD: &str = "S(server_version,15.19) S(in_hot_standby,off)";

/// A statement without parameters and rows.
const DESCRIBED: &str = "t n Z(I)";

#[track_caller]
fn packet(rig: &mut Rig, peer: PeerId) -> StartupParams {
    let packet = rig.take(peer);
    StartupParams::parse(&packet).unwrap_or_else(|fault| panic!("{fault:?}"))
}

fn get<'p>(params: &'p StartupParams, name: &str) -> Option<&'p str> {
    let value = params.get(name.as_bytes())?;
    Some(std::str::from_utf8(value).unwrap())
}

/// A session that has logged in, whose client's address is known.
fn begin(rig: &mut Rig) {
    rig.session
        .set_client_endpoint(ADDRESS.parse().expect("an address"));
    rig.raw(CLIENT, &session_support::startup(ProtocolVersion::V3_0));
    let params = packet(rig, WRITER);
    assert_eq!(get(&params, "crdb:remote_addr"), Some(ADDRESS));
    assert_eq!(get(&params, "user"), Some("alice"));
    rig.writer("R");
    rig.writer(login(WRITER));
    rig.take(CLIENT);
}

/// Where a move stands when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Dial,
    /// The connection stands, and a transaction is open.
    Wait,
    /// The old server answers the client.
    Drain,
    /// It is asked what a statement is.
    Describe,
    /// It is to begin a transaction before it hands the session out.
    Begin,
    Read,
    LogIn,
    Restore,
    /// The new server is asked what a statement is.
    Redescribe,
}

const ALL: [At; 9] = [
    At::Dial,
    At::Wait,
    At::Drain,
    At::Describe,
    At::Begin,
    At::Read,
    At::LogIn,
    At::Restore,
    At::Redescribe,
];

impl At {
    fn phase(self) -> Phase {
        match self {
            At::Dial => Phase::Dial,
            At::Wait => Phase::Wait,
            At::Drain => Phase::Drain,
            At::Describe | At::Begin | At::Read => Phase::Read,
            At::LogIn => Phase::LogIn,
            At::Restore => Phase::Restore,
            At::Redescribe => Phase::Verify,
        }
    }

    fn has_its_state(self) -> bool {
        matches!(self, At::LogIn | At::Restore | At::Redescribe)
    }

    fn has_a_statement(self) -> bool {
        matches!(self, At::Describe | At::Redescribe)
    }
}

/// Brings a session to where a fault is to come; the key, where there is one.
#[track_caller]
fn bring(rig: &mut Rig, at: At) -> String {
    begin(rig);
    if at == At::Wait {
        ask(rig, WRITER, "begin", "C(BEGIN) Z(T)");
    }
    if at == At::Drain {
        rig.client("Q(update t set a = 1)");
        rig.see(WRITER, "Q(update t set a = 1)");
    }
    if at.has_a_statement() {
        rig.client("P(a,delete from t) S");
        rig.see(WRITER, "P(a,delete from t) S");
        rig.say(WRITER, "1 Z(I)");
        rig.take(CLIENT);
    }
    if at == At::Dial {
        rig.dials(NEW, Dial::Hang);
    }
    rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
    rig.see(NEW, "");
    if matches!(at, At::Dial | At::Wait | At::Drain) {
        return String::new();
    }
    if at.has_a_statement() {
        rig.see(WRITER, "DS(a) S");
    }
    if at == At::Describe {
        return String::new();
    }
    if at.has_a_statement() {
        rig.say(WRITER, DESCRIBED);
    }
    let key = key_before(rig, WRITER);
    assert!(rig.has_event(|event| *event == Event::MoveHeld));
    if at == At::Begin {
        return key;
    }
    rig.say(WRITER, BEGUN);
    if at == At::Read {
        return key;
    }
    rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), &key));
    let params = packet(rig, NEW);
    assert_eq!(
        get(&params, "crdb:session_revival_token_base64"),
        Some(TOKEN)
    );
    assert_eq!(get(&params, "crdb:remote_addr"), Some(ADDRESS));
    assert_eq!(get(&params, "user"), Some("alice"));
    if at == At::LogIn {
        return key;
    }
    rig.say(NEW, "R");
    rig.say(NEW, SPARE_LOGIN);
    let text = format!("SELECT crdb_internal.deserialize_session(decode('{STATE}', 'base64'))");
    assert_eq!(query(rig, NEW), text);
    if at == At::Redescribe {
        rig.raw(NEW, &taken_in("t"));
        rig.see(NEW, "DS(a) S");
    }
    key
}

/// The new server lets the session in, and takes it in.
#[track_caller]
fn takes_in(rig: &mut Rig) {
    rig.take(NEW);
    rig.say(NEW, "R");
    rig.say(NEW, SPARE_LOGIN);
    query(rig, NEW);
    rig.raw(NEW, &taken_in("t"));
}

fn ask(rig: &mut Rig, peer: PeerId, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(peer, &format!("Q({text})"));
    rig.say(peer, answer);
    rig.see(CLIENT, answer);
}

#[track_caller]
fn failed(rig: &Rig) -> (Outcome, Phase, Reason) {
    match rig.move_ended() {
        Some(Event::MoveFailed {
            outcome,
            phase,
            reason,
            ..
        }) => (outcome, phase, reason),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn tells_nothing(rig: &Rig) {
    let shown = format!("{:?} {:?} {:#?}", rig.events, rig.closes, rig.session);
    for secret in [STATE, TOKEN] {
        assert!(!shown.contains(secret), "a secret is shown");
    }
}

/// The session goes on where it was.
#[track_caller]
fn goes_on(rig: &mut Rig, at: At, key: &str) {
    match at {
        // What the old server owes to us is nobody's.
        At::Describe => rig.say(WRITER, DESCRIBED),
        At::Begin => {
            rig.say(WRITER, BEGUN);
            rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), key));
        }
        At::Read => rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), key)),
        At::Drain => {
            rig.writer("C(UPDATE 1) Z(I)");
            rig.see(CLIENT, "C(UPDATE 1) Z(I)");
        }
        At::Wait => ask(rig, WRITER, "commit", "C(COMMIT) Z(I)"),
        At::Dial | At::LogIn | At::Restore | At::Redescribe => {}
    }
    ask(rig, WRITER, "update t set a = 2", "C(UPDATE 1) Z(I)");
    assert!(!rig.is_open(NEW), "{at:?}: the new server is left");
    tells_nothing(rig);
}

#[test]
fn a_session_moves_with_the_state_that_its_server_hands_out() {
    each(servers, |rig| {
        bring(rig, At::Restore);
        rig.client("Q(select 1) P(s,select 2) B(,s) E S");
        rig.see(WRITER, "");
        rig.raw(NEW, &taken_in("t"));
        rig.see(WRITER, "X");
        rig.see(NEW, "Q(select 1) P(s,select 2) B(,s) E S");
        rig.see(CLIENT, TOLD);
        rig.say(NEW, "T D(1) C(SELECT 1) Z(I) 1 2 D(2) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I) 1 2 D(2) C(SELECT 1) Z(I)");
        assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
        rig.client("Q(select 3)");
        let target = rig.session.cancel_target().expect("a request's target");
        assert_eq!(target.key.process_id(), 99);
        tells_nothing(rig);
        // And on again, with another key.
        assert!(!rig.is_open(WRITER));
    });
}

/// A new server takes a session in although it cannot plan a statement of it again, and says nothing of that. So each is described on
/// both: one that is missing there, or another, keeps the session, which notices nothing.
#[test]
fn statements_are_on_the_new_server_as_they_were() {
    let rows = [
        ("t n Z(I) t T Z(I)", "t n Z(I) t T Z(I)", None),
        ("t n Z(I) t T Z(I)", "E(26000) Z(I) t T Z(I)", Some("a")),
        ("t n Z(I) t T Z(I)", "t n Z(I) t n Z(I)", Some("b")),
        // What is broken already stays so.
        ("t n Z(I) E(42P01) Z(I)", "t n Z(I) E(42P01) Z(I)", None),
        (
            "t n Z(I) E(42P01) Z(I)",
            "t n Z(I) E(26000) Z(I)",
            Some("b"),
        ),
    ];
    for (before, behind, other) in rows {
        each(servers, |rig| {
            begin(rig);
            let request = "P(b,select 2) P(a,delete from t) P(c,select 3) CS(c) P(,select 4) S";
            rig.client(request);
            rig.see(WRITER, request);
            rig.writer("1 1 1 3 1 Z(I)");
            rig.take(CLIENT);
            rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
            rig.see(WRITER, "DS(a) S DS(b) S");
            rig.client("B(,a) E S");
            rig.see(WRITER, "");
            rig.writer(before);
            let key = key(rig);
            rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), &key));
            takes_in(rig);
            rig.see(NEW, "DS(a) S DS(b) S");
            rig.say(NEW, behind);
            let serves = match other {
                None => {
                    assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
                    rig.see(CLIENT, TOLD);
                    NEW
                }
                Some(name) => {
                    let (outcome, phase, reason) = failed(rig);
                    assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Verify));
                    let why =
                        format!("the new server has not the prepared statement {name} as it was");
                    assert_eq!(reason, Reason::Differs(why));
                    WRITER
                }
            };
            rig.see(serves, "B(,a) E S");
            rig.say(serves, "2 C(DELETE 1) Z(I)");
            rig.see(CLIENT, "2 C(DELETE 1) Z(I)");
        });
    }
}

/// A statement is the same whatever OID its table has there, as a virtual one has by its version; it is another one if a column is.
#[test]
fn columns_are_compared_by_what_a_client_makes_of_them() {
    let column = Column {
        name: b"a",
        table: 4_294_967_100,
        attribute: 1,
        type_oid: 20,
        type_size: 8,
        type_modifier: -1,
        format: 0,
    };
    let rows = [
        (Column { table: 7, ..column }, true),
        (
            Column {
                attribute: 2,
                ..column
            },
            true,
        ),
        (
            Column {
                name: b"b",
                ..column
            },
            false,
        ),
        (
            Column {
                type_oid: 23,
                ..column
            },
            false,
        ),
        (
            Column {
                type_size: 4,
                ..column
            },
            false,
        ),
        (
            Column {
                type_modifier: 6,
                ..column
            },
            false,
        ),
    ];
    for (there, moves) in rows {
        each(servers, |rig| {
            bring(rig, At::Describe);
            rig.raw(WRITER, &described(&[column]));
            let key = key(rig);
            rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), &key));
            takes_in(rig);
            rig.see(NEW, "DS(a) S");
            rig.raw(NEW, &described(&[there]));
            let ended = rig.move_ended();
            assert_eq!(
                matches!(ended, Some(Event::Moved { .. })),
                moves,
                "{there:?}"
            );
        });
    }
}

/// No parameters, and these columns.
fn described(columns: &[Column<'_>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let columns = Columns::new(columns);
    let said = [
        Backend::ParameterDescription {
            types: ParamTypes::new(&[]),
        },
        Backend::RowDescription { columns },
        Backend::ReadyForQuery {
            status: TransactionStatus::Idle,
        },
    ];
    for message in said {
        message.encode(&mut out).expect("it fits a message");
    }
    out.to_vec()
}

/// No server of CockroachDB says that a cursor WITH HOLD is lost: what the client has sent does, until it closes all.
#[test]
fn a_cursor_with_hold_keeps_the_session() {
    let again = "close all; declare c cursor with hold for select 1";
    let answer = "C(CLOSE CURSOR ALL) C(DECLARE CURSOR) Z(I)";
    let ends = [
        (None, true),
        (Some(("close all", "C(CLOSE CURSOR ALL) Z(I)")), false),
        (Some(("discard all", "C(DISCARD ALL) Z(I)")), false),
        (Some((again, answer)), true),
    ];
    for (end, stays) in ends {
        for trust in [Trust::Journal, Trust::Probe] {
            each(servers, |rig| {
                begin(rig);
                let declare = "declare c cursor with hold for select 1";
                ask(rig, WRITER, declare, "C(DECLARE CURSOR) Z(I)");
                if let Some((text, answer)) = end {
                    ask(rig, WRITER, text, answer);
                }
                let mut order = MoveOrder::new(MoveTarget::Writer(SPARE));
                order.trust = trust;
                rig.migrate(order);
                if !stays || trust == Trust::Probe {
                    key(rig);
                    return;
                }
                rig.see(WRITER, "");
                let (outcome, phase, reason) = failed(rig);
                assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Read));
                let why = "a cursor WITH HOLD may be open";
                assert_eq!(reason, Reason::State(why.to_owned()));
                ask(rig, WRITER, "fetch c", "T D(1) C(FETCH 1) Z(I)");
            });
        }
    }
}

/// What goes wrong with a description is one of a move's faults: the new server's leaves the session, and of the old one's the
/// stream is not understood any more.
#[test]
fn a_description_may_fail() {
    type Answer = (bool, &'static str, Outcome, &'static str);
    let rows: [Answer; 6] = [
        (true, "t Z(I)", Outcome::Fatal, "type Z where the columns"),
        (true, "t n Z(T)", Outcome::Fatal, "transaction status"),
        (true, "FATAL(57P01)", Outcome::Fatal, ""),
        (
            false,
            "n",
            Outcome::Recoverable,
            "type n where the parameters",
        ),
        (
            false,
            "t n Z(T)",
            Outcome::Recoverable,
            "transaction status",
        ),
        (
            false,
            "FATAL(57P01)",
            Outcome::Recoverable,
            "ended the session",
        ),
    ];
    for (is_old, answer, expected, why) in rows {
        each(servers, |rig| {
            begin(rig);
            rig.client("P(a,delete from t) S");
            rig.take(WRITER);
            rig.writer("1 Z(I)");
            rig.take(CLIENT);
            rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
            rig.see(WRITER, "DS(a) S");
            if is_old {
                rig.writer(answer);
            } else {
                rig.writer("t n Z(I)");
                let key = key(rig);
                rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), &key));
                rig.take(NEW);
                rig.say(NEW, "R");
                rig.say(NEW, SPARE_LOGIN);
                rig.take(NEW);
                rig.raw(NEW, &taken_in("t"));
                rig.see(NEW, "DS(a) S");
                rig.say(NEW, answer);
            }
            let (outcome, _, reason) = failed(rig);
            assert_eq!(outcome, expected, "{answer}: {reason}");
            assert!(reason.to_string().contains(why), "{reason} is not {why}");
            if !is_old {
                goes_on(rig, At::Restore, "");
            }
        });
    }
}

/// The new server says at the login what a fresh session has, and nothing of what it has taken in: what the client has set
/// stays as it was told.
#[test]
fn what_the_client_has_set_is_not_told_otherwise() {
    each(servers, |rig| {
        begin(rig);
        ask(
            rig,
            WRITER,
            "set timezone = 'Asia/Tehran'",
            "S(TimeZone,Asia/Tehran) C(SET) Z(I)",
        );
        for (old, new) in [(WRITER, NEW), (NEW, WRITER)] {
            rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
            let key = key_at(rig, old);
            rig.raw(old, &handed_out("", Some(STATE), Some(TOKEN), &key));
            rig.take(new);
            rig.say(new, "R");
            rig.say(new, SPARE_LOGIN);
            query(rig, new);
            rig.raw(new, &taken_in("t"));
            assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
            let told = rig.shown(CLIENT);
            assert!(!told.contains("TimeZone"), "{told}");
            rig.see(old, "X");
        }
    });
}

/// Nothing is sent to the new server before the old one has made a token, and nothing is heard from it.
#[test]
fn a_new_server_that_speaks_first_is_left() {
    each(servers, |rig| {
        bring(rig, At::Wait);
        rig.say(NEW, "R");
        let (outcome, phase, reason) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Wait));
        assert!(reason.to_string().contains("spoke before it was spoken to"));
        goes_on(rig, At::Wait, "");
    });
}

/// What keeps a session of PostgreSQL where it is does not keep this one: its server knows what it can hand out.
#[test]
fn the_server_says_what_cannot_move() {
    each(servers, |rig| {
        begin(rig);
        ask(
            rig,
            WRITER,
            "create temp table t(a int)",
            "C(CREATE TABLE) Z(I)",
        );
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        let key = key(rig);
        let why = "cannot serialize session with temporary schemas n33dle";
        rig.raw(WRITER, &handed_out(why, None, None, &key));
        let (outcome, phase, reason) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Read));
        assert_eq!(
            reason,
            Reason::State("the session has temporary schemas".to_owned())
        );
        goes_on(rig, At::Restore, "");
        assert_eq!(rig.transfers(), [1, 0, 1, 0]);
    });
}

#[test]
fn a_server_that_refuses_keeps_the_session() {
    let long = "A".repeat(TRANSFER_STATE_MAX);
    type Answer<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    let rows: [(&str, Answer<'_>); 4] = [
        ("SHOW TRANSFER STATE failed (42601)", &|_| {
            backend("E(42601) Z(I)")
        }),
        ("the server's answer holds no state", &|key| {
            handed_out("", Some(STATE), None, key)
        }),
        ("the session's state is too large", &|key| {
            handed_out("", Some(&long), Some(TOKEN), key)
        }),
        ("the server makes no token for this session", &|key| {
            handed_out("could not create token", None, None, key)
        }),
    ];
    for (why, answer) in rows {
        for chunk in [Chunk::Whole, Chunk::Bytes(1000)] {
            let mut rig = Rig::new(servers(), chunk);
            let key = bring(&mut rig, At::Read);
            rig.client("Q(select 1)");
            rig.raw(WRITER, &answer(&key));
            let (outcome, phase, reason) = failed(&rig);
            assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Read));
            assert!(reason.to_string().contains(why), "{reason} is not {why}");
            rig.see(WRITER, "Q(select 1)");
            rig.writer("T D(1) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
            goes_on(&mut rig, At::Restore, "");
        }
    }
}

/// Behind a look at its statements a server of 2025 hands nothing out before a transaction has begun. So one is begun and ended in the
/// same write, and what becomes of it is nobody's: a server that it hinders says so next.
#[test]
fn a_transaction_is_begun_before_the_session_is_asked_for() {
    for said in [
        BEGUN,
        "E(57014) Z(I)",
        "T E(57014) Z(I)",
        "N S(a,b) T D(1) C(SELECT 1) Z(I)",
    ] {
        each(servers, |rig| {
            let key = bring(rig, At::Begin);
            rig.client("Q(select 2)");
            rig.say(WRITER, said);
            rig.raw(WRITER, &handed_out("", Some(STATE), Some(TOKEN), &key));
            takes_in(rig);
            assert!(
                matches!(rig.move_ended(), Some(Event::Moved { .. })),
                "{said}"
            );
            rig.see(NEW, "Q(select 2)");
            rig.say(NEW, "T D(1) C(SELECT 1) Z(I)");
            let seen = rig.shown(CLIENT);
            assert!(seen.ends_with("T D(1) C(SELECT 1) Z(I)"), "{seen}");
            assert_eq!(seen.matches("Z(I)").count(), 1, "{seen}");
        });
    }
    for (said, cause) in [
        ("T D(1) C(SELECT 1) Z(T)", "status InTransaction"),
        ("T D(1) C(SELECT 1) G", "the answer to SELECT 1"),
        ("1", "the answer to SELECT 1"),
        ("T T", "the answer to SELECT 1"),
        ("T D(1) D(1)", "the answer to SELECT 1"),
        ("Z(I)", "the answer to SELECT 1"),
        ("E(57014) D(1)", "the answer to SELECT 1"),
    ] {
        each(servers, |rig| {
            bring(rig, At::Begin);
            rig.say(WRITER, said);
            let (outcome, phase, reason) = failed(rig);
            assert_eq!((outcome, phase), (Outcome::Fatal, Phase::Read), "{said}");
            assert!(
                reason.to_string().contains(cause),
                "{reason} is not {cause}"
            );
            assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER));
        });
    }
    each(servers, |rig| {
        bring(rig, At::Begin);
        rig.say(WRITER, "FATAL(57P01)");
        assert_eq!(failed(rig).0, Outcome::Fatal);
        assert_eq!(rig.cause(), CloseCause::UpstreamEnded(WRITER));
        rig.see(CLIENT, "FATAL(57P01)");
    });
}

#[test]
fn a_new_server_that_refuses_leaves_the_session() {
    type Answer = fn(&mut Rig);
    let rows: [(&str, At, Answer); 5] = [
        ("a cleartext password", At::LogIn, |rig| {
            rig.raw(NEW, &raw(b'R', &3_u32.to_be_bytes()));
        }),
        ("refused", At::LogIn, |rig| rig.say(NEW, "E(28000)")),
        ("deserialize_session failed (XXUUU)", At::Restore, |rig| {
            rig.say(NEW, "E(XXUUU) Z(I)");
        }),
        ("deserialize_session did not say true", At::Restore, |rig| {
            rig.raw(NEW, &taken_in("f"));
        }),
        ("", At::Restore, |rig| rig.say(NEW, "Z(I)")),
    ];
    for (why, at, answer) in rows {
        each(servers, |rig| {
            let key = bring(rig, at);
            answer(rig);
            let (outcome, phase, reason) = failed(rig);
            assert_eq!((outcome, phase), (Outcome::Recoverable, at.phase()));
            let reason = reason.to_string();
            assert!(reason.contains(why), "{reason} is not {why}");
            goes_on(rig, at, &key);
        });
    }
}

#[test]
fn a_new_server_that_goes_leaves_the_session() {
    for at in ALL.into_iter().filter(|at| *at != At::Dial) {
        each(servers, |rig| {
            let key = bring(rig, at);
            rig.reset(NEW);
            let (outcome, phase, reason) = failed(rig);
            assert_eq!(
                (outcome, phase),
                (Outcome::Recoverable, at.phase()),
                "{reason}"
            );
            assert!(matches!(reason, Reason::Target(_)), "{at:?}: {reason}");
            goes_on(rig, at, &key);
        });
    }
}

/// One deadline is over every phase, whoever is silent.
#[test]
fn silence_ends_a_move() {
    for at in ALL {
        each(servers, |rig| {
            let key = bring(rig, at);
            rig.expire(Timer::Move);
            let (outcome, phase, _) = failed(rig);
            assert_eq!((outcome, phase), (Outcome::Recoverable, at.phase()));
            goes_on(rig, at, &key);
        });
    }
}

#[test]
fn an_old_server_that_goes_takes_the_session_along_until_it_has_handed_it_out() {
    for at in ALL {
        each(servers, |rig| {
            bring(rig, at);
            rig.reset(WRITER);
            if !at.has_its_state() {
                assert_eq!(failed(rig).0, Outcome::Fatal, "{at:?}");
                assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER));
                return;
            }
            if at == At::LogIn {
                rig.say(NEW, "R");
                rig.say(NEW, SPARE_LOGIN);
                query(rig, NEW);
            }
            match at {
                At::Redescribe => rig.say(NEW, DESCRIBED),
                _ => rig.raw(NEW, &taken_in("t")),
            }
            assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
            rig.see(CLIENT, TOLD);
            ask(rig, NEW, "select 1", "T D(1) C(SELECT 1) Z(I)");
        });
    }
}

/// A session that has lost both servers is told.
#[test]
fn nothing_is_left_when_both_servers_go() {
    each(servers, |rig| {
        bring(rig, At::Restore);
        rig.reset(WRITER);
        rig.reset(NEW);
        assert_eq!(failed(rig).0, Outcome::Fatal);
        let said = rig.shown(CLIENT);
        assert!(said.starts_with("FATAL(08006"), "{said}");
    });
}

#[test]
fn a_caller_gives_a_move_up() {
    for at in ALL {
        each(servers, |rig| {
            let key = bring(rig, at);
            rig.session.cancel_migration(rig.now);
            rig.run();
            assert_eq!(failed(rig).2, Reason::Cancelled);
            goes_on(rig, at, &key);
        });
    }
}

/// A state longer than any buffer passes in pieces.
#[test]
fn a_long_state_passes() {
    let state = "QUJD".repeat(300_000);
    for chunk in [Chunk::Whole, Chunk::Bytes(1000)] {
        let mut rig = Rig::new(servers(), chunk);
        let key = bring(&mut rig, At::Read);
        rig.raw(WRITER, &handed_out("", Some(&state), Some(TOKEN), &key));
        rig.take(NEW);
        rig.say(NEW, "R");
        rig.say(NEW, SPARE_LOGIN);
        let text = query(&mut rig, NEW);
        assert!(text.contains(&state));
        rig.raw(NEW, &taken_in("t"));
        assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
    }
}

/// Each move has a key of its own.
#[test]
fn keys_differ() {
    let mut rig = Rig::new(servers(), Chunk::Whole);
    let first = bring(&mut rig, At::Read);
    rig.raw(WRITER, &backend("E(57014) Z(I)"));
    rig.take(CLIENT);
    rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
    let second = key(&mut rig);
    assert_ne!(first, second);
    assert_eq!(first.len(), 36);
}

/// A client may not say whose session it revives, whatever names the configuration reserves.
#[test]
fn a_client_with_a_token_is_refused() {
    for name in ["crdb:session_revival_token_base64", "CRDB:Remote_Addr"] {
        let mut config = servers();
        config.reserved.clear();
        let mut rig = Rig::new(config, Chunk::Whole);
        let own = [
            (&b"user"[..], &b"alice"[..]),
            (name.as_bytes(), b"192.0.2.1:1"),
        ];
        let params = StartupParams::build(ProtocolVersion::V3_0, own).unwrap();
        rig.raw(CLIENT, params.raw());
        let said = rig.shown(CLIENT);
        assert_eq!(said, "FATAL(28000)", "{name}");
        rig.see(WRITER, "");
    }
}

#[test]
fn there_are_no_readers() {
    let mut config = servers();
    config.split = Split::On;
    assert_eq!(config.check(), Err(ConfigError::CockroachSplit));
}

/// The request for a session is a Query, which drops the unnamed statement: the client, which still has it, is not to notice.
#[test]
fn the_unnamed_statement_outlives_the_request() {
    for refused in [true, false] {
        each(servers, |rig| {
            begin(rig);
            rig.client("P(,delete from t) S");
            rig.see(WRITER, "P(,delete from t) S");
            rig.writer("1 Z(I)");
            rig.take(CLIENT);
            rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
            let key = key(rig);
            let serves = if refused {
                rig.raw(WRITER, &handed_out("no", None, None, &key));
                WRITER
            } else {
                let answer = handed_out("", Some(STATE), Some(TOKEN), &key);
                rig.raw(WRITER, &answer);
                rig.take(NEW);
                rig.say(NEW, "R");
                rig.say(NEW, SPARE_LOGIN);
                rig.take(NEW);
                rig.raw(NEW, &taken_in("t"));
                rig.see(CLIENT, TOLD);
                NEW
            };
            assert_eq!(rig.transfers()[1], u64::from(!refused));
            rig.client("B(,) E S");
            rig.see(serves, "P(,delete from t) B(,) E S");
            rig.say(serves, "1 2 C(DELETE 1) Z(I)");
            rig.see(CLIENT, "2 C(DELETE 1) Z(I)");
        });
    }
}

/// Nor is it to notice where that statement is not remembered: the session stays, and its server is asked nothing.
#[test]
fn an_unnamed_statement_that_is_not_remembered_stays() {
    for trust in [Trust::Journal, Trust::Probe] {
        let short = || {
            let mut config = servers();
            config.limits.statements.body = 16;
            config
        };
        each(short, |rig| {
            begin(rig);
            rig.client("P(,delete from t where a = 1) S");
            rig.see(WRITER, "P(,delete from t where a = 1) S");
            rig.writer("1 Z(I)");
            rig.take(CLIENT);
            let mut order = MoveOrder::new(MoveTarget::Writer(SPARE));
            order.trust = trust;
            rig.migrate(order);
            rig.see(WRITER, "");
            rig.expire(Timer::Move);
            let (outcome, phase, reason) = failed(rig);
            assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Wait));
            assert!(
                reason.to_string().contains("too many prepared statements"),
                "{reason}"
            );
            rig.client("B(,) E S");
            rig.see(WRITER, "B(,) E S");
            rig.writer("2 C(DELETE 1) Z(I)");
            rig.see(CLIENT, "2 C(DELETE 1) Z(I)");
        });
    }
}
