//! Messages that the caller's policy denies: what the servers get in their place, and what the client is told.

mod session_support;

use std::sync::{Arc, Mutex};

use pgturnout::limits;
use pgturnout::session::{
    CloseCause, Denial, Event, Metadata, PeerId, Policy, RequestEvents, RouteReason, Statement,
    StatementFacts, StatementText, Verdict,
};
use pgturnout::wire::SqlState;
use session_support::frames::{frontend, raw};
use session_support::{Rig, config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

const QUERY: &str = "Q(denied by a policy of the proxy)";
const PARSE: &str = "P(,denied by a policy of the proxy)";
/// A name that is made of the session's seed.
const NOBODY: &str = "denied by a policy of the proxy 4544425954455321";
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

fn named_parse() -> String {
    format!("P({NOBODY},denied by a policy of the proxy)")
}

/// Denies texts and names with "hidden" in them, Binds of statements with "unbound" in their texts, Executes of those with
/// "unrun", and function 7.
struct Hiding;

impl Policy for Hiding {
    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        let has = |bytes: &[u8], word: &str| {
            bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        };
        let shows = |text: StatementText<'_>, word: &str| match text {
            StatementText::Whole(text) => has(text, word),
            _ => false,
        };
        let denied = match facts.statement {
            Statement::Query { text } => shows(text, "hidden"),
            Statement::Parse { name, text } => has(name, "hidden") || shows(text, "hidden"),
            Statement::Bind {
                statement, text, ..
            } => has(statement, "hidden") || shows(text, "unbound"),
            Statement::Execute { portal, text } => has(portal, "hidden") || shows(text, "unrun"),
            Statement::FunctionCall { function } => function == Some(7),
            _ => false,
        };
        match denied {
            true => Verdict::Deny(Denial::new("not that")),
            false => Verdict::Allow,
        }
    }
}

fn hiding(rig: &mut Rig) {
    rig.session.set_policy(Box::new(Hiding));
    rig.both();
}

/// What a client says, what the writer gets and answers, and what the client sees.
struct Row {
    says: &'static str,
    gets: String,
    answers: &'static str,
    sees: &'static str,
}

fn row(says: &'static str, gets: &str, answers: &'static str, sees: &'static str) -> Row {
    Row {
        says,
        gets: gets.to_owned(),
        answers,
        sees,
    }
}

fn play(rows: &[Row]) {
    let says: Vec<&str> = rows.iter().map(|row| row.says).collect();
    each(config, |rig| {
        hiding(rig);
        for row in rows {
            rig.client(row.says);
            rig.see(WRITER, &row.gets);
            rig.see(CLIENT, "");
            rig.writer(row.answers);
            rig.see(CLIENT, row.sees);
        }
        rig.see(READER, "");
        // The session goes on.
        rig.client("Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        rig.see(CLIENT, "C(DELETE 1) Z(I)");
        assert!(!rig.is_dead(), "{says:?}");
    });
}

/// The server has yet to get what a cancel would be for.
#[test]
fn what_stands_in_the_place_of_a_denied_message_is_cancelled_when_it_is_there() {
    each(config, |rig| {
        hiding(rig);
        rig.takes(WRITER, false);
        rig.client("Q(delete from hidden)");
        let nothing = |rig: &Rig| rig.session.cancel_target().is_none();
        assert!(nothing(rig) && rig.session.is_holding());
        rig.takes_only(WRITER, frontend(QUERY).len() - 1);
        assert!(nothing(rig) && rig.session.is_holding());
        rig.takes(WRITER, true);
        assert!(!nothing(rig) && !rig.session.is_holding());
    });
}

#[test]
fn a_denied_query_has_one_error_and_its_ready() {
    play(&[row(
        "Q(select hidden)",
        QUERY,
        "E(42601) Z(I)",
        "E(42501) Z(I)",
    )]);
}

/// H06: what we make takes its place behind what is owed, and no ReadyForQuery comes before the client's Sync.
#[test]
fn a_denied_parse_in_a_pipeline_is_answered_in_its_place() {
    each(config, |rig| {
        hiding(rig);
        rig.client("CS(x) S P(,select hidden) S");
        rig.see(READER, "CS(x) S");
        // Nothing of ours overtakes what the server has not said yet.
        rig.see(WRITER, "");
        rig.see(CLIENT, "");
        rig.reader("3 Z(I)");
        rig.see(CLIENT, "3 Z(I)");
        rig.see(WRITER, &format!("{PARSE} S"));
        rig.writer("E(42601) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I)");
    });
    // The same to the byte, where one server has both.
    each(config, |rig| {
        hiding(rig);
        rig.client("Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.take(CLIENT);
        rig.take(WRITER);
        rig.client("CS(x) S P(,select hidden) S");
        rig.see(WRITER, &format!("CS(x) S {PARSE} S"));
        rig.writer("3 Z(T) E(42601) Z(E)");
        let error = b"E\0\0\0$SERROR\0VERROR\0C42501\0Mnot that\0\0";
        let expected = [&b"3\0\0\0\x04Z\0\0\0\x05T"[..], error, b"Z\0\0\0\x05E"].concat();
        assert_eq!(
            rig.take(CLIENT).escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    });
    // The error is there before the Sync, the ReadyForQuery behind it.
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,delete from t) P(,select hidden)");
        rig.see(WRITER, &format!("P(,delete from t) {PARSE}"));
        rig.writer("1 E(42601)");
        rig.see(CLIENT, "1 E(42501)");
        rig.client("B(,) E S");
        rig.see(WRITER, "B(,) E S");
        rig.writer("Z(I)");
        rig.see(CLIENT, "Z(I)");
    });
}

