//! Sizes and counts: what passes whatever its length, what is held back, and that one script has one outcome.

mod session_support;

use std::sync::Arc;

use pgturnout::ledger::LedgerLimits;
use pgturnout::limits;
use pgturnout::route::Rules;
use pgturnout::session::{CloseCause, Config, ConfigError, Event, Gate, PeerId};
use pgturnout::startup::ProtocolVersion;
use session_support::frames::{backend, frontend, raw, show_backend};
use session_support::{Chunk, Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const MIB: u64 = 1 << 20;

fn rig() -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    rig
}

/// The header of a frame with a body of this many bytes.
fn header(tag: u8, body: u64) -> Vec<u8> {
    let length = u32::try_from(body + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..]].concat()
}

/// A row of 1 GiB through buffers of 64 KiB, in either direction of the split.
#[test]
fn a_row_of_a_gibibyte_passes() {
    for (text, from) in [
        ("select a from t", READER),
        ("delete from t returning a", WRITER),
    ] {
        let mut rig = rig();
        rig.client(&format!("Q({text})"));
        rig.count_only(CLIENT);
        let before = rig.total(CLIENT);
        rig.say(from, "T");
        rig.raw(from, &header(b'D', 1024 * MIB));
        rig.flood(from, 1024 * MIB);
        rig.say(from, "C(SELECT 1) Z(I)");
        let frames = (backend("T C(SELECT 1) Z(I)").len() + 5) as u64;
        assert_eq!(rig.total(CLIENT) - before, 1024 * MIB + frames);
        assert!(rig.is_open(CLIENT));
        rig.client("Q(select 1)");
        assert!(rig.shown(READER).ends_with("Q(select 1)"));
    }
}

/// F8: a limit for each direction, known by the header; nothing of the message is waited for or sent on.
#[test]
fn messages_may_be_limited_in_each_direction() {
    const MOST: u64 = 17_000;
    let limited = || {
        let mut config = config();
        config.limits.client_message = 17_000;
        config.limits.server_message = 17_000;
        config
    };
    let body = |frame: u64| vec![b' '; usize::try_from(frame - 5).unwrap()];
    for (begun, to, reply) in [
        ("Q(copy t from stdin)", WRITER, "G"),
        ("Q(begin)", WRITER, "C(BEGIN) Z(T)"),
    ] {
        each(limited, |rig| {
            rig.both();
            rig.client(begun);
            rig.say(to, reply);
            rig.take(to);
            let tag = if reply == "G" { b'd' } else { b'Q' };
            let longest = raw(tag, &body(MOST));
            rig.raw(CLIENT, &longest);
            assert_eq!(rig.take(to), longest);
            if tag == b'Q' {
                rig.say(to, "E(08P01) Z(E)");
            }
            rig.take(CLIENT);
            // Rows of a copy are taken many at once.
            let before = if tag == b'd' {
                raw(tag, b"row")
            } else {
                vec![]
            };
            rig.raw(CLIENT, &[&before[..], &header(tag, MOST + 1 - 5)].concat());
            let leave = if tag == b'Q' { raw(b'X', b"") } else { before };
            assert_eq!(rig.take(to), leave);
            rig.see(CLIENT, "FATAL(08P01)");
            assert!(matches!(rig.cause(), CloseCause::ClientFault(Some(_))));
        });
    }
    for (asked, from, tag, told) in [
        ("Q(select a from t)", READER, b'D', "E(08006) Z(I)"),
        ("Q(select a from t)", READER, b'N', "E(08006) Z(I)"),
        ("Q(update t set a = 1)", WRITER, b'D', "FATAL(08P01)"),
        ("Q(update t set a = 1)", WRITER, b'C', "FATAL(08P01)"),
    ] {
        each(limited, |rig| {
            rig.both();
            rig.client(asked);
            rig.say(from, "T");
            rig.raw(from, &raw(b'D', &body(MOST)));
            let shown = rig.take(CLIENT);
            assert_eq!(shown.len(), backend("T").len() + 17_000);
            let before = if tag == b'D' { backend("D(1)") } else { vec![] };
            rig.raw(from, &[&before[..], &header(tag, MOST + 1 - 5)].concat());
            let got = rig.take(CLIENT);
            assert!(got.starts_with(&before));
            assert_eq!(show_backend(&got[before.len()..]), told);
            assert_eq!(rig.is_dead(), from == WRITER);
        });
    }
}

