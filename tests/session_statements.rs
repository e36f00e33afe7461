//! Prepared statements that follow their Bind from upstream to upstream, with nothing of it to be seen.

mod session_support;

use std::sync::Arc;

use pgturnout::ledger::LedgerLimits;
use pgturnout::limits;
use pgturnout::route::Rules;
use pgturnout::session::{Config, PeerId};
use session_support::{Chunk, Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// Both upstreams serve, and `s` was prepared on the reader.
fn prepared(rig: &mut Rig) {
    rig.both();
    rig.client("P(s,select 1) S");
    rig.see(READER, "P(s,select 1) S");
    rig.reader("1 Z(I)");
    rig.see(CLIENT, "1 Z(I)");
}

fn begin(rig: &mut Rig) {
    rig.client("Q(begin)");
    rig.see(WRITER, "Q(begin)");
    rig.writer("C(BEGIN) Z(T)");
    rig.see(CLIENT, "C(BEGIN) Z(T)");
}

fn commit(rig: &mut Rig) {
    rig.client("Q(commit)");
    rig.see(WRITER, "Q(commit)");
    rig.writer("C(COMMIT) Z(I)");
    rig.see(CLIENT, "C(COMMIT) Z(I)");
}

/// H21: parsed on the reader, used in a transaction on the writer, and on the reader again.
#[test]
fn a_named_statement_follows_its_bind() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("B(,s) E S");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(T)");
        rig.client("DS(s) B(,s) E S");
        rig.see(WRITER, "DS(s) B(,s) E S");
        rig.writer("t T 2 D(1) C(SELECT 1) Z(T)");
        rig.see(CLIENT, "t T 2 D(1) C(SELECT 1) Z(T)");
        commit(rig);
        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
    });
}

#[test]
fn an_unnamed_statement_follows_its_bind() {
    each(config, |rig| {
        rig.both();
        begin(rig);
        rig.client("P(,select 1) S");
        rig.see(WRITER, "P(,select 1) S");
        rig.writer("1 Z(T)");
        rig.client("CP(x) S");
        rig.take(WRITER);
        rig.writer("3 Z(I)");
        rig.take(CLIENT);
        rig.client("B(,) E S");
        rig.see(READER, "P(,select 1) B(,) E S");
        rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// A simple Query drops the unnamed statement: the Bind behind it fails as it does on one server.
#[test]
fn a_query_drops_the_unnamed_statement() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) S");
        rig.reader("1 Z(I)");
        rig.client("Q(insert into t values(1))");
        rig.writer("C(INSERT 0 1) Z(I)");
        rig.take(READER);
        rig.take(WRITER);
        rig.take(CLIENT);
        rig.client("B(,) E S");
        // Whoever answers does not have it.
        let (at_reader, at_writer) = (rig.shown(READER), rig.shown(WRITER));
        assert!(
            matches!(
                (&*at_reader, &*at_writer),
                ("", "B(,) E S") | ("CS B(,) E S", "")
            ),
            "{at_reader} {at_writer}"
        );
    });
}

#[test]
fn a_describe_restores_too() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("DS(s) S");
        rig.see(WRITER, "P(s,select 1) DS(s) S");
        rig.writer("1 t T Z(T)");
        rig.see(CLIENT, "t T Z(T)");
    });
}

/// P05: the error of a Parse of ours stands where the error of the Bind would.
#[test]
fn an_error_of_an_injected_parse_is_its_binds() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("B(,s) E S B(,s) E S");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("E(42P01)");
        rig.see(CLIENT, "E(42P01)");
        rig.writer("Z(E)");
        rig.see(CLIENT, "Z(E)");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("E(25P02) Z(E)");
        rig.see(CLIENT, "E(25P02) Z(E)");
    });
}

