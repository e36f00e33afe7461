//! What else a session is set up with, chosen behind everything else, so that the rest of a scenario is what it is without;
//! and what makes something of it.

use pgturnout::session::{OutOfSync, PeerId, RelayedPassword};

use super::super::choices::Choices;
use super::super::event::{Event, Scenario};
use super::super::fault::Fault;
use super::super::setup::{Caller, Fresh, Logins, Method, Offer, Spare, Start, Tls};
use super::cancels::{says, some_passes};

/// What has no place in a stream: lengths that cannot be.
const SENSELESS: [&[u8]; 4] = [
    b"Q\0\0\0\x03select 1\0",
    b"D\xff\xff\xff\xff",
    b"C\0\0\0\0",
    b"Z\x80\0\0\x05I",
];

/// Has the writer away at first, in some of the scenarios, and the session dial it again.
pub(super) fn awaited(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    let retries = choices.weighted(&[(12, 0), (2, 1), (1, 2), (1, 3)]);
    let absences = choices.weighted(&[(3, 0), (4, 1), (2, 2), (1, 3), (1, 4)]);
    scenario.setup.fittings.retries = retries;
    scenario.setup.fittings.absences = if retries > 0 { absences } else { 0 };
    let calm = scenario
        .events
        .iter()
        .position(|event| *event == Event::Calm);
    if let Some(calm) = calm.filter(|_| !scenario.setup.wild) {
        let time = u64::try_from(scenario.setup.fittings.delay().as_millis()).unwrap_or_default();
        let waits = [Event::Fault(Fault::Clock(time)), Event::Calm];
        let all = (0..scenario.setup.fittings.absences.min(retries)).flat_map(|_| waits.clone());
        let all: Vec<Event> = all.collect();
        scenario.events.splice(calm + 1..calm + 1, all);
    }
    scenario
}

/// Has some of those that keep an eye on their writes count reads, and not time.
pub(super) fn counted(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    if scenario.setup.fresh == Fresh::For && choices.percent(50) {
        scenario.setup.fresh = Fresh::Reads;
    }
    scenario
}

/// Has some clients show their password to whoever asks, and some of the callers have tenants.
pub(super) fn shown(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    let setup = &mut scenario.setup;
    setup.fittings.tenant = choices.percent(12);
    setup.fittings.relayed = choices.weighted(&[
        (2, RelayedPassword::AsTheClient),
        (1, RelayedPassword::OverTls),
        (1, RelayedPassword::Anyhow),
    ]);
    let plain = setup.start == Start::Plain && setup.spare == Spare::None && !setup.transfers;
    let alone = setup.caller == Caller::Nobody && setup.logins == Logins::Unasked;
    let relays = !setup.terminate && !setup.is_opaque() && !setup.read_only;
    if plain && alone && relays && !setup.wild && choices.percent(8) {
        (setup.login, setup.verifier, setup.bound) = (Method::Cleartext, false, false);
        (setup.split, setup.gate_is_reader) = (false, false);
        (setup.upstream_tls, setup.servers_have_tls) = (Tls::Disable, false);
        (setup.servers_want_tls, setup.upstream_direct) = (false, false);
        setup.client_tls = Offer::Allow;
        setup.client_asks_tls = choices.percent(60);
    }
    scenario
}

/// Has something else follow where a stream makes no sense.
pub(super) fn passed(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    scenario.setup.fittings.senseless = choices.weighted(&[
        (5, OutOfSync::Error),
        (2, OutOfSync::Close),
        (3, OutOfSync::Passthrough),
    ]);
    scenario
}

/// Has a stream make no sense, in some of the scenarios.
pub(super) fn broken(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    let setup = &mut scenario.setup;
    if setup.fittings.senseless == OutOfSync::Error || setup.wild || !choices.percent(35) {
        return scenario;
    }
    // Nothing passes where somebody judges what is said.
    setup.fittings.tenant &= setup.fittings.senseless == OutOfSync::Close;
    let calm = |event: &Event| *event == Event::Calm;
    let calms = scenario.events.iter().filter(|event| calm(event)).count();
    let nth = choices.below(calms.max(1));
    let mut places = (0..scenario.events.len()).filter(|at| calm(&scenario.events[*at]));
    let Some(at) = places.nth(nth) else {
        return scenario;
    };
    let mut events = Vec::new();
    for _ in 0..1 + choices.below(3) {
        let bytes = choices.one(&SENSELESS).to_vec();
        events.push(match choices.percent(50) {
            true => Event::Raw(bytes),
            false => Event::Fault(Fault::Lie(PeerId::WRITER, bytes)),
        });
        some_passes(&mut events, choices);
        says("select v from t where id = 1", &mut events, choices);
        some_passes(&mut events, choices);
    }
    scenario.events.splice(at + 1..at + 1, events);
    scenario
}
