//! Hints in comments: where a text asks to go.

mod session_support;

use std::sync::Arc;

use pgturnout::route::{Rules, Why};
use pgturnout::session::{Config, Event, Optimistic, PeerId, ReadYourWrites, RouteReason};
use session_support::{Rig, config, each};

const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

fn hints() -> Config {
    Config {
        rules: Arc::new(Rules::default().with_hints(true)),
        ..config()
    }
}

#[track_caller]
fn runs_at(rig: &mut Rig, peer: PeerId, text: &str) {
    rig.client(&format!("Q({text})"));
    rig.see(peer, &format!("Q({text})"));
    rig.say(peer, ROW);
    rig.see(PeerId::CLIENT, ROW);
}

#[test]
fn a_hint_has_a_read_run_on_the_writer_and_a_doubt_on_the_reader() {
    each(hints, |rig| {
        rig.both();
        runs_at(rig, WRITER, "/* pgturnout: writer */ select 1");
        let hinted = |event: &Event| {
            matches!(event, Event::Routed { reason, .. }
                if *reason == RouteReason::Intent(Why::WriterHint))
        };
        assert!(rig.events.iter().any(hinted));
        runs_at(rig, READER, "select 1");
        runs_at(rig, WRITER, "select f(1)");
        runs_at(rig, READER, "/* pgturnout: reader */ select f(1)");
        runs_at(rig, WRITER, "/* pgturnout: reader */ delete from t");
    });
    each(config, |rig| {
        rig.both();
        runs_at(rig, READER, "/* pgturnout: writer */ select 1");
        runs_at(rig, WRITER, "/* pgturnout: reader */ select f(1)");
    });
}

/// A prepared statement keeps the hint of its text; EXECUTE has one of its own.
#[test]
fn hints_belong_to_texts() {
    each(hints, |rig| {
        rig.both();
        let parse = "P(w,/* pgturnout: writer */ select 1) S";
        rig.client(parse);
        rig.see(WRITER, parse);
        rig.writer("1 Z(I)");
        rig.see(PeerId::CLIENT, "1 Z(I)");
        rig.client("B(,w) E S");
        rig.see(WRITER, "B(,w) E S");
        rig.writer("2 D(1) C(SELECT 1) Z(I)");
        rig.see(PeerId::CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        let prepare = "prepare s as select 1";
        rig.client(&format!("Q({prepare})"));
        rig.see(WRITER, &format!("Q({prepare})"));
        rig.writer("C(PREPARE) Z(I)");
        rig.see(PeerId::CLIENT, "C(PREPARE) Z(I)");
        runs_at(rig, WRITER, "/* pgturnout: writer */ execute s");
        rig.client("Q(execute s)");
        rig.see(READER, "P(s,select 1) S");
    });
}

/// An open transaction, and what the session has written, come first; what is hinted is not tried.
#[test]
fn other_rules_come_first() {
    each(
        || Config {
            read_your_writes: ReadYourWrites::For(std::time::Duration::from_secs(60)),
            optimistic: Optimistic::On,
            ..hints()
        },
        |rig| {
            rig.both();
            // It has not written anything.
            runs_at(rig, WRITER, "/* pgturnout: writer */ select 1");
            runs_at(rig, READER, "select 1");
            rig.client("Q(begin)");
            rig.see(WRITER, "Q(begin)");
            rig.writer("C(BEGIN) Z(T)");
            rig.see(PeerId::CLIENT, "C(BEGIN) Z(T)");
            rig.client("Q(/* pgturnout: reader */ select f(1))");
            rig.see(WRITER, "Q(/* pgturnout: reader */ select f(1))");
            rig.writer("T D(1) C(SELECT 1) Z(T)");
            rig.see(PeerId::CLIENT, "T D(1) C(SELECT 1) Z(T)");
            rig.client("Q(delete from t)");
            rig.see(WRITER, "Q(delete from t)");
            rig.writer("C(DELETE 1) Z(T)");
            rig.see(PeerId::CLIENT, "C(DELETE 1) Z(T)");
            rig.client("Q(commit)");
            rig.see(WRITER, "Q(commit)");
            rig.writer("C(COMMIT) Z(I)");
            rig.see(PeerId::CLIENT, "C(COMMIT) Z(I)");
            runs_at(rig, WRITER, "/* pgturnout: reader */ select f(1)");
            // What may write counts as a write there.
            rig.pass(std::time::Duration::from_secs(61));
            runs_at(rig, READER, "select 1");
            runs_at(rig, WRITER, "/* pgturnout: writer */ select f(1)");
            runs_at(rig, WRITER, "select 1");
        },
    );
}