/// A Parse of ours that the server skipped has not happened: the next batch brings its own.
#[test]
fn a_skipped_restore_is_repeated_in_the_next_batch() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(u,select 2) S");
        rig.take(READER);
        rig.reader("1 Z(I)");
        rig.take(CLIENT);
        begin(rig);
        // The first statement fails; behind it, in the same packet, is a batch that relies on the second.
        rig.client("P(x,select nothing) B(,s) E S Q(rollback) B(,s) E S");
        rig.see(
            WRITER,
            "P(x,select nothing) P(s,select 1) B(,s) E S Q(rollback)",
        );
        rig.writer("E(42703) Z(E)");
        rig.writer("C(ROLLBACK) Z(I)");
        rig.see(CLIENT, "E(42703) Z(E) C(ROLLBACK) Z(I)");
        let (reader, writer) = (rig.shown(READER), rig.shown(WRITER));
        assert!(
            matches!(
                (&*reader, &*writer),
                ("B(,s) E S", "") | ("", "P(s,select 1) B(,s) E S")
            ),
            "{reader} {writer}"
        );
    });
}

/// The same with no Query between that would have to be waited for.
#[test]
fn a_batch_does_not_rely_on_a_restore_in_an_unanswered_one() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("P(x,select nothing) B(,s) E S B(,s) E S");
        rig.see(WRITER, "P(x,select nothing) P(s,select 1) B(,s) E S");
        rig.writer("E(42703) Z(E)");
        rig.see(CLIENT, "E(42703) Z(E)");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
    });
}

#[test]
fn a_closed_statement_is_gone_everywhere() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
        rig.client("CS(s) S");
        rig.writer("3 Z(T)");
        rig.take(WRITER);
        rig.take(CLIENT);
        commit(rig);
        // The reader still has it; the client may use the name again.
        rig.client("P(s,select 2) B(,s) E S");
        rig.see(READER, "CS(s) P(s,select 2) B(,s) E S");
        rig.reader("3 1 2 D(2) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "1 2 D(2) C(SELECT 1) Z(I)");
        begin(rig);
        rig.client("B(,s) E S");
        rig.see(WRITER, "P(s,select 2) B(,s) E S");
    });
}

#[test]
fn a_closed_statement_is_not_bound_on_the_other_upstream() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
        rig.take(WRITER);
        commit_quietly(rig);
        rig.client("CS(s) S");
        let on = if rig.shown(READER) == "CS(s) S" {
            READER
        } else {
            WRITER
        };
        rig.say(on, "3 Z(I)");
        rig.take(WRITER);
        rig.take(CLIENT);
        rig.client("B(,s) E S");
        let reader = rig.shown(READER);
        let writer = rig.shown(WRITER);
        let closed_on_reader = on == READER;
        assert!(
            reader == "CS(s) B(,s) E S"
                || writer == "CS(s) B(,s) E S"
                || closed_on_reader && reader == "B(,s) E S"
                || !closed_on_reader && writer == "B(,s) E S",
            "{reader} {writer}"
        );
    });
}

fn commit_quietly(rig: &mut Rig) {
    rig.client("Q(commit)");
    rig.writer("C(COMMIT) Z(I)");
    for peer in PeerId::ALL {
        rig.take(peer);
    }
}

/// 42P05: a name that is taken stays taken, on the upstream that has never seen it as well.
#[test]
fn a_taken_name_is_refused_on_either_upstream() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(s,insert into t values(1)) S");
        rig.see(WRITER, "P(s,select 1) P(s,insert into t values(1)) S");
        rig.writer("1 E(42P05) Z(I)");
        rig.see(CLIENT, "E(42P05) Z(I)");
        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
        rig.reader("2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// P04: Close of a name that was never prepared.
#[test]
fn a_name_whose_parse_failed_is_free() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,selec) S");
        rig.writer("E(42601) Z(I)");
        rig.client("CS(s) S");
        let on = if rig.shown(READER) == "CS(s) S" {
            READER
        } else {
            WRITER
        };
        rig.say(on, "3 Z(I)");
        rig.see(CLIENT, "E(42601) Z(I) 3 Z(I)");
        rig.take(WRITER);
        rig.client("P(s,select 1) S");
        rig.see(READER, "P(s,select 1) S");
    });
}

