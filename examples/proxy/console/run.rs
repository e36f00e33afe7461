//! What the statements of the console do.

use std::sync::Arc;
use std::time::Duration;

use pgturnout::session::{Denial, Destination};
use pgturnout::wire::{SqlState, sqlstate};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::claims::{Claimed, Operator, Share, Taken, Thing};
use super::command::{Command, Table};
use super::moves;
use super::show;
use super::table::{Failure, Row, Value};
use crate::Proxy;
use crate::cli::UsageError;
use crate::options::HostPort;
use crate::registry::{Ask, State};
use crate::topology::{NoPlace, Service};

const OBJECT_IN_USE: SqlState = SqlState(*b"55006");

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

    /// What became of a server's place: a row of no session's.
    pub(super) async fn placed(&self, result: &str, why: String) {
        let (result, why) = (Value::text(result), Value::Text(why));
        let row = vec![Value::Null, result, Value::Null, Value::Null, why];
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

/// A statement that runs: on whose behalf, and where its news go.
pub(super) struct Work {
    pub(super) proxy: Arc<Proxy>,
    by: Arc<Operator>,
    pub(super) news: Reporter,
}

impl Work {
    pub(super) fn new(proxy: &Arc<Proxy>, by: Arc<Operator>, news: Reporter) -> Work {
        let proxy = Arc::clone(proxy);
        Work { proxy, by, news }
    }

    /// Keeps other operators' statements from these, until the returned value is dropped.
    pub(super) fn claim(&self, things: &[(Thing, Share)]) -> Result<Claimed, Failure> {
        self.proxy
            .claims
            .claim(&self.by, things)
            .map_err(|Taken { thing, by }| {
                let thing = match thing {
                    Thing::Server(at) => self.proxy.name(at).to_string(),
                    Thing::Session(number) => format!("session {number}"),
                };
                let message = format!("another operator is at work on {thing}");
                let hint = format!(
                    "Wait until that is done; TERMINATE SESSION {} gives it up.",
                    by.session
                );
                Failure::new(OBJECT_IN_USE, message)
                    .with_detail(format!("The console's {by}."))
                    .with_hint(hint)
            })
    }
}

/// Runs a statement to its end: its tag.
pub(super) async fn run(work: Work, command: Command) -> Result<String, Failure> {
    let proxy = &work.proxy;
    match command {
        Command::Show(table) => show(proxy, table, &work.news).await,
        Command::Drain(at) => serve(&work, &at, Service::Drained, "DRAIN"),
        Command::Resume(at) => serve(&work, &at, Service::Open, "RESUME"),
        Command::Pause(at, within) => pause(&work, find(proxy, &at)?, within).await,
        Command::MigrateSession {
            number,
            leg,
            to,
            terms,
        } => moves::one(&work, number, leg, find(proxy, &to)?, &terms).await,
        Command::MigrateAll { from, to, terms } => {
            let (from, to) = (find(proxy, &from)?, find(proxy, &to)?);
            moves::all(&work, from, to, &terms).await
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

fn serve(work: &Work, at: &HostPort, service: Service, tag: &str) -> Result<String, Failure> {
    let at = find(&work.proxy, at)?;
    let _ours = work.claim(&[(Thing::Server(at), Share::Alone)])?;
    set(&work.proxy, at, service)?;
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
            "The proxy knows {}. Another one has to be named with --spare when the proxy starts.",
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
    let (message, hint) = match why {
        NoPlace::Same => (
            format!("sessions of {to} are at {to}"),
            "Name two servers.".to_owned(),
        ),
        NoPlace::Writer => (
            format!("{to} is the writer, and takes no reader's place"),
            "SHOW UPSTREAMS says what each server is for.".to_owned(),
        ),
        NoPlace::Closed => (
            format!("{to} is drained or paused"),
            format!("RESUME '{to}' opens it."),
        ),
    };
    Failure::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message).with_hint(hint)
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
async fn pause(work: &Work, at: Destination, within: Duration) -> Result<String, Failure> {
    let Work { proxy, news, .. } = work;
    let _ours = work.claim(&[(Thing::Server(at), Share::Alone)])?;
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
            let number = restless.first().map_or(0, |(number, _)| *number);
            let hint = format!(
                "No session is paused now. TERMINATE SESSION {number} ends what was in the way; \
                 PAUSE '{name}' WITHIN more than {} seconds waits longer.",
                within.as_secs()
            );
            return Err(stuck(message, &restless).with_hint(hint));
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
