//! Random sessions that are moved at random moments, between servers of a small model: the client sees what it sees of a session
//! that stays.

mod session_support;

use std::collections::BTreeMap;

use pgturnout::migrate::Trust;
use pgturnout::session::{Destination, MoveOrder, MoveTarget, PeerId, Split};
use pgturnout::wire::{Frontend, Header, Target};
use session_support::frames::{backend, frontend, show_backend};
use session_support::moving::{Had, SPARE, SPARE_LOGIN, movable};
use session_support::{Chunk, Rig, login};

const CLIENT: PeerId = PeerId::CLIENT;
const SERVERS: [PeerId; 4] = [
    PeerId::WRITER,
    PeerId::READER,
    PeerId::THIRD,
    PeerId::FOURTH,
];

/// How many sessions are played, each split and not, moved and not.
const SEEDS: u64 = 300;

/// A generator of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % count
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

type Settings = BTreeMap<String, String>;

/// One backend of a server.
#[derive(Default)]
struct Backend {
    begun: bool,
    /// Whether it refuses to be restored.
    refuses: bool,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    prepared: BTreeMap<String, String>,
    portal: Option<(String, Vec<String>)>,
    settings: Settings,
    /// What to go back to, in a transaction: rows and settings.
    saved: Option<(usize, Settings)>,
    explicit: bool,
    failed: bool,
    skipping: bool,
}

