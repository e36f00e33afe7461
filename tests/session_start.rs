//! What a session starts with: settings of the startup packet, and what the servers say of themselves.

mod session_support;

use pgturnout::session::{Event, PeerId, RouteReason};
use pgturnout::startup::{ProtocolVersion, StartupParams};
use pgturnout::track::Pin;
use session_support::{Rig, config, each, login};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const ROW: &str = "T D(1) C(SELECT 1) Z(I)";

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
        ("search_path", "pg_temp, public", Pin::TemporaryObject),
        (
            "options",
            "-c search_path=public,\\ pg\\_temp",
            Pin::TemporaryObject,
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
