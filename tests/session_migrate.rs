//! A live session moves to another server: what each server is sent, what the client sees, and what becomes of each failure.

mod session_support;

use pgturnout::migrate::postgres::{Listening, OtherOids};
use pgturnout::migrate::{CannotStart, Outcome, Phase, Reason, Trust};
use pgturnout::session::{
    Accept, CloseCause, Config, Destination, Event, MoveOrder, MoveTarget, Moves, PeerId, Split,
};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use session_support::frames::{backend, frontend};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig, each, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const NEW: PeerId = PeerId::THIRD;
/// What the client is told of the new server.
const TOLD: &str = "S(server_version,15.19) S(in_hot_standby,off)";

fn unsplit() -> Config {
    let mut config = movable();
    config.split = Split::Off;
    config
}

fn order() -> MoveOrder {
    MoveOrder::new(MoveTarget::Writer(SPARE))
}

fn ask(rig: &mut Rig, peer: PeerId, text: &str, answer: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(peer, &format!("Q({text})"));
    rig.say(peer, answer);
    rig.see(CLIENT, answer);
}

/// From the probe of the old server to the cutover, of a session in this state, whose restore has these parts.
#[track_caller]
fn moves(rig: &mut Rig, old: PeerId, new: PeerId, state: &Had, parts: &str) {
    rig.answer_probe(old, state);
    rig.restore(new, parts);
    rig.answer_probe(new, state);
    rig.see(old, "X");
}

#[track_caller]
fn failed(rig: &Rig) -> (Outcome, Phase, String) {
    match rig.move_ended() {
        Some(Event::MoveFailed {
            outcome,
            phase,
            reason,
            ..
        }) => (outcome, phase, reason.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Settings and statements go along, the client's requests of the meantime wait and run on the new server.
#[test]
fn a_session_moves_with_its_state() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("Q(set work_mem = 64)");
        rig.see(WRITER, "Q(set work_mem = 64)");
        rig.writer("C(SET) Z(I)");
        rig.client("P(s,insert into t values(1)) S");
        rig.see(WRITER, "P(s,insert into t values(1)) S");
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "C(SET) Z(I) 1 Z(I)");

        rig.move_begins(NEW, &Had::default());
        let state = Had::default()
            .set("work_mem", "64")
            .prepared("s", "insert into t values(1)");
        assert!(rig.has_event(|event| matches!(event, Event::MoveHeld)));
        rig.client("B(,s) E S Q(update t set a = 2)");
        rig.answer_probe(WRITER, &state);
        rig.restore(NEW, "work_mem=64 P(s,insert into t values(1))");
        rig.see(WRITER, "");
        rig.see(CLIENT, "");
        rig.answer_probe(NEW, &state);
        rig.see(WRITER, "X");
        rig.see(NEW, "B(,s) E S Q(update t set a = 2)");
        rig.see(CLIENT, "S(server_version,15.19) S(in_hot_standby,off)");
        rig.say(NEW, "2 C(INSERT 0 1) Z(I) C(UPDATE 1) Z(I)");
        rig.see(CLIENT, "2 C(INSERT 0 1) Z(I) C(UPDATE 1) Z(I)");
        assert!(matches!(
            rig.move_ended(),
            Some(Event::Moved {
                target: MoveTarget::Writer(SPARE),
                ..
            })
        ));
        let left =
            |(peer, cause): &(PeerId, CloseCause)| *peer == WRITER && *cause == CloseCause::Moved;
        assert!(rig.closes.iter().any(left));
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
    });
}