#[test]
fn message_limits_have_to_leave_room_for_what_is_buffered() {
    let least = limits::READ_BUFFER_MIN;
    for (bytes, fault) in [
        (least, None),
        (least - 1, Some(ConfigError::MessageLength { least })),
    ] {
        let of = |change: fn(&mut Config, u32)| {
            let mut config = config();
            change(&mut config, u32::try_from(bytes).unwrap());
            config.check().err()
        };
        assert_eq!(
            of(|config, most| config.limits.client_message = most),
            fault
        );
        assert_eq!(
            of(|config, most| config.limits.server_message = most),
            fault
        );
    }
}

#[test]
fn copy_data_of_nearly_a_gibibyte_passes() {
    let mut rig = rig();
    rig.client("Q(copy t from stdin)");
    rig.writer("G");
    rig.take(CLIENT);
    rig.count_only(WRITER);
    let before = rig.total(WRITER);
    rig.raw(CLIENT, &header(b'd', 1023 * MIB));
    rig.flood(CLIENT, 1023 * MIB);
    rig.client("c");
    assert_eq!(rig.total(WRITER) - before, 1023 * MIB + 5 + 5);
    rig.writer("C(COPY 1) Z(I)");
    rig.see(CLIENT, "C(COPY 1) Z(I)");
}

/// What the client still announced holds up nothing.
#[test]
fn a_writer_lost_in_the_middle_of_a_frame_ends_the_session_at_once() {
    let mut rig = rig();
    rig.raw(CLIENT, &header(b'Q', 100 * MIB));
    rig.flood(CLIENT, MIB);
    rig.eof(WRITER);
    rig.see(CLIENT, "FATAL(08006)");
    assert!(rig.is_dead());
}

/// A Query that no buffer holds is not read; where it went the session stays.
#[test]
fn a_query_of_a_hundred_megabytes_passes() {
    let mut rig = rig();
    rig.count_only(WRITER);
    let before = rig.total(WRITER);
    rig.raw(CLIENT, &header(b'Q', 100 * MIB));
    rig.flood(CLIENT, 100 * MIB);
    assert_eq!(rig.total(WRITER) - before, 100 * MIB + 5);
    rig.writer("C(INSERT 0 1) Z(I)");
    rig.see(CLIENT, "C(INSERT 0 1) Z(I)");
    rig.client("Q(select 1)");
    rig.see(READER, "");
    rig.writer(ROW);
    rig.see(CLIENT, ROW);
}

/// A Bind names its statement at its beginning, which is all that has to be read.
#[test]
fn a_bind_of_a_megabyte_passes() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,insert into t values($1)) S");
        rig.see(WRITER, "P(s,insert into t values($1)) S");
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "1 Z(I)");
        let mut body = b"\0s\0\0\0\0\x01".to_vec();
        body.extend_from_slice(&100_000_u32.to_be_bytes());
        body.extend(vec![b'v'; 100_000]);
        body.extend_from_slice(b"\0\0");
        let bind = raw(b'B', &body);
        rig.raw(CLIENT, &[bind.clone(), frontend("E S")].concat());
        assert_eq!(rig.take(WRITER), [bind, frontend("E S")].concat());
        rig.writer("2 C(INSERT 0 1) Z(I)");
        rig.see(CLIENT, "2 C(INSERT 0 1) Z(I)");
        rig.client("Q(select 1)");
        rig.see(READER, "Q(select 1)");
    });
}

/// A large Bind of a statement that is on the other upstream.
#[test]
fn a_bind_longer_than_the_buffer_brings_its_statement() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,select $1) S");
        rig.reader("1 Z(I)");
        rig.take(READER);
        rig.take(CLIENT);
        let mut body = b"\0s\0\0\0\0\x01".to_vec();
        body.extend_from_slice(&80_000_u32.to_be_bytes());
        body.extend(vec![b'v'; 80_000]);
        body.extend_from_slice(b"\0\0");
        let bind = raw(b'B', &body);
        rig.raw(CLIENT, &[bind.clone(), frontend("E S")].concat());
        let expected = [frontend("P(s,select $1)"), bind, frontend("E S")].concat();
        let got = rig.take(WRITER);
        assert_eq!(got.len(), expected.len());
        assert!(got == expected);
        rig.writer("1 2 D(x) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(x) C(SELECT 1) Z(I)");
    });
}

