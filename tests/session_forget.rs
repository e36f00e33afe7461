//! More prepared statements than are remembered: whose texts are forgotten, where those run, and what a reader has of them.

mod session_support;

use pgturnout::limits;
use pgturnout::route::Why;
use pgturnout::session::{Config, Event, LostReads, PeerId, RouteReason};
use pgturnout::track::Pin;
use session_support::{Chunk, Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "2 D(1) C(SELECT 1) Z(I)";

/// Room for four of the texts below.
fn small() -> Config {
    let mut config = config();
    config.limits.statements.bytes = 4 * text("s0").len() + 4 * 20;
    config
}

fn text(name: &str) -> String {
    format!("select '{}{name}'", "x".repeat(200))
}

fn parse(name: &str) -> String {
    format!("P({name},{})", text(name))
}

/// Prepares a statement at the reader.
fn prepare_there(rig: &mut Rig, name: &str) {
    rig.client(&format!("{} S", parse(name)));
    rig.see(READER, &format!("{} S", parse(name)));
    rig.reader("1 Z(I)");
    rig.see(CLIENT, "1 Z(I)");
}

/// Runs a statement, which goes to a server behind what is given.
#[track_caller]
fn run(rig: &mut Rig, name: &str, at: PeerId, behind: &str) {
    rig.client(&format!("B(,{name}) E S"));
    rig.see(at, &format!("{behind}B(,{name}) E S"));
    rig.say(at, &"1 ".repeat(behind.matches("P(").count()));
    rig.say(at, &"3 ".repeat(behind.matches("CS(").count()));
    rig.say(at, ROW);
    rig.see(CLIENT, ROW);
}

/// Four statements on the reader, and a fifth on the writer, which has had to take over the four.
fn full(rig: &mut Rig) {
    rig.both();
    for name in ["s0", "s1", "s2", "s3"] {
        prepare_there(rig, name);
    }
    rig.client(&format!("{} S", parse("s4")));
    rig.see(READER, "");
    let lent: String = (0..4)
        .map(|n| format!("{} S ", parse(&format!("s{n}"))))
        .collect();
    rig.see(WRITER, &format!("{lent}{} S", parse("s4")));
    rig.writer(&"1 Z(I) ".repeat(5));
    rig.see(CLIENT, "1 Z(I)");
}

#[test]
fn a_statement_without_room_is_the_writers_and_the_session_is_not() {
    each(small, |rig| {
        full(rig);
        assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        for name in ["s0", "s1", "s2", "s3"] {
            run(rig, name, READER, "");
        }
        run(rig, "s4", WRITER, "");
        let why = RouteReason::Intent(Why::Forgotten);
        assert!(
            rig.has_event(|event| matches!(event, Event::Routed { reason, .. } if *reason == why))
        );
    });
}

/// The writer has the four: the text of the one used least makes room for the next, which is a reader's again.
#[test]
fn the_text_used_least_is_forgotten() {
    each(small, |rig| {
        full(rig);
        run(rig, "s0", READER, "");
        prepare_there(rig, "s5");
        // The reader has it still, and another one could not be given it.
        run(rig, "s1", READER, "");
        rig.eof(READER);
        rig.take(CLIENT);
        rig.reader_again();
        run(rig, "s1", WRITER, "");
        for name in ["s0", "s2", "s3", "s5"] {
            run(rig, name, READER, &format!("{} ", parse(name)));
        }
    });
}

/// The names in a text are looked up anew when the search path has changed, and what is forgotten may be a write then.
#[test]
fn a_text_that_is_forgotten_may_mean_anything_by_another_search_path() {
    each(small, |rig| {
        full(rig);
        run(rig, "s0", READER, "");
        prepare_there(rig, "s5");
        run(rig, "s1", READER, "");
        let set = "Q(set search_path = app, pg_catalog)";
        rig.client(set);
        rig.see(WRITER, set);
        rig.writer("C(SET) Z(I)");
        rig.see(CLIENT, "C(SET) Z(I)");
        run(rig, "s1", WRITER, "");
        rig.client("B(,s0) E S");
        rig.see(WRITER, "");
    });
}

/// What the segment itself has named is not forgotten for what it prepares.
#[test]
fn a_batch_forgets_nothing_that_it_uses() {
    each(small, |rig| {
        full(rig);
        rig.client(&format!("B(,s0) E {} S", parse("s5")));
        rig.see(READER, &format!("B(,s0) E {} S", parse("s5")));
    });
}

/// Nor is anything forgotten that it names, be it what was used least, for the reader may lack it.
#[test]
fn a_batch_that_uses_all_there_is_has_no_room_made_for_it() {
    each(small, |rig| {
        full(rig);
        rig.eof(READER);
        rig.reader_again();
        let all = "B(,s0) E B(,s1) E B(,s2) E B(,s3) E";
        rig.client(&format!("{all} {} S", parse("s5")));
        rig.see(READER, "");
        rig.see(WRITER, &format!("{all} {} S", parse("s5")));
    });
}

/// Nothing is prepared beside a transaction, in which it would fail with it; nor does it have to be.
#[test]
fn nothing_is_lent_to_a_writer_in_a_transaction() {
    each(small, |rig| {
        rig.both();
        for name in ["s0", "s1", "s2"] {
            prepare_there(rig, name);
        }
        rig.client("Q(begin)");
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        let long = format!("P(s3,select '{}')", "x".repeat(500));
        rig.client(&format!("{long} S"));
        rig.see(WRITER, &format!("{long} S"));
        rig.writer("1 Z(T)");
        rig.take(CLIENT);
        rig.client("B(,s3) E S");
        rig.see(WRITER, "B(,s3) E S");
        rig.writer("2 D(1) C(SELECT 1) Z(T)");
        rig.client("Q(commit)");
        rig.see(WRITER, "Q(commit)");
        rig.writer("C(COMMIT) Z(I)");
        rig.take(CLIENT);
        run(rig, "s3", WRITER, "");
        run(rig, "s2", READER, "");
    });
}

/// A statement that the writer refuses is the reader's alone, and is not forgotten.
#[test]
fn what_the_writer_refuses_is_kept() {
    each(small, |rig| {
        rig.both();
        for name in ["s0", "s1", "s2", "s3"] {
            prepare_there(rig, name);
        }
        rig.client(&format!("{} S", parse("s4")));
        rig.take(WRITER);
        rig.writer("E(42P01) Z(I) 1 Z(I) 1 Z(I) 1 Z(I) 1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        prepare_there(rig, "s5");
        rig.eof(READER);
        rig.reader_again();
        run(rig, "s0", READER, &format!("{} ", parse("s0")));
        run(rig, "s1", WRITER, "");
    });
}

#[test]
fn what_the_writer_refuses_is_not_offered_again() {
    each(small, |rig| {
        rig.both();
        for name in ["s0", "s1", "s2", "s3"] {
            prepare_there(rig, name);
        }
        rig.client(&format!("{} S", parse("s4")));
        rig.take(WRITER);
        rig.writer(&"E(42P01) Z(I) ".repeat(4));
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
    });
}

/// A name with a text that was forgotten can be closed and given another.
#[test]
fn a_name_whose_text_is_forgotten_is_given_another() {
    each(small, |rig| {
        full(rig);
        rig.client("Q(delete from t)");
        rig.writer("C(DELETE 0) Z(I)");
        rig.take(WRITER);
        rig.take(CLIENT);
        rig.client("CS(s4) S");
        rig.see(WRITER, "CS(s4) S");
        rig.writer("3 Z(I)");
        rig.see(CLIENT, "3 Z(I)");
        prepare_there(rig, "s4");
        run(rig, "s4", READER, "");
    });
}

/// EXECUTE of what a reader cannot be given.
#[test]
fn execute_in_sql_goes_where_the_statement_is() {
    each(small, |rig| {
        full(rig);
        rig.client("Q(execute s4)");
        rig.see(WRITER, "Q(execute s4)");
        rig.writer("T D(1) C(SELECT 1) Z(I)");
        rig.take(CLIENT);
        rig.client("Q(execute s3)");
        rig.see(READER, "Q(execute s3)");
    });
}

/// A reader holds two; the one used least is closed there, and prepared again when it is needed.
#[test]
fn a_reader_has_no_more_than_its_share() {
    for lost_reads in [LostReads::Fail, LostReads::Again] {
        keeps_two(lost_reads);
    }
}

fn keeps_two(lost_reads: LostReads) {
    let few = || {
        let mut config = config();
        config.limits.statements.on_reader = 2;
        config.lost_reads = lost_reads;
        config
    };
    each(few, |rig| {
        rig.both();
        for name in ["s0", "s1"] {
            prepare_there(rig, name);
        }
        run(rig, "s0", READER, "");
        prepare_there(rig, "s2");
        // One too many by now.
        run(rig, "s0", READER, "CS(s1) ");
        run(rig, "s1", READER, &format!("{} ", parse("s1")));
        run(rig, "s2", READER, "CS(s0) ");
    });
}

/// A batch that needs more than a reader's share gets what was closed for it.
#[test]
fn what_was_closed_is_prepared_again_in_the_same_batch() {
    let one = || {
        let mut config = config();
        config.limits.statements.on_reader = 1;
        config
    };
    each(one, |rig| {
        rig.both();
        for name in ["s0", "s1"] {
            prepare_there(rig, name);
        }
        rig.client("B(,s0) E B(,s1) E S");
        let first = parse("s0");
        rig.see(READER, &format!("CS(s0) {first} B(,s0) E B(,s1) E S"));
        rig.reader("3 1 2 D(1) C(SELECT 1) 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) 2 D(1) C(SELECT 1) Z(I)");
    });
}

/// As many as are remembered take what is said, and a reader is given each of them that it does not have.
#[test]
fn ten_thousand_statements_take_the_memory_that_is_stated() {
    let count = limits::STATEMENTS;
    assert_eq!(count, 10_000);
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    let long =
        |n: usize| format!("select a, b, c from t{n} where id = $1 and kind = $2 and gone is null");
    let mut texts = 0;
    let all = allocation_counter::measure(|| {
        for n in 0..count {
            let one = format!("P(s{n},{}) S", long(n));
            texts += 2 * one.len();
            rig.client(&one);
            let closed = rig.shown(READER).matches("CS(").count();
            rig.reader(&format!("{} 1 Z(I)", "3 ".repeat(closed)));
            rig.take(CLIENT);
            assert_eq!(rig.routed(), [READER], "statement {n}");
        }
    });
    let held = usize::try_from(all.bytes_current).expect("no less than before");
    assert!(
        held < texts + count * limits::STATEMENT_HELD,
        "{held} bytes"
    );
    assert!(held > count * limits::STATEMENT_HELD / 4, "{held} bytes");
    assert!(texts + count * limits::STATEMENT_HELD < config().memory_bound());
    assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
    // The newest is there still, the oldest comes again.
    run(&mut rig, &format!("s{}", count - 1), READER, "");
    for n in 0..3 {
        rig.client(&format!("B(,s{n}) E S"));
        let sent = rig.shown(READER);
        let expected = format!("P(s{n},{}) B(,s{n}) E S", long(n));
        assert!(sent.ends_with(&expected), "{sent}");
        rig.reader(&"3 ".repeat(sent.matches("CS(").count()));
        rig.reader(&format!("1 {ROW}"));
        rig.see(CLIENT, ROW);
    }
    // One more is not followed.
    rig.client("P(more,select 1) S");
    rig.see(READER, "");
    assert!(rig.has_event(|event| matches!(event, Event::Pinned(Pin::TooManyStatements))));
}

/// What a statement does of which nothing is remembered is done when its name is taken away.
#[test]
fn what_ran_of_the_forgotten_outlives_its_name() {
    for runs in [false, true] {
        let mut limited = config();
        limited.limits.statements.names = 1;
        let mut rig = Rig::new(limited, Chunk::Whole);
        rig.both();
        rig.client("P(a,insert into t values (1)) S");
        rig.writer("1 Z(I)");
        rig.client("P(b,select set_config('work_mem', '2MB', false)) S");
        rig.writer("1 Z(I)");
        assert!(rig.has_event(|event| matches!(event, Event::Pinned(Pin::TooManyStatements))));
        if runs {
            rig.client("B(,b) E S");
            rig.writer(ROW);
        }
        rig.client("Q(deallocate all)");
        rig.writer("C(DEALLOCATE ALL) Z(I)");
        rig.client("Q(select 1)");
        let at = if runs { WRITER } else { READER };
        assert!(rig.shown(at).ends_with("Q(select 1)"));
    }
}