#[test]
fn a_denial_leaves_a_transaction_failed() {
    play(&[
        row("Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"),
        row("Q(hidden)", QUERY, "E(42601) Z(E)", "E(42501) Z(E)"),
        row(
            "Q(select 1)",
            "Q(select 1)",
            "E(25P02) Z(E)",
            "E(25P02) Z(E)",
        ),
        // In a failed transaction, too, it is the denial that the client hears of.
        row(
            "P(,hidden) S",
            &format!("{PARSE} S"),
            "E(25P02) Z(E)",
            "E(42501) Z(E)",
        ),
        row(
            "Q(rollback)",
            "Q(rollback)",
            "C(ROLLBACK) Z(I)",
            "C(ROLLBACK) Z(I)",
        ),
    ]);
}

/// What the server skips it owes nothing for: neither an error of its own nor one of ours.
#[test]
fn where_the_server_skips_nobody_is_told() {
    play(&[
        row(
            "P(,delete from u) P(,hidden) S",
            &format!("P(,delete from u) {PARSE} S"),
            "E(42P01) Z(I)",
            "E(42P01) Z(I)",
        ),
        row(
            "P(,delete from u) H",
            "P(,delete from u) H",
            "E(42P01)",
            "E(42P01)",
        ),
        row(
            "Q(hidden) P(,hidden) S",
            &format!("{QUERY} {PARSE} S"),
            "Z(I)",
            "Z(I)",
        ),
    ]);
}

/// The first has the server skip the second, of whatever kind, and the next batch has a denial of its own.
#[test]
fn a_second_denial_in_a_batch_is_skipped() {
    play(&[row(
        "P(a,hidden) P(b,hidden) B(,hidden) Q(hidden) S P(,hidden) S",
        &format!("{0} {0} B(,{NOBODY}) {QUERY} S {PARSE} S", named_parse()),
        "E(42601) Z(I) E(42601) Z(I)",
        "E(42501) Z(I) E(42501) Z(I)",
    )]);
}

#[test]
fn batches_with_flush_have_their_error_at_once() {
    play(&[
        row(
            "P(a,delete from t) B(,a) E H",
            "P(a,delete from t) B(,a) E H",
            "1 2 C(DELETE 1)",
            "1 2 C(DELETE 1)",
        ),
        row(
            "P(,hidden) H",
            &format!("{PARSE} H"),
            "E(42601)",
            "E(42501)",
        ),
        row("B(,a) E H", "B(,a) E H", "", ""),
        row("S", "S", "Z(I)", "Z(I)"),
    ]);
}

#[test]
fn a_bind_and_an_execute_can_be_denied() {
    play(&[
        row(
            "P(s,delete from unbound) S",
            "P(s,delete from unbound) S",
            "1 Z(I)",
            "1 Z(I)",
        ),
        row(
            "B(p,s) E(p) S",
            &format!("B(,{NOBODY}) E(p) S"),
            "E(26000) Z(I)",
            "E(42501) Z(I)",
        ),
        row(
            "P(r,delete from unrun) B(p,r) E(p,5) S",
            &format!("P(r,delete from unrun) B(p,r) E({NOBODY}) S"),
            "1 2 E(34000) Z(I)",
            "1 2 E(42501) Z(I)",
        ),
        // What was denied once may be allowed by another name.
        row(
            "B(,hidden) S",
            &format!("B(,{NOBODY}) S"),
            "E(26000) Z(I)",
            "E(42501) Z(I)",
        ),
        row("CS(s) S", "CS(s) S", "3 Z(I)", "3 Z(I)"),
    ]);
}

