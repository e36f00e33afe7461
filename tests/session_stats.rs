//! What a session counts: each counter by a script that moves it, under every splitting of the bytes.

mod session_support;

use pgturnout::auth::{AdmitPolicy, Channel};
use pgturnout::route::{View, Why};
use pgturnout::session::{
    ClientAuth, Config, Event, Metadata, PeerId, RequestEvents, Role, RouteReason,
};
use pgturnout::startup::{ClientTls, ProtocolVersion, UpstreamTlsPolicy};
use pgturnout::stats::{Counter, Stats};
use session_support::frames::raw;
use session_support::{Chunk, Rig, config, each, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

fn stats(rig: &Rig, peer: PeerId) -> Stats {
    let upstream = rig.session.upstream_stats(peer);
    *upstream.unwrap_or(rig.session.stats())
}

/// The counters that are not 0, with the numbers.
fn shown(stats: &Stats) -> String {
    let moved = stats.iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = moved
        .map(|(counter, count)| format!("{counter}={count}"))
        .collect();
    words.join(" ")
}

/// What a script adds to the counters of a session with both upstreams at work: the client's, the writer's, the
/// reader's. The same however the bytes are split.
#[track_caller]
fn adds(script: impl Fn(&mut Rig), expected: [&str; 3]) {
    each(config, |rig| {
        rig.both();
        let before = PeerId::ALL.map(|peer| stats(rig, peer));
        script(rig);
        for ((peer, before), expected) in PeerId::ALL.into_iter().zip(before).zip(expected) {
            assert_eq!(
                shown(&stats(rig, peer).since(&before)),
                expected,
                "the {peer}'s"
            );
        }
    });
}

/// One message of the writer behind the start of an answer, and what it adds for the client and the writer beside
/// being a message.
#[track_caller]
fn adds_by(message: &[u8], expected: &str) {
    let all = format!("messages=1 messages_backend=1 {expected}");
    let all = all.trim_end();
    each(config, |rig| {
        rig.both();
        rig.client("Q(insert into t values(1))");
        let before = PeerId::ALL.map(|peer| stats(rig, peer));
        rig.raw(WRITER, message);
        let added = PeerId::ALL.map(|peer| shown(&stats(rig, peer).since(&before[peer.index()])));
        assert_eq!(added, [all, all, "", "", ""]);
    });
}

fn fields(tag: u8, severity: &str) -> Vec<u8> {
    let body = format!("SGRAVE\0V{severity}\0C01000\0Mfor SPANIC and VFATAL\0\0");
    raw(tag, body.as_bytes())
}

#[test]
fn a_read_counts_for_the_client_and_the_reader() {
    let both = "messages=5 messages_frontend=1 messages_backend=4 statements=1 statements_select=1 \
        transactions=1 transactions_commit=1";
    adds(
        |rig| {
            rig.client("Q(select a from t)");
            rig.reader("T D(1) C(SELECT 1) Z(I)");
        },
        [both, "", both],
    );
}

#[test]
fn statements_count_by_the_first_word_of_their_tag() {
    for (tag, counter) in [
        ("INSERT 0 1", "statements_insert"),
        ("DELETE 3", "statements_delete"),
        ("UPDATE 3", "statements_update"),
        ("SELECT 3", "statements_select"),
        ("SELECTED", "statements_other"),
        ("insert", "statements_other"),
        ("MERGE 3", "statements_other"),
        ("COPY 3", "statements_other"),
        ("CREATE TABLE", "statements_other"),
    ] {
        let message = raw(b'C', format!("{tag}\0").as_bytes());
        adds_by(
            &message,
            &format!("statements=1 {counter}=1 transactions=1"),
        );
    }
}

#[test]
fn errors_and_notices_count_by_their_severity() {
    for (tag, severity, counters) in [
        (b'E', "ERROR", "errors=1 errors_error=1"),
        (b'E', "PANICKY", "errors=1 errors_unknown=1"),
        (b'N', "WARNING", "notices=1 notices_warning=1"),
        (b'N', "NOTICE", "notices=1 notices_notice=1"),
        (b'N', "DEBUG", "notices=1 notices_debug=1"),
        (b'N', "INFO", "notices=1 notices_info=1"),
        (b'N', "LOG", "notices=1 notices_log=1"),
        (b'N', "ERROR", "notices=1 notices_unknown=1"),
    ] {
        adds_by(&fields(tag, severity), counters);
    }
}

/// An error that ends the session is one, and what is open is rolled back.
#[test]
fn fatal_errors_count() {
    for (severity, counter) in [("FATAL", "errors_fatal"), ("PANIC", "errors_panic")] {
        let client = format!(
            "messages=4 messages_frontend=1 messages_backend=3 statements=1 statements_other=1 transactions=1 \
             transactions_rollback=1 errors=1 {counter}=1"
        );
        adds(
            |rig| {
                rig.client("Q(begin)");
                rig.writer("C(BEGIN) Z(T)");
                rig.raw(WRITER, &fields(b'E', severity));
                assert!(rig.is_dead());
            },
            [&client, &client, "messages=1 messages_frontend=1"],
        );
    }
}

/// A message of hundreds of bytes, or of more than are buffered, has its severity at its beginning.
#[test]
fn the_severity_of_a_long_message_counts() {
    for len in [400, 100_000] {
        let mut body = b"SWARNUNG\0VWARNING\0C01000\0M".to_vec();
        body.resize(len, b'x');
        body.extend_from_slice(b"\0\0");
        adds_by(&raw(b'N', &body), "notices=1 notices_warning=1");
        body.splice(..18, *b"SFEHLER\0VERROR\0\0\0\0");
        let error = [b"SFEHLER\0VERROR\0".as_slice(), &body[18..]].concat();
        adds_by(&raw(b'E', &error), "errors=1 errors_error=1");
    }
}

#[test]
fn what_the_protocol_does_not_have_is_unknown_and_counts_once() {
    adds_by(&raw(b'!', b"new"), "messages_unknown=1");
    let both = "messages=1 messages_frontend=1 messages_unknown=1";
    adds(|rig| rig.raw(CLIENT, &raw(b'!', b"new")), [both, both, ""]);
}

#[test]
fn every_row_and_every_piece_of_a_copy_counts() {
    let rows = "D(1) ".repeat(300);
    let both = "messages=304 messages_frontend=1 messages_backend=303 statements=1 statements_select=1 \
        transactions=1 transactions_commit=1";
    adds(
        |rig| {
            rig.client("Q(select a from t)");
            rig.reader(&format!("T {rows} C(SELECT 300) Z(I)"));
        },
        [both, "", both],
    );
    let both = "messages=305 messages_frontend=302 messages_backend=3 statements=1 statements_other=1 \
        transactions=1 transactions_commit=1";
    adds(
        |rig| {
            rig.client("Q(copy t from stdin)");
            rig.writer("G");
            rig.client(&format!("{}c", "d(x) ".repeat(300)));
            rig.writer("C(COPY 300) Z(I)");
        },
        [both, both, ""],
    );
}

/// Transactions follow ReadyForQuery: these are those that command tags get wrong.
#[test]
fn transactions_follow_the_status() {
    for (script, expected) in [
        (
            "begin: C(BEGIN) Z(T)| savepoint a: C(SAVEPOINT) Z(T)| rollback to a: C(ROLLBACK) Z(T)| commit: C(COMMIT) Z(I)",
            [1, 1, 0],
        ),
        (
            "begin: C(BEGIN) Z(T)| commit and chain: C(COMMIT) Z(T)| rollback: C(ROLLBACK) Z(I)",
            [2, 1, 1],
        ),
        (
            "begin: C(BEGIN) Z(T)| delete from t: E(40001) Z(E)| commit: C(ROLLBACK) Z(I)",
            [1, 0, 1],
        ),
        ("commit: N(25P01) C(COMMIT) Z(I)", [0, 0, 0]),
        ("delete from t: E(40001) Z(I)", [1, 0, 1]),
        (
            "begin: C(BEGIN) Z(T)| prepare transaction 'a': C(PREPARE TRANSACTION) Z(I)| commit prepared 'a': \
             C(COMMIT PREPARED) Z(I)",
            [2, 1, 0],
        ),
    ] {
        each(config, |rig| {
            rig.both();
            let before = [CLIENT, WRITER].map(|peer| stats(rig, peer));
            for exchange in script.split('|') {
                let (text, replies) = exchange.trim().split_once(':').unwrap();
                rig.client(&format!("Q({text})"));
                rig.writer(replies);
            }
            for (peer, before) in [CLIENT, WRITER].into_iter().zip(&before) {
                let added = stats(rig, peer).since(before);
                let counts = [
                    Counter::Transactions,
                    Counter::TransactionsCommit,
                    Counter::TransactionsRollback,
                ]
                .map(|counter| added.get(counter));
                assert_eq!(counts, expected, "{script}, the {peer}'s");
            }
        });
    }
}

#[test]
fn terminate_inside_a_transaction_rolls_back() {
    for gone in [true, false] {
        let client = format!(
            "messages={} messages_frontend={} messages_backend=2 statements=1 statements_other=1 transactions=1 \
             transactions_rollback=1",
            if gone { 4 } else { 3 },
            if gone { 2 } else { 1 }
        );
        adds(
            |rig| {
                rig.client("Q(begin)");
                rig.writer("C(BEGIN) Z(T)");
                if gone {
                    rig.client("X");
                } else {
                    rig.eof(CLIENT);
                }
                assert!(rig.is_dead());
            },
            [
                &client,
                "messages=4 messages_frontend=2 messages_backend=2 statements=1 statements_other=1 transactions=1 \
                 transactions_rollback=1",
                "messages=1 messages_frontend=1",
            ],
        );
    }
}

/// What is sent and swallowed on the client's behalf is the upstream's alone.
#[test]
fn what_is_injected_is_not_the_clients() {
    let client = "messages=8 messages_frontend=2 messages_backend=6 statements=2 statements_select=1 \
        statements_other=1 transactions=2 transactions_commit=2";
    adds(
        |rig| {
            rig.client("Q(set work_mem = '1MB')");
            rig.writer("C(SET) Z(I)");
            rig.client("Q(select a from t)");
            rig.see(READER, "Q(set work_mem = '1MB')");
            rig.reader("C(SET) Z(I)");
            rig.see(READER, "Q(select a from t)");
            rig.reader("T D(1) C(SELECT 1) Z(I)");
        },
        [
            client,
            "messages=3 messages_frontend=1 messages_backend=2 statements=1 statements_other=1 transactions=1 \
             transactions_commit=1",
            "messages=8 messages_frontend=2 messages_backend=6 statements=2 statements_select=1 statements_other=1 \
             transactions=2 transactions_commit=2",
        ],
    );
}

/// A login through the writer, then one of our own at the reader: SSLRequest and StartupMessage are messages.
#[test]
fn logins_count() {
    each(config, |rig| {
        rig.both();
        let server = "messages_frontend=2 messages_backend=14";
        assert!(shown(&stats(rig, READER)).contains(server));
        let client = shown(&stats(rig, CLIENT));
        let expected = "messages=15 messages_frontend=2 messages_backend=13 sessions=1 sessions_unencrypted=1 \
            statements=1 statements_select=1 transactions=1 transactions_commit=1";
        assert_eq!(client, expected);
        let writer =
            "messages=10 messages_frontend=1 messages_backend=9 sessions=1 sessions_unencrypted=1";
        assert_eq!(shown(&stats(rig, WRITER)), writer);
    });
}

/// A session that passes through encrypted is a session, of which nothing else is seen.
#[test]
fn an_encrypted_session_counts() {
    let passing = || tls(|config| config.client_tls = ClientTls::Passthrough);
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let asked = "messages=1 messages_frontend=1 sessions=1 sessions_encrypted=1";
    let direct = "sessions=1 sessions_encrypted=1";
    for (opening, expected) in [(SSL_REQUEST, asked), (hello, direct)] {
        each(passing(), |rig| {
            rig.raw(CLIENT, opening);
            rig.raw(WRITER, b"S");
            rig.raw(CLIENT, b"whatever it is");
            rig.eof(WRITER);
            assert!(rig.is_dead());
            let all = PeerId::ALL.map(|peer| shown(&stats(rig, peer)));
            assert_eq!(all, [expected, expected, "", "", ""]);
        });
        // One whose server cannot be had is one of the client's.
        each(passing(), |rig| {
            rig.dials(WRITER, session_support::Dial::Refuse);
            rig.raw(CLIENT, opening);
            let client = shown(&stats(rig, CLIENT));
            assert!(
                client.contains("sessions=1 sessions_encrypted=1"),
                "{client}"
            );
            assert_eq!(
                client.contains("messages_frontend=1"),
                opening == SSL_REQUEST
            );
            assert_eq!(shown(&stats(rig, WRITER)), "");
        });
    }
}

fn tls(change: impl Fn(&mut Config)) -> impl Fn() -> Config {
    move || {
        let mut config = config();
        change(&mut config);
        config
    }
}

fn encrypt(config: &mut Config, role: Role, policy: UpstreamTlsPolicy) {
    for upstream in &mut config.upstreams {
        if upstream.role == role {
            upstream.tls = policy;
        }
    }
}

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSSENC_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

/// A GSSENCRequest that is refused, and TLS that ends here, make no encrypted session.
#[test]
fn the_clients_tls_counts() {
    each(tls(|config| config.client_tls = ClientTls::Allow), |rig| {
        rig.raw(CLIENT, GSSENC_REQUEST);
        assert_eq!(rig.take(CLIENT), b"N");
        rig.raw(CLIENT, SSL_REQUEST);
        assert_eq!(rig.take(CLIENT), b"S");
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.writer("R Z(I)");
        let expected = "messages=5 messages_frontend=3 messages_backend=2 sessions=1 sessions_unencrypted=1 \
            sessions_terminated_ssl=1";
        assert_eq!(shown(&stats(rig, CLIENT)), expected);
    });
}

#[test]
fn the_upstreams_tls_counts() {
    let writer =
        "messages=4 messages_frontend=2 messages_backend=2 sessions=1 sessions_unencrypted=1";
    let required = tls(|config| encrypt(config, Role::Writer, UpstreamTlsPolicy::Require));
    each(&required, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.raw(WRITER, b"S");
        rig.writer("R Z(I)");
        assert_eq!(
            shown(&stats(rig, WRITER)),
            format!("{writer} sessions_upstream_ssl_success=1")
        );
        let client = "messages=3 messages_frontend=1 messages_backend=2 sessions=1 sessions_unencrypted=1 \
            sessions_upstream_ssl_success=1";
        assert_eq!(shown(&stats(rig, CLIENT)), client);
    });
    let failed = "messages=1 messages_frontend=1 sessions_upstream_ssl_failed=1";
    for answer in [b"N", b"W"] {
        each(&required, |rig| {
            rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            rig.raw(WRITER, answer);
            assert_eq!(shown(&stats(rig, WRITER)), failed);
        });
    }
    // Bytes behind the answer, if they are read with it.
    let mut stuffed = Rig::new(required(), Chunk::Whole);
    stuffed.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    stuffed.raw(WRITER, b"SS");
    assert_eq!(shown(&stats(&stuffed, WRITER)), failed);
    each(&required, |rig| {
        rig.tls_fails(WRITER);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.raw(WRITER, b"S");
        assert_eq!(shown(&stats(rig, WRITER)), failed);
    });
    let preferred = tls(|config| encrypt(config, Role::Writer, UpstreamTlsPolicy::Prefer));
    each(preferred, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.raw(WRITER, b"N");
        rig.writer("R Z(I)");
        assert_eq!(
            shown(&stats(rig, WRITER)),
            format!("{writer} sessions_upstream_ssl_failed=1")
        );
    });
}