/// H22: a failed Parse of the unnamed statement removes the one before it (P01).
#[test]
fn a_failed_unnamed_parse_removes_the_old_one() {
    each(config, |rig| {
        rig.both();
        begin(rig);
        rig.client("P(,select 1) S");
        rig.writer("1 Z(T)");
        rig.client("P(,select nothing) S");
        rig.writer("E(42703) Z(E)");
        rig.take(WRITER);
        rig.take(CLIENT);
        rig.client("B(,) S");
        rig.see(WRITER, "B(,) S");
        rig.writer("E(26000) Z(E)");
        rig.client("P(r,rollback) B(,r) E S");
        rig.writer("1 2 C(ROLLBACK) Z(I)");
        rig.take(WRITER);
        rig.client("B(,) S");
        // Not restored anywhere.
        rig.see(READER, "");
        rig.see(WRITER, "B(,) S");
    });
}

#[test]
fn deallocate_and_discard_forget() {
    for (text, tag) in [
        ("deallocate s", "DEALLOCATE"),
        ("deallocate all", "DEALLOCATE ALL"),
        ("discard all", "DISCARD ALL"),
    ] {
        each(config, |rig| {
            prepared(rig);
            begin(rig);
            rig.client("B(,s) E S");
            rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
            commit_quietly(rig);
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("Q({text})"));
            rig.writer(&format!("C({tag}) Z(I)"));
            rig.see(CLIENT, &format!("C({tag}) Z(I)"));
            rig.client("P(s,select 2) S");
            let first = rig.shown(READER);
            if first == "Q(DISCARD ALL)" {
                rig.reader("C(DISCARD ALL) Z(I)");
                let then = rig.shown(READER);
                assert!(
                    then == "P(s,select 2) S" || then == "CS(s) P(s,select 2) S",
                    "{then}"
                );
            } else {
                assert_eq!(first, "CS(s) P(s,select 2) S");
            }
        });
    }
}

/// P02: DEALLOCATE is not transactional, and one that fails removes nothing.
#[test]
fn a_failed_deallocate_forgets_nothing() {
    each(config, |rig| {
        prepared(rig);
        rig.client("Q(deallocate s; select 1/0)");
        rig.see(WRITER, "P(s,select 1) S Q(deallocate s; select 1/0)");
        rig.writer("1 Z(I) E(42601) Z(I)");
        rig.see(CLIENT, "E(42601) Z(I)");
        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
    });
}

/// A Parse of ours that fails does not take the Query behind it with it.
#[test]
fn a_deallocate_is_answered_though_its_restore_fails() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("Q(select 1/0)");
        rig.writer("E(22012) Z(E)");
        rig.take(WRITER);
        rig.take(CLIENT);
        rig.client("Q(deallocate s)");
        rig.see(WRITER, "P(s,) S Q(deallocate s)");
        rig.writer("E(25P02) Z(E) E(25P02) Z(E)");
        rig.see(CLIENT, "E(25P02) Z(E)");
        rig.client("Q(rollback)");
        rig.see(WRITER, "Q(rollback)");
        rig.writer("C(ROLLBACK) Z(I)");
        rig.see(CLIENT, "C(ROLLBACK) Z(I)");
    });
}

/// A Query behind a batch without a Sync is answered, though the Parse of ours before it fails: nothing else would bring its
/// ReadyForQuery. What stands behind it waits, for the server would skip that, too.
#[test]
fn a_query_is_answered_though_its_restore_fails_in_a_batch() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(q,insert into t values (1)) Q(execute s) Q(select 2) S");
        rig.see(
            WRITER,
            "P(q,insert into t values (1)) P(s,select 1) Q(execute s)",
        );
        rig.writer("1 E(42P01)");
        rig.see(CLIENT, "1 E(42P01)");
        rig.see(WRITER, "S Q(select 2) S");
        rig.writer("Z(I)");
        rig.writer(ROW);
        rig.writer("Z(I)");
        rig.see(CLIENT, &format!("Z(I) {ROW} Z(I)"));
    });
}

