//! What the statements of the console do.

use std::sync::Arc;
use std::time::Duration;

use pgturnout::session::{Denial, Destination};
use pgturnout::wire::{SqlState, sqlstate};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::command::{Command, Table};
use super::moves;
use super::show;
use super::table::{Failure, Row, Value};
use crate::Proxy;
use crate::cli::UsageError;
use crate::options::HostPort;
use crate::registry::{Ask, State};
use crate::topology::{NoPlace, Service};

const UNDEFINED_OBJECT: SqlState = SqlState(*b"42704");

/// How often sessions are asked whether they have come to rest.
const ASK: Duration = Duration::from_millis(20);

/// How many sessions an error names.
const NAMED: usize = 10;

/// What the operator is to see while a statement runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Row(Row),
    Notice(String),
}

/// Where news go. The operator may read slowly, and is waited for.
#[derive(Clone)]
pub(super) struct Reporter(mpsc::Sender<News>);

impl Reporter {
    pub(super) fn new(news: mpsc::Sender<News>) -> Reporter {
        Reporter(news)
    }

    pub(super) async fn row(&self, row: Row) {
        // Nobody listens when the statement is being given up.
        let _ = self.0.send(News::Row(row)).await;
    }

    pub(super) async fn notice(&self, text: String) {
        let _ = self.0.send(News::Notice(text)).await;
    }

    /// What became of a session.
    pub(super) async fn became(&self, session: u64, result: &str, tries: u64, more: Became<'_>) {
        let (held, why) = match more {
            Became::Nothing => (Value::Null, Value::Null),
            Became::Held(held) => (Value::count(held.as_micros()), Value::Null),
            Became::Because(why) => (Value::Null, Value::text(why)),
        };
        let tries = Value::count(tries);
        let row = vec![Value::count(session), Value::text(result), tries, held, why];
        self.row(row).await;
    }
}

/// What else there is to say of a session.
#[derive(Clone, Copy)]
pub(super) enum Became<'a> {
    Nothing,
    Held(Duration),
    Because(&'a str),
}

impl From<UsageError> for Failure {
    /// What was read again for the change has a mistake by now.
    fn from(error: UsageError) -> Failure {
        let state = sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE;
        Failure::new(state, error.to_string())
    }
}

/// Runs a statement to its end: its tag.
pub(super) async fn run(
    proxy: &Arc<Proxy>,
    command: Command,
    news: Reporter,
) -> Result<String, Failure> {
    match command {
        Command::Show(table) => show(proxy, table, &news).await,
        Command::Drain(at) => serve(proxy, &at, Service::Drained, "DRAIN"),
        Command::Resume(at) => serve(proxy, &at, Service::Open, "RESUME"),
        Command::Pause(at, within) => pause(proxy, find(proxy, &at)?, within, &news).await,
        Command::MigrateSession(number, leg, to, within) => {
            let to = find(proxy, &to)?;
            moves::one(proxy, number, leg, to, within, &news).await
        }
        Command::MigrateAll { from, to, within } => {
            let (from, to) = (find(proxy, &from)?, find(proxy, &to)?);
            moves::all(proxy, from, to, within, &news).await
        }
        Command::Terminate(number) => terminate(proxy, number),
    }
}

async fn show(proxy: &Proxy, table: Table, news: &Reporter) -> Result<String, Failure> {
    for row in show::rows(proxy, table).await {
        news.row(row).await;
    }
    Ok("SHOW".to_owned())
}

fn serve(proxy: &Proxy, at: &HostPort, service: Service, tag: &str) -> Result<String, Failure> {
    let at = find(proxy, at)?;
    set(proxy, at, service)?;
    Ok(tag.to_owned())
}

fn set(proxy: &Proxy, at: Destination, service: Service) -> Result<(), Failure> {
    proxy.change::<Failure>(|topology| {
        topology.serve(at, service);
        Ok(())
    })?;
    let line = format!("console: {} is {service}", proxy.name(at));
    proxy.log.line(&line);
    Ok(())
}

