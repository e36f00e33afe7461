//! What the caller's policy is asked, and what follows from its answers.

mod session_support;

use std::sync::{Arc, Mutex};

use pgturnout::auth::{AdmitPolicy, Channel, Credential, Users};
use pgturnout::limits;
use pgturnout::session::{
    ClientAuth, CloseCause, Config, ConnectionFacts, Denial, Event, LoginFacts, MoveOrder,
    MoveTarget, PeerId, Policy, RequestEvents, Split, Statement, StatementFacts, StatementText,
    TlsInfo, Verdict,
};
use pgturnout::startup::{ClientTls, ClusterIdent, ProtocolVersion, StartupParams};
use pgturnout::stats::ConnectionCounter;
use pgturnout::wire::SqlState;
use session_support::frames::{backend, frontend, raw};
use session_support::moving::{SPARE, movable};
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

/// Notes what it is asked, and denies clients if it is so made, and statements with "hidden" in their texts or names. It
/// ends the session for a statement with "fatal" in it.
struct Noting {
    asked: Asked,
    connection: Verdict,
    statement: Denial,
}

/// A statement in one line: its message, and in it what the policy knows.
fn line(statement: &Statement<'_>) -> String {
    let show = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    let text = match statement.text() {
        None => String::new(),
        Some(StatementText::Whole(text)) => show(text),
        Some(other) => format!("{other:?}"),
    };
    match statement {
        Statement::Query { .. } => format!("Q {text}"),
        Statement::Parse { name, .. } => format!("P({}) {text}", show(name)),
        Statement::Bind {
            portal, statement, ..
        } => format!("B({},{}) {text}", show(portal), show(statement)),
        Statement::Execute { portal, .. } => format!("E({}) {text}", show(portal)),
        Statement::FunctionCall { function } => format!("F({function:?})"),
        other => panic!("{other:?}"),
    }
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
        let class = facts.intent.class;
        let line = line(&facts.statement);
        self.asked
            .note(format!("{} {class:?} {line}", facts.request));
        match &line {
            line if line.contains("hidden") => Verdict::Deny(self.statement.clone()),
            line if line.contains("fatal") => Verdict::Close(self.statement.clone()),
            _ => Verdict::Allow,
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
                "1 Read Q select 0"
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

/// Has servers get what the client sent with these parameters in place of its own.
struct Rewriting(Vec<(&'static str, &'static str)>, Asked);

impl Policy for Rewriting {
    fn upstream_startup(
        &mut self,
        facts: &ConnectionFacts<'_>,
    ) -> Result<Option<StartupParams>, Denial> {
        let startup = facts.startup.unwrap();
        let cluster = ClusterIdent::of(startup, None);
        let (ident, stripped) = cluster.map_err(|why| Denial::new(why.to_string()))?;
        self.1.note(ident.to_string());
        let added = (self.0.iter()).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let pairs: Vec<_> = stripped.iter().chain(added).collect();
        Ok(Some(
            StartupParams::build(startup.version(), pairs).unwrap(),
        ))
    }

    fn login(&mut self, login: &LoginFacts<'_>) -> Verdict {
        self.1
            .note(login.startup.database().escape_ascii().to_string());
        Verdict::Allow
    }
}

fn opening(database: &str, options: &str) -> StartupParams {
    let pairs = [
        ("application_name", ""),
        ("user", "alice"),
        ("database", database),
        ("options", options),
        ("application_name", "psql"),
    ];
    let pairs = pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap()
}

/// Every server gets the message without the cluster's name, and byte for byte what else the client has sent.
#[test]
fn servers_get_the_message_that_the_policy_makes() {
    let sent = opening("happy-koala-7.app", "-c geqo=off --cluster=happy-koala-7");
    each(movable, |rig| {
        let asked = Asked::default();
        rig.session
            .set_policy(Box::new(Rewriting(Vec::new(), asked.clone())));
        rig.raw(CLIENT, sent.raw());
        let expected = opening("app", "-c geqo=off");
        assert_eq!(rig.take(WRITER), expected.raw());
        assert_eq!(rig.session.client_startup(), Some(&sent));
        rig.writer("R");
        rig.writer(login(WRITER));
        assert_eq!(asked.take(), ["happy-koala-7", "app"]);
        rig.take(CLIENT);
        rig.client("Q(select 0)");
        assert_eq!(rig.take(READER), expected.raw());
        rig.say(READER, "R");
        rig.say(READER, login(READER));
        rig.say(READER, ROW);
        rig.take(CLIENT);
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        assert_eq!(rig.take(PeerId::THIRD), expected.raw());
    });
}

#[test]
fn a_policy_that_makes_a_message_can_deny_its_client() {
    each(config, |rig| {
        let asked = Asked::default();
        rig.session
            .set_policy(Box::new(Rewriting(Vec::new(), asked)));
        rig.raw(CLIENT, opening("app", "").raw());
        rig.see(CLIENT, "FATAL(28000)");
        refused(rig, DENIED);
    });
}

/// Whose message it is, and how it is spoken, is not the policy's: nothing of that is sent.
#[test]
fn a_policy_may_change_no_more_than_database_and_options() {
    let sent = opening("happy-koala-7.app", "");
    for (more, fits) in [
        (("database", "other"), true),
        (("options", "-c geqo=on"), true),
        (("user", "bob"), false),
        (("replication", "true"), false),
        (("_pq_.x", ""), false),
    ] {
        each(config, |rig| {
            let policy = Rewriting(vec![more], Asked::default());
            rig.session.set_policy(Box::new(policy));
            rig.raw(CLIENT, sent.raw());
            match fits {
                true => assert!(!rig.take(WRITER).is_empty(), "{more:?}"),
                false => assert!(matches!(rig.cause(), CloseCause::Misuse(_)), "{more:?}"),
            }
        });
    }
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

/// P2: each message by itself, in order and once, whatever it is looked at for and however it arrives.
#[test]
fn the_policy_sees_each_statement_once() {
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
                "2 Write Q delete from t",
                "3 Read P(a) select 1",
                "3 Read B(,a) select 1",
                "3 Session P() select pg_backend_pid()",
                "3 Read E() select 1",
                "4 Read Q select 2",
                "5 Write Q delete from t",
                "6 Read P(b) select 3",
                "7 Read B(,b) select 3",
                "7 Read E() select 3",
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
                format!("{batch} Read P() select 1"),
                format!("{batch} Read P() select 2"),
                format!("{batch} Write P() insert into t values(1)"),
                format!("{batch} Read P() select 4"),
                format!("{begin} Transaction Q begin"),
                format!("{five} Read Q select 5"),
                format!("{six} Read P() select 6"),
                format!("{commit} Transaction Q commit"),
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
        rig.client("Q(select 1) P(,select 2) S B(,) E S Q(select fatal)");
        rig.see(WRITER, "Q(select 1) P(,select 2) S B(,) E S");
        let answer = format!("{ROW} 1 Z(I) 2 D(1) C(SELECT 1) Z(I)");
        rig.writer(&answer);
        rig.see(CLIENT, &format!("{answer} FATAL(42501)"));
        assert_eq!(
            asked.take(),
            [
                "1 Read Q select 1",
                "2 Read P() select 2",
                "3 Read B(,) select 2",
                "3 Read E() select 2",
                "4 Read Q select fatal"
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
                "2 Unreadable Q TooLong",
                "3 Unreadable P() TooLong",
                "4 Unreadable Q Malformed"
            ]
        );
    });
}

/// What is bound or run has the text that prepared it, in SQL too; a cursor's, and what was prepared unseen, nobody knows.
#[test]
fn the_policy_sees_what_is_bound_and_run() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("Q(prepare s as select 1)");
        rig.writer("C(PREPARE) Z(I)");
        rig.client("B(p,s) E(p,5) E(cursor) S");
        rig.writer("2 s s Z(I)");
        // What was remembered of the unnamed statement ends with one that is not seen whole.
        rig.client("P(,select 2) S");
        rig.reader("1 Z(I)");
        let long = vec![b'x'; limits::READ_BUFFER];
        rig.raw(CLIENT, &raw(b'P', &[b"\0", &long[..], b"\0\0\0"].concat()));
        rig.client("B(,) E S");
        // What the reader alone has is prepared here before.
        rig.writer("1 Z(I)");
        rig.writer("1 2 C(SELECT 0) Z(I)");
        assert_eq!(
            asked.take(),
            [
                "2 Session Q prepare s as select 1",
                "3 Read B(p,s) select 1",
                "3 Read E(p) select 1",
                "3 Unreadable E(cursor) Unknown",
                "4 Read P() select 2",
                "5 Unreadable P() TooLong",
                "5 Unreadable B(,) Unknown",
                "5 Unreadable E() Unknown",
            ]
        );
    });
}

