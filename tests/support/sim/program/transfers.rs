//! Sessions that are to move between servers of CockroachDB.

use pgturnout::session::PeerId;

use super::super::choices::Choices;
use super::super::event::{Event, Scenario};
use super::super::fault::Fault;
use super::super::journey::Journey;
use super::super::server::{Flaw, FlawKind};
use super::super::setup::{Offer, Setup, Spare, Start};

/// Has servers of CockroachDB in some of the scenarios whose session is to move, with faults of their own. Chosen behind
/// everything else, so that the others are what they are without.
pub(super) fn between_nodes(scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    if scenario.setup.spare == Spare::None || scenario.setup.wild || !choices.percent(35) {
        return scenario;
    }
    let Scenario { setup, events } = scenario;
    let mut out = Vec::with_capacity(events.len() + 6);
    for event in events {
        let moves = matches!(
            event,
            Event::Fault(Fault::Move(_)) | Event::Aim(_, _, _, Fault::Move(_))
        );
        let errs = moves && choices.percent(70);
        if errs {
            out.push(Event::Fault(wrong(choices)));
        }
        out.push(match event {
            Event::Fault(Fault::Move(journey)) => {
                Event::Fault(Fault::Move(of_writer(&setup, journey)))
            }
            Event::Aim(peer, phase, beats, Fault::Move(journey)) => {
                Event::Aim(peer, phase, beats, Fault::Move(of_writer(&setup, journey)))
            }
            other => other,
        });
        if errs && choices.percent(40) {
            // So that it comes to an answer, and that time passes where there is none.
            out.push(Event::Calm);
            if choices.percent(30) {
                out.push(Event::Fault(Fault::Deadline));
            }
        }
    }
    let setup = Setup {
        transfers: true,
        // There are no standbys.
        split: false,
        gate_is_reader: false,
        read_only: false,
        spare: Spare::Like,
        start: match setup.start {
            Start::Replication => Start::Plain,
            other => other,
        },
        client_tls: match setup.client_tls {
            Offer::Passthrough => Offer::Allow,
            other => other,
        },
        ..setup
    };
    Scenario {
        setup: setup.sound(),
        events: out,
    }
}

fn of_writer(setup: &Setup, journey: Journey) -> Journey {
    Journey {
        writer: match journey.writer {
            Some(0) => Some(0),
            _ => Some(setup.spare_place()),
        },
        reader: None,
        ..journey
    }
}

/// An answer that is not as it should be, at any byte or message of it.
fn wrong(choices: &mut Choices<'_>) -> Fault {
    let peer = choices.one(&[PeerId::WRITER, PeerId::THIRD]);
    let (kind, _) = choices.one(&FlawKind::ALL);
    let most = match (kind, peer) {
        (FlawKind::Silent | FlawKind::Dies, PeerId::WRITER) => 400,
        (FlawKind::Silent | FlawKind::Dies, _) => 96,
        _ => 60,
    };
    let at = choices.below(most);
    Fault::Transfer(peer, Flaw { kind, at })
}