/// Nor does one that fails before a Query too long to be looked into, which may need it or not.
#[test]
fn a_query_that_is_not_read_is_run_though_a_restore_fails() {
    each(config, |rig| {
        prepared(rig);
        let text = format!("select '{}'", "x".repeat(limits::READ_BUFFER));
        rig.client(&format!("Q({text})"));
        let sent = rig.shown(WRITER);
        assert!(
            sent.starts_with("P(s,select 1) S Q(select 'x"),
            "{:.60}",
            sent
        );
        rig.writer("E(42P01) Z(I)");
        rig.writer(ROW);
        rig.see(CLIENT, ROW);
    });
}

/// What fails before the text that needs it is sent, since more of what that needs has to be waited for, is nothing to that text.
#[test]
fn a_restore_that_fails_ahead_of_its_query_is_ended() {
    // Both answers come at once: else the Query goes between them.
    let rig = &mut Rig::new(config(), Chunk::Whole);
    prepared(rig);
    rig.client("P(a,select 2) S");
    rig.take(READER);
    rig.reader("1 Z(I)");
    rig.take(CLIENT);
    let both = "Q(execute a; execute s)";
    rig.client(&format!(
        "P(i,insert into t values (1)) B(,i) E B(,s) E S {both}"
    ));
    rig.see(
        WRITER,
        "P(i,insert into t values (1)) B(,i) E P(s,select 1) B(,s) E S P(a,select 2)",
    );
    rig.writer("1 2 C(INSERT 0 1) 1 2 D(1) C(SELECT 1) Z(I) E(42P01)");
    rig.see(CLIENT, "1 2 C(INSERT 0 1) 2 D(1) C(SELECT 1) Z(I)");
    rig.see(WRITER, &format!("S P(a,select 2) S {both}"));
    rig.writer("Z(I) E(42P01) Z(I) E(26000) Z(I)");
    rig.see(CLIENT, "E(26000) Z(I)");
}

/// In a batch of the client's it is the error of that text, which the server skips; a Query is ended all the same.
#[test]
fn a_restore_that_fails_ahead_of_its_query_in_a_batch_is_its_error() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(a,select 2) S");
        rig.take(READER);
        rig.reader("1 Z(I)");
        rig.take(CLIENT);
        let insert = "P(i,insert into t values (1)) B(,i) E";
        rig.client(&format!(
            "{insert} B(,s) E S {insert} Q(execute a; execute s)"
        ));
        rig.see(
            WRITER,
            &format!("{insert} P(s,select 1) B(,s) E S {insert} P(a,select 2)"),
        );
        rig.writer("1 2 C(INSERT 0 1) 1 2 D(1) C(SELECT 1) Z(I) 1 2 C(INSERT 0 1) E(42P01)");
        let first = "1 2 C(INSERT 0 1) 2 D(1) C(SELECT 1) Z(I)";
        rig.see(CLIENT, &format!("{first} 1 2 C(INSERT 0 1) E(42P01)"));
        rig.see(WRITER, "Q(execute a; execute s) S");
        rig.writer("Z(I)");
        rig.see(CLIENT, "Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

/// A Query drops the unnamed statement, also where the server skips it with what was prepared for it.
#[test]
fn a_query_that_is_skipped_drops_the_unnamed_statement() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("P(,select 3) S");
        rig.take(WRITER);
        rig.writer("1 Z(T)");
        rig.take(CLIENT);
        rig.client("Q(execute s)");
        rig.see(WRITER, "P(s,select 1) Q(execute s)");
        rig.writer("E(42P01)");
        rig.see(WRITER, "S CS S");
        rig.writer("Z(E) 3 Z(E)");
        rig.see(CLIENT, "E(42P01) Z(E)");
    });
}

/// A batch that has failed before skips the Query and what was to be prepared for it, up to a Sync of the client's.
#[test]
fn a_failed_batch_skips_a_query_and_its_restore() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(q,insert into nowhere values (1)) Q(execute s)");
        rig.see(
            WRITER,
            "P(q,insert into nowhere values (1)) P(s,select 1) Q(execute s)",
        );
        rig.writer("E(42P01)");
        rig.see(CLIENT, "E(42P01)");
        rig.see(WRITER, "");
        rig.client("S");
        rig.see(WRITER, "S");
        rig.writer("Z(I)");
        rig.see(CLIENT, "Z(I)");
    });
}