#[test]
fn the_policy_sees_function_calls_and_what_is_malformed_or_too_long() {
    each(config, |rig| {
        let asked = both_judged(rig);
        let long = vec![b'x'; limits::READ_BUFFER];
        rig.raw(CLIENT, &raw(b'F', b"\0\0\x6a\x85\0\0\0\0\0\0"));
        rig.writer("V Z(I)");
        rig.raw(CLIENT, &raw(b'F', &[b"\0\x01\0\x07", &long[..]].concat()));
        rig.writer("V Z(I)");
        rig.raw(CLIENT, &raw(b'F', b"\0\0"));
        rig.writer("E(08P01) Z(I)");
        rig.client("P(s,select 1) S");
        rig.reader("1 Z(I)");
        // The names of a Bind come first.
        rig.raw(CLIENT, &raw(b'B', &[b"p\0s\0", &long[..]].concat()));
        rig.raw(CLIENT, &raw(b'B', &[&long[..], b"\0s\0"].concat()));
        rig.raw(CLIENT, &raw(b'B', b"p\0s"));
        rig.raw(CLIENT, &raw(b'E', b"p"));
        rig.client("S");
        rig.take(WRITER);
        assert_eq!(
            asked.take(),
            [
                "2 Write F(Some(27269))",
                "3 Write F(Some(65543))",
                "4 Write F(None)",
                "5 Read P(s) select 1",
                "6 Read B(p,s) select 1",
                "6 Unreadable B(,) TooLong",
                "6 Unreadable B(,) Malformed",
                "6 Unreadable E() Malformed",
            ]
        );
    });
}

