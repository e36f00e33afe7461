//! A proxy of one thread in this process, whose sessions a test can move while they run.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pgturnout::migrate::{CannotStart, TransferCounter};
use pgturnout::route::Split;
use pgturnout::session::{
    Action, Config, ConnectFailed, Demand, Destination, Event, MoveOrder, PeerId, Seed, Session,
    Transmit,
};

/// What a test and the proxy's thread have in common.
#[derive(Default)]
struct Shared {
    orders: Vec<MoveOrder>,
    ended: Vec<Event>,
    refused: Vec<CannotStart>,
    transfers: [u64; 4],
}

/// A proxy for one client at a time.
pub(crate) struct Mover {
    pub(crate) port: u16,
    shared: Arc<Mutex<Shared>>,
}

impl Mover {
    /// A proxy with this configuration, whose upstreams are at these ports.
    pub(crate) fn new(config: Config, ports: Vec<u16>) -> Mover {
        config.check().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (config, theirs) = (Arc::new(config), Arc::clone(&shared));
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                Driver::new(&config, &ports, client, &theirs).run();
            }
        });
        Mover { port, shared }
    }

    /// Moves the session, and waits for the end of that.
    pub(crate) fn migrate(&self, order: MoveOrder) -> Event {
        let before = self.ended().len();
        self.order(order);
        loop {
            if let Some(event) = self.ended().get(before) {
                return event.clone();
            }
            let refused = self.shared.lock().unwrap().refused.pop();
            assert_eq!(refused, None, "it cannot start");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the session moved at some time soon.
    pub(crate) fn order(&self, order: MoveOrder) {
        self.shared.lock().unwrap().orders.push(order);
    }

    /// How each move ended.
    pub(crate) fn ended(&self) -> Vec<Event> {
        self.shared.lock().unwrap().ended.clone()
    }

    /// Moves that began, succeeded, left the session where it was, and ended it.
    pub(crate) fn transfers(&self) -> [u64; 4] {
        self.shared.lock().unwrap().transfers
    }
}

struct Driver<'a> {
    session: Session<Split>,
    ports: &'a [u16],
    streams: [Option<TcpStream>; PeerId::COUNT],
    buffers: [Vec<u8>; PeerId::COUNT],
    room: usize,
    shared: &'a Mutex<Shared>,
}

impl<'a> Driver<'a> {
    fn new(
        config: &Arc<Config>,
        ports: &'a [u16],
        client: TcpStream,
        shared: &'a Mutex<Shared>,
    ) -> Driver<'a> {
        let mut driver = Driver {
            session: Session::new(
                Arc::clone(config),
                Split,
                Seed::new([7; 64]),
                Instant::now(),
            ),
            ports,
            streams: Default::default(),
            buffers: Default::default(),
            room: config.limits.read_buffer,
            shared,
        };
        driver.open(PeerId::CLIENT, client);
        driver
    }

    fn open(&mut self, peer: PeerId, stream: TcpStream) {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        self.streams[peer.index()] = Some(stream);
    }

    fn run(mut self) {
        while !self.session.lifecycle().is_dead() {
            let mut moved = self.obey();
            for peer in PeerId::ALL {
                moved |= self.read(peer);
                moved |= self.decide(peer);
                moved |= self.write(peer);
            }
            while let Some(action) = self.session.poll_action() {
                self.act(action);
                moved = true;
            }
            let now = Instant::now();
            if self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.session.handle_timeout(now);
            } else if !moved {
                thread::sleep(Duration::from_micros(100));
            }
            self.tell();
        }
    }

    fn obey(&mut self) -> bool {
        let orders = std::mem::take(&mut self.shared.lock().unwrap().orders);
        for order in &orders {
            if let Err(why) = self.session.migrate(Instant::now(), order.clone()) {
                self.shared.lock().unwrap().refused.push(why);
            }
        }
        !orders.is_empty()
    }

    fn tell(&self) {
        let stats = self.session.transfers();
        self.shared.lock().unwrap().transfers = [
            TransferCounter::Attempted,
            TransferCounter::Success,
            TransferCounter::Recoverable,
            TransferCounter::Fatal,
        ]
        .map(|counter| stats.get(counter));
    }

    fn read(&mut self, peer: PeerId) -> bool {
        let (wants, index) = (self.session.wants_read(peer), peer.index());
        let Some(stream) = self.streams[index].as_mut().filter(|_| wants) else {
            return false;
        };
        let have = self.buffers[index].len();
        let mut block = vec![0; (self.room - have).min(16_384)];
        match stream.read(&mut block) {
            _ if block.is_empty() => false,
            Ok(0) => {
                self.session.handle_eof(Instant::now(), peer);
                true
            }
            Ok(n) => {
                self.buffers[index].extend_from_slice(&block[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(_) => {
                self.session.handle_reset(Instant::now(), peer);
                true
            }
        }
    }

    fn decide(&mut self, peer: PeerId) -> bool {
        let index = peer.index();
        if self.streams[index].is_none() {
            return false;
        }
        let buffer = &mut self.buffers[index];
        let mut decided = false;
        while self.session.handle_input(Instant::now(), peer, buffer) == Demand::Again {
            decided = true;
        }
        let dropped = self.session.take_discard(peer, buffer.len());
        buffer.drain(..dropped);
        decided || dropped > 0
    }

    fn write(&mut self, to: PeerId) -> bool {
        let mut wrote = false;
        while let Some(stream) = &mut self.streams[to.index()] {
            let (from, bytes) = match self.session.poll_transmit(to) {
                None => break,
                Some(Transmit::Owned(bytes)) => (None, bytes),
                Some(Transmit::Splice { from, max }) => {
                    let bytes = &self.buffers[from.index()];
                    let max = usize::try_from(max).unwrap_or(usize::MAX).min(bytes.len());
                    (Some(from), &bytes[..max])
                }
            };
            if bytes.is_empty() {
                break;
            }
            match stream.write(bytes) {
                Ok(n) => {
                    if let Some(from) = from {
                        self.buffers[from.index()].drain(..n);
                    }
                    self.session.transmitted(Instant::now(), to, n);
                    wrote = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.session.handle_reset(Instant::now(), to);
                    break;
                }
            }
        }
        wrote
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { peer, to } => {
                let result = self.connect(peer, to);
                let result = result.map_err(|error| ConnectFailed(error.to_string()));
                self.session.handle_connected(Instant::now(), peer, result);
            }
            Action::Close { peer, .. } => {
                self.streams[peer.index()] = None;
                self.buffers[peer.index()].clear();
            }
            Action::Notify(event @ (Event::Moved { .. } | Event::MoveFailed { .. })) => {
                self.tell();
                self.shared.lock().unwrap().ended.push(event);
            }
            Action::Notify(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn connect(&mut self, peer: PeerId, to: Destination) -> io::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.ports[to.0]))?;
        self.open(peer, stream);
        Ok(())
    }
}