/// A batch that does not fit the buffer goes to the writer, whatever is in it.
#[test]
fn a_batch_longer_than_the_buffer_goes_to_the_writer() {
    let mut rig = rig();
    let one = "P(,select 1 /* a long text of which few are too many for the buffer */) B(,) E ";
    let count = 70_000 / frontend(one).len() + 1;
    let batch = format!("{}S", one.repeat(count));
    rig.client(&batch);
    rig.see(READER, "");
    assert!(rig.take(WRITER) == frontend(&batch));
    rig.writer(&format!("{}Z(I)", "1 2 D(1) C(SELECT 1) ".repeat(count)));
    rig.client("Q(select 1)");
    rig.see(READER, "Q(select 1)");
}

/// A server may collect its replies until Sync: no part of a batch waits for the replies to another (L10).
#[test]
fn a_batch_of_many_messages_does_not_wait_for_replies() {
    for (text, to) in [("select 1", READER), ("delete from t", WRITER)] {
        each(config, |rig| {
            rig.both();
            let batch = format!("P(,{text}) {}S", "B(,) E ".repeat(1_000));
            rig.client(&batch);
            rig.see(to, &batch);
            rig.say(to, &format!("1 {}Z(I)", "2 C(OK) ".repeat(1_000)));
            let seen = rig.shown(CLIENT);
            assert!(seen.ends_with(" C(OK) Z(I)"));
        });
    }
}

/// A client that asks and never listens is not read any further, and nothing piles up.
#[test]
fn a_client_that_does_not_read_is_held_back() {
    let mut rig = rig();
    let unread = |rig: &Rig| rig.unread(CLIENT);
    rig.takes(CLIENT, false);
    let one = frontend("Q(select 1)");
    let many = one.repeat(1_000_000);
    let sent = many.len() as u64;
    rig.raw(CLIENT, &many);
    for _ in 0..50 {
        let asked = rig.take(READER).len() / one.len();
        if asked == 0 {
            break;
        }
        rig.reader(&format!("{ROW} ").repeat(asked));
    }
    // What the buffers of the three peers hold, and the requests that were answered into them.
    assert!(sent - unread(&rig) < 4 * 65_536, "{}", sent - unread(&rig));
    assert!(rig.unread(READER) < 4 * 65_536 + 1_000_000);
    assert!(rig.is_open(CLIENT));
}

/// The same with servers that do not answer.
#[test]
fn a_client_that_asks_without_end_is_held_back() {
    for text in ["select 1", "insert into t values(1)"] {
        let mut rig = rig();
        let one = frontend(&format!("Q({text})"));
        let many = one.repeat(1_000_000);
        rig.raw(CLIENT, &many);
        let asked = (rig.take(READER).len() + rig.take(WRITER).len()) / one.len();
        assert!(asked <= 4_096, "{asked}");
        assert!(many.len() as u64 - rig.unread(CLIENT) < 2 * 65_536 + 4_096 * one.len() as u64);
    }
}

/// A server that does not take what it is sent holds its client back.
#[test]
fn a_writer_that_does_not_read_holds_the_client_back() {
    let mut rig = rig();
    rig.client("Q(copy t from stdin)");
    rig.writer("G");
    rig.takes(WRITER, false);
    rig.raw(CLIENT, &frontend("d(0123456789)").repeat(100_000));
    assert!(rig.unread(CLIENT) > 1_000_000);
    rig.takes(WRITER, true);
    assert_eq!(rig.unread(CLIENT), 0);
}

/// L1: the same events give the same outputs.
#[test]
fn one_script_has_one_outcome() {
    let run = || {
        let mut rig = Rig::new(config(), Chunk::Seeded(9));
        rig.both();
        rig.client("P(s,select 1) S Q(set timezone = 'UTC') Q(begin) B(,s) E S Q(commit)");
        rig.reader("1 Z(I)");
        rig.writer("C(SET) Z(I) C(BEGIN) Z(T)");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T) C(COMMIT) Z(I)");
        rig.client("Q(select 1)");
        rig.reader("C(SET) Z(I)");
        rig.eof(READER);
        let bytes = PeerId::ALL.map(|peer| rig.take(peer));
        (bytes, format!("{:?} {:?}", rig.events, rig.session))
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0, second.0);
    assert!(!first.0[1].is_empty() && !first.0[2].is_empty());
}

