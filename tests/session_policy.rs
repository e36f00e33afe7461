//! What the caller's policy is asked, and what follows from its answers.

mod session_support;

use std::sync::{Arc, Mutex};

use pgturnout::auth::{AdmitPolicy, Channel, Credential, Users};
use pgturnout::limits;
use pgturnout::session::{
    ClientAuth, CloseCause, Config, ConnectionFacts, Denial, Event, PeerId, Policy, RequestEvents,
    Split, StatementFacts, StatementKind, StatementText, TlsInfo, Verdict,
};
use pgturnout::startup::{ClientTls, ProtocolVersion, StartupParams};
use pgturnout::stats::ConnectionCounter;
use pgturnout::wire::SqlState;
use session_support::frames::{backend, frontend, raw};
use session_support::{Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const CANCEL: [u8; 16] = [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 0, 1, 0, 0, 0, 2];

/// What a policy was asked, one line each.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

/// Notes what it is asked, and denies clients if it is so made, and statements with "hidden" in them.
struct Noting {
    asked: Asked,
    connection: Verdict,
    statement: Denial,
}

impl Policy for Noting {
    fn connection(&mut self, facts: &ConnectionFacts<'_>) -> Verdict {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.escape_ascii().to_string());
        let option = facts
            .startup
            .and_then(|startup| startup.get(b"application_name"));
        self.asked.note(format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            facts.kind,
            text(facts.user()),
            text(facts.database()),
            text(option),
            facts.tls.map(|tls| tls.server_name.as_deref()),
            facts.address,
        ));
        self.connection.clone()
    }

    fn statement(&mut self, facts: &StatementFacts<'_>) -> Verdict {
        assert_eq!((facts.user, facts.database), (&b"alice"[..], &b"app"[..]));
        let text = match facts.text {
            StatementText::Whole(text) => std::str::from_utf8(text).unwrap().to_owned(),
            StatementText::TooLong => "too long".to_owned(),
            StatementText::Malformed => "malformed".to_owned(),
        };
        let kind = match facts.kind {
            StatementKind::Query => 'Q',
            StatementKind::Parse => 'P',
            other => panic!("{other:?}"),
        };
        let class = facts.intent.class;
        self.asked
            .note(format!("{} {kind} {class:?} {text}", facts.request));
        match text.contains("hidden") {
            true => Verdict::Deny(self.statement.clone()),
            false => Verdict::Allow,
        }
    }
}

/// Gives the session a policy with this answer to a client.
fn judged(rig: &mut Rig, connection: Verdict) -> Asked {
    let asked = Asked::default();
    rig.session.set_policy(Box::new(Noting {
        asked: asked.clone(),
        connection,
        statement: Denial::new("not that"),
    }));
    asked
}

fn deny() -> Verdict {
    Verdict::Deny(Denial::new("not you"))
}

const DENIED: SqlState = SqlState(*b"28000");

fn refused(rig: &mut Rig, state: SqlState) {
    assert!(!rig.is_open(WRITER) && !rig.is_open(READER));
    assert_eq!(rig.total(WRITER) + rig.total(READER), 0);
    assert_eq!(rig.cause(), CloseCause::ConnectionDenied(state));
    let refused = rig
        .session
        .connection_stats()
        .get(ConnectionCounter::RefusedConn);
    assert_eq!(refused, 1);
}

fn terminating() -> Config {
    let mut config = config();
    config.authentication =
        ClientAuth::Terminate(AdmitPolicy::new([9; 32]).allow_md5(Channel::Clear));
    let mut users = Users::default();
    users.insert(b"alice", Credential::password("secret"));
    config.users = users;
    config
}

/// P1: before anybody is dialled or asked for a password, whoever would check it.
#[test]
fn a_client_is_denied_before_anything_is_done_for_it() {
    for make in [config, terminating] {
        each(make, |rig| {
            let asked = judged(rig, deny());
            rig.session.set_client_address("192.0.2.7".parse().unwrap());
            rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            rig.see(CLIENT, "FATAL(28000)");
            refused(rig, DENIED);
            let facts = r#"Requests Some("alice") Some("app") None None Some(192.0.2.7)"#;
            assert_eq!(asked.take(), [facts]);
        });
    }
}

