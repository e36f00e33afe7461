//! What a session starts with: settings of the startup packet, and what the servers say of themselves.

mod session_support;

use pgturnout::session::{CloseCause, Event, Gate, PeerId, RouteReason};
use pgturnout::startup::{ProtocolVersion, Refusal, StartupParams};
use pgturnout::track::Pin;
use session_support::{Rig, config, each, login, startup};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

/// A13: what only a proxy may say to a server is refused before one is dialled.
#[test]
fn reserved_names_are_refused() {
    for (name, value, refused) in [
        ("crdb:session_revival_token_base64", "x", true),
        ("CRDB:Session_Revival_Token_Base64", "", true),
        ("crdb:remote_addr", "x", true),
        ("options", "-c crdb:remote_addr=x", true),
        ("options", "-c crdb=x", false),
    ] {
        each(config, |rig| {
            let pairs = [
                (&b"user"[..], &b"alice"[..]),
                (name.as_bytes(), value.as_bytes()),
            ];
            let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
            rig.raw(CLIENT, startup.raw());
            assert_eq!(rig.is_open(WRITER), !refused, "{name}");
            if refused {
                rig.see(CLIENT, "FATAL(28000)");
                assert_eq!(rig.cause(), CloseCause::ClientRefused(Refusal::Reserved));
            }
        });
    }
    let none = || {
        let mut config = config();
        config.reserved.clear();
        config
    };
    each(none, |rig| {
        let pairs = [(&b"user"[..], &b"alice"[..]), (b"crdb:remote_addr", b"x")];
        let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
        rig.raw(CLIENT, startup.raw());
        assert_eq!(rig.take(WRITER), startup.raw());
    });
}

/// The first read of a session whose startup packet has this beside the user.
fn first_read(rig: &mut Rig, name: &str, value: &str) {
    let pairs = [
        (&b"user"[..], &b"alice"[..]),
        (name.as_bytes(), value.as_bytes()),
    ];
    let startup = StartupParams::build(ProtocolVersion::V3_0, pairs).unwrap();
    rig.raw(CLIENT, startup.raw());
    rig.take(WRITER);
    rig.writer("R");
    rig.writer(login(WRITER));
    rig.take(CLIENT);
    rig.client("Q(select 1)");
}

/// A standby refuses serializable transactions, a server ends a session that idles while its reads run elsewhere, and
/// what is made under a search path with `pg_temp` may be temporary.
#[test]
fn startup_settings_that_splitting_cannot_keep_pin() {
    for (name, value, pin) in [
        (
            "default_transaction_isolation",
            "serializable",
            Pin::Serializable,
        ),
        (
            "Default_Transaction_Isolation",
            "SERIALIZABLE",
            Pin::Serializable,
        ),
        (
            "options",
            "-c default_transaction_isolation=serializable",
            Pin::Serializable,
        ),
        (
            "options",
            "-O --default-transaction-isolation=serializable -c geqo=off",
            Pin::Serializable,
        ),
        (
            "options",
            "-ecdefault_transaction_isolation=seri\\alizable",
            Pin::Serializable,
        ),
        ("idle_session_timeout", "2s", Pin::IdleTimeout),
        ("options", "-c idle_session_timeout=60000", Pin::IdleTimeout),
        ("search_path", "pg_temp, public", Pin::TemporarySchema),
        (
            "options",
            "-c search_path=public,\\ pg\\_temp",
            Pin::TemporarySchema,
        ),
    ] {
        each(config, |rig| {
            first_read(rig, name, value);
            rig.see(WRITER, "Q(select 1)");
            assert!(!rig.is_open(READER));
            assert!(rig.has_event(|event| *event == Event::Pinned(pin)));
            let reason = RouteReason::Pinned(pin);
            let for_it = |event: &Event| matches!(event, Event::Routed { reason: why, .. } if *why == reason);
            assert!(rig.has_event(for_it), "{value}");
            rig.writer(ROW);
            // It takes a session back to what it started with.
            rig.client("Q(discard all) Q(select 2)");
            rig.writer("C(DISCARD ALL) Z(I)");
            rig.see(WRITER, "Q(discard all) Q(select 2)");
        });
    }
}

#[test]
fn other_startup_settings_do_not_pin() {
    for (name, value) in [
        ("default_transaction_isolation", "repeatable read"),
        ("application_name", "serializable"),
        ("options", "-c application_name=serializable"),
        ("idle_session_timeout", "0"),
        ("options", "-c idle_session_timeout=0"),
        ("options", "-c idle_in_transaction_session_timeout=5s"),
        ("search_path", "a, b"),
    ] {
        each(config, |rig| {
            first_read(rig, name, value);
            rig.see(WRITER, "");
            assert!(rig.is_open(READER), "{value}");
        });
    }
}