/// What a server says of the statement that is executed is what it would say of the EXECUTE, whoever has it prepared there.
#[test]
fn an_error_of_an_injected_parse_is_its_executes() {
    each(config, |rig| {
        prepared(rig);
        begin(rig);
        rig.client("Q(execute s) Q(execute s)");
        rig.see(WRITER, "P(s,select 1) Q(execute s)");
        rig.writer("E(42P01)");
        rig.see(CLIENT, "E(42P01)");
        rig.see(WRITER, "S P(s,select 1) Q(execute s)");
        rig.writer("Z(E) E(25P02)");
        rig.see(WRITER, "S");
        rig.writer("Z(E)");
        rig.see(CLIENT, "Z(E) E(25P02) Z(E)");
    });
}

/// P02: a late answer to a DEALLOCATE does not touch a name that was prepared behind it.
#[test]
fn a_name_prepared_behind_an_unanswered_deallocate_lives() {
    each(config, |rig| {
        prepared(rig);
        rig.client("Q(deallocate all) P(s,select 2) S B(,s) E S");
        rig.see(WRITER, "Q(deallocate all)");
        rig.writer("C(DEALLOCATE ALL) Z(I)");
        rig.see(READER, "CS(s) P(s,select 2) S");
        rig.reader("3 1 Z(I)");
        rig.see(READER, "B(,s) E S");
        rig.reader("2 D(2) C(SELECT 1) Z(I)");
        rig.see(
            CLIENT,
            "C(DEALLOCATE ALL) Z(I) 1 Z(I) 2 D(2) C(SELECT 1) Z(I)",
        );
    });
}

/// A statement that PREPARE made is the writer's, if it cannot be told to the reader.
#[test]
fn what_prepare_made_is_bound_on_the_writer() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(prepare s(mood) as select 1)");
        rig.see(WRITER, "Q(prepare s(mood) as select 1)");
        rig.writer("C(PREPARE) Z(I)");
        rig.client("B(,s) E S");
        rig.see(WRITER, "B(,s) E S");
        rig.see(READER, "");
    });
}

/// What an EXECUTE in SQL returns is known when it is parsed, so its statement has to be there by then.
#[test]
fn a_parsed_execute_finds_its_statement() {
    each(config, |rig| {
        prepared(rig);
        rig.client("P(,execute s) DS S");
        rig.see(WRITER, "P(s,select 1) P(,execute s) DS S");
        rig.writer("1 1 t T Z(I)");
        rig.see(CLIENT, "1 t T Z(I)");
        rig.client("B(,) E S");
        rig.see(WRITER, "B(,) E S");
    });
}

/// P03: a statement and a portal of one name are two things (H29).
#[test]
fn a_portal_and_a_statement_of_one_name() {
    each(config, |rig| {
        rig.both();
        rig.client("P(x,select 1) B(x,x) E(x) CP(x) S");
        rig.see(READER, "P(x,select 1) B(x,x) E(x) CP(x) S");
        rig.reader("1 2 D(1) C(SELECT 1) 3 Z(I)");
        rig.client("B(,x) E S");
        rig.see(READER, "B(,x) E S");
    });
}

/// A reader that is dialled again has no statements.
#[test]
fn a_new_connection_of_the_reader_starts_empty() {
    each(config, |rig| {
        prepared(rig);
        rig.eof(READER);
        rig.reader_again();
        rig.client("B(,s) E S");
        rig.see(READER, "P(s,select 1) B(,s) E S");
        rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
    });
}

/// More statements to restore at once than the queue to the upstream has entries.
#[test]
fn many_restores_in_one_batch_pass_a_short_queue() {
    for entries in [4, 5, 6, 7] {
        let short = || {
            let mut config: Config = config();
            config.limits.ledger = LedgerLimits {
                segments_per_queue: entries,
                ..LedgerLimits::default()
            };
            config
        };
        each(short, |rig| {
            rig.both();
            let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
            for name in &names {
                rig.client(&format!("P({name},select 1) S"));
                rig.reader("1 Z(I)");
            }
            rig.take(READER);
            rig.take(CLIENT);
            begin(rig);
            let mut batch = "P(,select 1)".to_owned();
            let mut expected = batch.clone();
            for name in &names {
                batch += &format!(" B(,{name})");
                expected += &format!(" P({name},select 1) B(,{name})");
            }
            rig.client(&format!("{batch} S"));
            rig.see(WRITER, &format!("{expected} S"));
        });
    }
}