/// Questions and answers of a relayed login, at both ends.
#[test]
fn a_password_counts() {
    each(config, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.writer("Rmd5");
        rig.raw(CLIENT, &raw(b'p', b"md5 of something\0"));
        rig.writer("R Z(I)");
        for peer in [CLIENT, WRITER] {
            assert_eq!(
                shown(&stats(rig, peer)),
                "messages=5 messages_frontend=2 messages_backend=3 sessions=1 sessions_unencrypted=1"
            );
        }
    });
}

/// What the client still says in a batch whose reader is lost counts, though nobody gets it.
#[test]
fn dropped_messages_count() {
    adds(
        |rig| {
            rig.client("P(s,select 1) H");
            rig.eof(READER);
            rig.client("B(,s) E S");
            rig.see(CLIENT, "E(08006) Z(I)");
        },
        [
            "messages=7 messages_frontend=5 messages_backend=2 transactions=1 transactions_rollback=1 errors=1 \
             errors_error=1",
            "",
            "messages=2 messages_frontend=2",
        ],
    );
}

/// What the session says by itself is said to the client.
#[test]
fn answers_for_a_lost_reader_count() {
    adds(
        |rig| {
            rig.client("Q(select a from t)");
            rig.eof(READER);
            rig.see(CLIENT, "E(08006) Z(I)");
        },
        [
            "messages=3 messages_frontend=1 messages_backend=2 transactions=1 transactions_rollback=1 errors=1 \
             errors_error=1",
            "",
            "messages=1 messages_frontend=1",
        ],
    );
}