#[test]
fn a_denial_may_have_its_own_sqlstate_and_words() {
    each(config, |rig| {
        let state = SqlState(*b"53300");
        judged(
            rig,
            Verdict::Deny(Denial::new("too many of you").with_sqlstate(state)),
        );
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        let told = rig.take(CLIENT);
        assert_eq!(
            told.escape_ascii().to_string(),
            r"E\x00\x00\x00+SFATAL\x00VFATAL\x00C53300\x00Mtoo many of you\x00\x00"
        );
        refused(rig, state);
    });
}

#[test]
fn a_client_that_is_allowed_is_asked_about_once() {
    each(config, |rig| {
        let asked = judged(rig, Verdict::Allow);
        rig.both();
        assert_eq!(
            asked.take(),
            [
                r#"Requests Some("alice") Some("app") None None None"#,
                "1 Q Read select 0"
            ]
        );
    });
}

#[test]
fn the_policy_knows_of_tls_and_of_the_startup_packet() {
    let make = || {
        let mut config = config();
        config.client_tls = ClientTls::Require;
        config
    };
    each(make, |rig| {
        let asked = judged(rig, deny());
        let mut info = TlsInfo::default();
        info.server_name = Some("db.example".into());
        rig.tls(CLIENT, info);
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.take(CLIENT), b"S");
        assert_eq!(asked.take(), [""; 0]);
        let pairs = [(&b"user"[..], &b"bob"[..]), (b"application_name", b"psql")];
        let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        rig.raw(CLIENT, startup.raw());
        rig.see(CLIENT, "FATAL(28000)");
        refused(rig, DENIED);
        let facts =
            r#"Requests Some("bob") Some("bob") Some("psql") Some(Some("db.example")) None"#;
        assert_eq!(asked.take(), [facts]);
    });
    // Who has no TLS is refused for that.
    each(make, |rig| {
        let asked = judged(rig, Verdict::Allow);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.see(CLIENT, "FATAL(28000)");
        assert!(matches!(rig.cause(), CloseCause::ClientRefused(_)));
        assert_eq!(asked.take(), [""; 0]);
    });
}

