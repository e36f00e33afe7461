//! A read/write-splitting PostgreSQL proxy on tokio. `--help` says how to use it.
//!
//! Everything about PostgreSQL is decided by [`pgturnout::session::Session`]; the files here are what a driver adds:
//!
//! | file | what it does |
//! |---|---|
//! | `drive` | the loop: one future per session |
//! | `connection` | what there is of a peer, from the dial to the end of each direction |
//! | `peer_io` | streams, encrypted or not, and the blocks that are read into |
//! | `tls` | rustls, both sides |
//! | `registry`, `cancel`, `ring` | finds the session of a cancel key, here or at another instance, sends the request on |
//! | `cli`, `config`, `users`, `identity`, `options` | from arguments and files to typed options |
//! | `programs` | programs that are asked about users |
//! | `reading`, `ask` | which reader sessions use, and what the servers say of themselves |
//! | `introduce` | what a load balancer says in front of a client's bytes |
//! | `deny` | statements that no client may run |
//! | `topology` | what each server is for now |
//! | `console` | what an operator says and is told, with psql |
//! | `log` | lines on standard error |
//! | `metrics`, `scrape` | the numbers of all sessions, and who asks for them |
//! | `accept` | the listeners that `ring` and `scrape` have |
#![allow(clippy::disallowed_methods, reason = "the driver owns the clock")]