impl Backend {
    fn status(&self) -> &'static str {
        match (self.explicit, self.failed) {
            (false, _) => "Z(I)",
            (true, false) => "Z(T)",
            (true, true) => "Z(E)",
        }
    }

    fn say(&mut self, script: &str) {
        self.outbox.extend(backend(script));
    }

    /// Runs a text. Its error, if it has one.
    fn run(&mut self, rows: &mut usize, text: &str, portal: bool) -> Result<(), &'static str> {
        if self.failed && text != "rollback" && text != "commit" {
            return Err("25P02");
        }
        if self.saved.is_none() {
            self.saved = Some((*rows, self.settings.clone()));
        }
        let row = |value: String| match portal {
            true => format!("D({value}) C(SELECT 1)"),
            false => format!("T D({value}) C(SELECT 1)"),
        };
        let answer = match text {
            "begin" => {
                self.explicit = true;
                "C(BEGIN)".to_owned()
            }
            "commit" if !self.failed => {
                self.over();
                "C(COMMIT)".to_owned()
            }
            "commit" | "rollback" => {
                self.back(rows);
                self.over();
                "C(ROLLBACK)".to_owned()
            }
            "insert into t values (1)" => {
                *rows += 1;
                "C(INSERT 0 1)".to_owned()
            }
            "select count(*) from t" => row(rows.to_string()),
            "show work_mem" => row(self
                .settings
                .get("work_mem")
                .cloned()
                .unwrap_or("4096".into())),
            text if text.starts_with("set work_mem = ") => {
                self.settings.insert("work_mem".into(), text[15..].into());
                "C(SET)".to_owned()
            }
            _ => return Err("42703"),
        };
        self.say(&answer);
        Ok(())
    }

    fn back(&mut self, rows: &mut usize) {
        if let Some((before, settings)) = self.saved.take() {
            *rows = before;
            self.settings = settings;
        }
    }

    fn over(&mut self) {
        self.explicit = false;
        self.failed = false;
        self.saved = None;
    }

    fn fail(&mut self, rows: &mut usize, state: &str) {
        self.say(&format!("E({state})"));
        self.failed = self.explicit;
        if !self.explicit {
            self.back(rows);
        }
    }

    fn ready(&mut self) {
        if !self.explicit {
            self.saved = None;
        }
        let status = self.status();
        self.say(status);
    }

    fn take(&mut self, peer: PeerId, rows: &mut usize) {
        loop {
            let inbox = std::mem::take(&mut self.inbox);
            if !self.begun {
                let len = inbox.first_chunk().map(|len| u32::from_be_bytes(*len));
                let Some(rest) = len.and_then(|len| inbox.get(len as usize..)) else {
                    self.inbox = inbox;
                    return;
                };
                self.begun = true;
                self.inbox = rest.to_vec();
                self.say("R");
                self.say(match peer {
                    PeerId::READER | PeerId::WRITER => login(peer),
                    _ => SPARE_LOGIN,
                });
                continue;
            }
            let header = Header::parse(&inbox).unwrap();
            let Some((header, (body, rest))) =
                header.and_then(|header| Some((header, header.split(&inbox)?)))
            else {
                self.inbox = inbox;
                return;
            };
            self.message(rows, Frontend::parse(header.tag, body).unwrap());
            self.inbox = rest.to_vec();
        }
    }

    fn message(&mut self, rows: &mut usize, message: Frontend<'_>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match message {
            Frontend::Query(query) => {
                self.prepared.remove("");
                if let Err(state) = self.run(rows, &text(query.text), false) {
                    self.fail(rows, state);
                }
                self.ready();
            }
            Frontend::Sync => {
                self.skipping = false;
                self.portal = None;
                self.ready();
            }
            _ if self.skipping => {}
            Frontend::Flush => {}
            Frontend::Terminate => *self = Backend::default(),
            Frontend::Parse(parse) => {
                let name = text(parse.name);
                if self.failed {
                    self.error(rows, "25P02");
                } else if !name.is_empty() && self.prepared.contains_key(&name) {
                    self.error(rows, "42P05");
                } else {
                    self.prepared.insert(name, text(parse.text));
                    self.say("1");
                }
            }
            Frontend::Bind(bind) => {
                let values = bind.values.iter().map(|value| text(value.unwrap()));
                match self.prepared.get(&text(bind.statement)).cloned() {
                    _ if self.failed => self.error(rows, "25P02"),
                    None => self.error(rows, "26000"),
                    Some(known) => {
                        self.portal = Some((known, values.collect()));
                        self.say("2");
                    }
                }
            }
            Frontend::Execute(_) => match self.portal.take() {
                None => self.error(rows, "34000"),
                Some((known, _)) if known.contains("server_version_num") => {
                    let row = self.found().answer();
                    let (begin, end) = (
                        backend("1 2").len(),
                        backend("C(SELECT 1) Z(I) 3 Z(I)").len(),
                    );
                    self.outbox.extend(&row[begin..row.len() - end]);
                    self.say("C(SELECT 1)");
                }
                Some((known, _)) if known.contains("set_config") && self.refuses => {
                    self.error(rows, "42501");
                }
                Some((known, values)) if known.contains("set_config") => {
                    self.settings.insert(values[0].clone(), values[1].clone());
                    self.say("D(x) C(SELECT 1)");
                }
                Some((known, _)) => {
                    if let Err(state) = self.run(rows, &known, true) {
                        self.error(rows, state);
                    }
                }
            },
            Frontend::Close(close) => {
                if close.kind == Target::Statement {
                    self.prepared.remove(&text(close.name));
                }
                self.say("3");
            }
            other => panic!("{other:?}"),
        }
    }

    fn error(&mut self, rows: &mut usize, state: &str) {
        self.fail(rows, state);
        self.skipping = true;
    }

    fn found(&self) -> Had {
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let mut found = Had::default();
        for (name, value) in &self.settings {
            found = found.set(leak(name), leak(value));
        }
        for (name, text) in &self.prepared {
            if !name.is_empty() && !name.starts_with("pgturnout") {
                found = found.prepared(leak(name), text);
            }
        }
        found
    }
}

/// A client's messages, and where it waits for every answer.
fn script(random: &mut Random) -> Vec<Vec<u8>> {
    let texts = [
        "insert into t values (1)",
        "select count(*) from t",
        "show work_mem",
        "select broken",
    ];
    let mut out = Vec::new();
    for _ in 0..25 {
        let number = random.below(1000);
        let set = format!("set work_mem = {number}");
        let name = ["s1", "s2", ""][random.below(3)];
        let text = texts[random.below(texts.len())];
        let part = match random.below(12) {
            0 => "Q(begin)".to_owned(),
            1 | 2 => "Q(commit)".to_owned(),
            3 => "Q(rollback)".to_owned(),
            4 => format!("Q({set})"),
            5 => format!("P({name},{text}) S"),
            6 => format!("B(,{name}) E S"),
            7 => format!("P(,{text}) B E P({name},{set}) B(,{name}) E S"),
            8 => format!("CS({name}) S"),
            9 => format!("P(,{text}) B H E S"),
            _ => format!("Q({text})"),
        };
        out.push(frontend(&part));
    }
    out
}