#[test]
fn a_replication_client_is_asked_about() {
    let open = |rig: &mut Rig| {
        let pairs = [(&b"user"[..], &b"alice"[..]), (b"replication", b"true")];
        let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        rig.raw(CLIENT, startup.raw());
    };
    for make in [config, terminating] {
        each(make, |rig| {
            let asked = judged(rig, deny());
            open(rig);
            rig.see(CLIENT, "FATAL(28000)");
            refused(rig, DENIED);
            let facts = r#"Replication Some("alice") Some("alice") None None None"#;
            assert_eq!(asked.take(), [facts]);
        });
    }
    // What it sends then passes unseen.
    each(config, |rig| {
        let asked = judged(rig, Verdict::Allow);
        open(rig);
        rig.take(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        rig.client("Q(select hidden)");
        rig.see(WRITER, "Q(select hidden)");
        assert_eq!(asked.take().len(), 1);
    });
}

#[test]
fn a_client_whose_encryption_passes_is_asked_about_at_its_beginning() {
    let make = || {
        let mut config = config();
        config.client_tls = ClientTls::Passthrough;
        config
    };
    let facts = "Encrypted None None None None None";
    each(make, |rig| {
        let asked = judged(rig, deny());
        rig.raw(CLIENT, &SSL_REQUEST);
        rig.see(CLIENT, "FATAL(28000)");
        refused(rig, DENIED);
        assert_eq!(asked.take(), [facts]);
    });
    // What a handshake begins with; no message of ours fits into it.
    each(make, |rig| {
        let asked = judged(rig, deny());
        rig.raw(CLIENT, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
        rig.see(CLIENT, "");
        refused(rig, DENIED);
        assert_eq!(asked.take(), [facts]);
    });
    each(make, |rig| {
        let asked = judged(rig, Verdict::Allow);
        rig.raw(CLIENT, &SSL_REQUEST);
        assert_eq!(rig.take(WRITER), SSL_REQUEST);
        assert_eq!(asked.take(), [facts]);
    });
}

#[test]
fn a_cancel_is_no_session() {
    each(config, |rig| {
        let asked = judged(rig, deny());
        rig.raw(CLIENT, &CANCEL);
        assert_eq!(rig.cancels, 1);
        assert_eq!(asked.take(), [""; 0]);
    });
}

fn telling() -> Config {
    let mut config = config();
    config.request_events = RequestEvents::On;
    config
}

/// Both upstreams serve, and the policy was not asked about anything since.
fn both_judged(rig: &mut Rig) -> Asked {
    let asked = judged(rig, Verdict::Allow);
    rig.both();
    asked.take();
    asked
}

/// P2: each text by itself, in order and once, whatever it is looked at for and however it arrives.
#[test]
fn the_policy_sees_each_query_and_parse_once() {
    each(telling, |rig| {
        let asked = both_judged(rig);
        rig.client("Q(delete from t) P(a,select 1) B(,a) P(,select pg_backend_pid()) E S");
        rig.see(
            WRITER,
            "Q(delete from t) P(a,select 1) B(,a) P(,select pg_backend_pid()) E S",
        );
        rig.writer("C(DELETE 1) Z(I) 1 2 1 D(1) C(SELECT 1) Z(I)");
        rig.client("Q(select 2)");
        rig.see(READER, "Q(select 2)");
        rig.reader(ROW);
        // A look that is tentative is taken again.
        rig.client("Q(delete from t) P(b,select 3) S B(,b) E S");
        rig.writer("C(DELETE 1) Z(I)");
        rig.reader("1 Z(I) 2 C(SELECT 0) Z(I)");
        assert_eq!(
            asked.take(),
            [
                "2 Q Write delete from t",
                "3 P Read select 1",
                "3 P Session select pg_backend_pid()",
                "4 Q Read select 2",
                "5 Q Write delete from t",
                "6 P Read select 3",
            ]
        );
    });
}

/// The numbers are those of the events, for messages of a batch that moves, too.
#[test]
fn the_policy_knows_the_number_of_the_request() {
    each(telling, |rig| {
        let asked = both_judged(rig);
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.client("P(,select 2) H");
        rig.reader("1");
        rig.client("P(,insert into t values(1)) P(,select 4) S");
        rig.reader("Z(I)");
        rig.writer("1 1 Z(I)");
        rig.client("Q(begin) Q(select 5) P(,select 6) S Q(commit)");
        rig.writer("C(BEGIN) Z(T) C(SELECT 0) Z(T) 1 Z(T) C(COMMIT) Z(I)");
        let begun: Vec<u64> = rig
            .events
            .iter()
            .filter_map(|event| match event {
                Event::RequestBegan { request, .. } => Some(*request),
                _ => None,
            })
            .collect();
        let [batch, begin, five, six, commit] = begun[..] else {
            panic!("{begun:?}");
        };
        assert_eq!(
            asked.take(),
            [
                format!("{batch} P Read select 1"),
                format!("{batch} P Read select 2"),
                format!("{batch} P Write insert into t values(1)"),
                format!("{batch} P Read select 4"),
                format!("{begin} Q Transaction begin"),
                format!("{five} Q Read select 5"),
                format!("{six} P Read select 6"),
                format!("{commit} Q Transaction commit"),
            ]
        );
    });
}

#[test]
fn the_policy_sees_statements_of_a_session_that_is_not_split() {
    let make = || {
        let mut config = config();
        config.split = Split::Off;
        config
    };
    each(make, |rig| {
        let asked = judged(rig, Verdict::Allow);
        rig.logged_in();
        asked.take();
        rig.client("Q(select 1) P(,select 2) S Q(select hidden)");
        rig.see(WRITER, "Q(select 1) P(,select 2) S");
        rig.writer(&format!("{ROW} 1 Z(I)"));
        rig.see(CLIENT, &format!("{ROW} 1 Z(I) FATAL(42501)"));
        assert_eq!(
            asked.take(),
            [
                "1 Q Read select 1",
                "2 P Read select 2",
                "3 Q Read select hidden"
            ]
        );
    });
}

#[test]
fn the_policy_is_asked_about_texts_that_cannot_be_seen() {
    each(config, |rig| {
        let asked = both_judged(rig);
        let long = vec![b'x'; limits::READ_BUFFER];
        rig.raw(CLIENT, &raw(b'Q', &[&long[..], b"\0"].concat()));
        rig.take(WRITER);
        rig.writer("C(SELECT 0) Z(I)");
        rig.raw(CLIENT, &raw(b'P', &[b"\0", &long[..], b"\0\0\0"].concat()));
        rig.client("S");
        rig.take(WRITER);
        rig.writer("1 Z(I)");
        rig.raw(CLIENT, &raw(b'Q', b"no end"));
        rig.take(WRITER);
        rig.writer("E(08P01) Z(I)");
        assert_eq!(
            asked.take(),
            [
                "2 Q Unreadable too long",
                "3 P Unreadable too long",
                "4 Q Unreadable malformed"
            ]
        );
    });
}

/// What comes before is answered first, and nothing of what is denied reaches a server.
#[test]
fn a_denied_statement_ends_the_session_behind_the_replies_before_it() {
    let table = [
        ("Q(select hidden)", READER, "", ""),
        ("Q(delete from hidden)", READER, "", ""),
        ("P(s,select hidden) B(,s) E S", READER, "", ""),
        (
            "Q(select 1) Q(select 2) Q(select hidden) Q(select 3)",
            READER,
            "Q(select 1) Q(select 2)",
            "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)",
        ),
        (
            "Q(delete from t) Q(delete from hidden)",
            WRITER,
            "Q(delete from t)",
            "C(DELETE 1) Z(I)",
        ),
        (
            "P(,delete from t) B(,) E S P(,select hidden) S",
            WRITER,
            "P(,delete from t) B(,) E S",
            "1 2 C(DELETE 1) Z(I)",
        ),
        (
            "P(,delete from t) B(,) E H P(,select hidden) S",
            WRITER,
            "P(,delete from t) B(,) E H",
            "1 2 C(DELETE 1)",
        ),
        (
            "P(,select 1) H P(,select hidden) S",
            READER,
            "P(,select 1) H",
            "1",
        ),
    ];
    for (says, to, reaches, answer) in table {
        for eof in [false, true] {
            each(config, |rig| {
                both_judged(rig);
                rig.client(says);
                if !answer.is_empty() {
                    rig.see(to, reaches);
                    rig.see(CLIENT, "");
                    if eof {
                        rig.eof(CLIENT);
                    }
                    rig.say(to, answer);
                }
                rig.see(CLIENT, format!("{answer} FATAL(42501)").trim_start());
                rig.see(WRITER, "X");
                rig.see(READER, "X");
                let state = SqlState(*b"42501");
                assert_eq!(rig.cause(), CloseCause::StatementDenied(state));
            });
        }
    }
}

/// Nothing is going to come for a batch that is not flushed. A server takes its work back when the connection ends.
#[test]
fn a_denied_statement_in_a_batch_ends_it_unsynced() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("P(,delete from t) B(,) E P(,delete from hidden) B(,) E S");
        rig.see(WRITER, "P(,delete from t) B(,) E");
        rig.see(CLIENT, "FATAL(42501)");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_denied_statement_in_a_batch_of_reads_stays_behind() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(a,select 1) B(,a) E P(b,select 2) P(c,select hidden) S");
        rig.see(READER, "P(a,select 1) B(,a) E P(b,select 2)");
        rig.see(CLIENT, "FATAL(42501)");
        assert!(rig.is_dead());
        assert_eq!(
            asked.take(),
            [
                "2 P Read select 1",
                "2 P Read select 2",
                "2 P Read select hidden"
            ]
        );
    });
}