/// A session that is not split is followed all the same.
#[test]
fn a_session_that_is_not_split_moves() {
    each(unsplit, |rig| {
        rig.logged_in();
        rig.client("P(s,select 1) S");
        rig.see(WRITER, "P(s,select 1) S");
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        ask(rig, WRITER, "set work_mem = 64", "C(SET) Z(I)");
        rig.move_begins(NEW, &Had::default());
        let state = Had::default()
            .set("work_mem", "64")
            .prepared("s", "select 1");
        moves(rig, WRITER, NEW, &state, "work_mem=64 P(s,select 1)");
        assert_eq!(rig.session.writer_place(), SPARE);
        assert_eq!(rig.session.reader_place(), SPARE);
        rig.see(CLIENT, TOLD);
        rig.client("B(,s) E S");
        rig.see(NEW, "B(,s) E S");
        rig.say(NEW, "2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// What was prepared in SQL is prepared in SQL again, by the text that the server keeps of it: one that stood alone.
#[test]
fn what_was_prepared_in_sql_is_prepared_again() {
    each(unsplit, |rig| {
        rig.logged_in();
        let text = "prepare p(int) as select $1 + 1 -- one";
        ask(rig, WRITER, text, "C(PREPARE) Z(I)");
        rig.client("P(,prepare q as select 2) B E P(,select 3) S");
        rig.see(WRITER, "P(,prepare q as select 2) B(,) E P(,select 3) S");
        rig.writer("1 2 C(PREPARE) 1 Z(I)");
        rig.see(CLIENT, "1 2 C(PREPARE) 1 Z(I)");
        let sql = |had: &mut Had, name, text: &str| {
            had.statements.push((name, "{}", text.to_owned(), true));
        };
        let mut state = Had::default();
        sql(&mut state, "p", text);
        sql(&mut state, "q", "prepare q as select 2");
        rig.move_begins(NEW, &Had::default());
        let parts = "P(,select 3) prepare p(int) as select $1 + 1 -- one prepare q as select 2";
        moves(rig, WRITER, NEW, &state, parts);
        rig.see(CLIENT, TOLD);
        // And once more, from there.
        rig.migrate(order());
        rig.spare_in(WRITER, &Had::default());
        moves(rig, NEW, WRITER, &state, parts);
        ask(rig, WRITER, "execute q", "T D(2) C(SELECT 1) Z(I)");
    });
}

/// A function may have put another statement in the place of one that the client prepared: what is prepared again is read back,
/// text by text.
#[test]
fn what_was_prepared_anew_unseen_keeps_the_session() {
    each(unsplit, |rig| {
        rig.logged_in();
        ask(rig, WRITER, "prepare p as select 1", "C(PREPARE) Z(I)");
        let has = |text: &str| {
            let mut had = Had::default();
            had.statements.push(("p", "{}", text.to_owned(), true));
            had
        };
        rig.move_begins(NEW, &Had::default());
        rig.answer_probe(WRITER, &has("prepare p as select 2"));
        rig.restore(NEW, "prepare p as select 1");
        rig.answer_probe(NEW, &has("prepare p as select 1"));
        let (outcome, phase, why) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Verify));
        assert!(why.contains("another text of p"), "{why}");
        ask(rig, WRITER, "execute p", "D(2) C(SELECT 1) Z(I)");
    });
}

/// Of two in one text the server keeps the whole for each: it would prepare both again, or something else.
#[test]
fn what_was_prepared_beside_something_else_keeps_the_session() {
    each(unsplit, |rig| {
        rig.logged_in();
        let text = "prepare p as select 1; select 2";
        ask(rig, WRITER, text, "C(PREPARE) D(2) C(SELECT 1) Z(I)");
        rig.move_begins(NEW, &Had::default());
        let mut state = Had::default();
        state.statements.push(("p", "{}", text.to_owned(), true));
        rig.answer_probe(WRITER, &state);
        let (outcome, _, why) = failed(rig);
        assert_eq!(outcome, Outcome::Recoverable);
        assert!(why.contains("prepared in SQL: p"), "{why}");
        ask(rig, WRITER, "execute p", "D(1) C(SELECT 1) Z(I)");
    });
}

/// The unnamed statement is there as well; a portal and what was closed are not.
#[test]
fn the_unnamed_statement_is_restored_last() {
    each(unsplit, |rig| {
        rig.logged_in();
        rig.client("P(a,select 1) P(b,select 2) P(,select 3) CS(a) S");
        rig.see(WRITER, "P(a,select 1) P(b,select 2) P(,select 3) CS(a) S");
        rig.writer("1 1 1 3 Z(I)");
        rig.see(CLIENT, "1 1 1 3 Z(I)");
        rig.move_begins(NEW, &Had::default());
        let state = Had::default().prepared("b", "select 2");
        moves(rig, WRITER, NEW, &state, "P(b,select 2) P(,select 3)");
    });
}

/// There and back again: an id is used anew once its connection is closed.
#[test]
fn a_session_moves_again_and_again() {
    each(movable, |rig| {
        rig.both();
        let (mut old, mut new) = (WRITER, NEW);
        for (at, next) in [(1, PeerId::WRITER), (2, NEW), (3, WRITER)] {
            rig.migrate(order());
            rig.spare_in(new, &Had::default());
            moves(rig, old, new, &Had::default(), "");
            rig.take(CLIENT);
            assert!(!rig.is_open(old), "{old} is left");
            ask(rig, new, "update t set a = 1", "C(UPDATE 1) Z(I)");
            ask(rig, READER, "select 1", "T D(1) C(SELECT 1) Z(I)");
            assert_eq!(rig.transfers(), [at, at, 0, 0]);
            (old, new) = (new, next);
        }
    });
}

/// What waits while the client is held goes to the new server, in order, and each read where it belongs.
#[test]
fn a_pipeline_is_held_and_released_in_order() {
    each(movable, |rig| {
        rig.both();
        rig.client("Q(update t set a = 1) Q(update t set a = 2)");
        rig.move_begins(NEW, &Had::default());
        assert!(
            rig.has_event(|event| *event == Event::MoveHeld),
            "it comes to an end"
        );
        rig.client("Q(update t set a = 3) Q(select 4) P(,update t set a = 5) B E S");
        rig.see(WRITER, "Q(update t set a = 1) Q(update t set a = 2)");
        rig.writer("C(UPDATE 1) Z(I)");
        rig.see(WRITER, "");
        rig.writer("C(UPDATE 2) Z(I)");
        rig.see(CLIENT, "C(UPDATE 1) Z(I) C(UPDATE 2) Z(I)");
        moves(rig, WRITER, NEW, &Had::default(), "");
        rig.see(CLIENT, TOLD);
        // What is behind a write in a pipeline may be in its transaction.
        rig.see(
            NEW,
            "Q(update t set a = 3) Q(select 4) P(,update t set a = 5) B(,) E S",
        );
        let answers = "C(UPDATE 3) Z(I) T D(4) C(SELECT 1) Z(I) 1 2 C(UPDATE 5) Z(I)";
        rig.say(NEW, answers);
        rig.see(CLIENT, answers);
        ask(rig, READER, "select 6", "T D(6) C(SELECT 1) Z(I)");
    });
}

/// A transaction, a batch without its Sync, a COPY: the move waits, the client does not.
#[test]
fn what_is_open_is_waited_for() {
    type Script = fn(&mut Rig);
    let rows: [(&str, Script, Script); 4] = [
        (
            "a transaction is open",
            |rig| ask(rig, WRITER, "begin", "C(BEGIN) Z(T)"),
            |rig| ask(rig, WRITER, "commit", "C(COMMIT) Z(I)"),
        ),
        (
            "a failed transaction is open",
            |rig| {
                ask(rig, WRITER, "begin", "C(BEGIN) Z(T)");
                ask(rig, WRITER, "insert into u values(1)", "E(42P01) Z(E)");
            },
            |rig| ask(rig, WRITER, "rollback", "C(ROLLBACK) Z(I)"),
        ),
        (
            "a batch waits for its Sync",
            |rig| {
                rig.client("P(,delete from t) H");
                rig.see(WRITER, "P(,delete from t) H");
                rig.writer("1");
                rig.see(CLIENT, "1");
            },
            |rig| {
                rig.client("B E S");
                rig.see(WRITER, "B(,) E S");
                rig.writer("2 C(DELETE 1) Z(I)");
                rig.see(CLIENT, "2 C(DELETE 1) Z(I)");
            },
        ),
        (
            "the client sends COPY data",
            |rig| {
                rig.client("Q(copy t from stdin)");
                rig.see(WRITER, "Q(copy t from stdin)");
                rig.writer("G");
                rig.see(CLIENT, "G");
            },
            |rig| {
                rig.client("d(1) c");
                rig.see(WRITER, "d(1) c");
                rig.writer("C(COPY 1) Z(I)");
                rig.see(CLIENT, "C(COPY 1) Z(I)");
            },
        ),
    ];
    for (why, open, close) in rows {
        each(movable, |rig| {
            rig.logged_in();
            open(rig);
            rig.move_begins(NEW, &Had::default());
            let status = rig.session.migration().expect("it is under way");
            assert_eq!(status.phase, Phase::Wait, "{why}");
            let said = status
                .waits_for
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(said.contains(why), "{said:?} is not {why:?}");
            assert!(!rig.has_event(|event| *event == Event::MoveHeld), "{why}");
            close(rig);
            assert!(rig.has_event(|event| *event == Event::MoveHeld), "{why}");
            let state = match why {
                "a batch waits for its Sync" => "P(,delete from t)",
                _ => "",
            };
            moves(rig, WRITER, NEW, &Had::default(), state);
        });
    }
}

/// A COPY has taken the Sync that was sent behind it: only another one ends the batch, so that the client is not held before.
#[test]
fn a_batch_whose_sync_a_copy_has_taken_is_waited_for() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("P(,copy t from stdin) B E S");
        rig.see(WRITER, "P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G");
        rig.see(CLIENT, "1 2 G");
        rig.move_begins(NEW, &Had::default());
        rig.client("c");
        rig.see(WRITER, "c");
        assert!(!rig.has_event(|event| *event == Event::MoveHeld));
        rig.client("S");
        rig.see(WRITER, "S");
        rig.writer("C(COPY 0) Z(I)");
        rig.see(CLIENT, "C(COPY 0) Z(I)");
        moves(rig, WRITER, NEW, &Had::default(), "P(,copy t from stdin)");
    });
}

