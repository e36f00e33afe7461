//! Sessions that are to move.

use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::choices::Choices;
use super::super::event::Event;
use super::super::fault::{Aside, Fault, is_spare};
use super::super::fittings::Fittings;
use super::super::journey::{Journey, Lodging, Terms};
use super::super::server::FAILURES;
use super::super::setup::{Caller, Offer, Setup, Spare, Start, Tls};
use super::Program;

/// Has some of the sessions move, at moments of their own and with faults of their own. Chosen behind everything else, so
/// that the rest of a scenario is what it is without.
pub(super) fn moved(
    setup: Setup,
    events: Vec<Event>,
    choices: &mut Choices<'_>,
) -> (Setup, Vec<Event>) {
    match choices.percent(14) {
        true => relocated(setup, events, choices),
        false => (setup, events),
    }
}

/// The same events with moves between them.
pub(super) fn relocated(
    mut setup: Setup,
    events: Vec<Event>,
    choices: &mut Choices<'_>,
) -> (Setup, Vec<Event>) {
    setup.spare = choices.weighted(&[(6, Spare::Like), (2, Spare::Newer), (1, Spare::Older)]);
    setup.fittings.lodging = Lodging::choose(choices);
    let mut out = Vec::with_capacity(events.len() + 8);
    let mut moves = choices.weighted(&[(4, 1), (2, 2), (1, 4)]);
    let share = (100 / (events.len() + 1)).clamp(8, 60);
    for event in events {
        if moves > 0 && choices.percent(share) {
            moves -= 1;
            departs(&setup, &mut out, choices);
        }
        out.push(event);
    }
    if moves > 0 {
        departs(&setup, &mut out, choices);
    }
    (setup, out)
}

/// A set-up of sessions that can move, and that nothing keeps from it.
pub(super) fn movable(setup: Setup, choices: &mut Choices<'_>) -> Setup {
    let servers_have_tls = setup.servers_have_tls || setup.upstream_tls == Tls::Require;
    Setup {
        split: true,
        start: Start::Plain,
        spare: choices.weighted(&[(6, Spare::Like), (2, Spare::Newer)]),
        client_tls: match setup.client_tls {
            Offer::Require | Offer::Passthrough => Offer::Allow,
            other => other,
        },
        caller: Caller::Nobody,
        fail_without_reader: false,
        servers_have_tls,
        clients: 1,
        tight: false,
        fittings: Fittings {
            lodging: Lodging::choose(choices),
            ..Fittings::choose(choices)
        },
        ..setup
    }
}

/// The same with what a fault in a phase needs: encryption where a connection is not its login's at once, a write that the
/// standby does not have.
pub(super) fn laid_out(
    mut setup: Setup,
    fault: &Fault,
    phase: Phase,
    choices: &mut Choices<'_>,
) -> Setup {
    let opens = matches!(phase, Phase::Opening | Phase::MoveDial);
    if opens && (setup.upstream_tls == Tls::Disable || choices.percent(50)) {
        setup.upstream_tls = Tls::Allow;
        setup.servers_have_tls = true;
        setup.servers_want_tls = false;
    }
    setup.lag |= matches!(fault, Fault::Replay(_));
    setup
}

impl Program<'_, '_> {
    /// One fault in one phase of a session that moves, and something to do before, then and afterwards.
    pub(super) fn waylaid(&mut self, setup: &Setup, fault: Fault, phase: Phase) {
        self.events.push(Event::Calm);
        self.query("select id from t order by id");
        self.query("set statement_timeout = 1234");
        self.parse("kept", "select 1");
        self.sync();
        if matches!(fault, Fault::Replay(_)) {
            self.query("insert into t values (1, 'behind')");
        }
        self.events.push(Event::Calm);
        let mut place = setup.spare_place();
        if fault.peer() == Some(PeerId::FOURTH) {
            // The server that is left does not go, so that there is a fourth one.
            let stays = Fault::Stall(PeerId::WRITER);
            self.events
                .push(Event::Aim(PeerId::WRITER, Phase::MoveVerify, 0, stays));
            self.events
                .push(Event::Fault(Fault::Move(Journey::to(place))));
            self.events.push(Event::Calm);
            place = 0;
        }
        let mut journey = Journey {
            probes: self.choices.percent(40),
            terms: Terms::choose(self.choices),
            ..Journey::to(place)
        };
        if self.choices.percent(90) {
            // So that it comes to the later phases.
            journey.terms.takes(setup.fittings.lodging);
        }
        self.strikes_on_the_way(journey, fault, phase);
        self.events.push(Event::Calm);
        if phase == Phase::MoveWait {
            self.query("commit");
        }
        for _ in 0..1 + self.choices.below(3) {
            self.request();
            self.events.push(Event::Calm);
        }
    }