/// Plays a script. What the client saw, and how its moves ended.
fn play(seed: u64, split: Split, moves: bool) -> (String, [u64; 4]) {
    let mut random = Random(seed);
    let messages = script(&mut random);
    let mut random = Random(seed ^ u64::from(moves));
    let mut config = movable();
    config.split = split;
    let chunk = [Chunk::Whole, Chunk::Seeded(seed)][random.below(2)];
    let mut rig = Rig::new(config, chunk);
    let mut backends = SERVERS.map(|_| Backend::default());
    let mut rows = 0;
    rig.raw(
        CLIENT,
        &session_support::startup(pgturnout::startup::ProtocolVersion::V3_0),
    );
    let (mut next, mut rest, mut idle) = (0, Vec::new(), 0);
    while idle < 150 || next < messages.len() || !rest.is_empty() {
        idle += 1;
        assert!(idle < 10_000, "seed {seed}: it stalls");
        let logged_in = rig.session.client_key().is_some();
        match random.below(8) {
            0 | 1 if logged_in && next < messages.len() => {
                rest.extend(&messages[next]);
                next += 1;
                idle = 0;
            }
            2 if logged_in && !rest.is_empty() => {
                let count = 1 + random.below(rest.len());
                let bytes: Vec<u8> = rest.drain(..count).collect();
                rig.raw(CLIENT, &bytes);
                idle = 0;
            }
            3 if moves && logged_in && next < messages.len() => {
                let to = [SPARE, Destination(0)][random.below(2)];
                let target = match random.below(6) {
                    0 if split == Split::On => MoveTarget::Reader(Destination(1)),
                    1 if split == Split::On => MoveTarget::Both {
                        writer: to,
                        reader: Destination(1),
                    },
                    _ => MoveTarget::Writer(to),
                };
                let mut order = MoveOrder::new(target);
                order.trust = [Trust::Journal, Trust::Probe][random.below(2)];
                if random.one_in(9) {
                    rig.session.cancel_migration(rig.now);
                }
                let _ = rig.session.migrate(rig.now, order);
                rig.run();
            }
            _ => {}
        }
        for (peer, backend) in SERVERS.iter().zip(&mut backends) {
            let (got, fresh) = rig.take_newest(*peer);
            if fresh {
                *backend = Backend {
                    refuses: *peer == PeerId::FOURTH && seed % 3 == 0,
                    ..Backend::default()
                };
            }
            backend.inbox.extend(got);
            if random.one_in(2) {
                backend.take(*peer, &mut rows);
            }
            if !backend.outbox.is_empty() && random.one_in(2) && rig.is_open(*peer) {
                let count = 1 + random.below(backend.outbox.len());
                let bytes: Vec<u8> = backend.outbox.drain(..count).collect();
                rig.raw(*peer, &bytes);
                idle = 0;
            }
        }
    }
    assert!(!rig.is_dead(), "seed {seed}: {:?}", rig.session.lifecycle());
    let seen = show_backend(&rig.take(CLIENT));
    let words = seen
        .split(' ')
        .filter(|word| !word.starts_with("S(") && !word.starts_with("MDY)"));
    let seen: Vec<&str> = words.skip_while(|word| !word.starts_with("Z(")).collect();
    (seen.join(" "), rig.transfers())
}

/// To its client a move is invisible.
#[test]
fn a_client_sees_no_move() {
    let (mut moved, mut failed) = (0, 0);
    for seed in 0..SEEDS {
        for split in [Split::On, Split::Off] {
            let (expected, _) = play(seed, split, false);
            let (seen, [attempted, success, recoverable, fatal]) = play(seed, split, true);
            assert_eq!(seen, expected, "seed {seed}, {split:?}");
            assert_eq!(fatal, 0);
            assert!(attempted - success - recoverable <= 1);
            moved += success;
            failed += recoverable;
        }
    }
    assert!(moved > 100 && failed > 10, "{moved} moves, {failed} failed");
}