/// Both upstreams serve, and so many statements were prepared on the reader.
fn prepared(rig: &mut Rig, count: usize) {
    rig.both();
    for n in 0..count {
        rig.client(&format!("P(s{n},select 1) S"));
        rig.reader("1 Z(I)");
    }
    rig.take(READER);
    rig.take(CLIENT);
}

/// One batch that binds each of them, what it has to be on the writer, and the answers there and to the client.
fn binds(count: usize) -> [String; 4] {
    let of = |one: fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(" ");
    [
        of(|n| format!("B(,s{n}) E")) + " S",
        of(|n| format!("P(s{n},select 1) B(,s{n}) E")) + " S",
        of(|_| "1 2 C(SELECT 0)".to_owned()) + " Z(T)",
        of(|_| "2 C(SELECT 0)".to_owned()) + " Z(T)",
    ]
}

/// Swallowed replies between the client's fill the queues in no time: what finds no room waits, and none is lost.
#[test]
fn replies_to_many_restores_wait_for_room() {
    for entries in [2, 3, 4, 5, 6, 7, LedgerLimits::default().segments_per_queue] {
        let short = || {
            let mut config = config();
            config.limits.ledger.segments_per_queue = entries;
            config
        };
        let count = entries / 2 + 12;
        let [asked, forwarded, replies, seen] = binds(count);
        each(short, |rig| {
            prepared(rig, count);
            rig.client("Q(begin)");
            rig.writer("C(BEGIN) Z(T)");
            rig.take(WRITER);
            rig.take(CLIENT);
            rig.client(&asked);
            rig.see(WRITER, &forwarded);
            rig.takes(CLIENT, false);
            rig.writer(&replies);
            rig.takes(CLIENT, true);
            rig.see(CLIENT, &seen);
        });
    }
}

/// What a server answers to what it was sent.
fn answers(asked: &str, status: &mut char) -> String {
    let mut out = String::new();
    for word in asked.split_inclusive([')', ' ']).map(str::trim) {
        *status = match word {
            "Q(begin)" => 'T',
            "Q(commit)" => 'I',
            _ => *status,
        };
        let tag = match word {
            "Q(begin)" => "BEGIN",
            "Q(commit)" => "COMMIT",
            "Q(set" => "SET",
            _ => "SELECT 1",
        };
        out += &match word.split('(').next().unwrap() {
            "Q" => format!("N(00000) C({tag}) Z({status}) "),
            "S" => format!("Z({status}) "),
            "P" => "1 ".to_owned(),
            "B" => "2 ".to_owned(),
            "E" => "D(1) C(SELECT 1) ".to_owned(),
            "CS" => "3 ".to_owned(),
            _ => String::new(),
        };
    }
    out
}

/// Everybody is slow: what is sent is taken only when nothing more happens without. Returns what the client got.
fn whole_life(entries: usize, chunk: Chunk) -> String {
    let mut config = config();
    config.limits.ledger.segments_per_queue = entries;
    let mut rig = Rig::new(config, chunk);
    let mut got = String::new();
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    rig.take_startup(WRITER);
    rig.takes(CLIENT, false);
    rig.writer(&format!("R {}", login(WRITER)));
    rig.takes(CLIENT, true);
    rig.client("Q(select 1)");
    rig.reader_in();
    let mut statuses = ['I'; 2];
    for asked in [
        "Q(select 2) Q(delete from t) Q(select 3)",
        "Q(set timezone='UTC') Q(set work_mem='1MB') P(s,select 1) S B(,s) E S P(r,select 2) S",
        "Q(begin) B(,s) E CS(s) P(s,select 3) B(,r) E S Q(commit) Q(select 4) B(,s) E S B(,r) E S",
        "B(,r) E H",
        "P(,delete from t) B(,) E S P(,select 1) B(,) E S Q(select 5)",
    ] {
        rig.client(asked);
        loop {
            let mut answered = false;
            for (status, peer) in statuses.iter_mut().zip([WRITER, READER]) {
                rig.takes(peer, true);
                let answer = answers(&rig.shown(peer), status);
                answered |= !answer.is_empty();
                rig.takes(CLIENT, false);
                rig.takes(peer, false);
                rig.say(peer, &answer);
                rig.takes(CLIENT, true);
            }
            if !answered {
                break;
            }
        }
        got += &rig.shown(CLIENT);
        got.push(' ');
    }
    for peer in [WRITER, READER] {
        rig.takes(peer, true);
    }
    rig.takes(CLIENT, false);
    rig.client("Q(select 6) Q(select 7)");
    rig.reader("T D(1)");
    rig.eof(READER);
    rig.client("Q(select 8)");
    rig.writer(ROW);
    rig.shutdown();
    rig.takes(CLIENT, true);
    got + &rig.shown(CLIENT)
}

