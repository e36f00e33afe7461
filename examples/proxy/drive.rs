//! One session and its connections: the loop.
//!
//! The [`Session`] decides everything. What is here shows it what came, writes what it says, carries out its actions
//! and reads the clock: one future per session, without an inner task or an allocation per message.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pgturnout::migrate::postgres::Surrounding;
use pgturnout::migrate::{CannotStart, Outcome, Phase, Reason};
use pgturnout::route::{self, ReaderFacts};
use pgturnout::session::{
    Action, Activity, CancelTarget, CancelTicket, CloseCause, Config, ConnectFailed, Demand,
    Destination, Event, MoveOrder, MoveTarget, PeerId, Role, Seed, Session, TlsFailed, TlsRole,
    Transmit,
};
use pgturnout::startup::StartupParams;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::askers::Askers;
use crate::connection::{Connection, Heard, Sent, Step};
use crate::console::{self, Caller};
use crate::introduce::{Arrival, Whence};
use crate::metrics::Published;
use crate::peer_io::{ReadBuffer, Stream};
use crate::programs::{Answer, Questions, Reply};
use crate::reading::Clock;
use crate::registry::{Ask, Asker, Entry, Fault, Mailbox, Moved, MovedLeg, Order, Standing, State};
use crate::topology::{Places, Service, Topology};
use crate::{Proxy, cancel, door, log};

/// Writes to one peer before the others get their turn.
const WRITES_PER_TURN: usize = 4;

/// How long the client's connection may take to close: a client that was told why should get to read it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whether the client is to be kept from its next request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Free,
    /// Its server is paused: as soon as nothing is asked and no transaction is open.
    Wanted,
}

/// A session with everything that it needs to run. The arrays are indexed by peer.
pub(crate) struct Driver {
    session: Session<route::Split>,
    /// What it was told.
    config: Arc<Config>,
    connections: [Connection; PeerId::COUNT],
    buffers: [ReadBuffer; PeerId::COUNT],
    /// Of whom nothing was to be read already in this call of `poll`: they are not asked again before the next.
    silent: [bool; PeerId::COUNT],
    /// Where each upstream was dialled, among the proxy's.
    destinations: [Option<Destination>; PeerId::COUNT],
    places: Places,
    begun: Instant,
    /// The dial of a login that waits for a server.
    parked: Option<(PeerId, Destination)>,
    hold: Hold,
    /// Whom to tell what came of a move.
    mover: Option<oneshot::Sender<Moved>>,
    /// The client is an operator, whom the console serves.
    operator: Option<StartupParams>,
    alarm: Option<Pin<Box<Sleep>>>,
    mailbox: Arc<Mailbox>,
    askers: Askers,
    /// What programs are asked.
    questions: Questions,
    entry: Entry,
    number: u64,
    proxy: Arc<Proxy>,
    /// What of the session's numbers is among the proxy's already, if anybody asked.
    published: Option<Box<Published>>,
    clock: Clock,
    /// What the session was told of readers.
    readers: Vec<ReaderFacts>,
    /// The client's connection after its close, and the cancel request whose end it waits for.
    leaving: Option<Stream>,
    cancel: Option<JoinHandle<()>>,
}

impl Driver {
    /// A session for a client that has just connected.
    pub(crate) fn new(proxy: Arc<Proxy>, arrival: Arrival, seed: Seed, number: u64) -> Box<Driver> {
        let whence = Whence {
            address: arrival.from.ip(),
            through: arrival.through,
        };
        let (entry, mailbox) = proxy.registry.enter(number, whence.clone());
        let config = proxy.current().config;
        let size = config.limits.read_buffer;
        let mut connections = PeerId::ALL.map(|_| Connection::None);
        connections[PeerId::CLIENT.index()] = Connection::open(Stream::plain(arrival.stream));
        let mut session = Session::new(Arc::clone(&config), route::Split, seed, Instant::now());
        session.set_client_endpoint(arrival.from);
        if let Some(policy) = door::policy(&proxy, number, whence) {
            session.set_policy(policy);
        }
        Box::new(Driver {
            session,
            config,
            connections,
            buffers: PeerId::ALL.map(|_| ReadBuffer::new(size)),
            silent: [false; PeerId::COUNT],
            destinations: [None; PeerId::COUNT],
            places: Places::default(),
            begun: Instant::now(),
            parked: None,
            hold: Hold::Free,
            mover: None,
            operator: None,
            alarm: None,
            mailbox,
            askers: Askers::default(),
            questions: Questions::default(),
            entry,
            number,
            proxy,
            published: None,
            clock: Clock::default(),
            readers: Vec::new(),
            leaving: None,
            cancel: None,
        })
    }

