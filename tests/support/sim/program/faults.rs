//! What goes wrong in a scenario, and when.

use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::event::Event;
use super::super::fault::{self, ANSWERS, Aside, Fault, Misuse, PLAYERS, is_spare};
use super::super::server::{FAILURES, Impostor, Login};
use super::super::setup::{Method, Offer, Setup, Tls};
use super::Program;

/// The set-up with what the faults to come need: TLS where it is to fail, a password where it is to be asked for.
pub(super) fn equipped(mut setup: Setup, events: &[Event]) -> Setup {
    for event in events {
        let (Event::Fault(fault) | Event::Aim(_, _, _, fault)) = event else {
            continue;
        };
        match fault {
            Fault::FailTls(PeerId::CLIENT)
            | Fault::HangTls(PeerId::CLIENT)
            | Fault::OtherProtocol(PeerId::CLIENT)
            | Fault::NoProtocol(PeerId::CLIENT) => {
                setup.client_asks_tls = true;
                setup.client_begins_tls |= matches!(fault, Fault::NoProtocol(_));
                if matches!(setup.client_tls, Offer::Disable | Offer::Passthrough) {
                    setup.client_tls = Offer::Allow;
                }
            }
            Fault::NoProtocol(_) => {
                (setup.servers_have_tls, setup.upstream_direct) = (true, true);
                (setup.upstream_tls, setup.servers_want_tls) = (Tls::Require, false);
                setup.server_version = setup.server_version.max(18);
            }
            Fault::FailTls(_)
            | Fault::HangTls(_)
            | Fault::OtherProtocol(_)
            | Fault::AnswerTls(..) => {
                setup.servers_have_tls = true;
                if setup.upstream_tls == Tls::Disable {
                    setup.upstream_tls = Tls::Allow;
                }
            }
            Fault::Pose(_, impostor) if !impostor.tells_on(Login::Trust) => {
                setup.login = Method::Scram;
            }
            Fault::ForgetPassword(_) if setup.login == Method::Trust => {
                setup.login = Method::Md5;
            }
            _ => {}
        }
    }
    setup
}

/// Whether the `nth` of the faults that strike in one phase each is a reader's.
pub(super) fn strikes_a_reader(nth: usize) -> bool {
    let all = of_players();
    all[nth % all.len()].peer() == Some(PeerId::READER)
}

/// Every fault but those of servers that only a session meets that moves.
fn of_players() -> Vec<Fault> {
    let mut all = fault::every();
    all.retain(|fault| !fault.peer().is_some_and(is_spare));
    all
}

/// The `nth` of the faults that strike a session that moves, and where it does.
pub(super) fn on_the_way(nth: usize) -> (Fault, Phase) {
    let mut all = fault::on_the_way();
    let phases = [
        Phase::Login,
        Phase::Idle,
        Phase::Asked,
        Phase::Busy,
        Phase::MoveWait,
        Phase::MoveDrain,
        Phase::MoveRead,
        Phase::MoveRestore,
        Phase::MoveVerify,
    ];
    // Whatever a server may say, at whatever time.
    for phase in phases {
        let lies = BACKEND.iter().map(|(tag, body)| framed(*tag, body));
        all.extend(lies.map(|said| (Fault::Lie(PeerId::THIRD, said), phase)));
    }
    all[nth % all.len()].clone()
}

impl Program<'_, '_> {
    /// Something goes wrong, now or as soon as a peer is in some phase, which is then brought about.
    pub(super) fn fault(&mut self) {
        if self.choices.percent(35) {
            let peer = self.any_peer();
            let event = self.trouble(peer);
            self.events.push(event);
            return;
        }
        let phase = self.choices.one(&[
            Phase::Busy,
            Phase::Asked,
            Phase::Idle,
            Phase::CopyIn,
            Phase::CopyOut,
            Phase::Login,
            Phase::Opening,
            Phase::Absent,
        ]);
        let peer = match phase {
            Phase::CopyIn => self.choices.one(&[PeerId::WRITER, PeerId::CLIENT]),
            Phase::Login | Phase::Opening | Phase::Absent => PeerId::READER,
            Phase::Asked => self.choices.one(&[PeerId::READER, PeerId::WRITER]),
            _ => self.any_peer(),
        };
        self.aim(peer, phase);
        self.bring_about(peer, phase);
    }