#[test]
fn a_function_call_can_be_denied() {
    each(config, |rig| {
        hiding(rig);
        let call = |number| raw(b'F', &[&[0, 0, 0, number, 0, 0, 0, 0, 0, 0][..]].concat());
        rig.raw(CLIENT, &call(7));
        assert_eq!(rig.take(WRITER), call(0));
        rig.see(CLIENT, "");
        rig.writer("E(42883) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I)");
        rig.raw(CLIENT, &call(8));
        assert_eq!(rig.take(WRITER), call(8));
    });
}

/// A batch that stands on the reader is refused there.
#[test]
fn a_denial_on_the_reader_is_the_readers() {
    each(config, |rig| {
        hiding(rig);
        rig.client("P(a,select 1) B(,a) E P(,select hidden) B(,) E S");
        rig.see(READER, &format!("P(a,select 1) B(,a) E {PARSE} B(,) E S"));
        rig.reader("1 2 D(1) C(SELECT 1) E(42601) Z(I)");
        rig.see(CLIENT, "1 2 D(1) C(SELECT 1) E(42501) Z(I)");
        rig.see(WRITER, "");
        // Behind a Flush it goes where its text would.
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.client("P(,select hidden) H");
        rig.see(READER, &format!("P(,select 1) H {PARSE} H"));
        rig.reader("E(42601)");
        rig.see(CLIENT, "1 E(42501)");
        rig.client("P(,delete from t) S");
        rig.see(READER, "P(,delete from t) S");
        rig.reader("Z(I)");
        rig.see(CLIENT, "Z(I)");
    });
    // What writes leaves it, denied or not.
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.client("P(,delete from hidden) S");
        rig.see(READER, "P(,select 1) H S");
        rig.reader("Z(I)");
        rig.see(WRITER, &format!("{PARSE} S"));
        rig.writer("E(42601) Z(I)");
        rig.see(CLIENT, "1 E(42501) Z(I)");
    });
}

/// Behind a read that the reader takes its time with.
#[test]
fn a_denial_waits_for_the_replies_before_it() {
    each(config, |rig| {
        hiding(rig);
        rig.client("Q(select 1) Q(select hidden) Q(select 2)");
        rig.see(READER, "Q(select 1)");
        rig.see(WRITER, "");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.see(WRITER, QUERY);
        rig.see(READER, "");
        rig.writer("E(42601) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I)");
        rig.see(READER, "Q(select 2)");
    });
}

/// What is told is the policy's, and it is told once.
#[test]
fn a_denial_has_the_policys_words() {
    struct Wordy;
    impl Policy for Wordy {
        fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
            if facts.intent.class.is_read() {
                return Verdict::Allow;
            }
            let denial = Denial::new("no writes").with_sqlstate(SqlState(*b"25006"));
            Verdict::Deny(
                denial
                    .with_detail("you only read")
                    .with_hint("ask somebody"),
            )
        }
    }
    each(config, |rig| {
        rig.session.set_policy(Box::new(Wordy));
        rig.both();
        rig.client("Q(delete from t)");
        // A notice of the server about what stands in the place is passed on.
        rig.writer("N(00000) E(42601) Z(I)");
        let told = rig.take(CLIENT).escape_ascii().to_string();
        let error = r"SERROR\x00VERROR\x00C25006\x00Mno writes\x00Dyou only read\x00Hask somebody\x00\x00Z\x00\x00\x00\x05I";
        assert!(told.ends_with(error), "{told}");
        assert!(!told.contains("42601"), "{told}");
        let denied = |event: &Event| {
            let expected = Event::StatementDenied {
                request: 2,
                peer: WRITER,
                state: SqlState(*b"25006"),
            };
            *event == expected
        };
        assert!(rig.has_event(denied), "{:?}", rig.events);
        assert_eq!(rig.session.routes().get(WRITER, RouteReason::Denied), 1);
    });
}