fn connections(rig: &Rig) -> String {
    let moved = rig.session.connection_stats().iter();
    let words: Vec<String> = moved
        .filter(|(_, count)| *count > 0)
        .map(|(counter, count)| format!("{counter}={count}"))
        .collect();
    words.join(" ")
}

#[test]
fn connections_count_by_what_becomes_of_them() {
    type Script = fn(&mut Rig);
    let rows: [(Script, &str); 9] = [
        (|_| {}, "accepted_conns=1"),
        (
            |rig| {
                rig.logged_in();
                rig.client("X");
            },
            "accepted_conns=1 ended_conns=1 successful_conns=1 client_disconnect=1",
        ),
        (
            |rig| {
                rig.logged_in();
                rig.reset(CLIENT);
            },
            "accepted_conns=1 ended_conns=1 successful_conns=1 client_disconnect=1",
        ),
        (
            |rig| {
                rig.logged_in();
                rig.eof(WRITER);
            },
            "accepted_conns=1 ended_conns=1 successful_conns=1 backend_disconnect=1",
        ),
        (
            |rig| {
                rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
                rig.writer("FATAL(28P01)");
                rig.eof(WRITER);
            },
            "accepted_conns=1 ended_conns=1 authentication_failures=1 backend_disconnect=1",
        ),
        (
            |rig| {
                rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
                rig.writer("FATAL(3D000)");
                rig.eof(WRITER);
            },
            "accepted_conns=1 ended_conns=1 backend_disconnect=1",
        ),
        (
            |rig| rig.raw(CLIENT, b"\0\0\0\x08\0\x02\0\0"),
            "accepted_conns=1 ended_conns=1 refused_conn=1",
        ),
        (
            |rig| {
                rig.dials(WRITER, session_support::Dial::Refuse);
                rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            },
            "accepted_conns=1 ended_conns=1 backend_down=1",
        ),
        (
            |rig| {
                rig.both();
                rig.eof(READER);
                rig.reader_again();
            },
            "accepted_conns=1 successful_conns=1 retries=1",
        ),
    ];
    for (script, expected) in rows {
        each(config, |rig| {
            script(rig);
            assert_eq!(connections(rig), expected);
        });
    }
}

