//! What a session says of itself to whoever operates a proxy.

mod session_support;

use pgturnout::session::{Activity, PeerId};
use pgturnout::track::Pin;
use session_support::{config, each};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;

#[test]
fn what_it_does() {
    each(config, |rig| {
        assert_eq!(rig.session.activity(), Activity::Opening);
        rig.logged_in();
        assert_eq!(rig.session.activity(), Activity::Idle);
        rig.client("Q(begin)");
        assert_eq!(rig.session.activity(), Activity::Active);
        rig.see(WRITER, "Q(begin)");
        rig.writer("C(BEGIN) Z(T)");
        assert_eq!(rig.session.activity(), Activity::InTransaction);
        rig.client("Q(insert into nothing values (1))");
        rig.writer("E(42P01) Z(E)");
        assert_eq!(rig.session.activity(), Activity::InFailedTransaction);
        rig.client("Q(rollback)");
        rig.writer("C(ROLLBACK) Z(I)");
        assert_eq!(rig.session.activity(), Activity::Idle);
        rig.take(CLIENT);
        rig.client("X");
        assert_eq!(rig.session.activity(), Activity::Ending);
    });
}

/// Its Sync is owed: nothing else may be done in the middle of it.
#[test]
fn a_batch_without_its_sync_is_no_idleness() {
    each(config, |rig| {
        rig.logged_in();
        rig.client("P(,insert into t values (1)) H");
        rig.see(WRITER, "P(,insert into t values (1)) H");
        rig.writer("1");
        assert_eq!(rig.session.activity(), Activity::Active);
        rig.client("S");
        rig.writer("Z(I)");
        assert_eq!(rig.session.activity(), Activity::Idle);
    });
}

#[test]
fn what_pins_it() {
    each(config, |rig| {
        rig.logged_in();
        assert_eq!(rig.session.pins().count(), 0);
        rig.client("Q(create temp table t (a int))");
        rig.writer("C(CREATE TABLE) Z(I)");
        rig.client("Q(load 'auto_explain')");
        rig.writer("C(LOAD) Z(I)");
        let pins: Vec<Pin> = rig.session.pins().collect();
        assert_eq!(pins, [Pin::TemporaryObject, Pin::Load]);
    });
}