/// A denied statement is not there, and the unnamed one before it is not either, as where a server refuses it.
#[test]
fn a_denied_parse_defines_nothing() {
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,select 1) P(s,select 1) S P(,select hidden) S B(,) S");
        rig.reader("1 1 Z(I)");
        rig.writer("E(42601) Z(I)");
        rig.take(READER);
        rig.take(WRITER);
        rig.take(CLIENT);
        // Nobody restores it.
        rig.writer("E(26000) Z(I)");
        rig.see(CLIENT, "E(26000) Z(I)");
        // A name is as it was.
        rig.client("P(s,hidden) S B(,s) E S");
        rig.see(WRITER, &format!("{} S", named_parse()));
        rig.writer("E(42601) Z(I)");
        rig.see(READER, "B(,s) E S");
        rig.reader("2 C(SELECT 0) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I) 2 C(SELECT 0) Z(I)");
        // A name that is denied leaves the unnamed statement alone, a Query does not.
        rig.client("P(,select 3) S P(t,hidden) S B(,) S");
        rig.take(READER);
        rig.reader("1 Z(I)");
        rig.writer("E(42601) Z(I)");
        rig.see(READER, "B(,) S");
        rig.reader("2 Z(I)");
        rig.client("Q(hidden) B(,) S");
        rig.take(WRITER);
        rig.writer("E(42601) Z(I)");
        rig.see(READER, "");
        rig.see(WRITER, "B(,) S");
    });
}

/// What was parsed and skipped behind a denial is not there.
#[test]
fn what_is_skipped_behind_a_denial_has_not_happened() {
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,hidden) P(s,select 1) B(,s) E S B(,s) E S");
        rig.see(WRITER, &format!("{PARSE} P(s,select 1) B(,s) E S"));
        rig.writer("E(42601) Z(I)");
        rig.see(WRITER, "B(,s) E S");
        rig.writer("E(26000) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I) E(26000) Z(I)");
        rig.see(READER, "");
    });
}