/// A client that breaks the protocol has not failed to prove who it is.
#[test]
fn what_a_client_that_we_check_is_refused_for_counts() {
    let checking = tls(|config| {
        let policy = AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear);
        config.authentication = ClientAuth::Terminate(policy);
    });
    for (answer, told, counted) in [
        (
            raw(b'p', b"wrong\0"),
            "FATAL(28P01)",
            " authentication_failures=1",
        ),
        (raw(b'Q', b"select 1\0"), "FATAL(08P01)", ""),
        (raw(b'p', b"no end"), "FATAL(08P01)", ""),
    ] {
        each(&checking, |rig| {
            rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            rig.take(CLIENT);
            rig.raw(CLIENT, &answer);
            rig.see(CLIENT, told);
            let expected = format!("accepted_conns=1 ended_conns=1{counted}");
            assert_eq!(connections(rig), expected);
        });
    }
}

#[test]
fn a_cancel_request_counts() {
    each(config, |rig| {
        rig.raw(CLIENT, b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07SECR");
        let expected = "accepted_conns=1 ended_conns=1 cancel_received=1";
        assert_eq!(connections(rig), expected);
        assert_eq!(
            shown(&stats(rig, CLIENT)),
            "messages=1 messages_frontend=1",
            "it is no session"
        );
    });
}

/// A Query that is longer than the buffer is one request.
#[test]
fn a_long_query_is_routed_once() {
    each(config, |rig| {
        rig.both();
        rig.client(&format!("Q(select '{}')", "x".repeat(100_000)));
        rig.writer("T D(1) C(SELECT 1) Z(I)");
        assert_eq!(rig.session.routes().get(WRITER, RouteReason::TooLong), 1);
        assert_eq!(rig.routed(), [WRITER]);
    });
}

#[test]
fn routes_count_by_their_reasons() {
    each(config, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        rig.reader("T D(1) C(SELECT 1) Z(I)");
        rig.client("Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.client("Q(select 1)");
        rig.writer("T D(1) C(SELECT 1) Z(T)");
        rig.client("Q(commit)");
        rig.writer("C(COMMIT) Z(I)");
        let routes = rig.session.routes();
        let shown: Vec<String> = routes
            .iter()
            .map(|(peer, reason, requests)| format!("{peer} {reason} {requests}"))
            .collect();
        assert_eq!(
            shown,
            [
                "reader PlainSelect 2",
                "writer TransactionStatement 1",
                "writer open transaction 2"
            ]
        );
        let read = RouteReason::Intent(Why::PlainSelect);
        assert_eq!(routes.get(READER, read), 2);
        assert_eq!(routes.get(WRITER, read), 0);
        let mut sum = routes.clone();
        sum.add(routes);
        assert_eq!(sum.get(READER, read), 4);
        assert_eq!(sum.iter().count(), 3);
        assert_eq!(sum.since(routes), *routes);
        assert_eq!(routes.since(routes).iter().count(), 0);
    });
}

fn with_events() -> Config {
    let mut config = config();
    config.metadata = Metadata::On;
    config.request_events = RequestEvents::On;
    config
}

/// The events about statements since the last look.
fn statements(rig: &mut Rig) -> Vec<String> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Statement {
            request,
            peer,
            kind,
            view,
        } => Some(match &**view {
            View::Parsed(_) => {
                format!(
                    "{request} {peer} {kind:?} {:?}",
                    view.envoy_metadata(Some("app"))
                )
            }
            View::Unparsed(why) => format!("{request} {peer} {kind:?} {why:?}"),
        }),
        _ => None,
    });
    let told = told.collect();
    rig.events.clear();
    told
}