#[test]
fn a_denied_statement_in_a_transaction_ends_it() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("Q(begin) Q(delete from hidden) Q(commit)");
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(WRITER, "X");
        rig.see(CLIENT, "C(BEGIN) Z(T) FATAL(42501)");
        assert!(rig.is_dead());
    });
}

/// The batch of a lost reader is dropped up to its Sync, but not a denial in it.
#[test]
fn a_denial_outlives_the_reader() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("P(,select 1) H P(,select hidden) S");
        rig.see(READER, "P(,select 1) H");
        rig.reset(READER);
        rig.see(CLIENT, "E(08006) FATAL(42501)");
        assert!(rig.is_dead());
    });
}

/// What is dropped goes nowhere, and what comes behind is asked about again.
#[test]
fn statements_that_are_dropped_are_not_asked_about() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(,select 1) H");
        rig.reader("1");
        rig.reset(READER);
        rig.client("P(,select 2) P(,select hidden) S Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        assert_eq!(
            asked.take(),
            ["2 P Read select 1", "3 Q Write delete from t"]
        );
    });
}

/// A statement was allowed and waits to go elsewhere when its batch is lost: the next one is asked about all the same.
#[test]
fn what_was_allowed_and_dropped_allows_nothing_else() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(,select 1) H P(,delete from t) S Q(delete from hidden)");
        assert_eq!(
            asked.take(),
            ["2 P Read select 1", "2 P Write delete from t"]
        );
        rig.reset(READER);
        rig.see(CLIENT, "E(08006) Z(I) FATAL(42501)");
        rig.see(WRITER, "X");
        assert_eq!(asked.take(), ["3 Q Write delete from hidden"]);
    });
}