/// The server of this name.
fn find(proxy: &Proxy, address: &HostPort) -> Result<Destination, Failure> {
    let known = proxy.addresses.iter().position(|known| known == address);
    known.map(Destination).ok_or_else(|| {
        let names: Vec<String> = proxy.addresses.iter().map(ToString::to_string).collect();
        let message = format!("there is no upstream \"{address}\"");
        let hint = format!(
            "The proxy knows {}; one that nobody is served by yet is named with --spare.",
            names.join(", ")
        );
        Failure::new(UNDEFINED_OBJECT, message).with_hint(hint)
    })
}

pub(super) fn no_session(number: u64) -> Failure {
    let message = format!("there is no session {number}");
    Failure::new(UNDEFINED_OBJECT, message).with_hint("SHOW SESSIONS lists them.")
}

pub(super) fn no_place(proxy: &Proxy, to: Destination, why: NoPlace) -> Failure {
    let to = proxy.name(to);
    let message = match why {
        NoPlace::Same => format!("sessions of {to} are at {to}"),
        NoPlace::Writer => format!("{to} is the writer, and takes no reader's place"),
        NoPlace::Closed => format!("{to} is drained or paused"),
    };
    Failure::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

fn terminate(proxy: &Proxy, number: u64) -> Result<String, Failure> {
    let denial = Denial::new("terminating connection due to administrator command")
        .with_sqlstate(sqlstate::ADMIN_SHUTDOWN);
    match proxy.registry.tell(number, Ask::Expel(denial)) {
        Ok(()) => Ok("TERMINATE".to_owned()),
        Err(_) => Err(no_session(number)),
    }
}

/// Holds every session that writes there, or none: unless all come to rest in time, those that did go on.
async fn pause(
    proxy: &Arc<Proxy>,
    at: Destination,
    within: Duration,
    news: &Reporter,
) -> Result<String, Failure> {
    let deadline = Instant::now() + within;
    let before = proxy.topology().service(at);
    set(proxy, at, Service::Paused)?;
    let mut pausing = Pausing {
        proxy,
        at,
        back: Some(before),
    };
    let mut told = Vec::new();
    loop {
        let (standings, silent) = proxy.registry.standings_and_silent(show::PATIENCE).await;
        let unknown = |number| (number, "it does not say what it does".to_owned());
        let mut restless: Vec<(u64, String)> = silent.into_iter().map(unknown).collect();
        for standing in standings.iter().filter(|one| one.writer == Some(at)) {
            match standing.state {
                State::Paused if !told.contains(&standing.number) => {
                    told.push(standing.number);
                    let more = Became::Nothing;
                    news.became(standing.number, "paused", 1, more).await;
                }
                State::Paused | State::Waiting => {}
                State::Moving | State::Console | State::Session(_) => {
                    restless.push((standing.number, standing.state.to_string()));
                }
            }
        }
        if restless.is_empty() {
            pausing.back = None;
            return Ok(format!("PAUSE {}", told.len()));
        }
        if Instant::now() >= deadline {
            for (number, state) in &restless {
                let more = Became::Because(state);
                news.became(*number, "restless", 1, more).await;
            }
            let name = proxy.name(at);
            let message = format!("not every session at {name} came to rest in time");
            return Err(stuck(message, &restless).with_hint(
                "Those that did go on. End what is in the way, or try again WITHIN more seconds.",
            ));
        }
        tokio::time::sleep(ASK).await;
    }
}

/// An error that names sessions and what keeps each.
pub(super) fn stuck(message: String, sessions: &[(u64, String)]) -> Failure {
    let mut named: Vec<String> = sessions
        .iter()
        .take(NAMED)
        .map(|(number, why)| format!("session {number}: {why}"))
        .collect();
    if sessions.len() > NAMED {
        named.push(format!("and {} more", sessions.len() - NAMED));
    }
    let state = sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(state, message).with_detail(named.join("; "))
}

/// A pause that is not complete: given up, it is none.
struct Pausing<'a> {
    proxy: &'a Proxy,
    at: Destination,
    back: Option<Service>,
}

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        if let Some(service) = self.back {
            // What could be configured before can be again.
            let _ = set(self.proxy, self.at, service);
        }
    }
}