    /// Something goes wrong while somebody connects.
    pub(super) fn fault_at_first(&mut self) {
        let peer = self.choices.one(&PLAYERS);
        if self.choices.percent(35) {
            let event = self.trouble(peer);
            self.events.push(event);
            return;
        }
        let phase = self.choices.one(&[Phase::Login, Phase::Opening]);
        self.aim(peer, phase);
    }

    /// A message comes when it is not due, whoever says it and whatever they were doing.
    pub(super) fn untimely(&mut self, nth: usize) {
        let phases = [
            Phase::Login,
            Phase::Idle,
            Phase::Asked,
            Phase::Busy,
            Phase::CopyIn,
            Phase::CopyOut,
        ];
        let peer = PLAYERS[nth % PLAYERS.len()];
        let nth = nth / PLAYERS.len();
        let phase = match phases[nth % phases.len()] {
            Phase::Asked if peer == PeerId::CLIENT => Phase::Busy,
            other => other,
        };
        let said = match peer == PeerId::CLIENT {
            true => FRONTEND,
            false => BACKEND,
        };
        let (tag, body) = said[nth / phases.len() % said.len()];
        if self.choices.percent(70) {
            // So that it comes in the middle of what is said anyway.
            let slow = match peer == PeerId::CLIENT {
                true => PeerId::READER,
                false => peer,
            };
            let trickle = Fault::Trickle(slow);
            self.events
                .push(Event::Aim(slow, Phase::Opening, 0, trickle));
        }
        if peer == PeerId::READER && phase == Phase::CopyIn {
            // Only a reader that lies takes data.
            let copy = Fault::Lie(peer, framed(b'G', b"\0\0\0"));
            self.events.push(Event::Aim(peer, Phase::Busy, 0, copy));
        }
        let lie = Fault::Lie(peer, framed(tag, body));
        let beats = self.choices.weighted(&[(5, 0), (1, 1), (1, 3)]);
        self.events.push(Event::Aim(peer, phase, beats, lie));
        self.events.push(Event::Calm);
        match (peer, phase) {
            (_, Phase::Login | Phase::Idle) => self.query("select 1"),
            (PeerId::READER, Phase::CopyIn) => self.bring_about(peer, Phase::Busy),
            (peer, phase) => self.bring_about(peer, phase),
        }
        self.events.push(Event::Calm);
        self.query("select 1");
    }

    /// One fault in one phase, and something to do before, then and afterwards.
    pub(super) fn stricken(&mut self, nth: usize) {
        let all = of_players();
        let fault = all[nth % all.len()].clone();
        let phases = [
            Phase::Opening,
            Phase::Login,
            Phase::Idle,
            Phase::Asked,
            Phase::Busy,
            Phase::CopyIn,
            Phase::CopyOut,
        ];
        let peer = fault.peer().unwrap_or(PeerId::CLIENT);
        let phase = match phases[nth / all.len() % phases.len()] {
            Phase::Asked if peer == PeerId::CLIENT => Phase::Busy,
            other => other,
        };
        if matches!(fault, Fault::Async(_, Aside::Notification)) {
            self.query("listen c");
        }
        if fault == Fault::Replay(1) {
            self.query("insert into t values (1, 'behind')");
        }
        let beats = self.choices.weighted(&[(5, 0), (1, 1), (1, 7)]);
        if peer == PeerId::READER && matches!(phase, Phase::Busy | Phase::CopyOut) {
            // So that it is busy for a while.
            let trickle = Fault::Trickle(peer);
            self.events
                .push(Event::Aim(peer, Phase::Opening, 0, trickle));
        }
        self.events.push(match fault.waits_for_a_dial() {
            true => Event::Fault(fault),
            false => Event::Aim(peer, phase, beats, fault),
        });
        self.events.push(Event::Calm);
        match phase {
            Phase::Opening | Phase::Login | Phase::Idle => self.query("select 1"),
            phase => self.bring_about(peer, phase),
        }
        self.events.push(Event::Calm);
        for _ in 0..1 + self.choices.below(3) {
            self.request();
        }
    }

