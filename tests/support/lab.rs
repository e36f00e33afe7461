//! One script, run against the primary and through the proxy, whose traces must be the same.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::{Client, Pace};
use super::cluster::Cluster;
use super::frame::{self, Frame};
use super::message;
use super::proxy::Proxy;
use super::relay;

/// What a client does, in order.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    /// Read until so many requests are answered.
    Ready(usize),
    /// Read until a frame with one of these tags.
    Until(&'static [u8]),
    /// End the sending direction.
    HalfClose,
    /// Read until the server closes.
    Closed,
}

#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Run on the primary by the superuser, before each run.
    setup: String,
    parameters: Vec<(&'static str, &'static str)>,
    steps: Vec<Step>,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    pub(crate) fn setup(mut self, sql: &str) -> Script {
        self.setup = sql.to_owned();
        self
    }

    /// One more startup parameter.
    pub(crate) fn parameter(mut self, name: &'static str, value: &'static str) -> Script {
        self.parameters.push((name, value));
        self
    }

    pub(crate) fn send(mut self, bytes: Vec<u8>) -> Script {
        self.steps.push(Step::Send(bytes));
        self
    }

    pub(crate) fn ready(mut self, count: usize) -> Script {
        self.steps.push(Step::Ready(count));
        self
    }

    pub(crate) fn until(mut self, tags: &'static [u8]) -> Script {
        self.steps.push(Step::Until(tags));
        self
    }

    pub(crate) fn half_close(mut self) -> Script {
        self.steps.push(Step::HalfClose);
        self
    }

    pub(crate) fn closed(mut self) -> Script {
        self.steps.push(Step::Closed);
        self
    }

    pub(crate) fn query(self, sql: &str) -> Script {
        self.send(message::query(sql)).ready(1)
    }

    pub(crate) fn extended(self, sql: &str, values: &[Option<&str>]) -> Script {
        self.send(message::extended(sql, values)).ready(1)
    }

    fn run(&self, port: u16, pace: Pace, application: &str) -> Vec<Frame> {
        let mut parameters = vec![("application_name", application)];
        parameters.extend_from_slice(&self.parameters);
        let mut client = Client::open(port, pace, "u_trust", &parameters);
        let mut trace = std::mem::take(&mut client.login);
        for step in &self.steps {
            match step {
                Step::Send(bytes) => client.send(bytes),
                Step::Ready(count) => trace.extend(client.ready(*count)),
                Step::Until(tags) => trace.extend(client.until(tags)),
                Step::HalfClose => client.half_close(),
                Step::Closed => trace.extend(client.rest()),
            }
        }
        trace.into_iter().map(Frame::normalised).collect()
    }
}

/// The servers and a proxy between, for one test.
pub(crate) struct Lab {
    pub(crate) cluster: &'static Cluster,
    pub(crate) proxy: Proxy,
    /// Told apart by name, because the servers' logs have it.
    pub(crate) application: String,
    _turn: MutexGuard<'static, ()>,
}

/// Tests of one module use the same tables, so they take turns. `test` is `module::name`.
fn turn(test: &str) -> MutexGuard<'static, ()> {
    static TURNS: Mutex<BTreeMap<String, &'static Mutex<()>>> = Mutex::new(BTreeMap::new());
    let module = test.split("::").next().unwrap_or(test).to_owned();
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let turn: &'static Mutex<()> = turns
        .entry(module)
        .or_insert_with(|| Box::leak(Box::default()));
    drop(turns);
    // A test that failed has left nothing that the next one's setup does not replace.
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The servers, unless there are none: then the test is skipped, and says so where output is not captured.
pub(crate) fn cluster(test: &str) -> Option<&'static Cluster> {
    let cluster = Cluster::shared();
    if cluster.is_none() {
        skip(test, "no PostgreSQL here");
    }
    cluster
}

