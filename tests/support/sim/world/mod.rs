//! One session between a client and two servers: the network and the driver, both in the scenario's hands.
//!
//! | file | what |
//! |---|---|
//! | `link` | one connection and the network behind it |
//! | `whole` | sessions of which nothing is read |
//! | `driver` | what a driver does with a session |
//! | `caller` | who answers what servers ask in logins of the proxy's |
//! | `cancels` | cancels, on connections of their own |
//! | `faults` | what goes wrong, and what comes from outside |
//! | `hostile` | bytes of a client's that may be what a client may say |
//! | `misuse` | what a driver must not do |
//! | `happened` | what happened at each peer |
//! | `seats` | who of the session's peers is what for it |
//! | `moving` | a session that moves, as its driver sees it |
//! | `beside` | a second client on the same data |

mod beside;
mod caller;
mod cancels;
mod dialling;
mod driver;
mod faults;
mod happened;
mod hostile;
mod link;
mod misuse;
mod moving;
mod seats;
mod whole;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pgturnout::session::{CloseCause, Config, Event as Told, PeerId, Session, Timer};

use super::catalogue::Phase;
use super::catalogue::Seen;
use super::checks::{self, Check, LookedAt, Violation};
use super::client::Client;
use super::codec;
use super::cursor::Cursor;
use super::deadlines::{self, Clocks};
use super::door::Door;
use super::duties::{self, Asked};
use super::event::{Event, Scenario};
use super::fates::{self, Fates};
use super::fault::{Damage, Fault};
use super::message::ClientMessage;
use super::meter::Meter;
use super::moves::{self, Moves};
use super::needles;
use super::oracle;
use super::reads::Reads;
use super::retries::Tries;
use super::senseless::{self, Senseless};
use super::server::{ADDRESS, Cluster, Impostor, Server, TlsAnswer};
use super::setup::Setup;
use super::torn::Torn;
use super::transfers::{self, Transfers};
use super::wants::Wanted;
use cancels::Cancels;
pub(crate) use cancels::{PACES, Pace};
pub(crate) use faults::OUTSIDE;
pub(crate) use happened::{Happened, Sent};
use link::{Agrees, End};
pub(crate) use link::{Link, State};
use seats::{Seated, Way};

/// Whom the driver turns to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    ClientFirst,
    ReaderFirst,
}

/// How the bytes of one event are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunking {
    Whole,
    /// One at a time.
    Bytes,
    /// Between 1 and 23, from a generator with this seed.
    Seeded(u64),
}