#[cfg(feature = "inspect")]
#[test]
fn statements_tell_their_tables() {
    each(with_events, |rig| {
        rig.both();
        let before = stats(rig, CLIENT);
        rig.client("Q(insert into audit select * from shop.job)");
        rig.writer("C(INSERT 0 1) Z(I)");
        assert_eq!(
            statements(rig),
            [r#"2 writer Query {"audit.app": ["insert"], "shop.job.app": ["select"]}"#]
        );
        rig.client("P(s,select a from t) B(p,s) DP(p) E(p) S");
        rig.reader("1 2 T D(1) C(SELECT 1) Z(I)");
        let tables = r#"{"t.app": ["select"]}"#;
        let expected = ["Parse", "Bind", "Execute"].map(|kind| format!("3 reader {kind} {tables}"));
        assert_eq!(statements(rig), expected);
        // On the writer, where texts in flight could change how others are read: those are remembered.
        rig.client("Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        statements(rig);
        rig.client("B(,s) E S B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(T)");
        let told = statements(rig);
        let (kinds, requests): (Vec<_>, Vec<_>) =
            [("Bind", 5), ("Execute", 5), ("Bind", 6), ("Execute", 6)]
                .into_iter()
                .unzip();
        for ((line, kind), request) in told.iter().zip(kinds).zip(requests) {
            assert_eq!(*line, format!("{request} writer {kind} {tables}"));
        }
        assert_eq!(told.len(), 4);
        rig.writer("2 D(1) C(SELECT 1) Z(T)");
        // While a text in flight could change how the next is read, one without backslashes is read all the same.
        statements(rig);
        rig.client("Q(commit) Q(delete from t) Q(select '\\')");
        let told = statements(rig);
        assert_eq!(told[1], r#"8 writer Query {"t.app": ["delete"]}"#);
        assert_eq!(told[2], "9 writer Query Unreadable");
        rig.writer("C(COMMIT) Z(I) C(DELETE 1) Z(I) T D(1) C(SELECT 1) Z(I)");
        let added = stats(rig, CLIENT).since(&before);
        assert_eq!(added.get(Counter::StatementsParsed), 5);
        assert_eq!(added.get(Counter::StatementsParseError), 1);
    });
}

#[test]
fn what_has_no_known_tables_is_said_to_have_none() {
    each(with_events, |rig| {
        rig.both();
        let before = PeerId::ALL.map(|peer| stats(rig, peer));
        rig.client("P(,select 1; select 2) S");
        rig.reader("E(42601) Z(I)");
        let long = "x".repeat(100_000);
        rig.client(&format!("Q(select '{long}')"));
        rig.writer("T D(1) C(SELECT 1) Z(I)");
        rig.client("B(,nobody) E S");
        rig.writer("E(26000) Z(I)");
        let texts: &[&str] = match cfg!(feature = "inspect") {
            true => &["SeveralStatements", "TooLong"],
            false => &["NoParser", "TooLong"],
        };
        assert_eq!(
            statements(rig),
            [
                format!("2 reader Parse {}", texts[0]),
                format!("3 writer Query {}", texts[1]),
                "4 writer Bind UnknownStatement".to_owned(),
                "4 writer Execute UnknownStatement".to_owned(),
            ]
        );
        let unparsed = PeerId::ALL.map(|peer| {
            let added = stats(rig, peer).since(&before[peer.index()]);
            added.get(Counter::StatementsParseError)
        });
        assert_eq!(unparsed, [2, 1, 1, 0, 0]);
    });
}

/// A session that is not split follows statements for their tables, and forwards what it did.
#[cfg(feature = "inspect")]
#[test]
fn tables_are_told_without_a_split() {
    let make = || {
        let mut config = with_events();
        config.split = pgturnout::session::Split::Off;
        config
    };
    each(make, |rig| {
        rig.logged_in();
        let script =
            "P(s,update t set a = 1) B(,s) E S Q(deallocate s) P(s,select 1) B(,s) E CS(s) S X";
        rig.client(script);
        let whole = script.strip_suffix(" X").unwrap();
        rig.see(WRITER, whole);
        let told = statements(rig);
        assert_eq!(told.len(), 7, "{told:?}");
        assert_eq!(told[2], r#"1 writer Execute {"t.app": ["update"]}"#);
        rig.writer("1 2 C(UPDATE 1) Z(I) C(DEALLOCATE) Z(I) 1 2 D(1) C(SELECT 1) 3 Z(I)");
        rig.see(
            CLIENT,
            "1 2 C(UPDATE 1) Z(I) C(DEALLOCATE) Z(I) 1 2 D(1) C(SELECT 1) 3 Z(I)",
        );
        rig.see(WRITER, "X");
    });
}

#[test]
fn nobody_is_told_who_did_not_ask() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select a from t) B(,) E S");
        rig.reader("1 2 D(1) C(SELECT 1) Z(I)");
        assert!(rig.has_event(|event| matches!(event, Event::Routed { .. })));
        let others = |event: &Event| !matches!(event, Event::Routed { .. });
        assert!(!rig.has_event(others), "{:?}", rig.events);
        assert_eq!(stats(rig, CLIENT).get(Counter::StatementsParseError), 0);
    });
}