    /// The move begins, and the fault strikes in its phase.
    fn strikes_on_the_way(&mut self, journey: Journey, fault: Fault, phase: Phase) {
        match phase {
            Phase::MoveWait => {
                self.query("begin");
                self.events.push(Event::Calm);
            }
            Phase::MoveDrain => {
                self.events.push(Event::Fault(Fault::Lock));
                self.query("update t set v = 'x'");
                self.events.push(Event::Calm);
            }
            Phase::MoveCutOver => {
                // A client that takes nothing has not heard everything of the old server.
                self.events.push(Event::Fault(Fault::Stall(PeerId::CLIENT)));
                let aside = Fault::Async(PeerId::WRITER, Aside::Notice);
                self.events
                    .push(Event::Aim(PeerId::WRITER, Phase::MoveRead, 0, aside));
            }
            _ => {}
        }
        let departure = Event::Fault(Fault::Move(journey));
        let peer = fault.peer().unwrap_or(PeerId::CLIENT);
        let beats = self.choices.weighted(&[(10, 0), (1, 1), (1, 3)]);
        let ambush = match fault.waits_for_a_dial() {
            true => Event::Fault(fault),
            false => Event::Aim(peer, phase, beats, fault),
        };
        // Before a server is dialled only others can be struck.
        match phase == Phase::MoveDial && !is_spare(peer) {
            true => self.events.extend([departure, ambush]),
            false => self.events.extend([ambush, departure]),
        }
    }
}

/// A move begins, now or at its moment, and something may go wrong with it.
fn departs(setup: &Setup, out: &mut Vec<Event>, choices: &mut Choices<'_>) {
    if choices.percent(30) {
        out.push(trouble(choices));
    }
    if choices.percent(40) {
        out.push(Event::Calm);
    }
    let departure = Fault::Move(journey(setup, choices));
    out.push(match choices.percent(75) {
        true => Event::Fault(departure),
        false => {
            let peer = choices.one(&[PeerId::CLIENT, PeerId::WRITER, PeerId::READER]);
            let phase = choices.one(&[Phase::Busy, Phase::Idle, Phase::CopyIn, Phase::CopyOut]);
            let beats = choices.weighted(&[(4, 0), (1, 2), (1, 9)]);
            Event::Aim(peer, phase, beats, departure)
        }
    });
    if choices.percent(30) {
        out.push(trouble(choices));
    }
    if choices.percent(10) {
        for _ in 0..choices.below(12) {
            let peer = choices.one(&PeerId::ALL);
            out.push(match choices.below(4) {
                0 => Event::Arrive(peer, choices.one(&[1, 40, 100_000])),
                1 => Event::Leave(peer, choices.one(&[1, 40, 100_000])),
                2 => Event::Act,
                _ => Event::Serve(choices.one(&[PeerId::WRITER, PeerId::THIRD])),
            });
        }
    }
    if choices.percent(12) {
        out.push(Event::Fault(Fault::CallOff));
    }
}

/// Where to: to the spare server or back, with the reader to another place or alone.
fn journey(setup: &Setup, choices: &mut Choices<'_>) -> Journey {
    let spare = setup.spare_place();
    let writer = choices.weighted(&[(6, Some(spare)), (2, Some(0)), (1, None)]);
    let reader = match writer {
        Some(_) => choices.weighted(&[(4, None), (1, Some(1)), (1, Some(setup.readers))]),
        None => Some(1 + choices.below(setup.readers)),
    };
    Journey {
        writer: match choices.percent(4) {
            // A standby, which takes no writes.
            true => Some(1),
            false => writer,
        },
        reader,
        probes: choices.percent(40),
        listens: choices.percent(30),
        terms: Terms::choose(choices),
    }
}

/// What may go wrong with a move, in one of its phases.
fn trouble(choices: &mut Choices<'_>) -> Event {
    let third = PeerId::THIRD;
    let phase = choices.one(&[
        Phase::Opening,
        Phase::Login,
        Phase::Idle,
        Phase::Asked,
        Phase::Busy,
    ]);
    let beats = choices.weighted(&[(4, 0), (2, 1), (1, 5), (1, 60)]);
    let fault = match choices.below(17) {
        0 => Fault::Reset(third),
        1 => Fault::Eof(third),
        2 => Fault::Mute(third),
        3 => Fault::Stall(third),
        4 => Fault::Trickle(third),
        5 => Fault::Cut(third, choices.below(60)),
        6 => Fault::FailNext(third, choices.one(&FAILURES).to_owned()),
        7 => Fault::Shutdown(third, "57P01".to_owned()),
        8 => return Event::Fault(Fault::RefuseDial(third)),
        9 => return Event::Fault(Fault::HangDial(third)),
        10 => return Event::Fault(Fault::RefuseLogin(third, "53300".to_owned())),
        11 | 12 => return Event::Fault(Fault::ForgetSettings(third)),
        13 => Fault::CallOff,
        14 => Fault::Deadline,
        15 => Fault::Cancel,
        _ => choices.one(&[Fault::Reset, Fault::Eof, Fault::Mute])(PeerId::WRITER),
    };
    Event::Aim(third, phase, beats, fault)
}