/// A request that was in flight when the client was held opens a transaction: it goes on.
#[test]
fn a_client_is_released_when_the_last_answer_opens_a_transaction() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("Q(begin)");
        rig.see(WRITER, "Q(begin)");
        rig.move_begins(NEW, &Had::default());
        rig.client("Q(commit)");
        rig.see(WRITER, "");
        rig.writer("C(BEGIN) Z(T)");
        assert!(rig.has_event(|event| *event == Event::MoveReleased));
        rig.see(WRITER, "Q(commit)");
        rig.writer("C(COMMIT) Z(I)");
        rig.see(CLIENT, "C(BEGIN) Z(T) C(COMMIT) Z(I)");
        moves(rig, WRITER, NEW, &Had::default(), "");
    });
}

/// Everything in a session that cannot be moved, and everything about the new server that speaks against it.
#[test]
fn what_cannot_move_is_refused_with_its_reason() {
    let had = Had::default;
    let rows: [(&str, Had, Had); 13] = [
        (
            "advisory locks are held: 1",
            Had { locks: 1, ..had() },
            had(),
        ),
        (
            "temporary objects exist: 2",
            Had {
                temporary: 2,
                ..had()
            },
            had(),
        ),
        (
            "cursors WITH HOLD are open: 1",
            Had {
                cursors: 1,
                ..had()
            },
            had(),
        ),
        (
            "the session listens on channels: 1",
            Had {
                channels: vec!["c"],
                ..had()
            },
            had(),
        ),
        (
            "prepared in SQL: p",
            Had {
                statements: vec![("p", "{}", "prepare p as select 1".to_owned(), true)],
                ..had()
            },
            had(),
        ),
        (
            "a prepared statement that nobody remembers: p",
            had().prepared("p", "select 1"),
            had(),
        ),
        (
            "the new server is a standby",
            had(),
            Had {
                standby: true,
                ..had()
            },
        ),
        (
            "the new server's database has another name",
            had(),
            Had {
                database: "other",
                ..had()
            },
        ),
        (
            "the new server's database has another encoding",
            had(),
            Had {
                encoding: "LATIN1",
                ..had()
            },
        ),
        (
            "the new server is older: 14 after 15",
            had(),
            Had {
                version: 140_012,
                ..had()
            },
        ),
        (
            "the new server: the new server has no setting nonesuch",
            had().set("nonesuch", "1"),
            had(),
        ),
        (
            "cursors WITH HOLD are open: 1, and 1 more",
            Had {
                cursors: 1,
                channels: vec!["c"],
                ..had()
            },
            had(),
        ),
        ("the old server may not be asked", had(), had()),
    ];
    for (why, state, fresh) in rows {
        each(movable, |rig| {
            rig.logged_in();
            rig.move_begins(NEW, &fresh);
            rig.client("Q(update t set a = 1)");
            rig.see_probe(WRITER);
            if why == "the old server may not be asked" {
                rig.writer("1 2 E(57014) Z(I) 3 Z(I)");
                assert_eq!(failed(rig).2, "the probe failed (57014)");
            } else {
                rig.raw(WRITER, &state.answer());
                assert_eq!(failed(rig).2, why);
            }
            assert_eq!(failed(rig).0, Outcome::Recoverable);
            rig.see(WRITER, "Q(update t set a = 1)");
            rig.see(NEW, "X");
            rig.writer("C(UPDATE 1) Z(I)");
            rig.see(CLIENT, "C(UPDATE 1) Z(I)");
            assert!(!rig.is_open(NEW));
        });
    }
}

