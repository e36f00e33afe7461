//! A live session moves to another server: what each server is sent, what the client sees, and what becomes of each failure.

mod session_support;

use pgturnout::session::{CloseCause, Event, MoveTarget, PeerId};
use session_support::each;
use session_support::moving::{Had, SPARE, movable};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const NEW: PeerId = PeerId::THIRD;

/// Settings and statements go along, the client's requests of the meantime wait and run on the new server.
#[test]
fn a_session_moves_with_its_state() {
    each(movable, |rig| {
        rig.logged_in();
        rig.client("Q(set work_mem = 64)");
        rig.see(WRITER, "Q(set work_mem = 64)");
        rig.writer("C(SET) Z(I)");
        rig.client("P(s,insert into t values(1)) S");
        rig.see(WRITER, "P(s,insert into t values(1)) S");
        rig.writer("1 Z(I)");
        rig.see(CLIENT, "C(SET) Z(I) 1 Z(I)");

        rig.move_begins(NEW, &Had::default());
        let state = Had::default()
            .set("work_mem", "64")
            .prepared("s", "insert into t values(1)");
        assert!(rig.has_event(|event| matches!(event, Event::MoveHeld)));
        rig.client("B(,s) E S Q(update t set a = 2)");
        rig.answer_probe(WRITER, &state);
        rig.restore(NEW, "work_mem=64 P(s,insert into t values(1))");
        rig.see(WRITER, "");
        rig.see(CLIENT, "");
        rig.answer_probe(NEW, &state);
        rig.see(WRITER, "X");
        rig.see(NEW, "B(,s) E S Q(update t set a = 2)");
        rig.see(CLIENT, "S(server_version,15.19) S(in_hot_standby,off)");
        rig.say(NEW, "2 C(INSERT 0 1) Z(I) C(UPDATE 1) Z(I)");
        rig.see(CLIENT, "2 C(INSERT 0 1) Z(I) C(UPDATE 1) Z(I)");
        assert!(matches!(
            rig.move_ended(),
            Some(Event::Moved {
                target: MoveTarget::Writer(SPARE),
                ..
            })
        ));
        let left =
            |(peer, cause): &(PeerId, CloseCause)| *peer == WRITER && *cause == CloseCause::Moved;
        assert!(rig.closes.iter().any(left));
        assert_eq!(rig.transfers(), [1, 1, 0, 0]);
    });
}
