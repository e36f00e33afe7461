//! The readers: which of them sessions use, what is known of each, and what the servers say of themselves.
//!
//! Sessions count what they have asked and how long it took; the monitor asks each server every second how far it is. A
//! session is told all of it whenever it has something to do ([`pgturnout::session::Session::handle_readers`]).

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgturnout::route::{Balance, Facts, Health, ReaderChoice, ReaderFacts};
use pgturnout::session::{Destination, Event, PeerId};
use pgturnout::track::Lsn;

use crate::Proxy;
use crate::ask::{Row, Server};
use crate::cli::UsageError;
use crate::metrics::Metrics;
use crate::options::{Given, blame};

/// How often servers are asked how far they are.
const EVERY: Duration = Duration::from_secs(1);

/// How long a server may take to say so, its login included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to say what it knows of its functions.
const FACTS_PATIENCE: Duration = Duration::from_secs(60);

/// Whom the proxy asks servers as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whom {
    pub(crate) user: String,
    pub(crate) database: String,
}

/// Where what a server says of its functions comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FactsFrom {
    Nowhere,
    Writer,
    File(PathBuf),
}

/// What is to be done about readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) choice: ReaderChoice,
    pub(crate) monitor: Option<Whom>,
    pub(crate) facts: FactsFrom,
    pub(crate) hints: bool,
}

impl Reading {
    pub(crate) fn new(given: &Given) -> Result<Reading, UsageError> {
        let balances = &[
            ("seeded", Balance::Seeded),
            ("least", Balance::LeastOutstanding),
            ("latency", Balance::LatencyWeighted),
            ("sticky", Balance::Sticky),
        ];
        let monitor = given.one("monitor").map(|setting| {
            let (user, database) = setting.value.rsplit_once('@').unwrap_or_default();
            match user.is_empty() || database.is_empty() {
                true => Err(blame(setting, "expected USER@DATABASE")),
                false => Ok(Whom {
                    user: user.to_owned(),
                    database: database.to_owned(),
                }),
            }
        });
        let monitor = monitor.transpose()?;
        let max_lag = given.one("max-lag").map(|setting| {
            let bytes = setting.value.parse();
            bytes.map_err(|_| blame(setting, "expected a number of bytes"))
        });
        let facts =
            given
                .one("facts")
                .map_or(FactsFrom::Nowhere, |setting| match setting.value.as_str() {
                    "off" => FactsFrom::Nowhere,
                    "writer" => FactsFrom::Writer,
                    file => FactsFrom::File(PathBuf::from(file)),
                });
        let needs = [
            ("max-lag", given.one("max-lag").is_some()),
            ("facts", facts == FactsFrom::Writer),
        ];
        for (name, asked) in needs {
            if let (true, None, Some(setting)) = (asked, &monitor, given.one(name)) {
                return Err(blame(setting, "needs --monitor"));
            }
        }
        Ok(Reading {
            choice: ReaderChoice {
                balance: given.choice("reader-choice", balances)?.unwrap_or_default(),
                max_lag: None,
                max_lag_bytes: max_lag.transpose()?,
            },
            monitor,
            facts,
            hints: given
                .choice("hints", &[("on", true), ("off", false)])?
                .unwrap_or(false),
        })
    }

    /// Whether there is anything to tell sessions.
    pub(crate) fn knows(&self) -> bool {
        self.counts() || self.monitor.is_some()
    }

    /// Whether requests have to be counted, and their time taken.
    pub(crate) fn counts(&self) -> bool {
        match self.choice.balance {
            Balance::LeastOutstanding | Balance::LatencyWeighted => true,
            Balance::Seeded | Balance::Sticky => false,
        }
    }
}

/// What is known of each upstream, by its place.
pub(crate) struct Readers(Vec<Reader>);

#[derive(Default)]
struct Reader {
    outstanding: AtomicU32,
    /// In microseconds, of late; 0 while none is known.
    latency: AtomicU64,
    /// In bytes, and one more; 0 while it is not known.
    lag: AtomicU64,
    down: AtomicBool,
}

impl Readers {
    pub(crate) fn new(upstreams: usize) -> Readers {
        Readers((0..upstreams).map(|_| Reader::default()).collect())
    }

