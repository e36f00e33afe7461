//! Limits of a session, at their defaults.

use std::sync::Arc;
use std::time::Duration;

use pgturnout::auth::{
    AdmitPolicy, Channel, Credential, ExternalAnswer, Methods, TlsEndPoint, md5_digest,
};
use pgturnout::cancel::{CancelMap, NotEntered};
use pgturnout::limits;
use pgturnout::route::{Cache, CacheLimits, LexState, Rules};
use pgturnout::session::{
    Action, ClientAuth, CloseCause, Config, ConfigError, Demand, Denial, Event, MoveOrder,
    MoveTarget, Moves, PeerId, Policy, StatementFacts, Timer, TlsInfo, Verdict, WriterRetry,
};
use pgturnout::startup::{ALPN, CancelKey, ClientTls, ProtocolVersion, UpstreamTlsPolicy};

use crate::session_support::cockroach;
use crate::session_support::frames::{backend, frontend, raw};
use crate::session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use crate::session_support::{Chunk, Dial, Rig, config, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;

/// Both upstreams serve.
fn rig() -> Rig {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.both();
    rig
}

fn is_pinned(rig: &Rig) -> bool {
    rig.has_event(|event| matches!(event, Event::Pinned(_)))
}

#[test]
fn read_buffer() {
    for (frame, to) in [
        (limits::READ_BUFFER, READER),
        (limits::READ_BUFFER + 1, WRITER),
    ] {
        let mut rig = rig();
        let text = "select ''".len();
        let query = format!("select '{}'\0", "x".repeat(frame - 5 - 1 - text));
        rig.raw(CLIENT, &raw(b'Q', query.as_bytes()));
        let routed = rig.routed();
        assert!(
            !routed.is_empty() && routed.iter().all(|peer| *peer == to),
            "{frame} bytes"
        );
    }
}

/// What is wrong with the defaults so changed.
fn fault(change: impl Fn(&mut Config)) -> Option<ConfigError> {
    let mut config = config();
    change(&mut config);
    config.check().err()
}

#[test]
fn read_buffer_min() {
    let least = limits::READ_BUFFER_MIN;
    let of = |bytes| fault(move |config| config.limits.read_buffer = bytes);
    assert_eq!(
        (of(least), of(least - 1)),
        (None, Some(ConfigError::ReadBuffer { least }))
    );
}

#[test]
fn ledger_segments_min() {
    let least = limits::LEDGER_SEGMENTS_MIN;
    let of = |count| fault(move |config| config.limits.ledger.segments_per_queue = count);
    assert_eq!(
        (of(least), of(least - 1)),
        (None, Some(ConfigError::LedgerSegments { least }))
    );
}

/// What is wrong with a queue for so many bytes of ours, and errors for so many requests as all that has to fit it.
fn owned_fault(bytes: usize, requests: usize) -> Option<ConfigError> {
    fault(move |config| {
        let limits = &mut config.limits;
        limits.ledger.owned_bytes_per_queue = bytes;
        limits.reader_requests_in_flight = requests;
        limits.statements.body = 0;
        limits.journal.bytes = 0;
    })
}

#[test]
fn ledger_owned_min() {
    let least = limits::LEDGER_OWNED_MIN;
    assert_eq!(owned_fault(least, 0), None);
    assert_eq!(
        owned_fault(least - 1, 0),
        Some(ConfigError::LedgerOwned { least })
    );
}

#[test]
fn lost_request() {
    let least = 1_000 * limits::LOST_REQUEST;
    assert_eq!(owned_fault(least, 1_000), None);
    let more = ConfigError::LedgerOwned {
        least: least + limits::LOST_REQUEST,
    };
    assert_eq!(owned_fault(least, 1_001), Some(more));
    assert_eq!(
        owned_fault(least - 1, 1_000),
        Some(ConfigError::LedgerOwned { least })
    );
    // That an error is no longer shows where a reader with so many requests is lost.
    let mut rig = rig();
    rig.takes(CLIENT, false);
    rig.client("Q(select 1)");
    let before = rig.total(CLIENT);
    rig.eof(READER);
    rig.takes(CLIENT, true);
    let answer = rig.total(CLIENT) - before;
    assert!(
        answer > 0 && answer <= limits::LOST_REQUEST as u64,
        "{answer} bytes"
    );
}

#[test]
fn requests_in_flight_min() {
    let least = limits::REQUESTS_IN_FLIGHT_MIN;
    let of = |count| fault(move |config| config.limits.requests_in_flight = count);
    assert_eq!(
        (of(least), of(least - 1)),
        (None, Some(ConfigError::RequestsInFlight { least }))
    );
}

/// How many of many requests reach an upstream that answers none, and how many more once it has answered one.
fn in_flight(text: &str, to: PeerId) -> (usize, usize) {
    let (mut rig, query) = (rig(), format!("Q({text})"));
    rig.client(&query.repeat(limits::REQUESTS_IN_FLIGHT + 100));
    let sent = rig.shown(to).matches(&query).count();
    rig.say(to, "C(X) Z(I)");
    (sent, rig.shown(to).matches(&query).count())
}

#[test]
fn requests_in_flight() {
    assert_eq!(
        in_flight("delete from t", WRITER),
        (limits::REQUESTS_IN_FLIGHT, 1)
    );
}

#[test]
fn reader_requests_in_flight() {
    assert_eq!(
        in_flight("select 1", READER),
        (limits::READER_REQUESTS_IN_FLIGHT, 1)
    );
}

/// Prepares reads with texts of that length until one goes to the writer: how many went to the reader, and how many of those
/// it had at the end and had to close at most before one of them.
fn statements_on_the_reader(rig: &mut Rig, length: usize) -> (usize, usize, usize) {
    let text = format!("select '{}'", "x".repeat(length));
    let (mut held, mut most) = (0, 0);
    let count = (0..20_000).find(|n| {
        rig.client(&format!("P(s{n},{text}) S"));
        let sent = rig.shown(READER);
        if sent.is_empty() {
            return true;
        }
        let closed = sent.matches("CS(").count();
        held = held + 1 - closed;
        most = most.max(closed);
        rig.reader(&format!("{} 1 Z(I)", "3 ".repeat(closed)));
        false
    });
    (count.expect("bounded"), held, most)
}

#[test]
fn statements() {
    let mut rig = rig();
    let (count, _, _) = statements_on_the_reader(&mut rig, 0);
    assert_eq!(count, limits::STATEMENTS);
    assert!(is_pinned(&rig));
}

#[test]
fn statement_bytes() {
    // What is kept beside a text is short.
    let length = 20_000;
    let most = limits::STATEMENT_BYTES / length;
    let mut rig = rig();
    let (count, _, _) = statements_on_the_reader(&mut rig, length);
    assert!(
        (most * 19 / 20..=most).contains(&count),
        "{count} of {most}"
    );
    assert!(!is_pinned(&rig), "one that is forgotten keeps none at home");
}

/// What 10,000 of them take in fact: `tests/session_forget.rs`.
#[test]
fn statement_held() {
    let mut more = config();
    more.limits.statements.names += 1;
    assert_eq!(
        more.memory_bound() - config().memory_bound(),
        limits::STATEMENT_HELD
    );
}

#[test]
fn lent_statements_at_once() {
    let mut rig = rig();
    statements_on_the_reader(&mut rig, 1_000);
    let lent = rig.shown(WRITER).matches(") S").count() - 1;
    assert_eq!(lent, limits::LENT_STATEMENTS_AT_ONCE);
}

/// What may run a statement by its name is looked through for so many of them; with more, all are prepared before it.
#[test]
fn names_looked_for() {
    for (count, prepared) in [
        (limits::NAMES_LOOKED_FOR, 1),
        (limits::NAMES_LOOKED_FOR + 1, limits::NAMES_LOOKED_FOR + 1),
    ] {
        let mut rig = rig();
        for n in 0..count {
            rig.client(&format!("P(n{n}e,select 1) S"));
            rig.see(READER, &format!("P(n{n}e,select 1) S"));
            rig.reader("1 Z(I)");
        }
        rig.client("Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        rig.shown(WRITER);
        rig.client("Q(do 'execute n0e')");
        assert_eq!(rig.shown(WRITER).matches("P(n").count(), prepared);
    }
}

#[test]
fn reader_statements() {
    let mut rig = rig();
    let at_once = limits::STALE_STATEMENTS_AT_ONCE;
    let (_, held, closed) = statements_on_the_reader(&mut rig, 0);
    assert_eq!(closed, at_once);
    assert!(
        (limits::READER_STATEMENTS - at_once + 1..=limits::READER_STATEMENTS + 1).contains(&held),
        "{held}"
    );
}

/// How many settings are remembered, each set by a text of that length.
fn settings_remembered() -> usize {
    let mut rig = rig();
    (0..1_000)
        .find(|n| {
            rig.client(&format!("Q(set a.b{n} = 1)"));
            rig.writer("C(SET) Z(I)");
            is_pinned(&rig)
        })
        .expect("bounded")
}

#[test]
fn journal_entries() {
    assert_eq!(settings_remembered(), limits::JOURNAL_ENTRIES);
}

#[test]
fn journal_savepoints() {
    let most = limits::JOURNAL_SAVEPOINTS;
    for (count, pinned) in [(most, false), (most + 1, true)] {
        let mut rig = rig();
        for n in 0..count {
            rig.client(&format!("Q(savepoint a{n})"));
            rig.writer("C(SAVEPOINT) Z(T)");
        }
        rig.client("Q(set a.b = 1)");
        rig.writer("C(SET) Z(T)");
        assert_eq!(is_pinned(&rig), pinned, "{count} savepoints");
    }
}

#[test]
fn portals() {
    for (count, pinned) in [(limits::PORTALS, false), (limits::PORTALS + 1, true)] {
        let mut rig = rig();
        rig.client("P(s,select 1) S");
        rig.reader("1 Z(I)");
        let binds: String = (0..count).map(|n| format!("B(c{n},s) ")).collect();
        rig.client(&format!("{binds} S"));
        assert_eq!(is_pinned(&rig), pinned, "{count} portals");
    }
}

#[test]
fn segment_statements() {
    for (count, to) in [
        (limits::SEGMENT_STATEMENTS, READER),
        (limits::SEGMENT_STATEMENTS + 1, WRITER),
    ] {
        let mut rig = rig();
        let parses: String = (0..count).map(|n| format!("P(s{n},select 1) ")).collect();
        rig.client(&format!("{parses} S"));
        assert_eq!(rig.routed(), [to], "{count} statements");
    }
}

#[test]
fn stale_statements_at_once() {
    let most = limits::STALE_STATEMENTS_AT_ONCE;
    let mut rig = rig();
    let all = |message: &str| -> String {
        let each = (0..most + 1).map(|n| message.replace('#', &n.to_string()));
        each.collect()
    };
    rig.client(&format!("{} S", all("P(s#,select 1) ")));
    rig.reader(&format!("{} Z(I)", all("1 ")));
    // A batch with a write stays with the writer, which has none of them.
    rig.client(&format!("P(,delete from t) {} S", all("CS(s#) ")));
    rig.writer(&format!("1 {} Z(I)", all("3 ")));
    rig.take(READER);
    let mut closed = || {
        rig.client("Q(select 1)");
        let count = rig.shown(READER).matches("CS(").count();
        rig.reader(&format!("{} C(SELECT 1) Z(I)", "3 ".repeat(count)));
        count
    };
    assert_eq!((closed(), closed()), (most, 1));
}

fn texts() -> CacheLimits {
    config().limits.texts
}

#[test]
fn session_texts() {
    assert_eq!(texts().texts, limits::SESSION_TEXTS);
    let mut cache = Cache::new(Arc::new(Rules::default()), texts(), 7);
    let found = |cache: &mut Cache| {
        let before = cache.hits();
        for n in 0..limits::SESSION_TEXTS * 4 {
            let _ = cache.get(format!("select {n}").as_bytes(), &LexState::defaults());
        }
        cache.hits() - before
    };
    assert_eq!(
        (found(&mut cache), found(&mut cache)),
        (0, 0),
        "the oldest went"
    );
    assert!(cache.memory() <= cache.memory_bound());
}

#[test]
fn session_text_bytes() {
    assert_eq!(texts().bytes, limits::SESSION_TEXT_BYTES);
    let mut cache = Cache::new(Arc::new(Rules::default()), texts(), 7);
    let empty = cache.memory();
    for n in 0..limits::SESSION_TEXTS {
        let text = format!("select '{}{n}'", "x".repeat(4_000));
        let _ = cache.get(text.as_bytes(), &LexState::defaults());
        assert!(
            cache.memory() <= empty + limits::SESSION_TEXT_BYTES,
            "{n} texts"
        );
    }
}

/// What a session may hold that may hold nothing of what has a limit of its own.
#[test]
fn session_fixed() {
    let mut config = config();
    let limits = &mut config.limits;
    limits.requests_in_flight = 0;
    limits.portals = 0;
    limits.journal.bytes = 0;
    limits.journal.savepoints = 0;
    limits.statements.bytes = 0;
    limits.statements.names = 0;
    limits.texts.texts = 0;
    limits.texts.bytes = 0;
    limits.ledger.segments_per_queue = 0;
    limits.ledger.owned_bytes_per_queue = 0;
    let logins = 2 * limits::LOGIN_NOTICES_HELD + 3 * limits::TLS_INFO_HELD;
    let rest = |config: &Config| {
        let denials = limits::DENIALS_IN_FLIGHT * 3 * limits::DENIAL_MESSAGE_MAX;
        let startup = usize::try_from(limits::STARTUP_BODY_MAX).unwrap();
        let fixed = limits::SESSION_FIXED + limits::LOGIN_EXCHANGES + denials + startup;
        config.memory_bound() - fixed - logins
    };
    let least = rest(&config);
    assert!(least < 4_096, "{least} bytes more");
    // Each of these has a term of its own, where it can occur.
    config.upstreams[1].methods = Some(Methods::NONE.allow_external(Channel::VerifiedTls));
    assert_eq!(rest(&config) - least, 2 * limits::EXTERNAL_HELD);
    config.upstreams[1].methods = None;
    let policy = || AdmitPolicy::new([1; 32]).allow_md5(Channel::Clear);
    config.authentication = ClientAuth::Terminate(policy());
    assert_eq!(rest(&config), least, "no password comes as it is");
    config.authentication = ClientAuth::Terminate(policy().allow_cleartext());
    assert_eq!(rest(&config) - least, limits::PASSWORD_HELD);
}

/// What a step of a session holds at most while it runs, and what it goes on holding.
fn held(step: impl FnOnce()) -> [usize; 2] {
    let info = allocation_counter::measure(step);
    [
        usize::try_from(info.bytes_max).expect("some bytes"),
        usize::try_from(info.bytes_current.max(0)).expect("some bytes"),
    ]
}

/// Whether a limit is what is held at most, and not much more than that.
#[track_caller]
fn is_tight(most: usize, limit: usize) {
    assert!(most <= limit, "{most} bytes held, {limit} allowed");
    assert!(most > limit / 3, "{most} bytes held, {limit} allowed");
}

/// A session whose upstreams may ask the caller, and take long messages.
fn asking() -> Config {
    let mut config = config();
    let policy = AdmitPolicy::new([1; 32]).allow_trust(Channel::Clear);
    config.authentication = ClientAuth::Terminate(policy);
    config.users.insert(b"alice", Credential::External);
    for upstream in &mut config.upstreams {
        upstream.methods = Some(Methods::NONE.allow_external(Channel::Clear));
    }
    config.limits.read_buffer = 1 << 17;
    config.limits.ledger.owned_bytes_per_queue = 1 << 17;
    config
}

#[test]
fn external_held() {
    let mut rig = Rig::new(asking(), Chunk::Whole);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    rig.take(WRITER);
    let len = limits::EXTERNAL_MESSAGE_MAX;
    let body = [&8_i32.to_be_bytes()[..], &vec![1; len - 4]].concat();
    let question = raw(b'R', &body);
    let now = rig.now;
    let [asked, kept] = held(|| {
        let demand = rig.session.handle_input(now, WRITER, &question);
        assert_eq!(demand, Demand::Again);
    });
    assert!(kept >= len, "the question waits for the driver");
    is_tight(asked, limits::EXTERNAL_HELD);
    rig.take(WRITER);
    let answer = vec![2; len];
    let [answered, _] = held(|| {
        let answer = Ok(ExternalAnswer::Last(&answer));
        rig.session.handle_authentication(now, WRITER, 1, answer);
    });
    // One copy is the queue's.
    assert!(answered <= limits::EXTERNAL_HELD + (1 << 17), "{answered}");
    assert!(kept + answered > limits::EXTERNAL_HELD / 2);
    rig.run();
    assert_eq!(rig.take(WRITER).len(), len + 5);
}

/// A password of the greatest length, which the client has shown and every upstream asks for.
#[test]
fn password_held() {
    let password = "x".repeat(limits::PROOF_MESSAGE - 1);
    let mut config = asking();
    let policy = AdmitPolicy::new([1; 32]).allow_cleartext();
    config.authentication = ClientAuth::Terminate(policy);
    let digest = md5_digest(b"alice", password.as_bytes());
    config.users.insert(b"alice", Credential::Md5Digest(digest));
    config.client_tls = ClientTls::Require;
    for upstream in &mut config.upstreams {
        upstream.tls = UpstreamTlsPolicy::Require;
        upstream.methods = Some(Methods::NONE.allow_cleartext(Channel::Tls));
    }
    let mut rig = Rig::new(config, Chunk::Whole);
    rig.raw(CLIENT, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    let answer = raw(b'p', &[password.as_bytes(), b"\0"].concat());
    let now = rig.now;
    let [shown, kept] = held(|| {
        let demand = rig.session.handle_input(now, CLIENT, &answer);
        assert_eq!(demand, Demand::Again);
    });
    rig.run();
    rig.raw(WRITER, b"S");
    let question = backend("Rclear");
    let [sent, scratch] = held(|| {
        let demand = rig.session.handle_input(now, WRITER, &question);
        assert_eq!(demand, Demand::Again);
    });
    // One copy is the queue's.
    let most = shown.max(kept + sent.max(scratch).saturating_sub(answer.len()));
    assert!(most <= limits::PASSWORD_HELD, "{most}");
    assert!(most > 2 * limits::PROOF_MESSAGE, "{most}");
    rig.run();
    assert!(rig.take(WRITER).ends_with(&answer));
}

/// What is hashed is prepared first, and some characters become eighteen by that.
#[cfg(feature = "scram")]
#[test]
fn a_password_that_grows_when_it_is_prepared() {
    let count = (limits::PROOF_MESSAGE - 1) / 3;
    let password = "\u{fdfa}".repeat(count);
    let mut config = asking();
    let policy = AdmitPolicy::new([1; 32]).allow_cleartext();
    config.authentication = ClientAuth::Terminate(policy);
    let stored = crate::login::scram::account();
    let verifier = Credential::from_secret(stored.stored().as_bytes());
    config.users.insert(b"alice", verifier.expect("a verifier"));
    config.client_tls = ClientTls::Require;
    let mut rig = Rig::new(config, Chunk::Whole);
    rig.raw(CLIENT, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    let answer = raw(b'p', &[password.as_bytes(), b"\0"].concat());
    let now = rig.now;
    let [most, _] = held(
        || {
            while rig.session.handle_input(now, CLIENT, &answer) == Demand::Again {}
        },
    );
    is_tight(most, limits::PASSWORD_HELD);
}

#[test]
fn login_notices_held() {
    let mut rig = Rig::new(asking(), Chunk::Whole);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    let text = "y".repeat(200);
    let body = format!("S{text}\0V{text}\0C00000\0M{text}\0\0");
    let notice = raw(b'N', body.as_bytes());
    let now = rig.now;
    let [most, kept] = held(|| {
        for _ in 0..limits::LOGIN_NOTICES_MAX {
            let demand = rig.session.handle_input(now, WRITER, &notice);
            assert_eq!(demand, Demand::Again);
            let len = notice.len();
            assert_eq!(rig.session.take_discard(WRITER, len), len);
        }
    });
    is_tight(most.max(kept), limits::LOGIN_NOTICES_HELD);
}

#[test]
fn tls_info_held() {
    let mut info = TlsInfo::default();
    info.alpn = Some(ALPN.into());
    info.server_name = Some("n".repeat(limits::TLS_NAME_MAX).into());
    info.peer_certificate = Some(vec![0x30; limits::TLS_CERTIFICATE_MAX].into());
    info.end_point = TlsEndPoint::new(&[5; limits::TLS_END_POINT_MAX]);
    info.identity = Some(vec![b'i'; limits::TLS_NAME_MAX].into());
    let mut config = config();
    config.client_tls = ClientTls::Allow;
    let mut rig = Rig::new(config, Chunk::Whole);
    let _ = rig.session.handle_input(rig.now, CLIENT, b"\x16");
    let action = rig.session.poll_action();
    assert!(matches!(action, Some(Action::StartTls { .. })));
    let now = rig.now;
    let [most, kept] = held(|| {
        let info = info.clone();
        rig.session.handle_secured(now, CLIENT, Ok(info));
    });
    is_tight(most, limits::TLS_INFO_HELD);
    is_tight(kept, limits::TLS_INFO_HELD);
    assert_eq!(rig.session.tls_info(CLIENT), Some(&info));
}

/// The writer's notices while we log in: as many as fit, in whole messages.
#[test]
fn login_notice_bytes_told() {
    let notice = |text: usize| {
        let text = "x".repeat(text);
        let body = format!("SNOTICE\0VNOTICE\0C00000\0M{text}\0\0");
        raw(b'N', body.as_bytes())
    };
    assert_eq!(notice(97).len() * 64, limits::LOGIN_NOTICE_BYTES_TOLD);
    for (last, told) in [(97, 64), (98, 63)] {
        let mut config = config();
        let policy = AdmitPolicy::new([1; 32]).allow_trust(Channel::Clear);
        config.authentication = ClientAuth::Terminate(policy);
        let mut rig = Rig::new(config, Chunk::Whole);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.writer("R");
        rig.raw(WRITER, &[notice(97).repeat(63), notice(last)].concat());
        rig.writer(login(WRITER));
        assert_eq!(rig.shown(CLIENT).matches("N(00000)").count(), told);
    }
}

/// That the timer is the next one, and comes after exactly so long.
#[track_caller]
fn expires(rig: &mut Rig, timer: Timer, after: Duration) {
    assert_eq!(rig.session.poll_timeout(), Some((rig.now + after, timer)));
    let tick = Duration::from_nanos(1);
    rig.pass(after - tick);
    assert_eq!(
        rig.session.poll_timeout().map(|(_, timer)| timer),
        Some(timer),
        "too early"
    );
    rig.pass(tick);
    assert_ne!(
        rig.session.poll_timeout().map(|(_, timer)| timer),
        Some(timer),
        "too late"
    );
}

#[test]
fn login_timeout() {
    let mut rig = Rig::new(config(), Chunk::Whole);
    expires(&mut rig, Timer::Login, limits::LOGIN_TIMEOUT);
    assert_eq!(rig.cause(), CloseCause::Timeout(Timer::Login));
}

#[test]
fn dial_timeout() {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.dials(WRITER, Dial::Hang);
    rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
    expires(&mut rig, Timer::Dial(WRITER), limits::DIAL_TIMEOUT);
    rig.see(CLIENT, "FATAL(08006)");
}

#[test]
fn replay_timeout() {
    let mut rig = Rig::new(config(), Chunk::Whole);
    rig.logged_in();
    rig.client("Q(select 1)");
    rig.take_startup(READER);
    expires(&mut rig, Timer::Replay(READER), limits::REPLAY_TIMEOUT);
    rig.see(WRITER, "Q(select 1)");
}

#[test]
fn shutdown_timeout() {
    let mut rig = rig();
    rig.client("Q(delete from t)");
    rig.shutdown();
    expires(&mut rig, Timer::Shutdown, limits::SHUTDOWN_TIMEOUT);
    rig.see(CLIENT, "FATAL(57P01)");
}

#[test]
fn drain_timeout() {
    let mut rig = rig();
    rig.takes(CLIENT, false);
    rig.shutdown();
    expires(&mut rig, Timer::Drain, limits::DRAIN_TIMEOUT);
    assert!(rig.is_dead());
}

#[test]
fn cancel_timeout() {
    let mut rig = rig();
    rig.client("Q(select 1)");
    let target = rig.session.cancel_target().unwrap();
    assert!(rig.cancel_begins(&target));
    expires(&mut rig, Timer::Cancel(READER), limits::CANCEL_TIMEOUT);
    assert!(!rig.session.is_cancelling(READER));
}

#[test]
fn writer_retries_max() {
    let most = limits::WRITER_RETRIES_MAX;
    let mut config = config();
    for (times, checked) in [
        (most, Ok(())),
        (most + 1, Err(ConfigError::WriterRetries { most })),
    ] {
        let delay = Duration::from_secs(1);
        config.writer_retry = WriterRetry::Again { times, delay };
        assert_eq!(config.check(), checked);
    }
}

#[test]
fn reader_retry() {
    let mut rig = rig();
    rig.eof(READER);
    rig.dials(READER, Dial::Hang);
    // A read asks for the reader once its time has come, and does not wait for it.
    let read = |rig: &mut Rig| {
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
        rig.writer("C(SELECT 1) Z(I)");
        rig.session.poll_timeout().map(|(_, timer)| timer)
    };
    let tick = Duration::from_nanos(1);
    rig.pass(limits::READER_RETRY - tick);
    assert_eq!(read(&mut rig), None);
    rig.pass(tick);
    assert_eq!(read(&mut rig), Some(Timer::Dial(READER)));
}

#[test]
fn login_message() {
    for (length, passes) in [
        (limits::LOGIN_MESSAGE, true),
        (limits::LOGIN_MESSAGE + 1, false),
    ] {
        let mut rig = Rig::new(config(), Chunk::Whole);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take_startup(WRITER);
        rig.writer("Rclear");
        rig.count_only(WRITER);
        let before = rig.total(WRITER);
        rig.raw(CLIENT, &raw(b'p', &vec![b'x'; length]));
        assert_eq!(rig.is_dead(), !passes, "{length} bytes");
        let passed = rig.total(WRITER) - before;
        assert_eq!(passed, if passes { length as u64 + 5 } else { 0 });
    }
}

/// A longer one closes the connection as soon as its header is there.
#[test]
fn proof_message() {
    for (length, is_answer) in [
        (limits::PROOF_MESSAGE, true),
        (limits::PROOF_MESSAGE + 1, false),
    ] {
        let mut config = config();
        let policy = AdmitPolicy::new([1; 32]).allow_md5(Channel::Clear);
        config.authentication = ClientAuth::Terminate(policy);
        let mut rig = Rig::new(config, Chunk::Whole);
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take(CLIENT);
        let message = raw(b'p', &[vec![b'x'; length - 1], vec![0]].concat());
        rig.raw(CLIENT, &message[..5]);
        assert_eq!(rig.is_dead(), !is_answer, "{length} bytes");
        if is_answer {
            rig.raw(CLIENT, &message[5..]);
        }
        let told = if is_answer { "28P01" } else { "08P01" };
        rig.see(CLIENT, &format!("FATAL({told})"));
    }
}

struct Denies(usize);

impl Policy for Denies {
    fn statement(&mut self, _: &StatementFacts<'_>) -> Verdict {
        let words = "x".repeat(self.0);
        let denial = Denial::new(words.clone()).with_detail(words.clone());
        Verdict::Deny(denial.with_hint(words))
    }
}

#[test]
fn denial_message_max() {
    for length in [limits::DENIAL_MESSAGE_MAX, limits::DENIAL_MESSAGE_MAX + 1] {
        let mut rig = rig();
        rig.session.set_policy(Box::new(Denies(length)));
        rig.client("Q(select 1)");
        rig.writer("E(42601) Z(I)");
        let told = rig.take(CLIENT);
        let shown = told.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(shown, 3 * limits::DENIAL_MESSAGE_MAX);
    }
}

/// One more waits until one of them is answered.
#[test]
fn denials_in_flight() {
    let most = limits::DENIALS_IN_FLIGHT;
    for (asked, sent) in [(most, most), (most + 1, most)] {
        let mut rig = rig();
        rig.session.set_policy(Box::new(Denies(1)));
        rig.client(&"Q(select 1) ".repeat(asked));
        let denied = |rig: &mut Rig| rig.shown(WRITER).matches("denied").count();
        assert_eq!(denied(&mut rig), sent);
        rig.writer("E(42601) Z(I)");
        assert_eq!(denied(&mut rig), asked - sent);
    }
    // What is skipped behind a denial of its batch has no words to hold.
    let mut rig = rig();
    rig.session.set_policy(Box::new(Denies(1)));
    rig.client(&"P(,select 1) ".repeat(most + 1));
    assert_eq!(rig.shown(WRITER).matches("denied").count(), most + 1);
}

/// At once: what was announced never comes.
#[test]
fn message_length_max() {
    let begun = |tag: u8, word: u32| [&[tag], &word.to_be_bytes()[..], b"eight by"].concat();
    for (word, refused) in [
        (limits::MESSAGE_LENGTH_MAX, false),
        (limits::MESSAGE_LENGTH_MAX + 1, true),
    ] {
        for (before, tag) in [
            ("", b'Q'),
            ("P(,select 1)", b'B'),
            ("Q(copy t from stdin)", b'd'),
        ] {
            let mut rig = rig();
            rig.client(before);
            if tag == b'd' {
                rig.writer("G");
                rig.take(CLIENT);
            }
            let whole = if tag == b'd' {
                raw(tag, b"row")
            } else {
                vec![]
            };
            rig.raw(CLIENT, &[whole, begun(tag, word)].concat());
            rig.see(CLIENT, if refused { "FATAL(08P01)" } else { "" });
            assert_eq!(rig.is_dead(), refused, "{before} {word}");
        }
    }
}

/// A driver that asks for nothing to do.
#[test]
fn actions() {
    let mut rig = rig();
    let queries = frontend("Q(delete from t)").repeat(2 * limits::ACTIONS);
    // Each request has an event that says where it went.
    let mut decided = 0;
    while rig.session.handle_input(rig.now, CLIENT, &queries) == Demand::Again {
        decided += 1;
        assert!(decided <= 4 * limits::ACTIONS);
    }
    let mut waiting = 0;
    while let Some(action) = rig.session.poll_action() {
        assert!(
            matches!(action, Action::Notify(Event::Routed { .. })),
            "{action:?}"
        );
        waiting += 1;
    }
    assert_eq!(waiting, limits::ACTIONS);
    assert_eq!(
        rig.session.handle_input(rig.now, CLIENT, &queries),
        Demand::Again
    );
}

#[test]
fn cancel_keys_max() {
    let key = |process_id| CancelKey::new(process_id, b"abcd").unwrap();
    let mut map = CancelMap::default();
    for process_id in (0..).take(limits::CANCEL_KEYS_MAX) {
        assert!(map.enter(key(process_id), None, ()).is_ok());
    }
    let most = limits::CANCEL_KEYS_MAX;
    let more = map.enter(key(-1), None, ());
    assert_eq!(more, Err(NotEntered::Full { most }));
}

#[test]
fn cancel_keys_per_process() {
    let key = |process_id, secret: usize| {
        CancelKey::new(process_id, &secret.to_be_bytes()).expect("a key")
    };
    let mut map = CancelMap::default();
    let most = limits::CANCEL_KEYS_PER_PROCESS;
    let places: Vec<_> = (0..most)
        .map(|secret| map.enter(key(0, secret), None, ()).expect("room"))
        .collect();
    let more = map.enter(key(0, most), None, ());
    assert_eq!(more, Err(NotEntered::Crowded { most }));
    assert!(map.enter(key(1, most), None, ()).is_ok());
    map.leave(places[0]);
    assert!(map.enter(key(0, most), None, ()).is_ok());
}

/// What is kept of a client's handshake that brings this.
fn kept(info: TlsInfo) -> TlsInfo {
    let mut config = config();
    config.client_tls = ClientTls::Require;
    let mut rig = Rig::new(config, Chunk::Whole);
    rig.knows(CLIENT, info);
    rig.raw(CLIENT, &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
    rig.session.tls_info(CLIENT).expect("TLS").clone()
}

#[test]
fn tls_certificate_max() {
    let len = limits::TLS_CERTIFICATE_MAX;
    for (len, kept_len) in [(len, Some(len)), (len + 1, None)] {
        let mut info = TlsInfo::default();
        info.peer_certificate = Some(vec![0x30; len].into());
        let kept = kept(info).peer_certificate;
        assert_eq!(kept.map(|der| der.len()), kept_len);
    }
}

#[test]
fn tls_name_max() {
    let len = limits::TLS_NAME_MAX;
    for (len, kept_len) in [(len, Some(len)), (len + 1, None)] {
        let mut info = TlsInfo::default();
        info.server_name = Some("n".repeat(len).into());
        let kept = kept(info).server_name;
        assert_eq!(kept.map(|name| name.len()), kept_len);
    }
}

/// A row with the longest state passes through a session that has its bound, and one with a byte more stays.
#[test]
fn transfer_held() {
    let with = |moves| {
        let mut config = cockroach::servers();
        config.moves = moves;
        config.memory_bound()
    };
    assert!(with(Moves::On) - with(Moves::Off) >= limits::TRANSFER_HELD);
    for (over, refused) in [(0, 0), (4, 1)] {
        let mut rig = Rig::new(cockroach::servers(), Chunk::Whole);
        rig.logged_in();
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        let key = cockroach::key(&mut rig);
        let plain = cockroach::handed_out_row(Some(""), &key).len();
        // Base64 comes in fours.
        let room = limits::TRANSFER_STATE_MAX - plain;
        let state = "A".repeat(room - room % 4 + over);
        rig.raw(
            WRITER,
            &cockroach::handed_out("", Some(&state), Some(cockroach::TOKEN), &key),
        );
        assert_eq!(rig.transfers()[2], refused, "{:?}", rig.move_ended());
    }
}

/// A probe's row of the longest length passes through a move of a session that has its bound, and one more byte stays.
#[test]
fn move_held() {
    let with = |moves| {
        let mut config = config();
        config.moves = moves;
        config.memory_bound()
    };
    assert!(with(Moves::On) - with(Moves::Off) >= limits::MOVE_HELD);
    for (row, taken) in [(limits::PROBE_ROW_MAX, 1), (limits::PROBE_ROW_MAX + 1, 0)] {
        let mut rig = Rig::new(movable(), Chunk::Whole);
        rig.logged_in();
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        rig.take_startup(PeerId::THIRD);
        rig.say(PeerId::THIRD, "R");
        rig.say(PeerId::THIRD, SPARE_LOGIN);
        rig.see_probe(PeerId::THIRD);
        rig.raw(PeerId::THIRD, &Had::default().answer_of(row));
        rig.take(WRITER);
        assert_eq!(rig.transfers()[2], 1 - taken, "{:?}", rig.move_ended());
    }
}

/// So many statements are described in one question, and one more in the next.
#[test]
fn migration_describes() {
    for more in [0, 1] {
        let mut rig = Rig::new(cockroach::servers(), Chunk::Whole);
        rig.logged_in();
        let names = (0..limits::MIGRATION_DESCRIBES + more).map(|at| format!("s{at:04}"));
        let names: Vec<String> = names.collect();
        for name in &names {
            rig.client(&format!("P({name},delete from t) S"));
            rig.take(PeerId::WRITER);
            rig.writer("1 Z(I)");
        }
        rig.take(PeerId::CLIENT);
        rig.migrate(MoveOrder::new(MoveTarget::Writer(SPARE)));
        let describe = |name: &String| format!("DS({name}) S");
        let (first, rest) = names.split_at(limits::MIGRATION_DESCRIBES);
        for names in [first, rest].into_iter().filter(|names| !names.is_empty()) {
            let asked: Vec<String> = names.iter().map(describe).collect();
            rig.see(PeerId::WRITER, &asked.join(" "));
            rig.writer(&"t n Z(I) ".repeat(names.len()));
        }
        cockroach::key(&mut rig);
    }
}