/// The events about the time of requests since the last look.
fn spans(rig: &mut Rig) -> String {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::RequestBegan { request, peer } => Some(format!("{request}>{peer}")),
        Event::ResponseBegan { request, peer } => Some(format!("{request}<{peer}")),
        Event::ResponseEnded {
            request,
            peer,
            status,
        } => {
            let status = status.map_or('-', |status| char::from(status.byte()));
            Some(format!("{request}={peer}:{status}"))
        }
        _ => None,
    });
    let told: Vec<String> = told.collect();
    rig.events.clear();
    told.join(" ")
}

#[test]
fn requests_tell_when_they_begin_and_end() {
    each(with_events, |rig| {
        rig.both();
        rig.client("Q(select 1)");
        assert_eq!(spans(rig), "2>reader");
        rig.reader("T");
        assert_eq!(spans(rig), "2<reader");
        rig.reader("D(1) D(2) C(SELECT 1) Z(I)");
        assert_eq!(spans(rig), "2=reader:I");
        // A batch in parts, and a Sync that ends nothing.
        rig.client("P(s,select 1) DS(s) H");
        assert_eq!(spans(rig), "3>reader");
        rig.reader("1 t T");
        assert_eq!(spans(rig), "3<reader");
        rig.client("B(,s) E S S");
        rig.reader("2 D(1) C(SELECT 1) Z(I) Z(I)");
        assert_eq!(spans(rig), "3=reader:I");
        // Several in one packet.
        rig.client("Q(begin) Q(delete from t) Q(select 1)");
        rig.writer("C(BEGIN) Z(T)");
        rig.writer("E(42P01) Z(E) E(25P02) Z(E)");
        assert_eq!(
            spans(rig),
            "6>writer 7>writer 8>writer 6<writer 6=writer:T 7<writer 7=writer:E 8<writer 8=writer:E"
        );
    });
}