    fn any_peer(&mut self) -> PeerId {
        self.choices.one(&[
            PeerId::READER,
            PeerId::READER,
            PeerId::WRITER,
            PeerId::CLIENT,
        ])
    }

    fn aim(&mut self, peer: PeerId, phase: Phase) {
        let beats = match self.choices.below(8) {
            0..=3 => 0,
            4 | 5 => self.choices.below(4),
            6 => self.choices.below(20),
            _ => self.choices.below(300),
        };
        match self.trouble(peer) {
            Event::Fault(fault) => self.events.push(Event::Aim(peer, phase, beats, fault)),
            other => self.events.push(other),
        }
    }

    /// Gets a peer into a phase, if it can be had by asking.
    fn bring_about(&mut self, peer: PeerId, phase: Phase) {
        match phase {
            Phase::Absent | Phase::Opening | Phase::Login => {
                self.events.push(Event::Fault(Fault::Reset(PeerId::READER)));
                self.events.push(Event::Calm);
                self.events.push(Event::Fault(Fault::Clock(60_000)));
                for _ in 0..2 {
                    self.query("select 1");
                }
            }
            Phase::Idle => {}
            Phase::Asked | Phase::Busy => {
                let text = match peer == PeerId::WRITER {
                    true => self.statements.write(self.choices),
                    false => self.statements.read(self.choices),
                };
                self.query(&text);
            }
            Phase::CopyIn => self.copy_in_simple(),
            Phase::CopyOut => {
                let on_writer = peer == PeerId::WRITER;
                if on_writer {
                    self.query("begin");
                }
                self.query("copy t to stdout");
                if on_writer {
                    self.query("commit");
                }
            }
            // A move's are those of whoever has it move.
            _ => {}
        }
    }

    /// Something that can go wrong at a peer, or nowhere in particular.
    fn trouble(&mut self, peer: PeerId) -> Event {
        let upstream = match peer == PeerId::CLIENT {
            true => PeerId::READER,
            false => peer,
        };
        let fault = match self.choices.below(48) {
            0 | 1 => Fault::Reset(peer),
            2 | 3 => Fault::Eof(peer),
            4 => Fault::Stall(peer),
            5 => Fault::Mute(peer),
            6 => Fault::Trickle(peer),
            7 => Fault::RefuseDial(upstream),
            8 => Fault::HangDial(upstream),
            9 => Fault::FailTls(peer),
            10 => Fault::HangTls(peer),
            46 => Fault::OtherProtocol(peer),
            47 => Fault::NoProtocol(peer),
            11 | 12 => {
                let state = self.choices.one(&["57P01", "57P02", "57P05"]);
                Fault::Shutdown(upstream, state.to_owned())
            }
            13 => {
                let state = self.choices.one(&["53300", "57P03", "28000"]);
                Fault::RefuseLogin(upstream, state.to_owned())
            }
            14 => Fault::ForgetPassword(upstream),
            15..=17 => Fault::Lie(upstream, self.lie()),
            18 | 19 => Fault::Cut(peer, self.choices.below(60)),
            20 => Fault::Garble(peer, self.choices.below(40)),
            21 | 22 => Fault::FailNext(upstream, self.choices.one(&FAILURES).to_owned()),
            23 | 24 => {
                let aside = self.choices.below(Aside::ALL.len());
                Fault::Async(upstream, Aside::ALL[aside].0)
            }
            25 => Fault::Cancel,
            26 => Fault::StrayCancel,
            27 => Fault::ShutDownProxy,
            28 => Fault::Clock(self.choices.one(&[1, 1_000, 6_000, 20_000])),
            29 | 30 => Fault::Deadline,
            31 => Fault::Replay(1 + self.choices.below(3)),
            32 | 33 => {
                let misuse = self.choices.below(Misuse::ALL.len());
                Fault::Misuse(peer, Misuse::ALL[misuse].0)
            }
            34 | 35 => return Event::Raw(self.nonsense()),
            36 | 37 => Fault::Lock,
            38 => Fault::Promote,
            39 => Fault::Demote,
            40..=42 => {
                let impostor = self.choices.below(Impostor::ALL.len());
                Fault::Pose(upstream, Impostor::ALL[impostor].0)
            }
            _ => {
                let answer = self.choices.below(ANSWERS.len());
                Fault::AnswerTls(upstream, ANSWERS[answer].0)
            }
        };
        Event::Fault(fault)
    }