    /// What sessions are told.
    pub(crate) fn facts(&self, facts: &mut Vec<ReaderFacts>) {
        facts.clear();
        facts.extend(self.0.iter().map(|reader| {
            let some = |number: &AtomicU64| {
                let number = number.load(Ordering::Relaxed);
                (number > 0).then_some(number)
            };
            ReaderFacts {
                health: match reader.down.load(Ordering::Relaxed) {
                    true => Health::Down,
                    false => Health::Up,
                },
                outstanding: reader.outstanding.load(Ordering::Relaxed),
                latency: some(&reader.latency).map(Duration::from_micros),
                lag: None,
                lag_bytes: some(&reader.lag).map(|lag| lag - 1),
            }
        }));
    }

    fn began(&self, to: usize) {
        if let Some(reader) = self.0.get(to) {
            reader.outstanding.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ended(&self, to: usize, took: Option<Duration>) {
        let Some(reader) = self.0.get(to) else {
            return;
        };
        reader.outstanding.fetch_sub(1, Ordering::Relaxed);
        if let Some(took) = took {
            // An eighth of the newest, and what there was of the rest: two at a time may lose one of both.
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            let before = match reader.latency.load(Ordering::Relaxed) {
                0 => took,
                before => before,
            };
            let now = before - before / 8 + took / 8;
            reader.latency.store(now.max(1), Ordering::Relaxed);
        }
    }
}

/// The requests of one session that are not answered: where they went, and when they began.
#[derive(Default)]
pub(crate) struct Clock(VecDeque<(u64, usize, Instant)>);

impl Clock {
    /// Takes the time at which something happened, if it is the beginning or the end of a request.
    pub(crate) fn event(
        &mut self,
        (metrics, readers): (&Metrics, &Readers),
        destinations: &[Option<Destination>; PeerId::COUNT],
        event: &Event,
    ) {
        let place = |peer: &PeerId| destinations[peer.index()].map_or(usize::MAX, |to| to.0);
        match event {
            Event::RequestBegan { request, peer } => {
                readers.began(place(peer));
                self.0.push_back((*request, place(peer), Instant::now()));
            }
            Event::ResponseEnded { request, peer, .. } => {
                // Those before it will never be answered: the server skipped them.
                while let Some((number, to, began)) = self.0.pop_front() {
                    let took = (number == *request).then(|| began.elapsed());
                    readers.ended(to, took.filter(|_| to == place(peer)));
                    if let Some(took) = took {
                        metrics.took(place(peer), took);
                    }
                    if number >= *request {
                        break;
                    }
                }
            }
            _ => {}
        }
    }

    /// The session is over: nobody is going to answer any more.
    pub(crate) fn stop(&mut self, readers: &Readers) {
        for (_, to, _) in self.0.drain(..) {
            readers.ended(to, None);
        }
    }
}

/// Asks the servers how far they are, for ever.
pub(crate) async fn watch(proxy: Arc<Proxy>, whom: Whom) {
    let mut servers: Vec<Option<Server>> = proxy.readers.0.iter().map(|_| None).collect();
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        // The primary first: a standby that has caught up meanwhile has no lag.
        let mut written = None;
        for (at, server) in servers.iter_mut().enumerate() {
            let to = Destination(at);
            let sql = match to == proxy.writer() {
                true => "select pg_catalog.pg_current_wal_lsn()",
                false => "select pg_catalog.pg_last_wal_replay_lsn()",
            };
            let asked = tokio::time::timeout(PATIENCE, position(&proxy, to, &whom, server, sql));
            let answer = asked
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if answer.is_err() {
                *server = None;
            }
            if to == proxy.writer() {
                written = answer.ok().flatten();
            } else {
                proxy.hears(to, answer, written);
            }
        }
    }
}

/// Where a server's log is.
async fn position(
    proxy: &Arc<Proxy>,
    to: Destination,
    whom: &Whom,
    server: &mut Option<Server>,
    sql: &str,
) -> io::Result<Option<Lsn>> {
    let server = match server {
        Some(server) => server,
        None => server.insert(Server::log_in(proxy, to, whom).await?),
    };
    let rows = server.ask(sql).await?;
    let first = rows.first().and_then(|row| row.first()).cloned().flatten();
    Ok(first.and_then(|text| Lsn::parse(&text)))
}

impl Proxy {
    /// A reader has said how far it is, or cannot be asked.
    fn hears(&self, to: Destination, answer: io::Result<Option<Lsn>>, written: Option<Lsn>) {
        let reader = &self.readers.0[to.0];
        let lag = match (&answer, written) {
            (Ok(Some(replayed)), Some(written)) => written.0.saturating_sub(replayed.0) + 1,
            _ => 0,
        };
        reader.lag.store(lag, Ordering::Relaxed);
        let was_down = reader.down.swap(answer.is_err(), Ordering::Relaxed);
        match answer {
            Err(why) if !was_down => {
                let line = format!("the reader at {} is not used: {why}", self.name(to));
                self.log.line(&line);
            }
            Ok(_) if was_down => {
                let line = format!("the reader at {} is used again", self.name(to));
                self.log.line(&line);
            }
            _ => {}
        }
    }
}

/// What the servers' catalogue says, if anybody wants to know.
pub(crate) async fn facts(proxy: &Arc<Proxy>, reading: &Reading) -> io::Result<Option<Facts>> {
    let rows = match (&reading.facts, &reading.monitor) {
        (FactsFrom::File(path), _) => {
            let text = std::fs::read(path)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            rows_of(&text)
        }
        (FactsFrom::Writer, Some(whom)) => {
            let asked = async {
                let mut server = Server::log_in(proxy, proxy.writer(), whom).await?;
                server.ask(Facts::SETUP).await?;
                server.ask(Facts::QUERY).await
            };
            tokio::time::timeout(FACTS_PATIENCE, asked).await??
        }
        (FactsFrom::Writer, None) | (FactsFrom::Nowhere, _) => return Ok(None),
    };
    let mut facts = Facts::default();
    for row in rows {
        let columns: Vec<_> = row.iter().map(Option::as_deref).collect();
        facts.row(&columns).map_err(io::Error::other)?;
    }
    Ok(Some(facts))
}

/// The rows in a file as `psql -At -F` with a tab writes them.
fn rows_of(text: &[u8]) -> Vec<Row> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let row = |line: &[u8]| -> Row {
        let columns = line.split(|byte| *byte == b'\t');
        columns.map(|column| Some(column.to_vec())).collect()
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_know_what_is_outstanding_and_how_long_it_takes() {
        let (readers, metrics) = (Readers::new(2), Metrics::new(std::iter::empty()));
        let mut to = [None; PeerId::COUNT];
        to[PeerId::READER.index()] = Some(Destination(1));
        let mut clock = Clock::default();
        let peer = PeerId::READER;
        let say = |clock: &mut Clock, event: Event| {
            clock.event((&metrics, &readers), &to, &event);
            let mut facts = Vec::new();
            readers.facts(&mut facts);
            facts[1]
        };
        let begins = |request| Event::RequestBegan { request, peer };
        let ends = |request| Event::ResponseEnded {
            request,
            peer,
            status: None,
        };
        assert_eq!(say(&mut clock, begins(1)).outstanding, 1);
        assert_eq!(say(&mut clock, begins(2)).outstanding, 2);
        assert_eq!(say(&mut clock, begins(3)).latency, None);
        // The first was skipped.
        let facts = say(&mut clock, ends(2));
        assert_eq!(facts.outstanding, 1);
        assert!(facts.latency.is_some());
        clock.stop(&readers);
        assert_eq!(say(&mut clock, ends(9)).outstanding, 0);
    }

    #[test]
    fn lag_is_told_when_it_is_known() {
        let readers = Readers::new(1);
        let told = || {
            let mut facts = Vec::new();
            readers.facts(&mut facts);
            facts[0].lag_bytes
        };
        assert_eq!(told(), None);
        readers.0[0].lag.store(1, Ordering::Relaxed);
        assert_eq!(told(), Some(0));
        readers.0[0].lag.store(7, Ordering::Relaxed);
        assert_eq!(told(), Some(6));
    }

    #[test]
    fn files_have_a_row_a_line() {
        let rows = rows_of(b"stable\tpublic\tprice\t\t\nvolatile\tpublic\tcharge\t\t\n");
        assert_eq!(rows.len(), 2);
        let mut facts = Facts::default();
        for row in rows {
            let columns: Vec<_> = row.iter().map(Option::as_deref).collect();
            facts.row(&columns).unwrap();
        }
        assert_eq!(facts.len(), 2);
    }
}