/// A Query that the server skips is answered with the batch; Syncs in a copy are swallowed, and have numbers as any Sync
/// by itself has.
#[test]
fn requests_without_an_answer_of_their_own_do_not_shift_the_others() {
    each(with_events, |rig| {
        rig.both();
        rig.client("P(,delete from) S");
        rig.writer("E(42601)");
        rig.writer("Z(I)");
        assert_eq!(spans(rig), "2>writer 2<writer 2=writer:I");
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.client("d(x) S S d(y) c");
        rig.writer("C(COPY 2) Z(I)");
        rig.client("Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        assert_eq!(
            spans(rig),
            "3>writer 3<writer 3=writer:I 6>writer 6<writer 6=writer:I"
        );
        // Syncs that are on their way when the copy begins.
        rig.client("P(,copy t from stdin) B(,) E S");
        rig.writer("1 2 G");
        rig.client("c S Q(delete from t)");
        rig.writer("C(COPY 0) Z(I) C(DELETE 1) Z(I)");
        assert_eq!(
            spans(rig),
            "7>writer 7<writer 9>writer 7=writer:I 9<writer 9=writer:I"
        );
    });
}

/// What stands between a Query that the server skips and the Sync behind it belongs to no request to come.
#[test]
fn what_a_failed_batch_skips_begins_nothing_that_is_answered() {
    each(with_events, |rig| {
        rig.both();
        rig.client("P(,delete from) B(,) Q(delete from t)");
        rig.writer("E(42601)");
        assert_eq!(spans(rig), "2>writer 2<writer");
        rig.client("B(,) S P(,delete from t) S");
        rig.writer("Z(I) 1 Z(I)");
        let told = spans(rig);
        let (_, behind) = told.split_once(" 2=writer:I ").expect("it is answered");
        assert!(told.contains("5>writer"), "{told}");
        assert_eq!(behind, "5<writer 5=writer:I");
    });
}