/// Says that a test did nothing. `tests/run.sh` counts these lines.
pub(crate) fn skip(test: &str, reason: &str) {
    // Written past the capture of the test's output, and at once, so that no other line gets in between.
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Arguments for a proxy that splits over the cluster.
pub(crate) fn split(cluster: &Cluster) -> Vec<String> {
    vec![
        "--writer".to_owned(),
        format!("127.0.0.1:{}", cluster.primary()),
        "--reader".to_owned(),
        format!("127.0.0.1:{}", cluster.standby()),
    ]
}

impl Lab {
    /// A proxy that splits; `None` when the test is skipped.
    pub(crate) fn new(test: &str) -> Option<Lab> {
        Lab::with(test, &[])
    }

    /// The same with more arguments for the proxy.
    pub(crate) fn with(test: &str, more: &[&str]) -> Option<Lab> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cluster = cluster(test)?;
        let arguments = split(cluster);
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        // As the direct sessions are: servers mention it in errors.
        arguments.extend(["--upstream-tls", "disable"]);
        arguments.extend(more);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Some(Lab {
            cluster,
            proxy: Proxy::start(cluster, &arguments),
            application: format!("{test}-{}-{count}", std::process::id()),
            _turn: turn(test),
        })
    }

    /// A session of the superuser on the primary.
    pub(crate) fn admin(&self) -> Client {
        Client::open(self.cluster.primary(), Pace::Whole, "postgres", &[])
    }

    /// A session through the proxy.
    pub(crate) fn client(&self) -> Client {
        let parameters = [("application_name", self.application.as_str())];
        Client::open(self.proxy.port, Pace::Whole, "u_trust", &parameters)
    }

    fn prepare(&self, script: &Script) {
        if !script.setup.is_empty() {
            self.admin().run(&script.setup);
        }
    }

    /// Runs the script directly, then through the proxy in every way that must not matter; returns the trace.
    pub(crate) fn same(&self, script: &Script) -> Vec<Frame> {
        let direct = self.same_plain(script);
        let port = self.proxy.port;
        self.expect(script, &direct, "a byte at a time", port, Pace::Bytewise);
        let port = relay::start(self.proxy.port);
        self.expect(script, &direct, "in pieces", port, Pace::Whole);
        let pieces = self.proxy_over_pieces();
        let what = "with upstreams in pieces";
        self.expect(script, &direct, what, pieces.port, Pace::Whole);
        let whole = self.unsplit();
        self.expect(script, &direct, "without a split", whole.port, Pace::Whole);
        direct
    }

    /// Like `same`, for scripts that move too much to be cut up.
    pub(crate) fn same_plain(&self, script: &Script) -> Vec<Frame> {
        self.prepare(script);
        let direct = script.run(self.cluster.primary(), Pace::Whole, "direct");
        self.expect(
            script,
            &direct,
            "at full speed",
            self.proxy.port,
            Pace::Whole,
        );
        direct
    }

    fn expect(&self, script: &Script, direct: &[Frame], how: &str, port: u16, pace: Pace) {
        self.prepare(script);
        let proxied = script.run(port, pace, &self.application);
        if let Some(at) = first_difference(direct, &proxied) {
            panic!(
                "{how}, frame {at} differs\ndirect:  {:?}\nproxied: {:?}\ndirect trace: {direct:#?}\nproxied trace: {proxied:#?}",
                direct.get(at),
                proxied.get(at)
            );
        }
    }

    fn proxy_over_pieces(&self) -> Proxy {
        let writer = format!("127.0.0.1:{}", relay::start(self.cluster.primary()));
        let reader = format!("127.0.0.1:{}", relay::start(self.cluster.standby()));
        Proxy::start(self.cluster, &["--writer", &writer, "--reader", &reader])
    }

    fn unsplit(&self) -> Proxy {
        let arguments = split(self.cluster);
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--split", "off"]);
        Proxy::start(self.cluster, &arguments)
    }

    /// The statements of this test's sessions that the standby ran.
    pub(crate) fn on_standby(&self) -> Vec<String> {
        self.cluster.statements("standby", &self.application)
    }

    /// The statements of this test's sessions that the primary ran.
    pub(crate) fn on_primary(&self) -> Vec<String> {
        self.cluster.statements("primary", &self.application)
    }

    /// Runs statements, no two equal, one by one in one session and tells where each ran.
    pub(crate) fn places(&self, statements: &[&str]) -> Vec<(String, Place)> {
        let mut client = self.client();
        statements
            .iter()
            .map(|sql| {
                let frames = client.query(sql);
                assert_eq!(frame::errors(&frames), [""; 0], "{sql}");
                let place = match (
                    count(&self.on_standby(), sql),
                    count(&self.on_primary(), sql),
                ) {
                    (1, 0) => Place::Standby,
                    (0, 1) => Place::Primary,
                    other => panic!("{sql} ran (on the standby, on the primary) {other:?} times"),
                };
                ((*sql).to_owned(), place)
            })
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Primary,
    Standby,
}

fn first_difference(left: &[Frame], right: &[Frame]) -> Option<usize> {
    (0..left.len().max(right.len())).find(|&at| left.get(at) != right.get(at))
}

fn count(statements: &[String], sql: &str) -> usize {
    statements.iter().filter(|run| *run == sql).count()
}