/// What the operator puts up with is no reason.
#[test]
fn an_order_may_accept_what_is_otherwise_refused() {
    let had = Had::default;
    for (accept, fresh) in [
        (
            Accept::Standby,
            Had {
                standby: true,
                ..had()
            },
        ),
        (
            Accept::Database,
            Had {
                database: "other",
                ..had()
            },
        ),
        (
            Accept::Encoding,
            Had {
                encoding: "LATIN1",
                ..had()
            },
        ),
        (
            Accept::OlderMajor,
            Had {
                version: 140_012,
                ..had()
            },
        ),
    ] {
        each(movable, |rig| {
            rig.logged_in();
            let mut order = order();
            order.accepts.push(accept);
            rig.migrate(order);
            rig.spare_in(NEW, &fresh);
            rig.answer_probe(WRITER, &had());
            rig.restore(NEW, "");
            rig.answer_probe(NEW, &fresh);
            assert_eq!(rig.transfers(), [1, 1, 0, 0], "{accept:?}");
        });
    }
}

/// A standby that has not replayed all is known by its last probe, when the client is held.
#[test]
fn a_standby_that_is_behind_is_refused() {
    each(movable, |rig| {
        rig.logged_in();
        let mut order = order();
        order.accepts.push(Accept::Standby);
        rig.migrate(order);
        let target = Had {
            standby: true,
            lsn: "0/3000000",
            ..Had::default()
        };
        rig.spare_in(NEW, &target);
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(NEW, "");
        rig.answer_probe(NEW, &target);
        let (outcome, phase, why) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Verify));
        assert!(
            why.ends_with("the new server is 96 bytes of log behind"),
            "{why}"
        );
    });
}