#[test]
fn a_set_of_the_idle_timeout_pins_unless_it_turns_it_off() {
    for (text, pins) in [
        ("set idle_session_timeout = '2s'", true),
        ("set idle_session_timeout = 60000", true),
        ("set idle_session_timeout to 0", false),
        ("reset idle_session_timeout", false),
        ("set idle_in_transaction_session_timeout = 60000", false),
    ] {
        each(config, |rig| {
            rig.both();
            rig.client(&format!("Q({text})"));
            rig.take(WRITER);
            rig.writer("C(SET) Z(I)");
            assert_eq!(
                rig.has_event(|event| *event == Event::Pinned(Pin::IdleTimeout)),
                pins,
                "{text}"
            );
        });
    }
}

const NO_STANDBY: &str = "R S(in_hot_standby,off) K(1,rkey) Z(I)";

/// Whether the log was told so of the reader, and nothing else of it.
fn told_of_the_reader(rig: &Rig, said: &str) -> bool {
    let failures: Vec<&String> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::UpstreamFailed { peer, why, .. } if *peer == READER => Some(why),
            _ => None,
        })
        .collect();
    failures == [said]
}

#[test]
fn a_writer_that_is_a_standby_is_reported_once_and_served_from() {
    for (value, reported) in [("on", 1), ("off", 0)] {
        each(config, |rig| {
            rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
            rig.take_startup(WRITER);
            rig.writer(&format!("R S(in_hot_standby,{value}) K(1,wkey) Z(I)"));
            rig.take(CLIENT);
            rig.client("Q(delete from t)");
            rig.see(WRITER, "Q(delete from t)");
            rig.writer("E(25006) Z(I)");
            rig.see(CLIENT, "E(25006) Z(I)");
            let said = |event: &&Event| matches!(event, Event::WriterIsStandby { .. });
            assert_eq!(rig.events.iter().filter(said).count(), reported);
        });
    }
}

#[test]
fn a_reader_that_is_no_standby_is_not_used() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader(NO_STANDBY);
        rig.see(WRITER, "Q(select 1)");
        assert!(told_of_the_reader(rig, "it is not a standby"));
    });
}

#[test]
fn a_reader_that_does_not_say_whether_it_is_a_standby_is_used() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("Q(select 1)");
        rig.take_startup(READER);
        rig.reader("R S(server_version,13.20) K(1,rkey) Z(I)");
        rig.see(READER, "Q(select 1)");
    });
}

#[test]
fn a_gate_that_is_no_standby_is_not_used_for_reads() {
    let gated = || {
        let mut config = config();
        config.gate = Gate::Reader;
        config
    };
    each(gated, |rig| {
        rig.raw(CLIENT, &startup(ProtocolVersion::V3_0));
        rig.take_startup(READER);
        rig.reader(NO_STANDBY);
        rig.take_startup(WRITER);
        rig.writer("R");
        rig.writer(login(WRITER));
        rig.take(CLIENT);
        assert!(told_of_the_reader(rig, "it is not a standby"));
        rig.client("Q(select 1)");
        rig.see(WRITER, "Q(select 1)");
    });
}

/// A server says so behind the first answer that it gives after its promotion. What it has been sent it answers.
#[test]
fn a_reader_that_is_promoted_is_given_up() {
    each(config, |rig| {
        rig.both();
        rig.client("P(s,select 1) B(,s) E S Q(select 2)");
        rig.see(READER, "P(s,select 1) B(,s) E S Q(select 2)");
        rig.reader("1 2 D(1) C(SELECT 1) S(in_hot_standby,off) Z(I)");
        rig.client("Q(select 3)");
        rig.see(READER, "");
        rig.see(WRITER, "");
        rig.reader(ROW);
        assert!(told_of_the_reader(rig, "it is a standby no more"));
        rig.see(WRITER, "Q(select 3)");
        rig.writer(ROW);
        rig.see(CLIENT, &format!("1 2 D(1) C(SELECT 1) Z(I) {ROW} {ROW}"));
        rig.client("B(,s) E S");
        rig.see(WRITER, "P(s,select 1) B(,s) E S");
        rig.writer("1 2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "2 D(1) C(SELECT 1) Z(I)");
        rig.reader_again();
        rig.client("Q(select 4)");
        rig.see(READER, "Q(select 4)");
    });
}

/// A batch cannot move in its middle.
#[test]
fn a_promoted_reader_ends_its_batch() {
    each(config, |rig| {
        rig.both();
        rig.client("P(,select 1) H");
        rig.see(READER, "P(,select 1) H");
        rig.reader("1 S(in_hot_standby,off)");
        rig.client("B(,) E S");
        rig.see(READER, "B(,) E S");
        rig.reader("2 D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "1 2 D(1) C(SELECT 1) Z(I)");
        rig.client("Q(select 2)");
        rig.see(WRITER, "Q(select 2)");
    });
}
