//! An upstream dies behind every byte of what it says, in messages of every kind.

mod session_support;

use pgturnout::session::{CloseCause, PeerId};
use session_support::frames::{backend, raw, show_backend};
use session_support::{Chunk, Rig, config};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

struct Talk {
    peer: PeerId,
    /// What the client says, which arrives as it is.
    says: &'static str,
    /// What the upstream answers, if it lives.
    answer: &'static str,
}

const fn talk(peer: PeerId, says: &'static str, answer: &'static str) -> Talk {
    Talk { peer, says, answer }
}

/// Between them every message of a server, and every request of a client.
const TALKS: [Talk; 20] = [
    talk(READER, "Q(select 1)", "T D(1) D(2) C(SELECT 2) Z(I)"),
    talk(
        READER,
        "Q(select 1)",
        "N(00000) S(in_hot_standby,on) T E(22012) Z(I)",
    ),
    talk(READER, "Q()", "I Z(I)"),
    talk(
        READER,
        "Q(select 1) Q(select 2)",
        "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)",
    ),
    talk(
        READER,
        "P(s,select 1) DS(s) B(p,s) DP(p) E(p) CP(p) CS(s) S",
        "1 t T 2 n C(SELECT 0) 3 3 Z(I)",
    ),
    talk(READER, "P(,select 1) B(,) E S", "1 2 E(22012) Z(I)"),
    talk(
        READER,
        "P(,select 1) B(,) E S B(,) E S S",
        "1 2 D(1) C(SELECT 1) Z(I) 2 E(22012) Z(I) Z(I)",
    ),
    talk(
        READER,
        "Q(copy t to stdout)",
        "H d(one) d(two) c C(COPY 2) Z(I)",
    ),
    talk(
        WRITER,
        "Q(delete from t returning a)",
        "N(00000) T D(1) C(DELETE 1) S(application_name,x) Z(I)",
    ),
    talk(WRITER, "Q(delete from t)", "E(40001) Z(I)"),
    talk(WRITER, "Q(listen c)", "C(LISTEN) A(c) Z(I)"),
    talk(
        WRITER,
        "Q(begin) Q(delete from t) Q(commit)",
        "C(BEGIN) Z(T) C(DELETE 1) Z(T) C(COMMIT) Z(I)",
    ),
    talk(
        WRITER,
        "Q(delete from t; select 1)",
        "C(DELETE 1) T D(1) C(SELECT 1) Z(I)",
    ),
    talk(
        WRITER,
        "P(w,delete from t) DS(w) B(,w) E CS(w) S",
        "1 t n 2 C(DELETE 1) 3 Z(I)",
    ),
    talk(
        WRITER,
        "P(,select 1) B(c,) E(c,1) H E(c,1) S",
        "1 2 D(1) s D(2) C(SELECT 1) Z(I)",
    ),
    talk(
        WRITER,
        "P(,delete from t) B(,) E S Q(delete from u)",
        "1 2 C(DELETE 1) Z(I) C(DELETE 2) Z(I)",
    ),
    talk(
        WRITER,
        "Q(copy t from stdin) d(1) d(2) c",
        "G C(COPY 2) Z(I)",
    ),
    talk(WRITER, "Q(copy t from stdin) d(1) f(no)", "G E(57014) Z(I)"),
    talk(
        WRITER,
        "P(,copy t from stdin) B(,) E S",
        "1 2 G E(57014) Z(I)",
    ),
    talk(WRITER, "F", "V Z(I)"),
];

/// A session in which the client has said it.
fn said(talk: &Talk) -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    if talk.says == "F" {
        rig.raw(CLIENT, &raw(b'F', b"\0\0\x03\xe8\0\0\0\0\0\0"));
    } else {
        rig.client(talk.says);
    }
    rig
}

/// What is left of an answer of which so many bytes came: the words of the whole messages, and whether there was more.
fn words_of(answer: &[u8]) -> (Vec<String>, bool) {
    let shown = show_backend(answer);
    let mut words: Vec<String> = shown.split(") ").flat_map(split_bare).collect();
    let torn = words.last().is_some_and(|word| word.starts_with('~'));
    if torn {
        words.pop();
    }
    words.retain(|word| !word.is_empty());
    (words, torn)
}

/// Words without arguments stand before one with them.
fn split_bare(words: &str) -> Vec<String> {
    let open = words.find('(').unwrap_or(words.len());
    let at = words[..open].rfind(' ').map_or(0, |at| at + 1);
    let mut out: Vec<String> = words[..at].split_whitespace().map(str::to_owned).collect();
    let last = words[at..].trim_end_matches(')');
    match words.contains('(') {
        true => out.push(format!("{last})")),
        false => out.extend(last.split_whitespace().map(str::to_owned)),
    }
    out
}

/// What of a reader's words is the client's.
fn heard(mut words: Vec<String>, peer: PeerId) -> Vec<String> {
    words.retain(|word| peer == WRITER || !word.starts_with("S("));
    words
}

fn ready_of(words: &[String]) -> usize {
    words.iter().filter(|word| word.starts_with("Z(")).count()
}

