//! Cancels that take their time, and what is said meanwhile.

use pgturnout::session::PeerId;

use super::super::choices::Choices;
use super::super::event::{Event, Scenario};
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::super::world::Pace;

/// What a cancel is for, and what may be said behind it.
const TEXTS: [&str; 7] = [
    "select id from t order by id",
    "insert into t values (901, 'first')",
    "select pg_sleep(0.1)",
    "update t set v = 'second' where id = 902",
    "set application_name = 'held'",
    "insert into t values (903, 'third')",
    "table t",
];

/// Has cancels take their time. Chosen behind everything else, so that the rest of a scenario is what it is without.
pub(super) fn timed(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    scenario.setup.fittings.cancels = choices.weighted(&[
        (3, Pace::Prompt),
        (4, Pace::Slow),
        (2, Pace::Late),
        (2, Pace::Unended),
        (1, Pace::Lost),
    ]);
    scenario
}

/// Has some clients cancel what they ask, as soon as they are let in.
pub(super) fn hurried(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    let calm = scenario
        .events
        .iter()
        .position(|event| *event == Event::Calm);
    let Some(calm) = calm.filter(|_| !scenario.setup.wild && choices.percent(30)) else {
        return scenario;
    };
    let mut events = Vec::new();
    if choices.percent(60) {
        events.push(Event::Fault(Fault::Lock));
    }
    let first = choices.below(TEXTS.len());
    for nth in 0..1 + choices.below(4) {
        let text = TEXTS[(first + nth) % TEXTS.len()];
        says(text, &mut events, choices);
        some_passes(&mut events, choices);
        if nth == 0 || choices.percent(30) {
            events.push(Event::Fault(Fault::Cancel));
            some_passes(&mut events, choices);
        }
        if choices.percent(15) {
            let time = choices.one(&[1_000, 2_800, 9_000]);
            events.push(Event::Fault(Fault::Clock(time)));
        }
    }
    events.push(Event::Calm);
    scenario.events.splice(calm + 1..calm + 1, events);
    scenario
}

pub(super) fn says(text: &str, events: &mut Vec<Event>, choices: &mut Choices<'_>) {
    if choices.percent(65) {
        return events.push(Event::Say(ClientMessage::Query(text.to_owned())));
    }
    events.extend(part(text).map(Event::Say));
    events.push(Event::Say(ClientMessage::Sync));
}

/// A text in a batch that goes on.
pub(super) fn part(text: &str) -> [ClientMessage; 3] {
    let name = String::new;
    [
        ClientMessage::Parse {
            name: name(),
            text: text.to_owned(),
        },
        ClientMessage::Bind {
            portal: name(),
            statement: name(),
            values: Vec::new(),
        },
        ClientMessage::Execute {
            portal: name(),
            max_rows: 0,
        },
    ]
}

/// Something of what can happen does.
pub(super) fn some_passes(events: &mut Vec<Event>, choices: &mut Choices<'_>) {
    if choices.percent(30) {
        return events.push(Event::Calm);
    }
    let upstream = choices.one(&[PeerId::WRITER, PeerId::READER]);
    for _ in 0..choices.below(5) {
        let size = choices.one(&[100_000, 100_000, 4, 7, 30]);
        events.push(match choices.below(6) {
            0 | 1 => Event::Arrive(PeerId::CLIENT, size),
            2 | 3 => Event::Leave(upstream, size),
            4 => Event::Serve(upstream),
            _ => Event::Arrive(upstream, size),
        });
    }
}