    /// Runs the session to its end; `running` is dropped then.
    pub(crate) async fn run(mut self: Box<Self>, running: mpsc::Sender<()>) {
        poll_fn(|cx| self.poll(cx)).await;
        self.publish();
        self.clock.stop(&self.proxy.readers);
        if let Some(startup) = self.operator.take() {
            return console::serve(self.into_caller(startup), running).await;
        }
        let (cancel, leaving) = (self.cancel.take(), self.leaving.take());
        drop(self);
        if let Some(cancel) = cancel {
            // Whoever asks for a cancel learns from the end of its connection that it was delivered.
            let _ = cancel.await;
        }
        if let Some(client) = leaving {
            leave(client).await;
        }
        drop(running);
    }

    /// Does what can be done now. What could not be done wakes this again: reads, writes, dials, the timer, the
    /// mailbox.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut now = Instant::now();
        self.silent = [false; PeerId::COUNT];
        self.listen(cx, now);
        self.give_up_move(cx, now);
        if self.proxy.reading.knows() {
            self.proxy.readers.facts(&mut self.readers);
            self.session.handle_readers(now, &self.readers);
        }
        loop {
            let mut progressed = self.tell_answers(cx, now);
            for peer in PeerId::ALL {
                progressed |= self.set_up(cx, now, peer);
                if peer == PeerId::CLIENT && self.holds() {
                    continue;
                }
                progressed |= self.read(cx, now, peer);
                progressed |= self.decide(now, peer);
            }
            if self.operator.is_some() {
                return Poll::Ready(());
            }
            for peer in PeerId::ALL {
                progressed |= self.write(cx, now, peer);
            }
            while let Some(action) = self.session.poll_action() {
                self.act(cx, now, action);
                progressed = true;
            }
            if self.session.lifecycle().is_dead() {
                return Poll::Ready(());
            }
            self.askers.answer(&self.session, &self.places);
            if !progressed {
                ready!(self.wait(cx));
                now = Instant::now();
                self.session.handle_timeout(now);
            }
        }
    }

    /// Answers what other tasks ask.
    fn listen(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(ask) = self.mailbox.poll(cx) {
            match ask {
                Ask::Shutdown => self.session.shutdown(now),
                Ask::Recheck => self.recheck(now),
                Ask::Changed => self.look_again(),
                Ask::Describe(answer) => drop(answer.send(self.standing())),
                Ask::Move(order) => self.begin_move(now, order),
                Ask::Expel(denial) => self.session.expel(now, denial),
                Ask::Aim(meant, answer) => self.askers.add(meant, answer),
                Ask::CancelBegins(target, answer) => self.begin_cancel(now, &target, answer),
                // Whoever asked may have gone.
                Ask::CancelEnded(ticket, answer) => {
                    let _ = answer.send(self.session.cancel_ended(now, ticket));
                }
                Ask::Publish(_done) => self.publish(),
            }
        }
    }

    /// Whether a cancel may be sent. Whoever asked may have gone, and sends nothing then.
    fn begin_cancel(
        &mut self,
        now: Instant,
        target: &CancelTarget,
        answer: oneshot::Sender<Option<CancelTicket>>,
    ) {
        let ticket = self.session.cancel_begins(now, target);
        if let Err(Some(ticket)) = answer.send(ticket) {
            // Nobody is left to cancel again.
            let _ = self.session.cancel_ended(now, ticket);
        }
    }

    /// Ends the session if it is denied by now.
    fn recheck(&mut self, now: Instant) {
        let startup = self.session.client_startup();
        if startup.is_none() && self.session.activity() == Activity::Opening {
            // Who it is comes yet, and is looked at then.
            return;
        }
        if let Some(rule) = self.proxy.door.denies(self.entry.whence(), startup) {
            let (number, whence) = (self.number, self.entry.whence());
            let line = format!("session {number} from {whence} ended by {rule}");
            self.proxy.log.line(&line);
            self.session.expel(now, door::denial());
        }
    }

    /// Adds what was counted since the last time to the proxy's numbers.
    fn publish(&mut self) {
        let counted = self.published.get_or_insert_default();
        self.proxy
            .metrics
            .publish(&self.session, counted, &self.destinations);
    }

    fn set_up(&mut self, cx: &mut Context<'_>, now: Instant, peer: PeerId) -> bool {
        match self.connections[peer.index()].poll_setup(cx) {
            None => return false,
            Some((Step::Dial, outcome)) => {
                let outcome = outcome.map_err(ConnectFailed);
                self.session.handle_connected(now, peer, outcome);
            }
            Some((Step::Tls, outcome)) => {
                let mut info = self.connections[peer.index()].tls_info();
                let shown = info.peer_certificate.clone();
                self.proxy.tls.tell(peer, shown.as_deref(), &mut info);
                let outcome = outcome.map(|()| info).map_err(TlsFailed);
                self.session.handle_secured(now, peer, outcome);
            }
        }
        // Another connection, or another way to read this one.
        self.silent[peer.index()] = false;
        true
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant, peer: PeerId) -> bool {
        if self.silent[peer.index()] {
            return false;
        }
        let wanted = self.session.wants_read(peer);
        let buffer = &mut self.buffers[peer.index()];
        match self.connections[peer.index()].poll_read(cx, buffer, wanted) {
            None => return false,
            Some(Heard::Nothing) => {
                self.silent[peer.index()] = true;
                return false;
            }
            Some(Heard::Bytes) => {}
            Some(Heard::End) => self.session.handle_eof(now, peer),
            Some(Heard::Broken) => self.session.handle_reset(now, peer),
        }
        true
    }

    /// Shows the session what there is of a peer.
    fn decide(&mut self, now: Instant, peer: PeerId) -> bool {
        if !self.connections[peer.index()].is_open() {
            return false;
        }
        let buffer = &mut self.buffers[peer.index()];
        let mut decided = false;
        while self.session.handle_input(now, peer, buffer.bytes()) == Demand::Again {
            decided = true;
            if peer == PeerId::CLIENT && self.session.activity() == Activity::Opening {
                self.operator = console::caller(&self.proxy, &self.session);
                if self.operator.is_some() {
                    break;
                }
            }
        }
        let dropped = self.session.take_discard(peer, buffer.bytes().len());
        buffer.consume(dropped);
        decided || dropped > 0
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant, to: PeerId) -> bool {
        let connection = &mut self.connections[to.index()];
        let mut progressed = false;
        for _ in 0..WRITES_PER_TURN {
            let (from, bytes) = match self.session.poll_transmit(to) {
                Some(Transmit::Owned(bytes)) => (None, bytes),
                Some(Transmit::Splice { from, max }) => {
                    let bytes = self.buffers[from.index()].bytes();
                    let max = usize::try_from(max).unwrap_or(usize::MAX);
                    (Some(from), &bytes[..bytes.len().min(max)])
                }
                None => break,
            };
            if bytes.is_empty() {
                break;
            }
            match connection.poll_write(cx, bytes) {
                Some(Sent::Bytes(n)) => {
                    if let Some(from) = from {
                        self.buffers[from.index()].consume(n);
                    }
                    self.session.transmitted(now, to, n);
                }
                Some(Sent::Failed) => {}
                Some(Sent::Broken) => self.session.handle_reset(now, to),
                None => break,
            }
            progressed = true;
        }
        connection.flush(cx);
        progressed
    }

    /// Ready when a deadline has passed.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((deadline, _)) = self.session.poll_timeout() else {
            self.alarm = None;
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx)
    }

    fn act(&mut self, cx: &mut Context<'_>, now: Instant, action: Action) {
        match action {
            Action::Connect { peer, to } => self.connect(peer, to),
            Action::StartTls { peer, role } => self.start_tls(now, peer, role),
            Action::Finish { peer } => self.connections[peer.index()].finish(),
            Action::Close { peer, cause } => self.close(cx, peer, &cause),
            Action::Cancel(key) => {
                let address = self.entry.whence().address;
                if self.proxy.door.denies(self.entry.whence(), None).is_some() {
                    return;
                }
                let relay = cancel::relay(Arc::clone(&self.proxy), Asker { key, address });
                self.cancel = Some(tokio::spawn(relay));
            }
            Action::Stop(target) => {
                let stop = cancel::stop(Arc::clone(&self.proxy), target);
                self.cancel = Some(tokio::spawn(stop));
            }
            Action::Notify(event) => {
                if let (Event::LoggedIn, Some(key)) = (&event, self.session.client_key()) {
                    if let Err(why) = self.entry.publish(key) {
                        let session = self.number;
                        let line = format!("session {session} cannot be cancelled: {why}");
                        self.proxy.log.line(&line);
                    }
                }
                let known = (&self.proxy.metrics, &self.proxy.readers);
                self.clock.event(known, &self.destinations, &event);
                // Moves that nobody asked for are none to tell of.
                if self.mover.is_some() || !matches!(event, Event::Moved { .. }) {
                    log::event(&self.proxy, self.places, self.number, &event);
                }
                if matches!(event, Event::LoggedIn) {
                    self.replace_reader(now);
                }
                self.follow_move(&event);
            }
            Action::FindUser { user } => {
                let listed = self.config.upstream_users.get(&user).is_some();
                self.questions.find(&self.proxy, user, listed);
            }
            Action::Authenticate {
                peer,
                to,
                question,
                request,
            } => {
                let user = self.upstream_user();
                let body = request.body();
                self.questions
                    .answer(&self.proxy, (peer, question), (to, user), body);
            }
            _ => {}
        }
    }

    /// The name that the servers know the client by.
    fn upstream_user(&self) -> Vec<u8> {
        let startup = self.session.client_startup();
        let user = startup.map_or(&b""[..], |startup| startup.user());
        match self.config.upstream_users.get(user) {
            Some(other) => other.name.to_vec(),
            None => user.to_vec(),
        }
    }

    /// Hands the session what programs have said.
    fn tell_answers(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progressed = false;
        while let Some(answer) = self.questions.poll(cx) {
            progressed = true;
            match answer {
                Answer::User(found) => self.session.handle_user(now, found),
                Answer::Credential {
                    peer,
                    question,
                    reply,
                } => {
                    let answer = reply.as_ref().map(Reply::as_answer).map_err(String::clone);
                    self.session
                        .handle_authentication(now, peer, question, answer);
                }
            }
        }
        progressed
    }

    fn connect(&mut self, peer: PeerId, to: Destination) {
        let topology = self.proxy.topology();
        let opening = self.session.activity() == Activity::Opening;
        if opening && peer == PeerId::WRITER && topology.role(self.places.at(to)) == Role::Spare {
            // Another took its place since the client connected.
            self.places.swap(to, topology.writer());
        }
        let at = self.places.at(to);
        match topology.service(at) {
            Service::Drained | Service::Paused if opening && at == topology.writer() => {
                self.parked = Some((peer, to));
            }
            Service::Drained | Service::Paused => {
                let drained = async { Err(io::Error::other("it is drained")) };
                self.connections[peer.index()] = Connection::pending(Step::Dial, drained);
            }
            Service::Open => {
                let dial = Proxy::dial(Arc::clone(&self.proxy), at);
                self.connections[peer.index()] = Connection::pending(Step::Dial, dial);
            }
        }
        if self.destinations[peer.index()].is_some_and(|before| before != at) {
            // What was counted was counted there.
            self.publish();
        }
        self.destinations[peer.index()] = Some(at);
        self.look_whether_paused(&topology);
    }

    /// What servers are for has changed.
    fn look_again(&mut self) {
        let topology = self.proxy.topology();
        let writer = topology.writer();
        if topology.service(writer) == Service::Open {
            if let Some((peer, to)) = self.parked.take() {
                // Another may have taken the place of the one that was waited for.
                self.places.swap(to, writer);
                self.connect(peer, to);
            }
        }
        self.look_whether_paused(&topology);
    }

    fn look_whether_paused(&mut self, topology: &Topology) {
        let writer = self.places.at(self.session.writer_place());
        self.hold = match topology.service(writer) {
            Service::Paused => Hold::Wanted,
            Service::Open | Service::Drained => Hold::Free,
        };
    }

    /// Whether nothing is taken from the client now.
    fn holds(&self) -> bool {
        self.hold == Hold::Wanted && self.session.activity() == Activity::Idle
    }

    /// What an operator is told of this session.
    fn standing(&self) -> Standing {
        let activity = self.session.activity();
        // Until it serves it is where it was dialled.
        let (writer, reader) = match activity {
            Activity::Opening => (self.destinations[PeerId::WRITER.index()], None),
            _ => (
                Some(self.places.at(self.session.writer_place())),
                Some(self.places.at(self.session.reader_place())),
            ),
        };
        let state = match (&self.parked, self.session.migration()) {
            (Some(_), _) => State::Waiting,
            (None, Some(_)) => State::Moving,
            (None, None) if self.holds() => State::Paused,
            (None, None) => State::Session(activity),
        };
        Standing {
            number: self.number,
            client: self.entry.whence().address,
            startup: self.session.client_startup().cloned(),
            state,
            writer,
            // A session that does not split reads at its writer.
            reader: reader.filter(|_| reader != writer),
            pins: self.session.pins().collect(),
            age: self.begun.elapsed(),
        }
    }

    /// The session waited for its writer while another took the place: what was to be its reader may be that one.
    fn replace_reader(&mut self, now: Instant) {
        if self.places.are_swapped() {
            let writer = self.places.at(self.session.writer_place());
            let other = self.proxy.topology().reader_besides(writer);
            let reader = self.places.at(other.unwrap_or(writer));
            // One that does not split reads has no reader to exchange.
            let _ = self
                .session
                .migrate(now, MoveOrder::new(MoveTarget::Reader(reader)));
        }
    }

    fn begin_move(&mut self, now: Instant, order: Order) {
        if order.answer.is_closed() {
            return;
        }
        let to = self.places.at(order.to);
        let other = self.proxy.topology().reader_besides(order.to);
        let target = match (order.leg, other) {
            // The standby takes over, and what it was to the session is another.
            (MovedLeg::Writer, Some(other)) if self.session.reader_place() == to => {
                let reader = self.places.at(other);
                MoveTarget::Both { writer: to, reader }
            }
            (MovedLeg::Writer, _) => MoveTarget::Writer(to),
            (MovedLeg::Reader, _) => MoveTarget::Reader(to),
        };
        let move_order = order.manner.order(target, order.limit);
        match self.session.migrate(now, move_order) {
            Ok(()) => self.mover = Some(order.answer),
            Err(cannot) => drop(order.answer.send(not_begun(&cannot))),
        }
    }

    /// Whoever moves the session has given it up, and nobody would hear of it.
    fn give_up_move(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mover = self.mover.as_mut();
        if mover.is_some_and(|mover| mover.poll_closed(cx).is_ready()) {
            self.mover = None;
            self.session.cancel_migration(now);
        }
    }

    /// Tells whoever moves the session what came of it.
    fn follow_move(&mut self, event: &Event) {
        let Some(moved) = came_of(event) else {
            return;
        };
        if let Event::Moved { took, held, .. } | Event::MoveFailed { took, held, .. } = event {
            self.proxy.metrics.moved(*took, *held);
        }
        if let Some(mover) = self.mover.take() {
            let _ = mover.send(moved);
        }
        let topology = self.proxy.topology();
        self.look_whether_paused(&topology);
    }

    /// What the console needs of a client that is an operator.
    fn into_caller(mut self: Box<Self>, startup: StartupParams) -> Caller {
        let client = PeerId::CLIENT.index();
        Caller {
            stream: self.connections[client].take(),
            read: self.buffers[client].bytes().to_vec(),
            startup,
            entry: self.entry,
            mailbox: self.mailbox,
            number: self.number,
            begun: self.begun,
            proxy: self.proxy,
        }
    }

    fn start_tls(&mut self, now: Instant, peer: PeerId, role: TlsRole) {
        let proxy = Arc::clone(&self.proxy);
        let connection = &mut self.connections[peer.index()];
        let to = self.destinations[peer.index()];
        *connection = match (connection.take(), role, to) {
            (Some(stream), TlsRole::Server | TlsRole::DirectServer, _) => {
                // What was read is the beginning of a handshake that was not asked for, or nothing.
                let buffer = &mut self.buffers[peer.index()];
                let read = buffer.bytes().to_vec();
                buffer.clear();
                Connection::pending(Step::Tls, Proxy::accept_tls(proxy, stream, read))
            }
            (Some(stream), TlsRole::Client(_), Some(to)) => {
                Connection::pending(Step::Tls, Proxy::encrypt(proxy, to, stream))
            }
            (_, TlsRole::Server | TlsRole::DirectServer | TlsRole::Client(_), _) => {
                let failed = TlsFailed("there is no connection".to_owned());
                return self.session.handle_secured(now, peer, Err(failed));
            }
        };
    }

    /// Drops a connection. A client that was told something gets the time to read it.
    fn close(&mut self, cx: &mut Context<'_>, peer: PeerId, cause: &CloseCause) {
        self.buffers[peer.index()].clear();
        let Some(mut stream) = self.connections[peer.index()].take() else {
            return;
        };
        // The end of the stream, with that of TLS, if it can be written at once. Whoever asked for a cancel sees
        // it only when the upstream has taken the request, or the next statement could be hit.
        if !matches!(cause, CloseCause::CancelTaken) {
            let _ = Pin::new(&mut stream).poll_shutdown(cx);
        }
        let left = matches!(cause, CloseCause::ClientLeft | CloseCause::ClientLost);
        if peer == PeerId::CLIENT && !left {
            self.leaving = Some(stream);
        }
    }
}