/// What a name means may hang on answers that are to come.
#[test]
fn the_policy_sees_the_statement_that_a_bind_will_find() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(s,select 1) S");
        rig.reader("1 Z(I)");
        rig.client("P(s,select 2) S B(,s) S");
        assert_eq!(asked.take().len(), 2);
        rig.reader("E(42P05) Z(I)");
        assert_eq!(asked.take(), ["4 Read B(,s) select 1"]);
        rig.reader("2 Z(I)");
        // In one batch its failure takes the Bind along.
        rig.client("CS(s) P(s,select 3) B(,s) S");
        rig.reader("3 1 2 Z(I)");
        assert_eq!(
            asked.take(),
            ["5 Read P(s) select 3", "5 Read B(,s) select 3"]
        );
    });
}

/// What comes before is answered first, and nothing of what is denied reaches a server.
#[test]
fn a_closing_verdict_ends_the_session_behind_the_replies_before_it() {
    let table = [
        ("Q(select fatal)", READER, "", ""),
        ("Q(delete from fatal)", READER, "", ""),
        ("P(s,select fatal) B(,s) E S", READER, "", ""),
        (
            "Q(select 1) Q(select 2) Q(select fatal) Q(select 3)",
            READER,
            "Q(select 1) Q(select 2)",
            "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)",
        ),
        (
            "Q(delete from t) Q(delete from fatal)",
            WRITER,
            "Q(delete from t)",
            "C(DELETE 1) Z(I)",
        ),
        (
            "P(,delete from t) B(,) E S P(,select fatal) S",
            WRITER,
            "P(,delete from t) B(,) E S",
            "1 2 C(DELETE 1) Z(I)",
        ),
        (
            "P(,delete from t) B(,) E H P(,select fatal) S",
            WRITER,
            "P(,delete from t) B(,) E H",
            "1 2 C(DELETE 1)",
        ),
        (
            "P(,select 1) H P(,select fatal) S",
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
fn a_closing_verdict_in_a_batch_ends_it_unsynced() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("P(,delete from t) B(,) E P(,delete from fatal) B(,) E S");
        rig.see(WRITER, "P(,delete from t) B(,) E");
        rig.see(CLIENT, "FATAL(42501)");
        assert!(rig.is_dead());
    });
}

#[test]
fn a_closing_verdict_in_a_batch_of_reads_stays_behind() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(a,select 1) B(,a) E P(b,select 2) P(c,select fatal) S");
        rig.see(READER, "P(a,select 1) B(,a) E P(b,select 2)");
        rig.see(CLIENT, "FATAL(42501)");
        assert!(rig.is_dead());
        assert_eq!(
            asked.take(),
            [
                "2 Read P(a) select 1",
                "2 Read B(,a) select 1",
                "2 Read E() select 1",
                "2 Read P(b) select 2",
                "2 Read P(c) select fatal"
            ]
        );
    });
}

#[test]
fn a_closing_verdict_in_a_transaction_ends_it() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("Q(begin) Q(delete from fatal) Q(commit)");
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.see(WRITER, "X");
        rig.see(CLIENT, "C(BEGIN) Z(T) FATAL(42501)");
        assert!(rig.is_dead());
    });
}

/// The batch of a lost reader is dropped up to its Sync, but not what ends the session in it.
#[test]
fn a_closing_verdict_outlives_the_reader() {
    each(config, |rig| {
        both_judged(rig);
        rig.client("P(,select 1) H P(,select fatal) S");
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
        rig.client("P(,select 2) P(,select fatal) S Q(delete from t)");
        rig.see(WRITER, "Q(delete from t)");
        assert_eq!(
            asked.take(),
            ["2 Read P() select 1", "3 Write Q delete from t"]
        );
    });
}

/// A statement was allowed and waits to go elsewhere when its batch is lost: the next one is asked about all the same.
#[test]
fn what_was_allowed_and_dropped_allows_nothing_else() {
    each(config, |rig| {
        let asked = both_judged(rig);
        rig.client("P(,select 1) H P(,delete from t) S Q(delete from fatal)");
        assert_eq!(
            asked.take(),
            ["2 Read P() select 1", "2 Write P() delete from t"]
        );
        rig.reset(READER);
        rig.see(CLIENT, "E(08006) Z(I) FATAL(42501)");
        rig.see(WRITER, "X");
        assert_eq!(asked.take(), ["3 Write Q delete from fatal"]);
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
        assert_eq!(asked.take(), ["1 Read Q select 1"]);
        rig.reader_in();
        rig.see(READER, "Q(select 1) P(,select 2) S");
        assert_eq!(asked.take(), ["2 Read P() select 2"]);
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
        assert_eq!(asked[0], format!("3 Unreadable Q {text}"));
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