pub(crate) struct World<'s> {
    pub(crate) setup: Setup,
    pub(crate) config: Arc<Config>,
    pub(crate) session: Seated,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    /// When each peer's connection was last asked for, and when it stood.
    pub(crate) dialled: [Instant; PeerId::COUNT],
    pub(crate) connected: [Instant; PeerId::COUNT],
    /// By peer, as the servers; outside the world, which is made on a short stack.
    pub(crate) links: Vec<Link>,
    pub(crate) servers: Vec<Option<Server>>,
    /// Servers of connections that were closed.
    pub(crate) retired: Vec<(PeerId, Server, Vec<String>)>,
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    /// What has struck so far, and how much the client may notice of it.
    pub(crate) strikes: Vec<Fault>,
    pub(crate) damage: Damage,
    /// Who has broken the protocol, and whether the driver has broken its contract.
    pub(crate) liars: [bool; PeerId::COUNT],
    pub(crate) misused: bool,
    pub(crate) clocks: Clocks,
    /// Where in the stream of the client's messages it stood when the proxy was shut down: what had come by then.
    pub(crate) shut_down_at: Option<usize>,
    /// Whether each upstream was told that nothing more comes.
    pub(crate) taken_leave: [bool; PeerId::COUNT],
    /// The end of what was shown last.
    pub(crate) shown: String,
    /// The first bytes that have come of the client.
    pub(crate) first_bytes: Vec<u8>,
    /// When the driver last had nothing more to do, and when the reader's connection was closed.
    pub(crate) acted: Instant,
    pub(crate) reader_closed: Option<Instant>,
    /// What the session waited for each time that everything had come to rest, and until when.
    pub(crate) rests: Vec<Option<(std::time::Duration, Timer)>>,
    /// The ends of what came of each upstream, and whether the reader has said in it that it takes writes.
    tails: [Vec<u8>; PeerId::COUNT],
    pub(crate) says_promoted: bool,
    /// All that the session has taken of the client, as the client meant it.
    pub(crate) heard: Vec<u8>,
    /// What waits for its moment.
    aims: Vec<(PeerId, Phase, usize, Fault)>,
    pub(crate) cancels: Cancels,
    pub(crate) tries: Tries,
    pub(crate) senseless: Senseless,
    pub(crate) door: Door,
    pub(crate) fates: Fates,
    pub(crate) torn: Torn,
    pub(crate) looked_at: LookedAt,
    pub(crate) happened: [Vec<Happened>; PeerId::COUNT],
    pub(crate) told: Vec<Told>,
    /// What the driver was asked.
    pub(crate) duties: Asked,
    pub(crate) closes: Vec<(PeerId, CloseCause)>,
    pub(crate) reads: Reads,
    pub(crate) moves: Moves,
    pub(crate) transfers: Transfers,
    /// Whether the client has said something before it was let in: where its first message begins is not known.
    pub(crate) ahead: bool,
    /// Whether a message was put between others of the client's, at a moment that depends on how bytes are cut.
    pub(crate) interjected: bool,
    pub(crate) wanted: [Wanted; PeerId::COUNT],
    /// Whether everything came to rest once with a request that was not answered.
    pub(crate) behind: bool,
    /// All that the client said once it was logged in, for the one server that it is compared with.
    pub(crate) said: Vec<u8>,
    pub(crate) meter: Meter,
    pub(crate) violation: Option<Violation>,
    /// Whether the session has taken the client's Terminate.
    pub(crate) goodbye: bool,
    /// What happened, in words, if somebody wants to read it.
    pub(crate) log: Option<Vec<String>>,
    /// Who fills the client's stream.
    pub(crate) to_client: Cursor<Option<PeerId>>,
    /// Where the client's stream goes.
    pub(crate) from_client: Cursor<Option<PeerId>>,
    /// The upstream that last got a message of the client's.
    pub(crate) client_serves: Option<PeerId>,
    /// Whether the reader's connection got a message of the client's.
    pub(crate) reader_asked: bool,
    /// How many bytes came of the client, and how many of its encryption requests were answered.
    pub(crate) client_bytes: usize,
    pub(crate) answers: usize,
    /// Whether bytes came behind an SSLRequest before its answer had left.
    pub(crate) stuffed: bool,
    /// What the writer said of its own accord.
    pub(crate) writer_asides: usize,
    /// Whether the scenario is over and the client leaves.
    pub(crate) leaving: bool,
    /// What we said to each upstream and is not a whole message yet.
    pub(crate) injected: [Vec<u8>; PeerId::COUNT],
    /// The texts among it.
    pub(crate) injected_texts: [Vec<String>; PeerId::COUNT],
    pub(crate) seen: &'s mut Seen,
    pub(crate) steps: usize,
    refuses_login: [Option<String>; PeerId::COUNT],
    forgets_password: [bool; PeerId::COUNT],
    tls_answers: [Option<TlsAnswer>; PeerId::COUNT],
    poses: [Option<Impostor>; PeerId::COUNT],
    /// Whether the server does as if it took settings.
    forgets_settings: [bool; PeerId::COUNT],
    /// Who is behind each connection in place of the server.
    pub(crate) posing: [Option<Impostor>; PeerId::COUNT],
    /// Whether the server behind each connection took writes when it was dialled.
    pub(crate) takes_writes: [bool; PeerId::COUNT],
    /// How many notifications of somebody else's are due to the client.
    pub(crate) notifications: usize,
    backends: u32,
    /// How far each peer's stream has come, in frames, once it consists of them.
    pub(crate) arrived: [Cursor<()>; PeerId::COUNT],
    neighbour: Option<Box<World<'s>>>,
    /// Whether it is the neighbour of another.
    is_second: bool,
    /// Whether the client was let in when an upstream beside the gate was dialled.
    pub(crate) let_in: bool,
    /// Whether anything has come of each peer's connection.
    pub(crate) answered: [bool; PeerId::COUNT],
    /// What servers have asked of whoever answers for the proxy.
    asked: [caller::Asked; PeerId::COUNT],
    faults_are_over: bool,
    /// The first bytes that came of the client, and how many the session took of each peer.
    opening: Vec<u8>,
    passed: [usize; PeerId::COUNT],
    chunking: Chunking,
    order: Order,
    random: u64,
}