#[test]
fn words_are_told_apart() {
    let (words, torn) = words_of(&backend("1 t T 2 n C(SELECT 0) 3 3 Z(I)"));
    assert_eq!(words.join(" "), "1 t T 2 n C(SELECT 0) 3 3 Z(I)");
    assert!(!torn);
    let (words, torn) = words_of(&backend("I Z(I)")[..7]);
    assert_eq!((words.join(" ").as_str(), torn), ("I", true));
}

/// The client sees what came whole, then an error for each request that is still owed an answer, and goes on; or, if it has a
/// part of a message, its connection ends there.
#[test]
fn a_reader_may_die_behind_every_byte() {
    for talk in TALKS.iter().filter(|talk| talk.peer == READER) {
        let answer = backend(talk.answer);
        let (all, _) = words_of(&answer);
        for cut in 0..=answer.len() {
            for how in [Rig::eof, Rig::reset] {
                let mut rig = said(talk);
                let case = format!("{} {cut}", talk.says);
                rig.raw(READER, &answer[..cut]);
                how(&mut rig, READER);
                let got = rig.take(CLIENT);
                let (seen, torn) = words_of(&got);
                let (whole, _) = words_of(&answer[..cut]);
                let whole = heard(whole, READER);
                if rig.is_dead() {
                    assert!(torn, "{case}");
                    assert_eq!(rig.cause(), CloseCause::UpstreamLost(READER));
                    assert_eq!(seen, whole, "{case}");
                    continue;
                }
                assert!(!torn, "{case}");
                assert!(seen.starts_with(&whole), "{case}: {seen:?}");
                assert_eq!(ready_of(&seen), ready_of(&all), "{case}: {seen:?}");
                let added = &seen[whole.len()..];
                assert!(
                    added
                        .iter()
                        .all(|word| word == "E(08006)" || word == "Z(I)"),
                    "{case}: {seen:?}"
                );
                // Reads lost half way are not run again, and the next one is the writer's.
                rig.see(WRITER, "");
                rig.client("Q(select 7)");
                rig.see(WRITER, "Q(select 7)");
                rig.writer(ROW);
                rig.see(CLIENT, ROW);
            }
        }
    }
}

/// The session ends behind what came whole: with the reason, in doubt or not, or with the connection, where a message is torn.
/// Nothing of it is sent anywhere again.
#[test]
fn a_writer_may_die_behind_every_byte() {
    for talk in TALKS.iter().filter(|talk| talk.peer == WRITER) {
        let answer = backend(talk.answer);
        for cut in 0..=answer.len() {
            for how in [Rig::eof, Rig::reset] {
                let mut rig = said(talk);
                let case = format!("{} {cut}", talk.says);
                rig.raw(WRITER, &answer[..cut]);
                how(&mut rig, WRITER);
                let got = rig.take(CLIENT);
                let (mut seen, torn) = words_of(&got);
                let (whole, _) = words_of(&answer[..cut]);
                assert!(rig.is_dead(), "{case}");
                assert_eq!(rig.cause(), CloseCause::UpstreamLost(WRITER), "{case}");
                if !torn {
                    let last = seen.pop().unwrap();
                    assert!(
                        last == "FATAL(08006)" || last == "FATAL(08007)",
                        "{case}: {last}"
                    );
                    if cut == answer.len() {
                        assert_eq!(last, "FATAL(08006)", "{case}");
                    }
                }
                assert_eq!(seen, whole, "{case}");
                let reader = rig.shown(READER);
                assert!(reader == "X" || reader.is_empty(), "{case}: {reader}");
            }
        }
    }
}

/// A client may die at any moment of an answer: both servers' sessions end, and what still runs is stopped.
#[test]
fn a_client_may_die_behind_every_byte_of_an_answer() {
    for talk in &TALKS {
        let answer = backend(talk.answer);
        for cut in 0..=answer.len() {
            let mut rig = said(talk);
            let case = format!("{} {cut}", talk.says);
            rig.raw(talk.peer, &answer[..cut]);
            rig.reset(CLIENT);
            if !rig.is_dead() {
                rig.expire(pgturnout::session::Timer::Drain);
            }
            assert!(rig.is_dead(), "{case}");
            assert!(!rig.is_open(WRITER) && !rig.is_open(READER), "{case}");
            assert!(rig.stops.iter().all(|peer| *peer == talk.peer), "{case}");
            if cut == answer.len() {
                assert_eq!(rig.stops, [], "{case}");
            }
        }
    }
}

/// Every message that a server sends behind its login is in one of them.
#[test]
fn every_kind_of_message_is_there() {
    let mut tags: Vec<u8> = TALKS
        .iter()
        .flat_map(|talk| {
            let answer = backend(talk.answer);
            let mut rest = &answer[..];
            let mut tags = Vec::new();
            while let Ok(Some(header)) = pgturnout::wire::Header::parse(rest) {
                tags.push(header.tag);
                rest = header.split(rest).unwrap().1;
            }
            tags
        })
        .collect();
    tags.sort_unstable();
    tags.dedup();
    // Authentication, BackendKeyData and NegotiateProtocolVersion are the login's, CopyBothResponse is replication's.
    assert_eq!(String::from_utf8(tags).unwrap(), "123ACDEGHINSTVZcdnst");
}
