//! The same [`Session`] on blocking sockets and plain threads: no runtime, no readiness, no async.
//!
//! `cargo run --example blocking -- LISTEN WRITER READER [NAME:SECRET]...`
//!
//! Each session has a thread that decides and writes. Each connection has one that reads, a block at a time and only
//! when told to. Left out on purpose, and found in `examples/proxy`: TLS, cancel requests, an orderly shutdown.
#![allow(clippy::disallowed_methods, reason = "the driver owns the clock")]

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use pgturnout::auth::{Channel, Credential, Methods};
use pgturnout::route;
use pgturnout::session::{
    Action, CloseCause, Config, ConnectFailed, Demand, Event, Lifecycle, PeerId, Role, Seed,
    Session, TlsFailed, Transmit, Upstream,
};
use pgturnout::startup::{TlsNegotiation, UpstreamTlsPolicy};

/// A peer that does not read blocks a write for this long, then the others get their turn.
const WRITE_PATIENCE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, writer, reader, users @ ..] = args.as_slice() else {
        return Err("usage: blocking LISTEN WRITER READER [NAME:SECRET]...".into());
    };
    let upstream = |address: &String, role| Upstream {
        name: address.clone(),
        role,
        tls: UpstreamTlsPolicy::Disable,
        tls_negotiation: TlsNegotiation::Postgres,
        methods: Some(
            Methods::NONE
                .allow_trust()
                .allow_md5(Channel::Clear)
                .allow_scram(),
        ),
    };
    let upstreams = [
        upstream(writer, Role::Writer),
        upstream(reader, Role::Reader),
    ];
    let mut config = Config::new(upstreams.into());
    for user in users {
        let (name, secret) = user.split_once(':').ok_or("expected NAME:SECRET")?;
        let credential = Credential::from_secret(secret.as_bytes())?;
        config.users.insert(name.as_bytes(), credential);
    }
    config.check()?;
    let config = Arc::new(config);
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept()?;
        let config = Arc::clone(&config);
        thread::spawn(move || match Driver::new(config, client).map(Driver::run) {
            Ok(cause) => eprintln!("a session ended: {cause}"),
            Err(error) => eprintln!("a session could not begin: {error}"),
        });
    }
}

/// What a reading thread has read. The number is that of the connection: a peer can be dialled again.
struct Heard {
    peer: PeerId,
    number: u64,
    bytes: io::Result<Vec<u8>>,
}

struct Connection {
    number: u64,
    stream: TcpStream,
    /// Tells the reading thread to read once, up to so many bytes. It ends when this is dropped.
    orders: Sender<usize>,
    reading: Reading,
}

#[derive(PartialEq, Eq)]
enum Reading {
    Idle,
    Ordered,
    Ended,
}

struct Driver {
    session: Session<route::Split>,
    config: Arc<Config>,
    connections: [Option<Connection>; PeerId::COUNT],
    buffers: [Vec<u8>; PeerId::COUNT],
    heard: Receiver<Heard>,
    tell: Sender<Heard>,
    /// How many connections there were.
    opened: u64,
}

impl Driver {
    fn new(config: Arc<Config>, client: TcpStream) -> io::Result<Driver> {
        let mut random = [0; Seed::LEN];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (seed, now) = (Seed::new(random), Instant::now());
        let (tell, heard) = channel();
        let mut driver = Driver {
            session: Session::new(Arc::clone(&config), route::Split, seed, now),
            config,
            connections: Default::default(),
            buffers: Default::default(),
            heard,
            tell,
            opened: 0,
        };
        driver.open(PeerId::CLIENT, client)?;
        Ok(driver)
    }

    fn run(mut self) -> CloseCause {
        loop {
            let now = Instant::now();
            let (mut progressed, mut stalled) = (false, false);
            for peer in PeerId::ALL {
                progressed |= self.decide(now, peer);
            }
            for peer in PeerId::ALL {
                match self.write(now, peer) {
                    Ok(wrote) => progressed |= wrote,
                    Err(Stalled) => stalled = true,
                }
            }
            while let Some(action) = self.session.poll_action() {
                self.act(now, action);
                progressed = true;
            }
            if let Lifecycle::Dead(cause) = self.session.lifecycle() {
                return cause.clone();
            }
            if !progressed {
                self.order_reads();
                self.wait(stalled);
            }
        }
    }

    /// Shows the session what there is of a peer.
    fn decide(&mut self, now: Instant, peer: PeerId) -> bool {
        if self.connections[peer.index()].is_none() {
            return false;
        }
        let buffer = &mut self.buffers[peer.index()];
        let mut decided = false;
        while self.session.handle_input(now, peer, buffer) == Demand::Again {
            decided = true;
        }
        let dropped = self.session.take_discard(peer, buffer.len());
        buffer.drain(..dropped);
        decided || dropped > 0
    }