impl<'s> World<'s> {
    #[allow(clippy::disallowed_methods, reason = "any instant will do for a start")]
    pub(crate) fn new(setup: &Setup, chunking: Chunking, seen: &'s mut Seen) -> Box<World<'s>> {
        let config = setup.config();
        let start = Instant::now();
        let mut meter = Meter::default();
        let seed = needles::seed();
        let session =
            meter.measure(|| Session::new(Arc::clone(&config), Way::new(setup), seed, start));
        let mut session = Seated::new(session);
        if setup.transfers {
            session.set_client_endpoint(ADDRESS.parse().expect("an address"));
        }
        let door = Door::default();
        if let Some(policy) = door.policy(setup) {
            session.set_policy(policy);
        }
        let (client, first) = Client::new(setup);
        let mut cluster = Cluster::new();
        cluster.set_lag(setup.lag());
        let mut links = Vec::from(PeerId::ALL.map(|_| Link::new(State::Closed)));
        links[PeerId::CLIENT.index()] = Link::new(State::Open);
        links[PeerId::CLIENT.index()].sends(&first);
        Box::new(World {
            setup: setup.clone(),
            config,
            session,
            start,
            now: start,
            dialled: [start; PeerId::COUNT],
            connected: [start; PeerId::COUNT],
            links,
            servers: PeerId::ALL.iter().map(|_| None).collect(),
            retired: Vec::new(),
            cluster,
            client,
            strikes: Vec::new(),
            aims: Vec::new(),
            cancels: Cancels::default(),
            tries: Tries::default(),
            senseless: Senseless::default(),
            door,
            fates: Fates::default(),
            torn: Torn::default(),
            looked_at: LookedAt::default(),
            damage: match setup.wild {
                true => Damage::Anything,
                false => Damage::None,
            },
            liars: PeerId::ALL.map(|peer| setup.wild && peer == PeerId::CLIENT),
            misused: false,
            clocks: Clocks::new(start),
            shut_down_at: None,
            taken_leave: [false; PeerId::COUNT],
            shown: String::new(),
            first_bytes: Vec::new(),
            acted: start,
            reader_closed: None,
            rests: Vec::new(),
            tails: Default::default(),
            says_promoted: false,
            heard: Vec::new(),
            happened: Default::default(),
            told: Vec::new(),
            duties: Asked::default(),
            closes: Vec::new(),
            reads: Reads::default(),
            moves: Moves::default(),
            transfers: Transfers::default(),
            ahead: false,
            interjected: false,
            wanted: Default::default(),
            behind: false,
            said: Vec::new(),
            meter,
            violation: None,
            goodbye: false,
            log: None,
            to_client: Cursor::default(),
            from_client: Cursor::default(),
            client_serves: None,
            reader_asked: false,
            client_bytes: 0,
            answers: 0,
            takes_writes: Default::default(),
            stuffed: false,
            writer_asides: 0,
            leaving: false,
            injected: Default::default(),
            injected_texts: Default::default(),
            seen,
            steps: 0,
            refuses_login: Default::default(),
            forgets_password: [false; PeerId::COUNT],
            tls_answers: [None; PeerId::COUNT],
            poses: [None; PeerId::COUNT],
            forgets_settings: [false; PeerId::COUNT],
            posing: [None; PeerId::COUNT],
            notifications: 0,
            backends: 0,
            neighbour: None,
            is_second: false,
            let_in: false,
            arrived: Default::default(),
            answered: [false; PeerId::COUNT],
            asked: Default::default(),
            faults_are_over: false,
            opening: Vec::new(),
            passed: [0; PeerId::COUNT],
            chunking,
            order: Order::ClientFirst,
            random: match chunking {
                Chunking::Seeded(seed) => seed,
                Chunking::Whole | Chunking::Bytes => 0,
            },
        })
    }

    pub(crate) fn in_order(mut self: Box<Self>, order: Order) -> Box<World<'s>> {
        self.order = order;
        self
    }

