//! The numbers of all sessions together, as metrics and as a summary.
//!
//! Sessions count for themselves. What they counted is added up here when a session ends and when somebody asks, so that
//! nobody pays for it in between. Names are those of [`pgturnout::stats`], Envoy's and sqlproxy's, behind `pgturnout_`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgturnout::migrate::TransferStats;
use pgturnout::route;
use pgturnout::session::{Destination, PeerId, Routes, Session};
use pgturnout::stats::{ConnectionCounter, ConnectionStats, Counter, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::Proxy;

/// How long the sessions may take to tell what they counted: one that is busy for longer is told of the next time.
const PUBLISH: Duration = Duration::from_secs(1);

/// What connections are counted as that are closed for their header of the PROXY protocol.
const UNINTRODUCED: &str = "proxy_header_refused_conns";

/// Where a session was dialled among the proxy's servers, by peer.
type Destinations = [Option<Destination>; PeerId::COUNT];

/// The numbers of all sessions.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Shared>);

struct Shared {
    /// What upstreams are called, by their place in the configuration.
    names: Vec<String>,
    totals: Mutex<Totals>,
    /// How long requests took, by upstream.
    durations: Vec<Histogram>,
    /// How long connections to upstreams took that could be had.
    dials: Histogram,
    /// How long moves took that have ended, however, and for how long of that their clients were held.
    moves_took: Histogram,
    moves_held: Histogram,
}

#[derive(Default)]
struct Totals {
    client: Stats,
    connections: ConnectionStats,
    /// Connections that were closed for what their header of the PROXY protocol is, or is not.
    unintroduced: u64,
    moves: TransferStats,
    ended: Ended,
    upstreams: BTreeMap<usize, Stats>,
    /// By upstream and reason.
    routes: BTreeMap<(usize, String), u64>,
}

/// What there is to say of the times of moves in a few numbers.
#[derive(Default)]
struct Ended {
    moves: u64,
    took: Duration,
    held: Duration,
    held_longest: Duration,
}

impl Ended {
    fn add(&mut self, took: Duration, held: Duration) {
        self.moves += 1;
        self.took = self.took.saturating_add(took);
        self.held = self.held.saturating_add(held);
        self.held_longest = self.held_longest.max(held);
    }

    fn rows(&self) -> [(&'static str, u64); 4] {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        [
            ("ended", self.moves),
            ("took_us", micros(self.took)),
            ("held_us", micros(self.held)),
            ("held_us_longest", micros(self.held_longest)),
        ]
    }
}

/// What of a session's numbers is among the totals.
#[derive(Default)]
pub(crate) struct Published {
    client: Stats,
    connections: ConnectionStats,
    moves: TransferStats,
    upstreams: [Stats; PeerId::COUNT],
    routes: Routes,
}

impl Metrics {
    /// Numbers for upstreams with these names.
    pub(crate) fn new(names: impl Iterator<Item = String>) -> Metrics {
        let names: Vec<String> = names.collect();
        // From half a millisecond to sixteen seconds.
        let histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        Metrics(Arc::new(Shared {
            dials: histogram(),
            moves_took: histogram(),
            moves_held: histogram(),
            durations: names.iter().map(|_| histogram()).collect(),
            names,
            totals: Mutex::default(),
        }))
    }

    /// A request took so long.
    pub(crate) fn took(&self, to: usize, took: Duration) {
        if let Some(histogram) = self.0.durations.get(to) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// A connection to an upstream took so long.
    pub(crate) fn dialled(&self, took: Duration) {
        self.0.dials.observe(took.as_secs_f64());
    }

    /// A move has ended: how long it took, and for how long of that its client was held.
    pub(crate) fn moved(&self, took: Duration, held: Duration) {
        self.0.moves_took.observe(took.as_secs_f64());
        self.0.moves_held.observe(held.as_secs_f64());
        let mut totals = self.0.totals();
        totals.ended.add(took, held);
    }

    /// Counts what only the driver knows.
    pub(crate) fn count(&self, counter: ConnectionCounter) {
        self.0.totals().connections.count(counter);
    }

    /// A connection was closed before there was a session: it is not known from where.
    pub(crate) fn unintroduced(&self) {
        self.0.totals().unintroduced += 1;
    }

    /// Adds what a session has counted and not published.
    pub(crate) fn publish(
        &self,
        session: &Session<route::Split>,
        published: &mut Published,
        destinations: &Destinations,
    ) {
        let mut totals = self.0.totals();
        totals.client.add(&session.stats().since(&published.client));
        published.client = *session.stats();
        let connections = session.connection_stats();
        totals
            .connections
            .add(&connections.since(&published.connections));
        published.connections = *connections;
        let moves = session.transfers();
        totals.moves.add(&moves.since(&published.moves));
        published.moves = *moves;
        for peer in PeerId::ALL {
            let to = destinations[peer.index()];
            if let (Some(to), Some(stats)) = (to, session.upstream_stats(peer)) {
                let before = &mut published.upstreams[peer.index()];
                let upstream = totals.upstreams.entry(to.0).or_default();
                upstream.add(&stats.since(before));
                *before = *stats;
            }
        }
        for (peer, reason, requests) in session.routes().since(&published.routes).iter() {
            if let Some(to) = destinations[peer.index()] {
                let key = (to.0, reason.to_string());
                *totals.routes.entry(key).or_default() += requests;
            }
        }
        published.routes = session.routes().clone();
    }

    /// Every number: of what, its name, and itself.
    pub(crate) fn rows(&self) -> Vec<(String, String, u64)> {
        let totals = self.0.totals();
        let mut rows = Vec::new();
        let mut add = |of: &str, name: &dyn fmt::Display, count| {
            rows.push((of.to_owned(), name.to_string(), count));
        };
        for (counter, count) in totals.connections.iter() {
            add("connections", &counter, count);
        }
        add("connections", &UNINTRODUCED, totals.unintroduced);
        for (counter, count) in totals.client.iter() {
            add("clients", &counter, count);
        }
        for (counter, count) in totals.moves.iter() {
            add("moves", &counter, count);
        }
        for (name, number) in totals.ended.rows() {
            add("moves", &name, number);
        }
        for (to, stats) in &totals.upstreams {
            for (counter, count) in stats.iter() {
                add(self.0.name(*to), &counter, count);
            }
        }
        for ((to, reason), requests) in &totals.routes {
            let name = format!("requests for {reason}");
            add(self.0.name(*to), &name, *requests);
        }
        rows
    }

    /// The metrics in text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("pgturnout");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// The numbers that are not 0, in a few lines.
    fn summary(&self, open: usize) -> String {
        let totals = self.0.totals();
        let mut lines = vec![
            format!("summary: sessions open: {open}"),
            format!("summary: connections: {}", moved(totals.connections.iter())),
            format!(
                "summary: refused before a session: {}",
                moved([(UNINTRODUCED, totals.unintroduced)].into_iter())
            ),
            format!("summary: clients: {}", moved(totals.client.iter())),
            format!("summary: moves: {}", moved(totals.moves.iter())),
        ];
        for (to, stats) in &totals.upstreams {
            let name = self.0.name(*to);
            lines.push(format!("summary: upstream {name}: {}", moved(stats.iter())));
        }
        for ((to, reason), requests) in &totals.routes {
            let name = self.0.name(*to);
            lines.push(format!("summary: to {name}: {requests} for {reason:?}"));
        }
        lines.join("\n")
    }
}

fn moved<C: fmt::Display>(counters: impl Iterator<Item = (C, u64)>) -> String {
    let words: Vec<String> = counters
        .filter(|(_, count)| *count > 0)
        .map(|(counter, count)| format!("{counter}={count}"))
        .collect();
    words.join(" ")
}

/// Has every session tell what it counted.
pub(crate) async fn refresh(proxy: &Proxy) {
    proxy.registry.publish(PUBLISH).await;
}

/// Writes the numbers to the log.
pub(crate) async fn tell_summary(proxy: Arc<Proxy>) {
    refresh(&proxy).await;
    proxy.log.line(&proxy.metrics.summary(proxy.registry.len()));
}

impl Shared {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        // Sums that a panic leaves half done are still sums.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, to: usize) -> &str {
        self.names.get(to).map_or("", String::as_str)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.0.totals();
        for (counter, count) in totals.connections.iter() {
            let help = "connections, as in CockroachDB's sqlproxy";
            let metric = described(&mut encoder, counter.name(), help, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        let help = "connections closed for their header of the PROXY protocol";
        let metric = described(&mut encoder, UNINTRODUCED, help, MetricType::Counter)?;
        ConstCounter::new(totals.unintroduced).encode(metric)?;
        let accepted = totals.connections.get(ConnectionCounter::AcceptedConns);
        let ended = totals.connections.get(ConnectionCounter::EndedConns);
        let open = i64::try_from(accepted.saturating_sub(ended)).unwrap_or(i64::MAX);
        let metric = described(&mut encoder, "conns", "open connections", MetricType::Gauge)?;
        ConstGauge::new(open).encode(metric)?;
        for (counter, count) in totals.client.iter() {
            let help = "clients, as in Envoy's PostgreSQL filter";
            let metric = described(&mut encoder, counter.name(), help, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        for (counter, count) in totals.moves.iter() {
            let name = format!("conn_migration_{}", counter.name());
            let help = "moves to other servers, as in CockroachDB's sqlproxy";
            let metric = described(&mut encoder, &name, help, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        for counter in Counter::ALL {
            let name = format!("upstream_{}", counter.name());
            let help = "the same of each upstream, with what clients do not see";
            let mut metric = described(&mut encoder, &name, help, MetricType::Counter)?;
            for (to, stats) in &totals.upstreams {
                let upstream = [("upstream", self.0.name(*to))];
                let labelled = metric.encode_family(&upstream)?;
                ConstCounter::new(stats.get(*counter)).encode(labelled)?;
            }
        }
        let help = "requests by where they went and why";
        let mut metric = described(&mut encoder, "requests_routed", help, MetricType::Counter)?;
        for ((to, reason), requests) in &totals.routes {
            let labels = [("upstream", self.0.name(*to)), ("reason", reason)];
            ConstCounter::new(*requests).encode(metric.encode_family(&labels)?)?;
        }
        self.encode_durations(&mut encoder)?;
        self.encode_times(&mut encoder)
    }
}

impl Metrics {
    /// sqlproxy has the second under the name `attempted.latency`.
    fn encode_times(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shared = &self.0;
        for (name, help, histogram) in [
            (
                "dial_latency_seconds",
                "how long connections to upstreams took, TLS and login left out",
                &shared.dials,
            ),
            (
                "conn_migration_attempted_latency_seconds",
                "how long moves took, however they ended",
                &shared.moves_took,
            ),
            (
                "conn_migration_held_seconds",
                "for how long of that their clients were held",
                &shared.moves_held,
            ),
        ] {
            let metric = described(encoder, name, help, MetricType::Histogram)?;
            histogram.encode(metric)?;
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let name = "request_duration_seconds";
        let help = "from a request's first message to its ReadyForQuery";
        let mut metric = described(encoder, name, help, MetricType::Histogram)?;
        for (name, histogram) in self.0.names.iter().zip(&self.0.durations) {
            histogram.encode(metric.encode_family(&[("upstream", name.as_str())])?)?;
        }
        Ok(())
    }
}

fn described<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_moves_are_told() {
        let metrics = Metrics::new(std::iter::empty());
        let millis = Duration::from_millis;
        metrics.moved(millis(40), millis(3));
        metrics.moved(millis(20), millis(5));
        let text = metrics.text().unwrap();
        for line in [
            "pgturnout_conn_migration_attempted_latency_seconds_count 2",
            "pgturnout_conn_migration_held_seconds_sum 0.008",
            "pgturnout_conn_migration_held_seconds_bucket{le=\"0.004\"} 1",
            "pgturnout_conn_migration_held_seconds_bucket{le=\"0.008\"} 2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        let rows = metrics.rows();
        let number = |name: &str| rows.iter().find(|row| row.1 == name).unwrap().2;
        assert_eq!(number("ended"), 2);
        assert_eq!(number("took_us"), 60_000);
        assert_eq!(number("held_us"), 8_000);
        assert_eq!(number("held_us_longest"), 5_000);
    }
}