    /// Writes all that there is for a peer, as long as it reads.
    fn write(&mut self, now: Instant, to: PeerId) -> Result<bool, Stalled> {
        let mut wrote = false;
        while let Some(connection) = &mut self.connections[to.index()] {
            let (from, bytes) = match self.session.poll_transmit(to) {
                Some(Transmit::Owned(bytes)) => (None, bytes),
                Some(Transmit::Splice { from, max }) => {
                    let bytes = self.buffers[from.index()].as_slice();
                    let max = usize::try_from(max).unwrap_or(usize::MAX);
                    (Some(from), &bytes[..bytes.len().min(max)])
                }
                None => break,
            };
            if bytes.is_empty() {
                break;
            }
            match connection.stream.write(bytes) {
                Ok(n) => {
                    if let Some(from) = from {
                        self.buffers[from.index()].drain(..n);
                    }
                    self.session.transmitted(now, to, n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Stalled),
                Err(_) => {
                    connection.reading = Reading::Ended;
                    self.session.handle_reset(now, to);
                    return Ok(true);
                }
            }
            wrote = true;
        }
        Ok(wrote)
    }

    /// Has one block read of each peer that the session wants to hear, as far as there is room.
    fn order_reads(&mut self) {
        for peer in PeerId::ALL {
            let room = self.config.limits.read_buffer - self.buffers[peer.index()].len();
            if let Some(connection) = &mut self.connections[peer.index()] {
                let idle = connection.reading == Reading::Idle;
                if idle && room > 0 && self.session.wants_read(peer) {
                    // The thread is there: it ends only when it is not ordered any more.
                    let _ = connection.orders.send(room);
                    connection.reading = Reading::Ordered;
                }
            }
        }
    }

    /// Waits for something to be heard: up to the next deadline, or not at all if a write waits for its turn.
    fn wait(&mut self, stalled: bool) {
        let deadline = self.session.poll_timeout().map(|(deadline, _)| deadline);
        let heard = match (stalled, deadline) {
            (true, _) => self.heard.try_recv().ok(),
            (false, Some(at)) => {
                let patience = at.saturating_duration_since(Instant::now());
                self.heard.recv_timeout(patience).ok()
            }
            (false, None) => self.heard.recv().ok(),
        };
        let now = Instant::now();
        let Some(Heard {
            peer,
            number,
            bytes,
        }) = heard
        else {
            return self.session.handle_timeout(now);
        };
        let connection = self.connections[peer.index()].as_mut();
        let Some(connection) = connection.filter(|connection| connection.number == number) else {
            return;
        };
        connection.reading = Reading::Ended;
        match bytes {
            Ok(bytes) if bytes.is_empty() => self.session.handle_eof(now, peer),
            Ok(bytes) => {
                connection.reading = Reading::Idle;
                self.buffers[peer.index()].extend_from_slice(&bytes);
            }
            Err(_) => self.session.handle_reset(now, peer),
        }
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Connect { peer, to } => {
                let address = &self.config.upstreams[to.0].name;
                let opened = dial(address, self.config.timeouts.dial)
                    .and_then(|stream| self.open(peer, stream))
                    .map_err(|error| ConnectFailed(error.to_string()));
                self.session.handle_connected(Instant::now(), peer, opened);
            }
            Action::StartTls { peer, .. } => {
                let failed = TlsFailed("TLS is not built in".to_owned());
                self.session.handle_secured(now, peer, Err(failed));
            }
            Action::Close { peer, .. } => {
                self.buffers[peer.index()].clear();
                if let Some(connection) = self.connections[peer.index()].take() {
                    // Ends a read that is going on.
                    let _ = connection.stream.shutdown(Shutdown::Both);
                }
            }
            Action::Notify(Event::Routed { request, peer, .. }) => {
                eprintln!("request {request} went to the {peer}");
            }
            _ => {}
        }
    }

    /// Takes a connection into use, with a thread that reads.
    fn open(&mut self, peer: PeerId, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        self.opened += 1;
        let number = self.opened;
        let (orders, rooms) = channel::<usize>();
        let (mut read_half, tell) = (stream.try_clone()?, self.tell.clone());
        thread::spawn(move || {
            for room in rooms {
                let mut bytes = vec![0; room];
                let bytes = read_half.read(&mut bytes).map(|n| {
                    bytes.truncate(n);
                    bytes
                });
                // Nobody listens when the session is over, and then no order comes either.
                let _ = tell.send(Heard {
                    peer,
                    number,
                    bytes,
                });
            }
        });
        let reading = Reading::Idle;
        self.connections[peer.index()] = Some(Connection {
            number,
            stream,
            orders,
            reading,
        });
        Ok(())
    }
}

/// A peer does not read what is written to it.
struct Stalled;

/// Connects to the first address of a name that answers.
fn dial(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