    /// All peers, in the driver's order.
    fn peers(&self) -> [PeerId; PeerId::COUNT] {
        let mut peers = PeerId::ALL;
        match self.order {
            Order::ClientFirst => {}
            Order::ReaderFirst => peers.reverse(),
        }
        peers
    }

    /// Writes down what happens, for a report.
    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }

    /// Whether a peer has broken the protocol, or the driver has told what is not so of it.
    pub(crate) fn lies(&self, peer: PeerId) -> bool {
        self.misused || self.liars[peer.index()]
    }

    pub(crate) fn servers_are_honest(&self) -> bool {
        !self.lies(PeerId::WRITER) && !self.lies(PeerId::READER)
    }

    /// A law is broken. Only the first counts.
    pub(crate) fn broken(&mut self, check: Check, detail: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(Violation::new(check, detail));
        }
    }

    /// A peer says something longer than it may: a client's session ends, and a server is not what it should be.
    pub(crate) fn says_too_much(&mut self, peer: PeerId) {
        let worst = match peer == PeerId::CLIENT {
            true => Damage::Session,
            false => Damage::Anything,
        };
        self.liars[peer.index()] |= peer.is_upstream();
        self.damage = self.damage.max(worst);
    }

    /// Plays a scenario: its events, then a time without faults in which everything must come to its end.
    pub(crate) fn play(&mut self, scenario: &Scenario) {
        self.play_events(scenario);
        if self.violation.is_none() {
            self.finish();
        }
    }

    /// Plays it up to where the faults end.
    pub(crate) fn play_events(&mut self, scenario: &Scenario) {
        for event in &scenario.events {
            self.happen(event);
            checks::step(self);
            if self.violation.is_some() {
                return;
            }
        }
    }

    fn happen(&mut self, event: &Event) {
        self.steps += 1;
        self.log(|| format!("{event}"));
        match event {
            Event::Say(message) => self.say(message),
            Event::SayBeside(message) => {
                self.beside(|other| other.say(message));
            }
            Event::Raw(bytes) => {
                if self.is_legal(bytes) {
                    self.said.extend_from_slice(bytes);
                } else {
                    self.ahead |= !self.client.is_ready();
                    self.liars[PeerId::CLIENT.index()] = true;
                    self.damage = Damage::Anything;
                }
                self.links[0].sends(bytes);
            }
            Event::Calm => {
                self.calm();
                self.behind |= !oracle::is_all_answered(self);
            }
            Event::Arrive(peer, most) => {
                self.arrive(*peer, *most);
            }
            Event::Leave(peer, most) => {
                self.leave(*peer, *most);
            }
            Event::Act => {
                self.act();
            }
            Event::Serve(peer) => {
                self.serve(*peer);
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Aim(peer, phase, beats, fault) => {
                self.aims.push((*peer, *phase, *beats, fault.clone()));
                self.beat();
            }
        }
    }

    fn say(&mut self, message: &ClientMessage) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        codec::said(self, message, &bytes);
        let now = self.client.say(&bytes);
        if !self.client.is_wild() {
            self.said.extend_from_slice(&bytes);
        }
        self.links[0].sends(&now);
    }

    /// Everything happens that can, in a fair order.
    pub(crate) fn calm(&mut self) {
        let mut turns = 0;
        while self.violation.is_none() {
            let mut moved = self.turn();
            moved |= self.beside(World::turn).unwrap_or(false);
            if !moved {
                moved |= self.late_answers();
                moved |= self.cancels_move(Pace::Late);
                moved |= self.beside(World::late_answers).unwrap_or(false);
            }
            if !moved {
                deadlines::rests(self);
                moves::rests(self);
                duties::rests(self);
                fates::rests(self);
                senseless::rests(self);
                self.epoch_rests();
                self.cancelled_ones_rest();
                self.takes_writes[PeerId::READER.index()] |= self.says_promoted;
                break;
            }
            turns += 1;
            if turns > 100_000 {
                self.broken(Check::Live, "the world never rests");
            }
        }
    }

    /// Everybody does once what they can. Whether anybody could do anything.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        for peer in self.peers() {
            moved |= self.arrive(peer, usize::MAX);
            moved |= self.leave(peer, usize::MAX);
        }
        moved |= self.act();
        self.cancel_when_known();
        for peer in self.peers() {
            while self.serve(peer) {
                moved = true;
            }
        }
        moved |= self.cancels_move(Pace::Slow);
        // A fault may have struck just now.
        moved | self.act()
    }

    /// The faults end; what was begun must be answered; then the client leaves, and the session must end.
    fn finish(&mut self) {
        self.aims.clear();
        transfers::disarm(self);
        self.faults_are_over = true;
        self.beside(|other| other.faults_are_over = true);
        for peer in PeerId::ALL {
            let link = &mut self.links[peer.index()];
            link.stalled = link.broken;
            link.mute = false;
            link.trickles = false;
            link.refuses = false;
            link.tls_fails = false;
            link.agrees = Agrees::OnOurs;
            self.refuses_login[peer.index()] = None;
            self.forgets_password[peer.index()] = false;
            self.tls_answers[peer.index()] = None;
            self.poses[peer.index()] = None;
            self.forgets_settings[peer.index()] = false;
            if link.state == State::Dialing {
                self.dial_ends(peer);
            } else if link.state == State::Securing {
                self.secured(peer);
            }
            if matches!(
                self.posing[peer.index()],
                Some(Impostor::Silent | Impostor::UnknownMethod)
            ) && self.links[peer.index()].end == End::Open
            {
                self.links[peer.index()].end = End::Eof;
            }
            if let Some(server) = &mut self.servers[peer.index()] {
                server.speaks_up();
            }
            self.links[peer.index()].hangs = false;
            self.links[peer.index()].tls_hangs = false;
        }
        self.cluster.unlock_outside();
        self.cluster.replay(usize::MAX);
        self.calm();
        self.tries_run_out();
        self.beside(World::tries_run_out);
        self.cancels_run_out();
        if self.violation.is_some() {
            return;
        }
        self.tell_neighbour();
        checks::answered(self);
        self.beside(|other| {
            checks::answered(other);
            if other.violation.is_none() {
                other.leave_world();
            }
        });
        if self.violation.is_none() {
            self.leave_world();
        }
    }

    fn leave_world(&mut self) {
        self.leaving = true;
        if !self.client.is_wild() || self.links[0].end == End::Open {
            let mut bytes = BytesMut::new();
            ClientMessage::Terminate.encode(&mut bytes);
            let now = self.client.say(&bytes);
            self.links[0].sends(&now);
        }
        if self.links[0].end == End::Open {
            self.links[0].end = End::Eof;
        }
        // One deadline ends each phase that can wait, and there are fewer phases than this.
        for _ in 0..20 {
            self.calm();
            if self.violation.is_some() || self.session.lifecycle().is_dead() {
                break;
            }
            self.deadline();
        }
        checks::ended(self);
    }
}