/// The settings that a pipeline made before a denial are taken back with its transaction.
#[test]
fn a_denial_rolls_settings_back() {
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,set work_mem = 1) B(,) E P(,hidden) S");
        rig.writer("1 2 C(SET) E(42601) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
    // Those of a transaction that is rolled back for it, too.
    each(config, |rig| {
        hiding(rig);
        rig.client("Q(begin) Q(set work_mem = 1) Q(hidden) Q(commit)");
        rig.writer("C(BEGIN) Z(T) C(SET) Z(T) E(42601) Z(E) C(ROLLBACK) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

#[test]
fn a_server_that_takes_what_it_should_refuse_is_no_server() {
    let refused = "E(42601) Z(I)";
    for (says, answer) in [
        ("Q(hidden)", "C(DELETE 1) Z(I)"),
        ("Q(hidden)", "T D(1) C(SELECT 1) Z(I)"),
        ("Q(hidden)", "Z(I)"),
        ("Q(hidden)", "!"),
        ("P(,hidden) S", "1 Z(I)"),
        (
            "P(s,delete from unrun) B(,s) E S",
            "1 2 D(1) C(SELECT 1) Z(I)",
        ),
    ] {
        each(config, |rig| {
            hiding(rig);
            rig.client("Q(hidden)");
            rig.writer(refused);
            rig.client(says);
            match answer {
                "!" => rig.raw(WRITER, &raw(b'!', b"")),
                answer => rig.writer(answer),
            }
            assert_eq!(rig.cause(), CloseCause::UpstreamFault(WRITER), "{answer}");
            assert!(rig.shown(CLIENT).ends_with("FATAL(08P01)"));
        });
    }
}

/// The reader is lost before it has refused: the client is told that, as for everything else that it owed.
#[test]
fn a_denial_of_a_lost_reader_is_answered() {
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,select 1) P(,select hidden) S");
        rig.see(READER, &format!("P(,select 1) {PARSE} S"));
        rig.reader("1");
        rig.reset(READER);
        rig.see(CLIENT, "1 E(08006) Z(I)");
        rig.client("P(,select 1) H");
        assert!(!rig.is_dead());
    });
    // What had no answer yet is dropped with its batch.
    each(config, |rig| {
        hiding(rig);
        rig.client("P(,select 1) H P(,delete from hidden)");
        rig.see(READER, "P(,select 1) H");
        rig.reset(READER);
        rig.client("S");
        rig.see(CLIENT, "E(08006) Z(I)");
        rig.see(WRITER, "");
    });
}

/// It is counted as what it is: the client's message, and an error; at the server, what stands in its place.
#[test]
fn a_denial_is_counted_and_told_of() {
    let make = || {
        let mut config = config();
        config.request_events = RequestEvents::On;
        config.metadata = Metadata::On;
        config
    };
    each(make, |rig| {
        hiding(rig);
        let before = *rig.session.stats();
        let there = *rig.session.upstream_stats(WRITER).unwrap();
        rig.events.clear();
        rig.client("Q(select hidden) P(,hidden) S");
        rig.writer("E(42601) Z(I) E(42601) Z(I)");
        rig.take(CLIENT);
        let events: Vec<String> = rig
            .events
            .iter()
            .map(|event| match event {
                Event::RequestBegan { request, .. } => format!("began {request}"),
                Event::ResponseBegan { request, .. } => format!("answered {request}"),
                Event::ResponseEnded { request, .. } => format!("ended {request}"),
                Event::Routed { request, class, .. } => format!("routed {request} {class:?}"),
                Event::StatementDenied { request, .. } => format!("denied {request}"),
                other => format!("{other:?}"),
            })
            .collect();
        let mut sorted = events.clone();
        sorted.sort();
        let mut expected = Vec::new();
        for (request, class) in [(2, "Read"), (3, "Write")] {
            for what in ["began", "answered", "ended", "denied"] {
                expected.push(format!("{what} {request}"));
            }
            expected.push(format!("routed {request} {class}"));
        }
        expected.sort();
        assert_eq!(sorted, expected, "{events:?}");
        let client = rig.session.stats().since(&before);
        let server = rig.session.upstream_stats(WRITER).unwrap().since(&there);
        let counter = pgturnout::stats::Counter::Errors;
        assert_eq!((client.get(counter), server.get(counter)), (2, 2));
    });
}

/// Nothing of a text that is denied reaches a server, however long it is and whatever stands around it.
#[test]
fn a_denied_text_reaches_nobody() {
    struct All;
    impl Policy for All {
        fn statement(&mut self, _: &StatementFacts<'_>) -> Verdict {
            Verdict::Deny(Denial::new("nothing at all"))
        }
    }
    each(config, |rig| {
        rig.session.set_policy(Box::new(All));
        rig.logged_in();
        let long = vec![b'x'; 3 * limits::READ_BUFFER];
        rig.raw(CLIENT, &raw(b'Q', &[&long[..], b"\0"].concat()));
        rig.see(WRITER, QUERY);
        rig.writer("E(42601) Z(I)");
        rig.raw(CLIENT, &raw(b'P', &[b"\0", &long[..], b"\0\0\0"].concat()));
        rig.raw(CLIENT, &raw(b'P', &long));
        rig.raw(CLIENT, &raw(b'B', &long));
        rig.raw(CLIENT, &raw(b'B', b"bad"));
        rig.raw(CLIENT, &raw(b'P', b"bad"));
        rig.raw(CLIENT, &raw(b'E', &long));
        rig.raw(CLIENT, &frontend("S"));
        let named = named_parse();
        let bind = format!("B(,{NOBODY})");
        rig.see(
            WRITER,
            &format!("{PARSE} {named} {bind} {bind} {named} E({NOBODY}) S"),
        );
        rig.writer("E(42601) Z(I)");
        rig.raw(CLIENT, &raw(b'F', &long));
        assert_eq!(rig.take(WRITER), raw(b'F', &[0; 10]));
        rig.writer("E(42883) Z(I)");
        rig.see(CLIENT, "E(42501) Z(I) E(42501) Z(I) E(42501) Z(I)");
    });
}

/// A client that does not read what it is told: what waits for it is bounded, and comes.
#[test]
fn denials_wait_for_a_client_that_does_not_read() {
    struct Verbose(Arc<Mutex<usize>>);
    impl Policy for Verbose {
        fn statement(&mut self, _: &StatementFacts<'_>) -> Verdict {
            *self.0.lock().unwrap() += 1;
            let words = "x".repeat(limits::DENIAL_MESSAGE_MAX);
            let denial = Denial::new(words.clone()).with_detail(words.clone());
            Verdict::Deny(denial.with_hint(words))
        }
    }
    let count = 100;
    each(config, |rig| {
        let asked = Arc::new(Mutex::new(0));
        rig.session
            .set_policy(Box::new(Verbose(Arc::clone(&asked))));
        rig.logged_in();
        rig.takes(CLIENT, false);
        rig.client(&"Q(select 1) ".repeat(count));
        // So many are asked about as are held, and one that waits.
        assert_eq!(*asked.lock().unwrap(), limits::DENIALS_IN_FLIGHT + 1);
        let mut sent = 0;
        for round in 0.. {
            let new = rig.shown(WRITER).matches(QUERY).count();
            if new == 0 {
                break;
            }
            sent += new;
            rig.writer(&"E(42601) Z(I) ".repeat(new));
            if round == 2 {
                rig.takes(CLIENT, true);
            }
        }
        rig.takes(CLIENT, true);
        for _ in 0..count {
            let new = rig.shown(WRITER).matches(QUERY).count();
            sent += new;
            rig.writer(&"E(42601) Z(I) ".repeat(new));
        }
        assert_eq!(sent, count);
        rig.see(CLIENT, ["E(42501) Z(I)"; 100].join(" ").as_str());
        assert!(!rig.is_dead());
    });
}