mod accept;
mod ask;
mod askers;
mod cancel;
mod cli;
mod config;
mod connection;
mod console;
mod deny;
mod door;
mod drive;
mod identity;
mod introduce;
mod log;
mod metrics;
mod options;
mod peer_io;
mod programs;
mod reading;
mod registry;
mod ring;
mod scrape;
mod tls;
mod topology;
mod users;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgturnout::auth::{AdmitPolicy, Channel, Methods};
use pgturnout::route::{Facts, Rules};
use pgturnout::session::{
    ClientAuth, Config, Destination, Moves, RequestEvents, RouteTexts, Seed, Upstream, UserSource,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use cli::{Command, Origin, UsageError};
use deny::Deny;
use door::{Door, Reread};
use drive::Driver;
use introduce::{Arrival, Introductions};
use log::Log;
use metrics::Metrics;
use options::{Accept, Given, HostPort, Options};
use peer_io::{Begun, Stream};
use programs::Programs;
use reading::{Readers, Reading};
use registry::{Ask, Registry};
use ring::Ring;
use tls::Tls;
use topology::Topology;

/// Connections waiting to be accepted: what Linux allows by default (net.core.somaxconn).
const BACKLOG: u32 = 4096;

/// How long to wait when a connection cannot be accepted, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that carry cancels to one upstream, at a time: whoever asks for one costs a few bytes, the connection a
/// handshake and a process.
const CANCELS_AT_ONCE: usize = 64;

/// What a shutdown may take, from the signal to the exit.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What a shutdown leaves for telling the clients and closing.
const SHUTDOWN_CLOSING: Duration = Duration::from_secs(1);

/// How long a dial may take that waits for nobody but the server, and how long the handshake behind it.
const DIAL: Duration = Duration::from_secs(10);

/// How long a login waits for a writer that is drained.
const DRAINED: Duration = Duration::from_secs(60);

/// How often the file of what is denied is read, unless SIGHUP asks for it.
const REREAD: Duration = Duration::from_secs(60);

/// How long the exit waits for whoever reads standard error.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How an upstream may let us in on behalf of a client: as libpq would by default, except that a password leaves in
/// clear only over TLS.
const METHODS: Methods = Methods::NONE
    .allow_trust()
    .allow_cleartext(Channel::Tls)
    .allow_md5(Channel::Clear)
    .allow_scram();

/// What all sessions share.
pub(crate) struct Proxy {
    current: Mutex<Current>,
    /// What the configuration is made from, again when files are read again.
    given: Given,
    /// Of which the salts of unknown users are made, the same as long as this process lives.
    mock: [u8; 32],
    /// Held while the configuration is made anew.
    reloads: Mutex<()>,
    /// What operators work on.
    claims: Arc<console::Claims>,
    /// Where the upstreams of the configuration are.
    addresses: Vec<HostPort>,
    tls: Tls,
    registry: Arc<Registry>,
    pub(crate) door: Door,
    introductions: Introductions,
    /// Permits for the connections that carry cancels, of each upstream: one that takes none must not keep those of others.
    cancels: Vec<Semaphore>,
    /// Permits for those to other instances, which wait for permits of these.
    hand_ons: Semaphore,
    pub(crate) programs: Programs,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    pub(crate) readers: Readers,
    /// What the servers' catalogue says, once it is known.
    facts: Mutex<Option<Arc<Facts>>>,
    reading: Reading,
    log_routes: bool,
    /// What no client may run.
    pub(crate) deny: Option<Deny>,
}

/// What new sessions get.
#[derive(Clone)]
struct Current {
    config: Arc<Config>,
    ring: Option<Ring>,
    /// Both are made from these.
    options: Arc<Options>,
    topology: Topology,
}

fn main() -> ExitCode {
    let log = Log::start(io::stderr());
    let code = start(&log);
    log.finish(LAST_LINES);
    code
}

fn start(log: &Log) -> ExitCode {
    let given = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            let _ = io::stdout().write_all(cli::help().as_bytes());
            return ExitCode::SUCCESS;
        }
        Ok(Command::Run(settings)) => Given::with_config_file(settings),
        Err(error) => Err(error),
    };
    let prepared = given.and_then(|given| {
        let options = Options::new(&given)?;
        let (listen, metrics) = (options.listen.clone(), options.metrics.clone());
        Ok((Proxy::new(options, given, log.clone())?, listen, metrics))
    });
    let (proxy, listen, metrics) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            log.line(&format!("proxy: {error}\nTry --help."));
            return ExitCode::from(2);
        }
    };
    match run(proxy, &listen, metrics.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(&format!("proxy: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(proxy: Proxy, listen: &HostPort, metrics: Option<&HostPort>) -> io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(async {
        let ring = proxy.current().ring;
        let signals = Signals {
            reload: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            summary: signal(SignalKind::user_defined1())?,
        };
        let proxy = Arc::new(proxy);
        if let Some(address) = metrics {
            let listener = bind("--metrics", address).await?;
            let served = listener.local_addr()?;
            proxy
                .log
                .line(&format!("metrics on http://{served}/metrics"));
            tokio::spawn(scrape::serve(Arc::clone(&proxy), listener));
        }
        if let Some(ring) = ring {
            let listener = bind("--cancel-ring", ring.own()).await?;
            tokio::spawn(ring::serve(Arc::clone(&proxy), listener));
        }
        Proxy::learn(Arc::clone(&proxy)).await;
        if let Some(whom) = proxy.reading.monitor.clone() {
            tokio::spawn(reading::watch(Arc::clone(&proxy), whom));
        }
        let listener = bind("--listen", listen).await?;
        let ready = format!("listening on {}\n", listener.local_addr()?);
        io::stdout()
            .write_all(ready.as_bytes())
            .and_then(|()| io::stdout().flush())?;
        serve(proxy, listener, signals).await;
        Ok(())
    });
    runtime.shutdown_background();
    served
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    summary: Signal,
    reload: Signal,
}

