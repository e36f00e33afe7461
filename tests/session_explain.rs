//! Dry runs: what a session says of a text is what it does with it.

mod session_support;

use pgturnout::route::{Class, Target, Why};
use pgturnout::session::{Config, Event, Optimistic, PeerId, RouteReason, Split};
use pgturnout::track::Pin;
use session_support::{Rig, config, each};

const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

fn says(rig: &mut Rig, text: &str) -> (Target, RouteReason) {
    let explanation = rig.session.explain(text.as_bytes());
    (explanation.target, explanation.reason)
}

/// What it says, and then what it does.
#[track_caller]
fn does_what_it_says(rig: &mut Rig, text: &str, answer: &str) -> RouteReason {
    let (target, reason) = says(rig, text);
    rig.silence();
    let peer = match target {
        Target::Writer => WRITER,
        Target::Reader => READER,
    };
    rig.events.clear();
    rig.client(&format!("Q({text})"));
    rig.see(peer, &format!("Q({text})"));
    rig.say(peer, answer);
    rig.see(PeerId::CLIENT, answer);
    let told = rig.events.iter().find_map(|event| match event {
        Event::Routed { peer, reason, .. } => Some((*peer, *reason)),
        _ => None,
    });
    assert_eq!(told, Some((peer, reason)), "{text}");
    reason
}

const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

#[test]
fn what_it_says_is_what_it_does() {
    each(config, |rig| {
        rig.both();
        let reason = does_what_it_says(rig, "select 1", ROW);
        assert_eq!(reason, RouteReason::Intent(Why::PlainSelect));
        let reason = does_what_it_says(rig, "select f(1)", ROW);
        assert_eq!(reason, RouteReason::Intent(Why::UnknownFunction));
        does_what_it_says(rig, "begin", "C(BEGIN) Z(T)");
        let reason = does_what_it_says(rig, "select 1", "T D(1) C(SELECT 1) Z(T)");
        assert_eq!(reason, RouteReason::Transaction);
        does_what_it_says(rig, "commit", "C(COMMIT) Z(I)");
        let temporary = "create temp table t (a int)";
        let pins = rig.session.explain(temporary.as_bytes()).pins;
        assert_eq!(pins, [Pin::TemporaryObject]);
        assert_eq!(rig.session.explain(b"select 1").pinned, None);
        does_what_it_says(rig, temporary, "C(CREATE TABLE) Z(I)");
        assert_eq!(
            rig.session.explain(b"select 1").pinned,
            Some(Pin::TemporaryObject)
        );
        let reason = does_what_it_says(rig, "select 1", ROW);
        assert_eq!(reason, RouteReason::Pinned(Pin::TemporaryObject));
    });
}

#[test]
fn settings_tell_how_texts_are_read() {
    each(config, |rig| {
        rig.both();
        let quote = r"select '\''";
        assert_eq!(
            rig.session.explain(quote.as_bytes()).intent.class,
            Class::Unreadable
        );
        let set = "set standard_conforming_strings = off";
        does_what_it_says(rig, set, "C(SET) S(standard_conforming_strings,off) Z(I)");
        assert_eq!(
            rig.session.explain(quote.as_bytes()).intent.class,
            Class::Read
        );
    });
}

#[test]
fn options_count() {
    let whole = || Config {
        split: Split::Off,
        ..config()
    };
    each(whole, |rig| {
        rig.logged_in();
        let reason = does_what_it_says(rig, "select 1", ROW);
        assert_eq!(reason, RouteReason::NotSplit);
    });
    let tried = || Config {
        optimistic: Optimistic::On,
        ..config()
    };
    each(tried, |rig| {
        rig.both();
        assert_eq!(says(rig, "select f(1)").0, Target::Reader);
        rig.client("Q(select f(1))");
        rig.see(READER, "Q(select f(1))");
        rig.reader("E(25006) Z(I)");
        rig.see(WRITER, "Q(select f(1))");
        rig.writer(ROW);
        rig.see(PeerId::CLIENT, ROW);
        let (target, reason) = says(rig, "select f(1)");
        assert_eq!(
            (target, reason),
            (Target::Writer, RouteReason::Intent(Why::RefusedBefore))
        );
    });
}