#[test]
fn requests_of_a_lost_reader_end_without_a_status() {
    each(with_events, |rig| {
        rig.both();
        rig.client("Q(select 1) Q(select 2)");
        rig.reader("T D(1)");
        rig.eof(READER);
        assert_eq!(
            spans(rig),
            "2>reader 3>reader 2<reader 2=reader:- 3=reader:-"
        );
        rig.client("Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        assert_eq!(spans(rig), "4>writer 4<writer 4=writer:I");
        for peer in PeerId::ALL {
            rig.take(peer);
        }
        rig.reader_again();
        spans(rig);
        // A batch that is not complete.
        rig.client("P(,select 1) H");
        rig.eof(READER);
        assert_eq!(spans(rig), "6>reader 6=reader:-");
        rig.client("S Q(delete from t)");
        rig.writer("C(DELETE 1) Z(I)");
        assert_eq!(spans(rig), "7>writer 7<writer 7=writer:I");
    });
}

/// A copy swallows Syncs, as many as the client likes.
#[test]
fn swallowed_syncs_are_not_remembered() {
    let held = |config: Config| {
        let mut rig = Rig::new(config, Chunk::Whole);
        rig.both();
        rig.client("Q(copy t from stdin)");
        rig.writer("G");
        rig.count_only(WRITER);
        let syncs = "S ".repeat(100);
        let all = || (0..500).for_each(|_| rig.client(&syncs));
        allocation_counter::measure(all).bytes_current
    };
    let more = held(with_events()) - held(config());
    assert!(more < 65_536, "{more} bytes");
}