/// A setting that does not take, a statement that does not prepare.
#[test]
fn a_restore_that_fails_or_differs_is_given_up() {
    each(movable, |rig| {
        rig.logged_in();
        ask(rig, WRITER, "set work_mem = 64", "C(SET) Z(I)");
        let state = Had::default().set("work_mem", "64");
        rig.move_begins(NEW, &Had::default());
        rig.answer_probe(WRITER, &state);
        rig.restore_parts(NEW);
        rig.say(NEW, "1 2 E(42501)");
        let (outcome, phase, why) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Restore));
        assert!(
            why.ends_with("refuses the setting work_mem (42501)"),
            "{why}"
        );
        rig.see(NEW, "X");
        rig.move_begins(NEW, &Had::default());
        rig.answer_probe(WRITER, &state);
        rig.restore(NEW, "work_mem=64");
        rig.answer_probe(NEW, &Had::default().set("work_mem", "65"));
        let (outcome, phase, why) = failed(rig);
        assert_eq!((outcome, phase), (Outcome::Recoverable, Phase::Verify));
        assert!(why.contains("work_mem"), "{why}");
        ask(rig, WRITER, "update t set a = 1", "C(UPDATE 1) Z(I)");
    });
}

/// A custom setting is found by the name that the journal has; a library that was loaded, by nothing.
#[test]
fn the_journal_knows_what_no_probe_finds() {
    each(movable, |rig| {
        rig.logged_in();
        ask(rig, WRITER, "set app.user = 'bob'", "C(SET) Z(I)");
        rig.move_begins(
            NEW,
            &Had {
                custom: vec![None],
                ..Had::default()
            },
        );
        let state = Had {
            custom: vec![Some("bob")],
            ..Had::default()
        };
        moves(rig, WRITER, NEW, &state, "app.user=bob");
        rig.take(CLIENT);
        ask(rig, NEW, "load 'plpgsql'", "C(LOAD) Z(I)");
        for trust in [Trust::Journal, Trust::Probe] {
            let mut order = order();
            order.trust = trust;
            rig.migrate(order);
            rig.spare_in(
                WRITER,
                &Had {
                    custom: vec![None],
                    ..Had::default()
                },
            );
            rig.expire(pgturnout::session::Timer::Move);
            let why = failed(rig).2;
            assert_eq!(why, "it came to no safe point: pinned: a loaded library");
            rig.see(WRITER, "X");
        }
    });
}

/// A temporary table: the journal's doubt holds until DISCARD, the probe's word until it is dropped.
#[test]
fn an_order_says_whose_word_counts() {
    each(unsplit, |rig| {
        rig.logged_in();
        ask(
            rig,
            WRITER,
            "create temp table x(a int)",
            "C(CREATE TABLE) Z(I)",
        );
        ask(rig, WRITER, "drop table x", "C(DROP TABLE) Z(I)");
        rig.move_begins(NEW, &Had::default());
        let waits = rig.session.migration().and_then(|status| status.waits_for);
        let waits = waits.map(ToString::to_string);
        assert_eq!(waits.as_deref(), Some("pinned: temporary objects"));
        rig.session.cancel_migration(rig.now);
        rig.run();
        rig.take(NEW);
        let mut order = order();
        order.trust = Trust::Probe;
        rig.migrate(order);
        rig.spare_in(NEW, &Had::default());
        moves(rig, WRITER, NEW, &Had::default(), "");
    });
}

