//! What a session does with itself where its scenario rests, chosen behind everything else, so that the rest of the scenario is what
//! it is without.

use super::super::choices::Choices;
use super::super::event::{Event, Scenario};
use super::super::fault::{Fault, Known};
use super::super::message::ClientMessage;
use super::cancels::{part, says};

/// What happens in one of these.
#[derive(Clone, Copy)]
enum Step {
    /// A request, by the simple protocol or by the extended one.
    Asks(&'static str),
    /// A statement is prepared by this name.
    Prepares(&'static str, &'static str),
    /// A statement is run by its name.
    Runs(&'static str),
    /// The driver learns this of every reader.
    Learns(Known),
    /// A statement is run in a batch that goes on.
    GoesOn(&'static str),
    Flushes,
    /// Everything that is due comes.
    Rests,
}

use Step::{Asks, Flushes, GoesOn, Learns, Prepares, Rests, Runs};

/// Each a sequence; the last request shows on either server what the others have left.
const INTERLUDES: [&[Step]; 31] = [
    // A quote in a value is one wherever that is repeated.
    &[
        Asks("set my.a = 'o''clock'"),
        Asks("select current_setting('my.a', true)"),
    ],
    &[
        Asks("set my.a = E'\\'a\\\\'"),
        Asks("select current_setting('my.a', true)"),
    ],
    &[
        Asks("select set_config('my.a', 'o''clock', false)"),
        Asks("select current_setting('my.a', true)"),
    ],
    &[
        Asks("select set_config('my.a', 'x'', false), set_config(''my.b'', ''y', false)"),
        Asks("select current_setting('my.b', true)"),
    ],
    &[
        Asks("set application_name = 'it''s'"),
        Asks("select current_setting('application_name')"),
    ],
    &[
        Asks("set search_path = \"a\"\"p\", public"),
        Asks("select current_setting('search_path')"),
    ],
    // What is local is over with its transaction, whatever it is of.
    &[
        Asks("begin"),
        Asks("set local role m_role"),
        Asks("commit"),
        Asks("select current_user"),
    ],
    &[
        Asks("begin"),
        Asks("set local role m_role"),
        Asks("rollback"),
        Asks("select current_user"),
    ],
    &[
        Asks("begin"),
        Asks("set local role m_role"),
        Asks("savepoint a"),
        Asks("reset role"),
        Asks("commit"),
        Asks("select current_user"),
    ],
    &[
        Asks("set role m_role"),
        Asks("begin"),
        Asks("set local role none"),
        Asks("commit"),
        Asks("select current_user"),
    ],
    &[
        Asks("set role m_role"),
        Asks("begin"),
        Asks("reset role"),
        Asks("rollback"),
        Asks("select current_user"),
    ],
    &[
        Asks("begin"),
        Asks("set local my.a = 'one'"),
        Asks("commit and chain"),
        Asks("select current_setting('my.a', true)"),
        Asks("commit"),
    ],
    &[
        Asks("set my.a = 'one'"),
        Asks("begin"),
        Asks("set local my.a = 'two'"),
        Asks("set my.a = 'three'"),
        Asks("commit"),
        Asks("select current_setting('my.a', true)"),
    ],
    &[
        Asks("begin"),
        Asks("set my.a = 'one'"),
        Asks("set local my.a = 'two'"),
        Asks("commit"),
        Asks("select current_setting('my.a', true)"),
    ],
    // What goes back to a savepoint has not happened, be it good or bad for reads.
    &[
        Asks("create temp table tmp (a int)"),
        Asks("begin"),
        Asks("savepoint a"),
        Asks("discard temp"),
        Asks("rollback to a"),
        Asks("commit"),
        Asks("select a from tmp"),
    ],
    &[
        Asks("create temp table tmp (a int)"),
        Asks("begin"),
        Asks("savepoint a"),
        Asks("drop table tmp"),
        Asks("rollback to a"),
        Asks("commit"),
        Asks("select a from tmp"),
    ],
    &[
        Asks("begin"),
        Asks("savepoint a"),
        Asks("create temp table tmp (a int)"),
        Asks("rollback to a"),
        Asks("commit"),
        Asks("select 1"),
    ],
    &[
        Asks("begin"),
        Asks("savepoint a"),
        Asks("create temp table tmp (a int)"),
        Asks("release a"),
        Asks("commit"),
        Asks("select a from tmp"),
    ],
    // Everything at once.
    &[
        Asks("set my.a = 'one'"),
        Asks("set role m_role"),
        Asks("reset all"),
        Asks("select current_user"),
    ],
    &[
        Asks("begin"),
        Asks("set my.a = 'one'"),
        Asks("savepoint a"),
        Asks("reset all"),
        Asks("rollback to a"),
        Asks("commit"),
        Asks("select current_setting('my.a', true)"),
    ],
    // The default of the server is the session's again.
    &[
        Asks("set default_transaction_isolation = 'read committed'"),
        Asks("select 1"),
        Asks("reset all"),
        Asks("table t"),
    ],
    &[
        Asks("set default_transaction_isolation = 'read committed'"),
        Asks("select 1"),
        Asks("reset default_transaction_isolation"),
        Asks("table t"),
    ],
    &[
        Asks("set default_transaction_isolation = 'read committed'"),
        Asks("select 1"),
        Asks("discard all"),
        Asks("table t"),
    ],
    // What was said before is said again, and counts again.
    &[
        Asks("set datestyle = 'German'"),
        Asks("set datestyle = 'ISO'"),
        Asks("set datestyle = 'German'"),
        Asks("select current_setting('datestyle')"),
    ],
    &[
        Asks("set datestyle = 'SQL'"),
        Asks("set datestyle = 'DMY'"),
        Asks("set datestyle = 'ISO'"),
        Asks("set datestyle = 'SQL'"),
        Asks("set datestyle = 'MDY'"),
        Asks("select current_setting('datestyle')"),
    ],
    &[
        Asks("set my.a = 'one'"),
        Asks("set my.a = 'two'"),
        Asks("set my.a = 'one'"),
        Asks("select current_setting('my.a', true)"),
    ],
    // What is made behind the end of everything is there.
    &[
        Prepares("mk", "create temp table tmp (a int)"),
        Asks("discard temp"),
        Runs("mk"),
        Asks("select a from tmp"),
    ],
    &[
        Prepares("mk", "create temp table tmp (a int)"),
        Asks("begin"),
        Asks("discard temp"),
        Runs("mk"),
        Asks("commit"),
        Asks("select a from tmp"),
    ],
    &[
        Asks("create temp table tmp (a int)"),
        Prepares("mk", "create temp table tmp (a int)"),
        Asks("drop table tmp"),
        Runs("mk"),
        Asks("select a from tmp"),
    ],
    // A statement that a reader has is needed where texts are read otherwise.
    &[
        Asks("set datestyle = 'German'"),
        Prepares("ax", "select v from t where v = 'a'"),
        Runs("ax"),
        Rests,
        Asks("reset all"),
        Asks("begin"),
        Runs("ax"),
        Asks("commit"),
    ],
    &[
        Asks("set datestyle = 'German'"),
        Prepares("ax", "select v from t where v = 'a'"),
        Runs("ax"),
        Rests,
        Asks("discard plans"),
        Asks("reset datestyle"),
        Asks("begin"),
        Runs("ax"),
        Asks("commit"),
    ],
];

/// The same of transactions that only read.
const READ_ONLY: [&[Step]; 4] = [
    // A reader that is not to be used goes on with what it has begun.
    &[
        Asks("begin read only"),
        Asks("table t"),
        Rests,
        Learns(Known::Down),
        Asks("table t"),
        Asks("commit"),
        Asks("table t"),
        Learns(Known::Up),
        Asks("table t"),
    ],
    &[
        Asks("begin read only"),
        Asks("savepoint a"),
        Asks("table t"),
        Rests,
        Learns(Known::Lags),
        Asks("select v from t where id = 1"),
        Asks("rollback to a"),
        Asks("commit"),
        Learns(Known::Up),
        Asks("table t"),
    ],
    // A part of a batch was asked for, and the rest was not.
    &[
        Asks("begin read only"),
        Asks("table t"),
        Rests,
        GoesOn("table t"),
        Flushes,
        Rests,
        GoesOn("select 1"),
        Asks("commit"),
    ],
    // The unnamed statement is where it was prepared, also behind what began again elsewhere.
    &[
        Prepares("bg", "begin read only"),
        Prepares("in", "insert into t values (1977, 'x')"),
        Prepares("rb", "rollback"),
        Prepares("", "insert into t values (1978, 'y')"),
        Rests,
        Runs("bg"),
        Runs("in"),
        Runs("rb"),
        Runs(""),
    ],
];

/// Has some scenarios meet one of these, or two, where they rest.
pub(super) fn met(mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    if scenario.setup.wild || !choices.percent(20) {
        return scenario;
    }
    for _ in 0..1 + choices.below(2) {
        let calms = scenario.events.iter().enumerate();
        let calms = calms.filter(|(_, event)| **event == Event::Calm);
        let places: Vec<usize> = calms.map(|(at, _)| at + 1).collect();
        let Some(last) = places.len().checked_sub(1) else {
            return scenario;
        };
        let at = places[choices.below(last + 1)];
        let mut events = Vec::new();
        let interlude = match scenario.setup.read_transactions && choices.percent(60) {
            true => choices.one(&READ_ONLY),
            false => choices.one(&INTERLUDES),
        };
        for step in interlude {
            happens(*step, scenario.setup.readers, &mut events, choices);
        }
        events.push(Event::Calm);
        scenario.events.splice(at..at, events);
    }
    scenario
}

fn happens(step: Step, readers: usize, events: &mut Vec<Event>, choices: &mut Choices<'_>) {
    match step {
        Asks(text) => says(text, events, choices),
        Prepares(name, text) => {
            let (name, text) = (name.to_owned(), text.to_owned());
            let messages = [ClientMessage::Parse { name, text }, ClientMessage::Sync];
            events.extend(messages.map(Event::Say));
        }
        Runs(name) => {
            let portal = String::new;
            let statement = name.to_owned();
            let messages = [
                ClientMessage::Bind {
                    portal: portal(),
                    statement,
                    values: Vec::new(),
                },
                ClientMessage::Execute {
                    portal: portal(),
                    max_rows: 0,
                },
                ClientMessage::Sync,
            ];
            events.extend(messages.map(Event::Say));
        }
        GoesOn(text) => return events.extend(part(text).map(Event::Say)),
        Flushes => return events.push(Event::Say(ClientMessage::Flush)),
        Rests => return events.push(Event::Calm),
        Learns(known) => events.push(Event::Fault(Fault::Readers(vec![known; readers]))),
    }
    if choices.percent(60) {
        events.push(Event::Calm);
    }
}