/// Queues may be so short that everything waits for everything, but what is owed comes, whole and in order.
#[test]
fn a_session_lives_its_whole_life_with_the_shortest_queues() {
    let expected = whole_life(LedgerLimits::default().segments_per_queue, Chunk::Whole);
    assert!(expected.ends_with(&format!(
        "T D(1) E(08006) Z(I) E(08006) Z(I) {ROW} FATAL(57P01)"
    )));
    for entries in 2..6 {
        for chunk in [
            Chunk::Whole,
            Chunk::Bytes(1),
            Chunk::Bytes(7),
            Chunk::Seeded(1),
            Chunk::Seeded(2),
        ] {
            assert_eq!(whole_life(entries, chunk), expected, "{entries} {chunk:?}");
        }
    }
}

/// The same in one packet with the BEGIN, so that ours and the client's bytes alternate in one queue.
#[test]
fn many_restores_behind_a_begin_in_one_packet() {
    let count = LedgerLimits::default().segments_per_queue / 2 + 12;
    let [asked, forwarded, replies, seen] = binds(count);
    each(config, |rig| {
        prepared(rig, count);
        rig.client(&format!("Q(begin) {asked}"));
        rig.see(WRITER, &format!("Q(begin) {forwarded}"));
        rig.writer(&format!("C(BEGIN) Z(T) {replies}"));
        rig.see(CLIENT, &format!("C(BEGIN) Z(T) {seen}"));
    });
}

/// As many errors as a lost reader can leave behind fit the client's queue, though it reads none of them.
#[test]
fn every_request_that_a_reader_may_owe_can_be_answered_for_it() {
    let most = LedgerLimits::default().owned_bytes_per_queue / limits::LOST_REQUEST;
    let as_many = || {
        let mut config = config();
        config.limits.reader_requests_in_flight = most;
        assert_eq!(config.check(), Ok(()));
        config
    };
    each(as_many, |rig| {
        rig.both();
        rig.takes(CLIENT, false);
        rig.client(&"Q(select 1) ".repeat(1_000));
        rig.see(READER, ["Q(select 1)"; 1_000][..most].join(" ").as_str());
        rig.eof(READER);
        rig.takes(CLIENT, true);
        rig.see(CLIENT, ["E(08006) Z(I)"; 1_000][..most].join(" ").as_str());
        rig.see(WRITER, "Q(select 1)");
    });
}

/// More requests in one pipeline than are remembered at once: they wait, and nothing is given up for them.
#[test]
fn a_long_pipeline_of_reads_stays_on_the_reader() {
    let one = "P(,select 1) B(,) E S";
    let count = config().limits.statements.names + 100;
    each(config, |rig| {
        rig.both();
        rig.client(&format!("{one} ").repeat(count));
        let mut served = 0;
        while served < count {
            let sent = rig.shown(READER).matches(one).count();
            assert!(sent > 0, "{served} were served");
            rig.reader(&"1 2 C(SELECT 0) Z(I) ".repeat(sent));
            served += sent;
        }
        rig.see(WRITER, "");
        assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
    });
}

/// The longest statement that is remembered can be sent again whatever else is in the queue, together with the Close
/// of the one that had its name; a longer one is the writer's.
#[test]
fn a_statement_of_any_length_finds_its_way() {
    let body = config().limits.statements.body;
    // The name with its end, the text's, and the number of parameter types.
    let fits = body - "s\0\0\0\0".len() - "s".len();
    for (length, repeated) in [(fits, true), (fits + 1, false), (60_000, false)] {
        let text = format!("select '{}'", "x".repeat(length - "select ''".len()));
        each(config, |rig| {
            rig.both();
            rig.client("P(s,select 1) S");
            rig.reader("1 Z(I)");
            rig.client("Q(begin) CS(s) S");
            rig.writer("C(BEGIN) Z(T) 3 Z(T)");
            rig.client(&format!("P(s,{text}) S"));
            rig.writer("1 Z(T)");
            rig.client("Q(commit)");
            rig.writer("C(COMMIT) Z(I)");
            for peer in PeerId::ALL {
                rig.take(peer);
            }
            rig.client("B(,s) E S");
            if repeated {
                rig.see(READER, &format!("CS(s) P(s,{text}) B(,s) E S"));
            } else {
                rig.see(WRITER, "B(,s) E S");
            }
        });
    }
}