#[test]
fn a_session_listens_on_the_new_server_by_option() {
    each(movable, |rig| {
        rig.logged_in();
        let mut order = order();
        order.listening = Listening::Move;
        rig.migrate(order);
        rig.spare_in(NEW, &Had::default());
        let state = Had {
            channels: vec!["c"],
            ..Had::default()
        };
        rig.answer_probe(WRITER, &state);
        let shown = session_support::frames::show_frontend(&rig.take(NEW));
        assert!(shown.contains("LISTEN"), "{shown}");
        // What is notified there before the cutover has come from the old server too.
        rig.say(NEW, "1 2 C(LISTEN) 3 Z(I) A(c)");
        rig.writer("A(c)");
        rig.answer_probe(NEW, &state);
        rig.say(NEW, "A(c)");
        rig.see(CLIENT, &format!("A(c) {TOLD} A(c)"));
    });
}

/// Types of another cluster: looked up by name on both, refused or mapped.
#[test]
fn types_with_other_oids_are_refused_or_mapped() {
    for policy in [OtherOids::Refuse, OtherOids::Remap] {
        let mut rig = Rig::new(unsplit(), Chunk::Whole);
        rig.logged_in();
        let parse = [&b"s\0select $1\0\0\x01"[..], &16_400_u32.to_be_bytes()];
        let parse = session_support::frames::raw(b'P', &parse.concat());
        rig.raw(CLIENT, &[&parse[..], &frontend("S")].concat());
        rig.take(WRITER);
        rig.writer("1 Z(I)");
        rig.take(CLIENT);
        let mut order = order();
        order.other_oids = policy;
        rig.migrate(order);
        let fresh = Had {
            system: Some("7714"),
            ..Had::default()
        };
        rig.spare_in(NEW, &fresh);
        let state = Had {
            statements: vec![("s", "{16400}", "select $1".to_owned(), false)],
            ..Had::default()
        };
        rig.answer_probe(WRITER, &state);
        rig.see_probe(WRITER);
        rig.raw(WRITER, &types("16400"));
        rig.see_probe(NEW);
        rig.raw(NEW, &types("17000"));
        match policy {
            OtherOids::Refuse => {
                let why = "the new server: the new server has the type app.mood under another OID";
                assert_eq!(
                    failed(&rig),
                    (Outcome::Recoverable, Phase::Restore, why.to_owned())
                );
            }
            OtherOids::Remap => {
                let got = rig.take(NEW);
                assert!(
                    got.windows(4)
                        .any(|bytes| bytes == 17_000_u32.to_be_bytes())
                );
                rig.say(NEW, "1 Z(I)");
                let there = Had {
                    statements: vec![("s", "{17000}", "select $1".to_owned(), false)],
                    ..fresh
                };
                rig.answer_probe(NEW, &there);
                assert_eq!(rig.transfers(), [1, 1, 0, 0]);
            }
        }
    }
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
    let row = [&[0, 1][..], &len, &table].concat();
    let row = session_support::frames::raw(b'D', &row);
    [backend("1 2"), row, backend("C(SELECT 1) Z(I) 3 Z(I)")].concat()
}

/// Users may not ask every server for its identity: the probe does without.
#[test]
fn a_probe_does_without_the_clusters_identity() {
    each(movable, |rig| {
        rig.logged_in();
        rig.migrate(order());
        rig.take_startup(NEW);
        rig.say(NEW, "R");
        rig.say(NEW, SPARE_LOGIN);
        rig.see_probe(NEW);
        rig.say(NEW, "1 2 E(42501) Z(I) 3 Z(I)");
        let state = Had {
            system: None,
            ..Had::default()
        };
        rig.answer_probe(NEW, &state);
        moves(rig, WRITER, NEW, &state, "");
    });
}

/// A cancel means the server that runs the request: the old one until the cutover, then the new one, and nobody between.
#[test]
fn the_cancel_target_moves_with_the_session() {
    let target = |rig: &Rig| {
        rig.session
            .cancel_target()
            .map(|target| (target.peer, target.to))
    };
    each(movable, |rig| {
        rig.logged_in();
        let key = rig.session.client_key().cloned();
        rig.client("Q(update t set a = 1)");
        rig.move_begins(NEW, &Had::default());
        assert_eq!(target(rig), Some((WRITER, Destination(0))));
        rig.see(WRITER, "Q(update t set a = 1)");
        rig.writer("C(UPDATE 1) Z(I)");
        assert_eq!(target(rig), None);
        rig.client("Q(update t set a = 2)");
        rig.answer_probe(WRITER, &Had::default());
        assert_eq!(target(rig), None, "what runs now is ours");
        rig.restore(NEW, "");
        rig.answer_probe(NEW, &Had::default());
        assert_eq!(target(rig), Some((NEW, SPARE)));
        let key_there = rig
            .session
            .cancel_target()
            .map(|target| target.key.process_id());
        assert_eq!(key_there, Some(99));
        assert_eq!(rig.session.client_key().cloned(), key);
    });
}