/// A message waits for room or for its upstream after it was judged.
#[test]
fn a_statement_that_waits_is_asked_about_once() {
    each(config, |rig| {
        let asked = judged(rig, Verdict::Allow);
        rig.logged_in();
        asked.take();
        rig.client("Q(select 1) P(,select 2) S");
        assert_eq!(asked.take(), ["1 Q Read select 1"]);
        rig.reader_in();
        rig.see(READER, "Q(select 1) P(,select 2) S");
        assert_eq!(asked.take(), ["2 P Read select 2"]);
        rig.reader(&format!("{ROW} 1 Z(I)"));
    });
}

/// What a backslash means is the settings' to say, so a text with one is judged when they are known.
#[test]
fn the_policy_judges_by_the_settings_that_will_hold() {
    let text = r"select 'a\', version(), '\'";
    each(config, |rig| {
        let asked = both_judged(rig);
        let query = frontend(&format!(
            "Q(set standard_conforming_strings = off) Q({text}) Q(select 2)"
        ));
        rig.raw(CLIENT, &query);
        assert_eq!(asked.take().len(), 1);
        rig.see(WRITER, "Q(set standard_conforming_strings = off)");
        rig.writer("C(SET) S(standard_conforming_strings,off) Z(I)");
        let asked = asked.take();
        // Two strings with the one behind the other, and no end.
        assert_eq!(asked[0], format!("3 Q Unreadable {text}"));
    });
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client(&format!("Q(delete from t) Q({text})"));
        rig.see(WRITER, "Q(delete from t)");
        assert_eq!(asked.take().len(), 1);
        rig.raw(WRITER, &backend("C(DELETE 1) Z(I)"));
        assert_eq!(asked.take().len(), 1);
        assert!(!rig.take(READER).is_empty());
    });
}