/// Each Bind is looked up among the statements that its batch prepares: of hundreds of them none is followed.
#[test]
fn a_batch_that_prepares_hundreds_of_statements_goes_to_the_writer() {
    let of = |one: fn(usize) -> String| (0..300).map(one).collect::<Vec<_>>().join(" ");
    let parses = of(|n| format!("P(s{n},select 1)"));
    let binds = of(|n| format!("B(,s{n}) E"));
    each(config, |rig| {
        rig.both();
        rig.client(&format!("{parses} {binds} S"));
        rig.see(WRITER, &format!("{parses} {binds} S"));
        rig.see(READER, "");
        assert!(!rig.has_event(|event| matches!(event, Event::Pinned(_))));
    });
}

/// What waits for replies is not looked at again for each of them.
#[test]
fn a_batch_that_waits_is_looked_at_once() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select pg_backend_pid())");
        rig.client(&format!("P(,select 1) {}S", "B(,) E ".repeat(1_000)));
        rig.writer("T");
        let before = rig.steps;
        for _ in 0..100 {
            rig.writer("D(1)");
        }
        // One for each row, and one for each message and Sync at the most.
        assert!(rig.steps - before <= 200, "{}", rig.steps - before);
        rig.see(READER, "");
        rig.writer("C(SELECT 100) Z(I)");
        assert!(rig.shown(READER).ends_with("B(,) E S"));
    });
}

/// Each message is decided about a few times, however many there are and however they arrive.
#[test]
fn the_steps_of_a_batch_grow_with_its_messages() {
    for (text, to) in [("select 1", READER), ("delete from t", WRITER)] {
        for count in [10_u64, 100, 1_000] {
            let batch = format!("P(,{text}) {}S", "B(,) E ".repeat(count as usize));
            let replies = format!("1 {}Z(I)", "2 C(OK) ".repeat(count as usize));
            each(config, |rig| {
                rig.both();
                let before = rig.steps;
                rig.client(&batch);
                rig.say(to, &replies);
                let steps = rig.steps - before;
                // Looked at, forwarded and answered: three for each of the two messages.
                assert!(steps <= 6 * count + 20, "{steps} steps for {count}");
            });
        }
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    fn with(change: impl Fn(&mut Config)) -> Config {
        let mut config = config();
        change(&mut config);
        config
    }
    let begin_read_only = Rules::default().with_begin_read_only(true);
    let table = [
        (
            with(|config| config.rules = Arc::new(begin_read_only.clone())),
            ConfigError::BeginReadOnly,
        ),
        (
            with(|config| config.limits.requests_in_flight = 2_047),
            ConfigError::RequestsInFlight { least: 2_048 },
        ),
        (
            with(|config| config.limits.ledger.segments_per_queue = 1),
            ConfigError::LedgerSegments { least: 2 },
        ),
        (
            with(|config| config.limits.statements.body += 1),
            ConfigError::LedgerOwned { least: 65_538 },
        ),
        (
            with(|config| config.limits.journal.bytes += 1),
            ConfigError::LedgerOwned { least: 65_538 },
        ),
        (
            with(|config| config.limits.reader_requests_in_flight = 500),
            ConfigError::LedgerOwned { least: 75_000 },
        ),
        (
            with(|config| {
                config.limits.ledger.owned_bytes_per_queue = 32_767;
                config.limits.statements.body = 1_000;
                config.limits.journal.bytes = 1_000;
                config.limits.reader_requests_in_flight = 10;
            }),
            ConfigError::LedgerOwned { least: 32_768 },
        ),
        (
            with(|config| config.limits.read_buffer = 16_383),
            ConfigError::ReadBuffer { least: 16_384 },
        ),
        (
            with(|config| config.upstreams.truncate(0)),
            ConfigError::Writers,
        ),
        (
            with(|config| {
                config.gate = Gate::Reader;
                config.upstreams.truncate(1);
            }),
            ConfigError::GateWithoutReader,
        ),
    ];
    for (config, error) in table {
        assert_eq!(config.check(), Err(error));
        let mut rig = Rig::new(config, Chunk::Whole);
        rig.run();
        assert!(matches!(rig.cause(), CloseCause::Misuse(_)));
    }
    assert_eq!(config().check(), Ok(()));
}