/// The reader alone: it has no state that is not repeated.
#[test]
fn a_reader_is_moved_when_it_is_quiet() {
    each(movable, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.migrate(MoveOrder::new(MoveTarget::Reader(SPARE)));
        assert_eq!(rig.move_ended(), None);
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(READER, "X");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
        assert!(matches!(rig.move_ended(), Some(Event::Moved { .. })));
        assert_eq!(rig.session.reader_place(), SPARE);
        rig.client("Q(select 2)");
        rig.reader_in();
        assert!(reader_is_there(rig));
        rig.see(READER, "Q(select 2)");
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
    });
}

/// What was prepared on the old one is prepared on the new one, and the client told once.
#[test]
fn statements_follow_to_a_new_reader() {
    for name in ["", "s"] {
        each(movable, |rig| {
            rig.both();
            let (parse, runs) = (format!("P({name},select 1)"), format!("B(,{name}) E S"));
            rig.client(&format!("{parse} S"));
            rig.see(READER, &format!("{parse} S"));
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            rig.migrate(MoveOrder::new(MoveTarget::Reader(SPARE)));
            rig.see(READER, "X");
            rig.client(&runs);
            rig.reader_in();
            rig.see(READER, &format!("{parse} {runs}"));
            rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
            rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        });
    }
}

fn reader_is_there(rig: &Rig) -> bool {
    let (peer, to) = (READER, SPARE);
    rig.has_event(|event| *event == Event::UpstreamReady { peer, to })
}

/// What the old server has said to the client is out before the session leaves it.
#[test]
fn answers_that_the_client_has_not_taken_keep_the_session() {
    each(movable, |rig| {
        rig.logged_in();
        rig.takes(CLIENT, false);
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        rig.migrate(order());
        rig.spare_in(NEW, &Had::default());
        rig.see(WRITER, "");
        rig.takes(CLIENT, true);
        rig.see(CLIENT, "C(DELETE 1) Z(I)");
        rig.answer_probe(WRITER, &Had::default());
    });
}

/// A failover: the writer moves to what was the reader's place, and the reader joins elsewhere.
#[test]
fn both_legs_move_together() {
    each(movable, |rig| {
        rig.both();
        let target = MoveTarget::Both {
            writer: Destination(1),
            reader: SPARE,
        };
        rig.migrate(MoveOrder::new(target));
        rig.spare_in(NEW, &Had::default());
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(NEW, "");
        rig.answer_probe(NEW, &Had::default());
        rig.see(WRITER, "X");
        rig.see(CLIENT, TOLD);
        assert_eq!(rig.session.writer_place(), Destination(1));
        assert_eq!(rig.session.reader_place(), SPARE);
        rig.see(READER, "X");
        rig.client("Q(select 1)");
        rig.reader_in();
        assert!(reader_is_there(rig));
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
    });
}

/// Nothing is counted that cannot start.
#[test]
fn some_moves_cannot_start() {
    let start = |rig: &mut Rig, order: MoveOrder| {
        let started = rig.session.migrate(rig.now, order);
        started.map_err(|why| why.to_string())
    };
    let refused = |why: CannotStart| Err(why.to_string());
    let mut rig = Rig::new(movable(), Chunk::Whole);
    assert_eq!(start(&mut rig, order()), refused(CannotStart::NotServing));
    rig.logged_in();
    let nowhere = MoveOrder::new(MoveTarget::Writer(Destination(3)));
    assert_eq!(start(&mut rig, nowhere), refused(CannotStart::NoUpstream));
    rig.migrate(order());
    assert_eq!(start(&mut rig, order()), refused(CannotStart::Running));
    assert_eq!(rig.transfers(), [1, 0, 0, 0]);
    rig.shutdown();
    assert_eq!(start(&mut rig, order()), refused(CannotStart::Ending));
    let mut rig = Rig::new(unsplit(), Chunk::Whole);
    rig.logged_in();
    let reader = MoveOrder::new(MoveTarget::Reader(SPARE));
    assert_eq!(start(&mut rig, reader), refused(CannotStart::NoReader));
    let mut config = movable();
    config.moves = Moves::Off;
    let mut rig = Rig::new(config, Chunk::Whole);
    rig.logged_in();
    assert_eq!(start(&mut rig, order()), refused(CannotStart::Disabled));
    assert_eq!(rig.transfers(), [0, 0, 0, 0]);
}

/// A replication session passes unread: nobody knows what it is in the middle of.
#[test]
fn a_session_that_passes_whole_stays() {
    let mut rig = Rig::new(movable(), Chunk::Whole);
    let pairs = [(&b"user"[..], &b"alice"[..]), (b"replication", b"database")];
    let opening = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
    rig.raw(CLIENT, opening.raw());
    rig.say(WRITER, "R");
    rig.say(WRITER, session_support::login(WRITER));
    let started = rig.session.migrate(rig.now, order());
    assert!(
        matches!(started, Err(CannotStart::Unsafe(_))),
        "{started:?}"
    );
}