/// Listens at what a flag says.
async fn bind(flag: &str, listen: &HostPort) -> io::Result<TcpListener> {
    let blame =
        |error: io::Error| io::Error::new(error.kind(), format!("{flag} {listen}: {error}"));
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let addresses = lookup_host((listen.host.as_str(), listen.port)).await;
    for address in addresses.map_err(blame)? {
        match bind_to(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(blame(last))
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A proxy that is restarted has connections of its former life in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts clients until a signal comes, then lets their requests finish.
async fn serve(proxy: Arc<Proxy>, listener: TcpListener, mut signals: Signals) {
    // Closed when the last session has dropped its sender.
    let (running, mut all_gone) = mpsc::channel::<()>(1);
    // Closed when no session may begin any more.
    let (open, opening) = watch::channel(());
    let mut number = 0;
    let mut minute = tokio::time::interval_at(tokio::time::Instant::now() + REREAD, REREAD);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(|client| Ok((client, tls::random()?))) {
                Ok((client, seed)) => {
                    number += 1;
                    let session = (Seed::new(seed), number, running.downgrade());
                    tokio::spawn(receive(Arc::clone(&proxy), client, session, opening.clone()));
                }
                Err(error) => {
                    let sessions = proxy.registry.len();
                    proxy.log.line(&format!("cannot accept a connection (sessions open: {sessions}): {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = signals.summary.recv() => {
                tokio::spawn(metrics::tell_summary(Arc::clone(&proxy)));
            }
            _ = signals.reload.recv() => {
                let again = Arc::clone(&proxy);
                let news = "the users files and the cancel ring were read again";
                tokio::task::spawn_blocking(move || again.reload(news));
                proxy.reread();
                tokio::spawn(Proxy::learn(Arc::clone(&proxy)));
            }
            _ = minute.tick() => proxy.reread(),
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    drop((listener, running, open));
    proxy.registry.tell_all(|| Ask::Shutdown);
    if tokio::time::timeout(SHUTDOWN, all_gone.recv())
        .await
        .is_err()
    {
        let sessions = proxy.registry.len();
        proxy
            .log
            .line(&format!("sessions that did not end in time: {sessions}"));
    }
}

/// Runs a session for a client that has connected, once it is known who it is.
async fn receive(
    proxy: Arc<Proxy>,
    (stream, from): (TcpStream, SocketAddr),
    (seed, number, running): (Seed, u64, mpsc::WeakSender<()>),
    mut opening: watch::Receiver<()>,
) {
    let arrival = tokio::select! {
        arrival = proxy.introductions.read(stream, from) => arrival,
        // Nothing is ever said there but that it is over.
        _ = opening.changed() => return,
    };
    let arrival: Arrival = match arrival {
        Ok(Some(arrival)) => arrival,
        Ok(None) => return,
        Err(why) => {
            proxy.metrics.unintroduced();
            return proxy
                .log
                .line(&format!("connection from {from} closed: {why}"));
        }
    };
    let driver = Driver::new(Arc::clone(&proxy), arrival, seed, number);
    // It is in the registry by now: what ends sessions finds it, or has happened.
    if let (Some(running), Ok(_)) = (running.upgrade(), opening.has_changed()) {
        driver.run(running).await;
    }
}

/// How clients may log in to the proxy itself.
fn admit(methods: &[Accept], secret: [u8; 32]) -> AdmitPolicy {
    let policy = AdmitPolicy::new(secret);
    methods.iter().fold(policy, |policy, method| match method {
        Accept::Scram => policy.allow_scram(),
        Accept::ScramPlus => policy.require_binding(),
        Accept::Md5 => policy.allow_md5(Channel::Clear),
        Accept::Password => policy.allow_cleartext(),
        Accept::Certificate => policy.allow_certificates(),
        Accept::Trust => policy.allow_trust(Channel::Clear),
    })
}

impl Proxy {
    fn new(options: Options, given: Given, log: Log) -> Result<Proxy, UsageError> {
        let tls = Tls::new(&options)?;
        let door = Door::new(&options)?;
        let mock = mock_secret(&options)?;
        let addresses: Vec<HostPort> = options
            .upstreams()
            .map(|(_, address)| address.clone())
            .collect();
        let topology = Topology::new(options.upstreams().map(|(role, _)| role));
        let cancels = addresses.iter().map(|_| Semaphore::new(CANCELS_AT_ONCE));
        let cancels = cancels.collect();
        Ok(Proxy {
            metrics: Metrics::new(addresses.iter().map(HostPort::to_string)),
            readers: Readers::new(addresses.len()),
            facts: Mutex::default(),
            reading: options.reading.clone(),
            addresses,
            tls,
            registry: Arc::new(Registry::new(options.cancel_source)),
            door,
            introductions: options.introductions.clone(),
            programs: Programs::new(
                options.identities.users_command.clone(),
                options.identities.credential_command.clone(),
            ),
            cancels,
            hand_ons: Semaphore::new(CANCELS_AT_ONCE),
            log,
            log_routes: options.log_routes,
            deny: options.deny.clone(),
            current: Mutex::new(Current::new(Arc::new(options), topology, None, mock)?),
            given,
            mock,
            reloads: Mutex::default(),
            claims: Arc::default(),
        })
    }

    /// What a session that begins now gets.
    fn current(&self) -> Current {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Current> {
        // Nothing that holds the lock can leave it half changed.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what servers are for, for sessions to come, and has every session see what it means to it.
    fn change<E: From<UsageError>>(
        &self,
        change: impl FnOnce(&mut Topology) -> Result<(), E>,
    ) -> Result<(), E> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = self.locked();
        let mut topology = current.topology.clone();
        change(&mut topology)?;
        let options = Arc::clone(&current.options);
        let new = Current::new(options, topology, facts.as_deref(), self.mock)?;
        *current = new;
        drop(current);
        self.registry.tell_all(|| Ask::Changed);
        Ok(())
    }

    /// What servers are for now.
    fn topology(&self) -> Topology {
        self.locked().topology.clone()
    }

    /// Has the servers' catalogue looked at, for sessions to come. If that fails, what was known stays.
    async fn learn(self: Arc<Self>) {
        match reading::facts(&self, &self.reading).await {
            Ok(None) => {}
            Ok(Some(facts)) => {
                let count = facts.len();
                *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(facts));
                let news = format!("what the servers say of themselves: {count} facts");
                let again = Arc::clone(&self);
                tokio::task::spawn_blocking(move || again.reload(&news));
            }
            Err(why) => self.log.line(&format!("proxy: no new facts: {why}")),
        }
    }

    /// Makes the configuration anew, for sessions to come, with the users files and the cancel ring as they are now. With a
    /// mistake in one of them everything stays as it was. Each verifier of the users files is hashed for, so this is no work for
    /// the threads that serve; one after the other, for the newest has to win.
    fn reload(&self, news: &str) {
        let _alone = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = self
            .facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let options = Options::new(&self.given);
        let mut current = self.locked();
        let topology = current.topology.clone();
        let new = options
            .and_then(|new| Current::new(Arc::new(new), topology, facts.as_deref(), self.mock));
        match new {
            Ok(new) => {
                *current = new;
                self.log.line(news);
            }
            Err(error) => self.log.line(&format!("proxy: not read again: {error}")),
        }
    }

    /// Reads the files of whom to serve again, and has every session look whether it still may be.
    fn reread(&self) {
        let mut look = false;
        for (file, outcome) in self.door.reread() {
            match outcome {
                Ok(Reread::Same) => {}
                Ok(Reread::Later) => look = true,
                Ok(Reread::Changed) => {
                    self.log.line(&format!("the {file} has changed"));
                    look = true;
                }
                Err(why) => {
                    let line = format!("the {file} is left as it was: {why}");
                    self.log.line(&line);
                    look |= file == "allow file";
                }
            }
        }
        if look {
            self.registry.tell_all(|| Ask::Recheck);
        }
    }

    /// The upstream that takes writes.
    fn writer(&self) -> Destination {
        self.locked().topology.writer()
    }

    /// What an upstream is called in logs.
    fn name(&self, to: Destination) -> &HostPort {
        &self.addresses[to.0]
    }

    /// Connects to the first address of an upstream that answers.
    async fn dial(self: Arc<Self>, to: Destination) -> io::Result<Stream> {
        let begun = Instant::now();
        let dial = self.addresses[to.0].dial();
        let stream = tokio::time::timeout(DIAL, dial).await??;
        self.metrics.dialled(begun.elapsed());
        Ok(Stream::plain(stream))
    }

    /// The client's side of a TLS handshake, with an upstream.
    async fn encrypt(self: Arc<Self>, to: Destination, stream: Stream) -> io::Result<Stream> {
        let stream = stream.into_plain()?;
        let handshake = self.tls.connect(&self.addresses[to.0].host, stream);
        let stream = tokio::time::timeout(DIAL, handshake).await??;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// The server's side, with a client of which these bytes were read already.
    async fn accept_tls(self: Arc<Self>, stream: Stream, read: Vec<u8>) -> io::Result<Stream> {
        let stream = Begun::new(read, stream.into_plain()?);
        let stream = self.tls.accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// What users who do not exist are asked by.
fn mock_secret(options: &Options) -> Result<[u8; 32], UsageError> {
    let wrong = |message| UsageError::new(Origin::CommandLine, "mock-secret-file", message);
    let Some(path) = &options.identities.mock_secret else {
        return tls::random()
            .map_err(|error| UsageError::new(Origin::CommandLine, "", error.to_string()));
    };
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("{name}: {error}")))?;
    let first = bytes.first_chunk().copied();
    first.ok_or_else(|| wrong(format!("{name}: it has less than 32 bytes")))
}

/// How clients log in.
fn authentication(options: &Options, mock: [u8; 32]) -> ClientAuth {
    let Some(methods) = &options.accept else {
        return ClientAuth::Relay;
    };
    let unknown = options.identities.unknown.iter().copied();
    ClientAuth::Terminate(unknown.fold(admit(methods, mock), AdmitPolicy::imitate))
}

impl Current {
    fn new(
        options: Arc<Options>,
        topology: Topology,
        facts: Option<&Facts>,
        mock: [u8; 32],
    ) -> Result<Current, UsageError> {
        let methods = match options.identities.credential_command {
            Some(_) => METHODS.allow_external(Channel::Tls),
            None => METHODS,
        };
        let upstream = |(at, (_, address)): (usize, (_, &HostPort))| Upstream {
            name: address.to_string(),
            role: topology.role_of_new(Destination(at)),
            tls: options.upstream_tls,
            tls_negotiation: options.upstream_tls_negotiation,
            methods: Some(methods),
        };
        let mut config = Config::new(options.upstreams().enumerate().map(upstream).collect());
        config.gate = options.gate;
        config.relayed_password = options.relayed_password;
        config.writer_failure = options.writer_down;
        config.writer_retry = options.writer_retry;
        config.out_of_sync = options.out_of_sync;
        config.split = options.split;
        config.dialect = options.dialect;
        config.optimistic = options.optimistic;
        config.read_only_transactions = options.read_only_transactions;
        config.read_your_writes = options.read_your_writes;
        config.lost_reads = options.lost_reads;
        config.default_isolation = options.default_isolation;
        config.client_tls = options.client_tls;
        config.users = options.identities.users.clone();
        config.upstream_users = options.identities.upstream.clone();
        if options.identities.users_command.is_some() {
            config.user_source = UserSource::Caller;
        }
        config.cancel_ring = options
            .cancel_ring
            .as_ref()
            .map(|ring| Arc::clone(&ring.keys));
        config.authentication = authentication(&options, mock);
        if options.log_routes {
            config.route_texts = RouteTexts::Outline;
        }
        config.reader_choice = options.reading.choice;
        let mut rules = Rules::default().with_hints(options.reading.hints);
        if let Some(facts) = facts {
            rules.refresh(facts);
        }
        config.rules = Arc::new(rules);
        if options.metrics.is_some() || options.reading.counts() {
            config.request_events = RequestEvents::On;
        }
        if options.console.is_some() {
            config.moves = Moves::On;
            // A dial may have to wait for an operator; one that does not is timed by itself.
            config.timeouts.dial = DRAINED;
        }
        config.timeouts.shutdown = SHUTDOWN - SHUTDOWN_CLOSING;
        let wrong = |error: pgturnout::session::ConfigError| {
            UsageError::new(Origin::CommandLine, "", error.to_string())
        };
        config.check().map_err(wrong)?;
        Ok(Current {
            config: Arc::new(config),
            ring: options.cancel_ring.clone(),
            options,
            topology,
        })
    }
}