/// More statements than are remembered: the session stays with the writer.
#[test]
fn too_many_statements_pin() {
    let few = || {
        let mut config: Config = config();
        config.limits.statements.names = 3;
        config
    };
    each(few, |rig| {
        rig.both();
        for name in ["a", "b", "c"] {
            rig.client(&format!("P({name},select 1) S"));
            rig.see(READER, &format!("P({name},select 1) S"));
            rig.reader("1 Z(I)");
        }
        rig.client("P(d,select 1) S");
        rig.see(WRITER, "P(d,select 1) S");
        rig.writer("1 Z(I)");
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer(ROW);
        rig.client("B(,a) E S");
        rig.see(WRITER, "P(a,select 1) B(,a) E S");
        rig.see(READER, "");
    });
}

/// Portals end with their transaction: many of them, each used once, are no reason to leave the reader.
#[test]
fn portals_of_finished_batches_are_forgotten() {
    each(config, |rig| {
        prepared(rig);
        for n in 0..300 {
            rig.client(&format!("B(c{n},s) E(c{n}) S"));
            rig.see(READER, &format!("B(c{n},s) E(c{n}) S"));
            rig.reader("2 D(1) C(SELECT 1) Z(I)");
        }
    });
}

/// M06: each Bind goes where its own statement belongs, not where the last Parse went.
#[test]
fn a_bind_follows_its_own_statement_not_the_last_one() {
    each(config, |rig| {
        rig.both();
        rig.client("P(w,insert into t values(1)) S");
        rig.see(WRITER, "P(w,insert into t values(1)) S");
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("P(r,select 1) S");
        rig.see(READER, "P(r,select 1) S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("B(,w) E S");
        rig.see(WRITER, "B(,w) E S");
        rig.writer("2 C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "2 C(INSERT 0 1) Z(I)");
        rig.client("B(,r) E S");
        rig.see(READER, "B(,r) E S");
    });
}

/// A server looks the names in a statement up anew when the search path has changed, and `lower` may be a function that writes
/// then. On the reader they are looked up anew, too, once it is as it was.
#[test]
fn names_of_a_statement_are_looked_up_by_the_search_path_that_holds() {
    for bind in ["B(,s) E S", "DS(s) S"] {
        each(config, |rig| {
            rig.both();
            rig.client("P(s,select lower('A')) S");
            rig.see(READER, "P(s,select lower('A')) S");
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            for (set, to) in [
                ("set search_path = app, pg_catalog", WRITER),
                ("reset search_path", READER),
            ] {
                rig.client(&format!("Q({set})"));
                rig.see(WRITER, &format!("Q({set})"));
                rig.writer("C(SET) Z(I)");
                rig.see(CLIENT, "C(SET) Z(I)");
                rig.client(bind);
                if to == READER {
                    rig.see(READER, &format!("Q({set})"));
                    rig.reader("C(SET) Z(I)");
                    rig.see(READER, bind);
                    rig.see(WRITER, "");
                } else {
                    rig.see(WRITER, &format!("P(s,select lower('A')) {bind}"));
                    rig.writer(match bind {
                        "DS(s) S" => "1 t T Z(I)",
                        _ => "1 2 D(a) C(SELECT 1) Z(I)",
                    });
                    rig.take(CLIENT);
                    rig.see(READER, "");
                }
            }
        });
    }
}

/// The same of a statement that was prepared in SQL.
#[test]
fn names_of_a_statement_prepared_in_sql_are_looked_up_by_the_search_path_that_holds() {
    each(config, |rig| {
        rig.both();
        for (text, tag) in [
            ("prepare q as select lower('A')", "PREPARE"),
            ("set search_path = app, pg_catalog", "SET"),
        ] {
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("Q({text})"));
            rig.writer(&format!("C({tag}) Z(I)"));
            rig.see(CLIENT, &format!("C({tag}) Z(I)"));
        }
        rig.client("Q(execute q)");
        rig.see(WRITER, "Q(execute q)");
        rig.see(READER, "");
    });
}

/// A text that cannot be read may change how texts are read: what the writer lacks of statements that this makes a difference
/// to has to be there before.
#[test]
fn a_text_that_is_not_read_finds_every_statement_on_the_writer() {
    let short = || {
        let mut config = config();
        config.rules = Arc::new(Rules::default().with_text_limit(40));
        config
    };
    each(short, |rig| {
        rig.both();
        rig.client("P(s,select 'a') S");
        rig.see(READER, "P(s,select 'a') S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        let long = format!("set standard_conforming_strings{}= off", " ".repeat(9));
        rig.client(&format!("Q({long})"));
        rig.see(WRITER, &format!("P(s,select 'a') S Q({long})"));
        rig.writer("1 Z(I) C(SET) S(standard_conforming_strings,off) Z(I)");
        rig.see(CLIENT, "C(SET) S(standard_conforming_strings,off) Z(I)");
        rig.client("B(,s) E S");
        rig.see(WRITER, "B(,s) E S");
    });
}

/// So may what a procedure does.
#[test]
fn a_procedure_finds_every_statement_on_the_writer() {
    for text in ["call p()", "do 'begin end'"] {
        each(config, |rig| {
            rig.both();
            rig.client("P(s,select 'a') S");
            rig.see(READER, "P(s,select 'a') S");
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            rig.client(&format!("Q({text})"));
            rig.see(WRITER, &format!("P(s,select 'a') S Q({text})"));
            rig.writer("1 Z(I) C(CALL) S(standard_conforming_strings,off) Z(I)");
            rig.see(CLIENT, "C(CALL) S(standard_conforming_strings,off) Z(I)");
            rig.client("B(,s) E S");
            rig.see(WRITER, "B(,s) E S");
        });
    }
}

/// So may what an EXECUTE runs, which is known by its name alone.
#[test]
fn an_execute_finds_what_its_statement_has_read_otherwise_on_the_writer() {
    for (statement, behind) in [
        ("select set_config('datestyle', 'German', false)", true),
        ("insert into t values (1)", false),
    ] {
        each(config, |rig| {
            rig.both();
            let prepare = format!("Q(prepare q as {statement})");
            rig.client(&prepare);
            rig.see(WRITER, &prepare);
            rig.writer("C(PREPARE) Z(I)");
            rig.see(CLIENT, "C(PREPARE) Z(I)");
            rig.client("P(s,select 'a') S");
            rig.see(READER, "P(s,select 'a') S");
            rig.reader("1 Z(I)");
            rig.see(CLIENT, "1 Z(I)");
            rig.client("Q(execute q)");
            let before = if behind { "P(s,select 'a') S " } else { "" };
            rig.see(WRITER, &format!("{before}Q(execute q)"));
        });
    }
}

/// In a failed transaction nothing can be prepared, and a text that is not read may be what ends it.
#[test]
fn a_text_that_is_not_read_may_end_a_failed_transaction() {
    let short = || {
        let mut config = config();
        config.rules = Arc::new(Rules::default().with_text_limit(20));
        config
    };
    each(short, |rig| {
        rig.both();
        let long = format!("rollback{}", " ".repeat(20));
        rig.client("P(s,select 'a') S");
        rig.see(READER, "P(s,select 'a') S");
        rig.reader("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        rig.client("Q(begin)");
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(CLIENT, "C(BEGIN) Z(T)");
        let prepare = format!("P(r,{long}) S");
        rig.client(&prepare);
        rig.see(WRITER, &prepare);
        rig.writer("1 Z(T)");
        rig.see(CLIENT, "1 Z(T)");
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        rig.writer("E(42P01) Z(E)");
        rig.see(CLIENT, "E(42P01) Z(E)");
        rig.client("B(,r) E S");
        rig.see(WRITER, "B(,r) E S");
        rig.writer("2 C(ROLLBACK) Z(I)");
        rig.see(CLIENT, "2 C(ROLLBACK) Z(I)");
    });
}