/// What an event says came of a move, if it says so.
fn came_of(event: &Event) -> Option<Moved> {
    let (outcome, phase, reason) = match event {
        Event::Moved { held, .. } => return Some(Moved::Done { held: *held }),
        Event::MoveFailed {
            outcome,
            phase,
            reason,
            ..
        } => (outcome, phase, reason),
        _ => return None,
    };
    let why = format!("{phase}: {reason}");
    if *outcome == Outcome::Fatal {
        return Some(Moved::Lost { why });
    }
    let fault = match reason {
        Reason::Target(_) if *phase == Phase::Dial => Fault::Target,
        Reason::State(why) if *why == Surrounding::Standby.to_string() => Fault::Target,
        _ => Fault::Session,
    };
    Some(Moved::Refused { why, fault })
}

/// What comes of a move that did not begin: one that may begin later is tried again.
fn not_begun(cannot: &CannotStart) -> Moved {
    let why = cannot.to_string();
    match cannot {
        CannotStart::NotServing | CannotStart::Ending | CannotStart::Running => {
            let fault = Fault::Session;
            Moved::Refused { why, fault }
        }
        CannotStart::Disabled
        | CannotStart::NoUpstream
        | CannotStart::NoReader
        | CannotStart::Unsafe(_) => Moved::Impossible { why },
    }
}

/// Closes the connection of a client that was told why.
pub(crate) async fn leave(client: Stream) {
    let _ = tokio::time::timeout(FAREWELL, say_goodbye(client)).await;
}

/// Ends our direction, then waits for the other to end: closing earlier, with something unread, would reset the
/// connection, and take from the client what it has not read yet.
async fn say_goodbye(mut client: Stream) -> io::Result<()> {
    client.shutdown().await?;
    while client.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}
