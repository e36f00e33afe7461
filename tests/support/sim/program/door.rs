//! Who comes in, and who is put out.

use pgturnout::session::PeerId;

use super::super::choices::Choices;
use super::super::event::Event;
use super::super::fault::Fault;
use super::super::fittings::Fittings;
use super::super::setup::{Caller, Finder, Logins, Method, Setup, Start};

fn aims(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Aim(..)))
}

/// Has some of the sessions do without a writer, look users up, ask the caller about logins, and put clients out. Chosen
/// behind everything else, so that the rest of a scenario is what it is without.
pub(super) fn opened(
    mut setup: Setup,
    mut events: Vec<Event>,
    choices: &mut Choices<'_>,
) -> (Setup, Vec<Event>) {
    match choices.below(32) {
        1..=3 => {
            setup.read_only = true;
            let fault = match choices.below(8) {
                0..=2 => Fault::RefuseDial(PeerId::WRITER),
                3..=5 => Fault::RefuseLogin(PeerId::WRITER, "57P03".to_owned()),
                6 => Fault::HangDial(PeerId::WRITER),
                _ => Fault::Pose(PeerId::WRITER, super::super::server::Impostor::Silent),
            };
            if !setup.wild {
                let waits = matches!(fault, Fault::HangDial(_) | Fault::Pose(..));
                events.insert(0, Event::Fault(fault));
                if waits {
                    events.insert(1, Event::Calm);
                    events.insert(2, Event::Fault(Fault::Deadline));
                }
            }
        }
        4 => setup.read_only = true,
        5 | 6 => {
            setup.logins = choices.weighted(&[(2, Logins::Allowed), (1, Logins::Denied)]);
        }
        7 | 8 if !events.is_empty() && !setup.wild => {
            let at = choices.below(events.len() + 1);
            events.insert(at, Event::Fault(Fault::Expel));
        }
        // A fault that waits for its moment needs a session.
        9 if setup.start == Start::Plain && !setup.wild && !aims(&events) => {
            setup.start = Start::Long;
            setup.short_startup = choices.percent(60);
        }
        _ => {}
    }
    if setup.terminate {
        setup.finder = choices.weighted(&[
            (8, Finder::Listed),
            (3, Finder::Prompt),
            (1, Finder::Late),
            (1, Finder::Silent),
            (1, Finder::Sorry),
        ]);
        setup.renamed = choices.percent(20);
    }
    setup.fittings = Fittings::choose(choices);
    if !setup.terminate
        && choices.percent(match setup.caller {
            Caller::Nobody if setup.split => 0,
            Caller::Nobody => 20,
            _ => 40,
        })
    {
        setup.login = Method::Gss;
    }
    (setup.sound(), events)
}
