//! A session moves whose reads have left traces on its reader alone.

mod session_support;

use pgturnout::session::{Destination, Event, MoveOrder, MoveTarget, PeerId};
use session_support::each;
use session_support::moving::{Had, movable};

const CLIENT: PeerId = PeerId::CLIENT;
const WRITER: PeerId = PeerId::WRITER;
const READER: PeerId = PeerId::READER;
const NEW: PeerId = PeerId::THIRD;
const ROW: &str = "2 D(1) C(SELECT 1) Z(I)";

/// The writer never had it, so the new one need not: it is prepared there when it is used there.
#[test]
fn a_statement_that_only_the_reader_has_does_not_keep_the_session() {
    each(movable, |rig| {
        rig.both();
        rig.client("P(s,select 1) B(,s) E S");
        rig.see(READER, "P(s,select 1) B(,s) E S");
        rig.reader(&format!("1 {ROW}"));
        rig.take(CLIENT);

        rig.move_begins(NEW, &Had::default());
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(NEW, "");
        rig.answer_probe(NEW, &Had::default());
        let moved = |event: &Event| matches!(event, Event::Moved { .. });
        assert!(rig.has_event(moved));
        rig.see(WRITER, "X");
        rig.take(CLIENT);

        rig.client("B(,s) E S");
        rig.see(READER, "B(,s) E S");
        rig.reader(ROW);
        rig.see(CLIENT, ROW);
        rig.client("Q(begin)");
        rig.see(NEW, "Q(begin)");
        rig.say(NEW, "C(BEGIN) Z(T)");
        rig.take(CLIENT);
        rig.client("B(,s) E S");
        rig.see(NEW, "P(s,select 1) B(,s) E S");
    });
}

/// A failover: the writer is what was the reader. Its reads run there too, and nobody dials it a second time.
#[test]
fn a_session_that_moves_to_its_reader_has_none() {
    each(movable, |rig| {
        rig.both();
        rig.migrate(MoveOrder::new(MoveTarget::Writer(Destination(1))));
        rig.spare_in(NEW, &Had::default());
        rig.answer_probe(WRITER, &Had::default());
        rig.restore(NEW, "");
        rig.answer_probe(NEW, &Had::default());
        let moved = |event: &Event| matches!(event, Event::Moved { .. });
        assert!(rig.has_event(moved));
        rig.see(WRITER, "X");
        rig.see(READER, "X");
        rig.take(CLIENT);
        rig.client("Q(select 1)");
        rig.see(NEW, "Q(select 1)");
        rig.see(READER, "");
        rig.say(NEW, "T D(1) C(SELECT 1) Z(I)");
        rig.see(CLIENT, "T D(1) C(SELECT 1) Z(I)");
    });
}