/// The client hears of what differs alone, and of a value that the session has set by the restore's end.
#[test]
fn the_client_is_told_what_the_new_server_reports_otherwise() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("Q(set timezone to cet)");
        rig.see(WRITER, "Q(set timezone to cet)");
        rig.writer("S(TimeZone,CET) C(SET) Z(I)");
        rig.take(CLIENT);
        rig.move_begins(NEW, &Had::default());
        let state = Had::default().set("TimeZone", "CET");
        rig.answer_probe(WRITER, &state);
        rig.see_parts(NEW, "TimeZone=CET");
        rig.say(NEW, "1 2 D(x) S(TimeZone,CET) C(SELECT 1) 3 Z(I)");
        rig.answer_probe(NEW, &state);
        rig.see(CLIENT, TOLD);
    });
}

/// A move holds no reason back: it shows no value.
#[test]
fn a_reason_shows_no_value() {
    let mut rig = Rig::new(movable(), Chunk::Whole);
    rig.logged_in();
    rig.move_begins(NEW, &Had::default());
    let state = Had::default().set("app_secret", "hunter2");
    rig.raw(WRITER, &state.answer());
    let ended = rig.move_ended();
    assert!(matches!(
        &ended,
        Some(Event::MoveFailed {
            reason: Reason::Target(_),
            ..
        })
    ));
    assert!(!format!("{ended:?} {:?}", rig.session).contains("hunter2"));
}

/// We let the client in ourselves, and log in to each server in its name.
#[test]
fn a_session_whose_client_we_check_moves() {
    use pgturnout::auth::{AdmitPolicy, Channel, Credential};
    use pgturnout::session::ClientAuth;
    let terminated = || {
        let mut config = movable();
        config.authentication =
            ClientAuth::Terminate(AdmitPolicy::new([9; 32]).allow_trust(Channel::Clear));
        assert!(config.users.insert(b"alice", Credential::None));
        config
    };
    let mut rig = Rig::new(terminated(), Chunk::Whole);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    rig.take_startup(WRITER);
    rig.say(WRITER, "R");
    rig.say(WRITER, session_support::login(WRITER));
    rig.take(CLIENT);
    rig.move_begins(NEW, &Had::default());
    moves(&mut rig, WRITER, NEW, &Had::default(), "");
    ask_told(&mut rig);
}

fn ask_told(rig: &mut Rig) {
    rig.see(CLIENT, TOLD);
    ask(rig, NEW, "update t set a = 1", "C(UPDATE 1) Z(I)");
}

/// Each server has its own part of a session's statements: the writer's move with it, the reader's are prepared on the new
/// server when they are used there, and what the writer has of old is left behind.
#[test]
fn statements_that_the_reader_alone_has_are_prepared_when_they_are_used() {
    each(movable, |rig| {
        rig.both();
        rig.client("P(w,delete from t) S");
        rig.see(WRITER, "P(w,delete from t) S");
        rig.writer("1 Z(I)");
        rig.client("P(both,delete from u) S");
        rig.see(WRITER, "P(both,delete from u) S");
        rig.writer("1 Z(I)");
        rig.client("P(r,select 1) S");
        rig.see(READER, "P(r,select 1) S");
        rig.reader("1 Z(I)");
        rig.client("CS(both) S");
        let closed = [WRITER, READER].map(|peer| rig.shown(peer));
        let (at, left) = match closed[0].is_empty() {
            true => (READER, Had::default().prepared("both", "delete from u")),
            false => (WRITER, Had::default()),
        };
        rig.say(at, "3 Z(I)");
        rig.take(CLIENT);
        rig.move_begins(NEW, &Had::default());
        rig.answer_probe(WRITER, &left.prepared("w", "delete from t"));
        rig.restore(NEW, "P(w,delete from t)");
        rig.answer_probe(NEW, &Had::default().prepared("w", "delete from t"));
        rig.see(WRITER, "X");
        rig.see(CLIENT, TOLD);
        rig.client("Q(begin) B(,r) E S");
        rig.see(NEW, "Q(begin) P(r,select 1) B(,r) E S");
        rig.say(NEW, "C(BEGIN) Z(T) 1 2 D(1) C(SELECT 1) Z(T)");
        rig.see(CLIENT, "C(BEGIN) Z(T) 2 D(1) C(SELECT 1) Z(T)");
    });
}
