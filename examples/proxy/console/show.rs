//! What the console shows: the columns of each statement, and the rows of those that only look.

use std::collections::BTreeMap;
use std::time::Duration;

use pgturnout::session::{Destination, Role};
use pgturnout::wire::Printable;

use super::command::{COMMANDS, Command, Table};
use super::manner::OPTIONS;
use super::table::{Column, Row, Type, Value};
use crate::registry::{Standing, State};
use crate::{Proxy, metrics};

/// How long sessions may take to say what they do: one that is busy for longer is left out.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

const HELP: &[Column] = &[("statement", Type::Text), ("what it does", Type::Text)];

const VERSION: &[Column] = &[("version", Type::Text)];

const SESSIONS: &[Column] = &[
    ("session", Type::Number),
    ("user", Type::Text),
    ("database", Type::Text),
    ("application", Type::Text),
    ("client", Type::Text),
    ("state", Type::Text),
    ("writer", Type::Text),
    ("reader", Type::Text),
    ("pinned by", Type::Text),
    ("age", Type::Number),
];

const UPSTREAMS: &[Column] = &[
    ("upstream", Type::Text),
    ("role", Type::Text),
    ("state", Type::Text),
    ("writing", Type::Number),
    ("reading", Type::Number),
    ("paused", Type::Number),
    ("waiting", Type::Number),
];

const STATS: &[Column] = &[
    ("of", Type::Text),
    ("name", Type::Text),
    ("value", Type::Number),
];

/// What becomes of each session, as it becomes of it.
const PROGRESS: &[Column] = &[
    ("session", Type::Number),
    ("result", Type::Text),
    ("tries", Type::Number),
    ("held_us", Type::Number),
    ("why", Type::Text),
];

/// The columns of what a statement answers; none if it has no rows.
pub(super) fn columns(command: &Command) -> &'static [Column] {
    match command {
        Command::Show(Table::Help) => HELP,
        Command::Show(Table::Sessions) => SESSIONS,
        Command::Show(Table::Upstreams) => UPSTREAMS,
        Command::Show(Table::Stats) => STATS,
        Command::Show(Table::Version) => VERSION,
        Command::Drain(_) | Command::Resume(_) | Command::Terminate(_) => &[],
        Command::Pause(..) | Command::MigrateSession { .. } | Command::MigrateAll { .. } => {
            PROGRESS
        }
    }
}

/// The rows of a table.
pub(super) async fn rows(proxy: &Proxy, table: Table) -> Vec<Row> {
    match table {
        Table::Help => {
            let commands = COMMANDS
                .iter()
                .map(|(words, does)| ((*words).to_owned(), *does));
            let option = |(name, takes, does): &(&str, &str, &'static str)| {
                (format!("  WITH ({name} = {takes})"), *does)
            };
            commands
                .chain(OPTIONS.iter().map(option))
                .map(|(words, does)| vec![Value::Text(words), Value::text(does)])
                .collect()
        }
        Table::Version => vec![vec![Value::text(VERSION_TEXT)]],
        Table::Sessions => {
            let standings = proxy.registry.standings(PATIENCE).await;
            standings.iter().map(|one| session(proxy, one)).collect()
        }
        Table::Upstreams => {
            let standings = proxy.registry.standings(PATIENCE).await;
            upstreams(proxy, &standings)
        }
        Table::Stats => {
            metrics::refresh(proxy).await;
            proxy.metrics.rows().into_iter().map(stat).collect()
        }
    }
}

const VERSION_TEXT: &str = concat!("pgturnout ", env!("CARGO_PKG_VERSION"));

fn stat((of, name, value): (String, String, u64)) -> Row {
    vec![Value::Text(of), Value::Text(name), Value::count(value)]
}

fn session(proxy: &Proxy, standing: &Standing) -> Row {
    let asked = |name: &[u8]| match &standing.startup {
        Some(startup) => startup.get(name).map_or(Value::Null, from_client),
        None => Value::Null,
    };
    let database = standing.startup.as_ref().map(|startup| startup.database());
    let place = |at: Option<Destination>| match at {
        Some(at) => Value::text(proxy.name(at).to_string()),
        None => Value::Null,
    };
    let pins: Vec<String> = standing.pins.iter().map(ToString::to_string).collect();
    vec![
        Value::count(standing.number),
        asked(b"user"),
        database.map_or(Value::Null, from_client),
        asked(b"application_name"),
        Value::text(standing.client.to_string()),
        Value::text(standing.state.to_string()),
        place(standing.writer),
        place(standing.reader),
        match pins.is_empty() {
            true => Value::Null,
            false => Value::text(pins.join(", ")),
        },
        Value::count(standing.age.as_secs()),
    ]
}

/// What a client says of itself, fit for the operator's terminal.
fn from_client(text: &[u8]) -> Value {
    Value::text(Printable(text).to_string())
}

fn upstreams(proxy: &Proxy, standings: &[Standing]) -> Vec<Row> {
    let topology = proxy.topology();
    let mut counts: BTreeMap<usize, [u64; 4]> = BTreeMap::new();
    let mut count = |at: Option<Destination>, column: usize| {
        if let Some(at) = at {
            counts.entry(at.0).or_default()[column] += 1;
        }
    };
    for standing in standings {
        count(standing.writer, 0);
        count(standing.reader, 1);
        match standing.state {
            State::Paused => count(standing.writer, 2),
            State::Waiting => count(standing.writer, 3),
            State::Moving | State::Console | State::Session(_) => {}
        }
    }
    let upstreams = proxy.addresses.iter().enumerate();
    let row = |(at, address): (usize, _)| {
        let role = match topology.role(Destination(at)) {
            Role::Writer => "writer",
            Role::Reader => "reader",
            Role::Spare => "spare",
        };
        let service = topology.service(Destination(at));
        let address: &crate::options::HostPort = address;
        let mut row = vec![
            Value::text(address.to_string()),
            Value::text(role),
            Value::text(service.to_string()),
        ];
        let counts = counts.get(&at).copied().unwrap_or_default();
        row.extend(counts.map(Value::count));
        row
    };
    upstreams.map(row).collect()
}