    /// What a server might say at another time, or never.
    fn lie(&mut self) -> Vec<u8> {
        match self.choices.below(10) {
            0 => vec![b'D', 0xff, 0xff, 0xff, 0xff],
            1 => self.noise(),
            2 => vec![b'D', 0x7f, 0xff, 0xff, 0xff, 0],
            _ => {
                let (tag, body) = self.choices.one(BACKEND);
                framed(tag, body)
            }
        }
    }

    /// The same of a client.
    fn nonsense(&mut self) -> Vec<u8> {
        match self.choices.below(10) {
            0 => vec![b'Q', 0xff, 0xff, 0xff, 0xff],
            1 => self.noise(),
            2 => vec![b'D', 0x7f, 0xff, 0xff, 0xff, 0],
            _ => {
                let (tag, body) = self.choices.one(FRONTEND);
                framed(tag, body)
            }
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let count = 1 + self.choices.below(12);
        (0..count).map(|_| self.choices.byte()).collect()
    }
}

/// A message of each kind that a server knows, one that nobody knows, and some with bodies that are wrong.
const BACKEND: &[(u8, &[u8])] = &[
    (b'Z', b"I"),
    (b'Z', b"T"),
    (b'Z', b"X"),
    (b'C', b"SELECT 1\0"),
    (b'R', b"\0\0\0\0"),
    (b'R', b"\0\0\0\x05salt"),
    (b'S', b"client_encoding\0SJIS\0"),
    (b'K', b"\0\0\0\x01abcd"),
    (b'T', b"\0\0"),
    (b'D', b"\0\0"),
    (b'1', b""),
    (b'2', b""),
    (b'3', b""),
    (b'n', b""),
    (b's', b""),
    (b'I', b""),
    (b't', b"\0\0"),
    (b'E', b"SERROR\0VERROR\0C22012\0Mno\0\0"),
    (b'E', b"SFATAL\0VFATAL\0C57P01\0Mno\0\0"),
    (b'E', b"\0"),
    (b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhm\0\0"),
    (b'A', b"\0\0\0\x01c\0p\0"),
    (b'G', b"\0\0\0"),
    (b'H', b"\0\0\0"),
    (b'V', b"\xff\xff\xff\xff"),
    (b'd', b"row\n"),
    (b'c', b""),
    (b'v', b"\0\x03\0\0\0\0\0\0"),
    (b'W', b"\0\0\0"),
    (1, b"?"),
];

/// The same for a client.
const FRONTEND: &[(u8, &[u8])] = &[
    (b'Q', b"select 1\0"),
    (b'Q', b"no end"),
    (b'P', b"\0select 1\0\0\0"),
    (b'B', b"\0\0\0\0\0\0\0\0"),
    (b'D', b"S\0"),
    (b'E', b"\0\0\0\0\0"),
    (b'C', b"S\0"),
    (b'F', b"\0\0\0\x01\0\0\0\0\0\0"),
    (b'S', b""),
    (b'H', b""),
    (b'H', b"?"),
    (b'X', b""),
    (b'd', b"1\tx\n"),
    (b'c', b""),
    (b'f', b"no\0"),
    (b'p', b"pencil\0"),
    (1, b"?"),
];

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}
