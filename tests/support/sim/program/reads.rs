//! Reads behind writes, and reads that may be writes.

use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::checks::NEEDLE;
use super::super::choices::Choices;
use super::super::event::Event;
use super::super::fault::{Aside, Fault, Known};
use super::super::message::ClientMessage;
use super::super::setup::{Fresh, Setup};
use super::Program;
use super::prepared::with_a_reader;

/// Has some of the sessions keep an eye on their writes and try what may be a read, and makes something of it. Chosen
/// behind everything else, so that the rest of a scenario is what it is without.
pub(super) fn watched(
    mut setup: Setup,
    mut events: Vec<Event>,
    choices: &mut Choices<'_>,
) -> (Setup, Vec<Event>) {
    if setup.fresh == Fresh::Off {
        setup.fresh = choices.weighted(&[(6, Fresh::Off), (2, Fresh::For), (3, Fresh::Replayed)]);
        setup.lag |= setup.fresh != Fresh::Off && choices.percent(50);
    }
    setup.optimistic |= choices.percent(30);
    if setup.optimistic {
        for (at, event) in events.iter_mut().enumerate() {
            if let Event::Say(ClientMessage::Query(text) | ClientMessage::Parse { text, .. }) =
                event
                && is_plain(text)
                && choices.percent(20)
            {
                *text = doubtful(5_000 + at, choices);
            }
        }
    }
    setup.read_transactions |= choices.percent(25);
    if setup.read_transactions {
        begin_read_only(&mut events, choices);
    }
    if setup.lag && setup.fresh != Fresh::Off {
        events = catching_up(events, choices);
    }
    (setup, events)
}

/// What is known of a reader, each as often as that.
const KNOWN: [(usize, Known); 7] = [
    (5, Known::Up),
    (4, Known::Down),
    (1, Known::Lags),
    (1, Known::Late),
    (1, Known::LagsOnly),
    (1, Known::LateOnly),
    (1, Known::AtTheBound),
];

/// Has the driver of some sessions know something of their readers. Chosen behind everything else.
pub(super) fn known(setup: &Setup, events: Vec<Event>, choices: &mut Choices<'_>) -> Vec<Event> {
    let share = if setup.readers > 1 { 30 } else { 8 };
    if !choices.percent(share) || setup.wild {
        return events;
    }
    let mut out = Vec::with_capacity(events.len());
    for event in events {
        out.push(event);
        if choices.percent(15) {
            let known = (0..setup.readers).map(|_| choices.weighted(&KNOWN));
            out.push(Event::Fault(Fault::Readers(known.collect())));
        }
    }
    out
}

/// Has most transactions read only. The model cannot fail in the middle of a text, so none is begun in one of several
/// statements.
fn begin_read_only(events: &mut [Event], choices: &mut Choices<'_>) {
    for event in events {
        let Event::Say(ClientMessage::Query(text) | ClientMessage::Parse { text, .. }) = event
        else {
            continue;
        };
        if text.contains(';') {
            *text = text.replace("begin read only", "begin");
        } else if ["begin", "start transaction"].contains(&text.as_str()) && choices.percent(75) {
            *text = choices
                .one(&[
                    "begin read only",
                    "start transaction read only",
                    "begin isolation level repeatable read, read only",
                    "begin read only deferrable",
                ])
                .to_owned();
        }
    }
}

/// Whether a text stands for itself: nothing in the scenario depends on it.
fn is_plain(text: &str) -> bool {
    let begins = ["select ", "insert ", "update ", "values "];
    begins.iter().any(|word| text.starts_with(word)) && !text.contains("$1")
}

/// Has comments say where reads are to run, where they count: any of them on the writer, and on the reader those that
/// nobody can tell to be reads, but are.
pub(super) fn hinted(setup: &Setup, events: &mut [Event], choices: &mut Choices<'_>) {
    if !setup.fittings.hints || setup.judged {
        return;
    }
    for event in events {
        let Event::Say(ClientMessage::Query(text) | ClientMessage::Parse { text, .. }) = event
        else {
            continue;
        };
        let begins = ["select id", "select v", "table t", "select f_read("];
        let reads = begins.iter().any(|begin| text.starts_with(begin));
        // What else is called may be a function that writes, under some search paths.
        let reads = reads && (!text.contains('(') || text.contains("f_read("));
        if reads && !text.contains("f_write") && !text.contains(';') && choices.percent(40) {
            let at = choices.one(&["writer", "reader"]);
            *text = format!("/* pgturnout: {at} */ {text}");
        }
    }
}

/// A statement that nobody can tell to be a read or a write.
fn doubtful(n: usize, choices: &mut Choices<'_>) -> String {
    match choices.below(8) {
        0..=2 => format!("select f_write({n})"),
        3 => format!("select f_write({n}), '{NEEDLE}'"),
        4 => format!("select f_read({n}), f_write({n})"),
        5 => "select id, f_read(id) from t order by id".to_owned(),
        6 => format!("select f_read({n}), repeat('x', 3000)"),
        _ => format!("select f_read({n})"),
    }
}

/// The standby catches up now and then.
fn catching_up(events: Vec<Event>, choices: &mut Choices<'_>) -> Vec<Event> {
    let mut out = Vec::with_capacity(events.len());
    for event in events {
        out.push(event);
        if choices.percent(12) {
            let count = choices.one(&[1, 1, 2, 9]);
            out.push(Event::Fault(Fault::Replay(count)));
        }
    }
    out
}

/// What makes a transaction another than its BEGIN says, or leaves it as that is.
const COURSES: [&[&str]; 5] = [
    &["table t", "savepoint a", "select 1/0", "rollback and chain"],
    &[
        "table t",
        "savepoint a",
        "select 1/0",
        "rollback to a",
        "commit and chain",
    ],
    &[
        "table t",
        "savepoint a",
        "release a",
        "select 1/0",
        "commit and chain",
    ],
    &[
        "commit and chain",
        "set transaction isolation level repeatable read",
    ],
    &["commit and chain", "set transaction deferrable"],
];

impl Program<'_, '_> {
    /// Reads behind a write, while the standby catches up and time passes, or on another standby.
    pub(super) fn written_and_read(&mut self, setup: &mut Setup) {
        setup.lag = true;
        setup.fresh = self
            .choices
            .weighted(&[(3, Fresh::Replayed), (2, Fresh::For)]);
        self.query("select id from t order by id");
        for _ in 0..1 + self.choices.below(2) {
            match self.choices.below(4) {
                0 => {
                    self.query("begin");
                    let text = self.statements.write(self.choices);
                    self.query(&text);
                    self.query("commit");
                }
                1 => {
                    let text = self.statements.write(self.choices);
                    self.parse("w", &text);
                    self.run("w");
                    self.sync();
                }
                _ => {
                    let text = self.statements.write(self.choices);
                    self.query(&text);
                }
            }
            self.reads_of_it();
        }
    }

    fn reads_of_it(&mut self) {
        for _ in 0..1 + self.choices.below(4) {
            match self.choices.below(9) {
                0..=3 => {
                    let count = 1 + self.choices.below(3);
                    self.events.push(Event::Fault(Fault::Replay(count)));
                }
                4 => {
                    let time = self.choices.one(&[300, 1_000, 1_900, 2_000]);
                    self.events.push(Event::Fault(Fault::Clock(time)));
                }
                6 => {
                    // While it is asked how far it is.
                    self.say(ClientMessage::Query("select 1".to_owned()));
                    self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
                    let notice = Fault::Async(PeerId::WRITER, Aside::Notice);
                    self.events.push(Event::Fault(notice));
                }
                5 => {
                    let peer = self.choices.one(&[PeerId::READER, PeerId::WRITER]);
                    let fault = Fault::FailNext(peer, "40001".to_owned());
                    self.events.push(Event::Fault(fault));
                }
                _ => {}
            }
            match self.choices.below(4) {
                0 => self.query("select v from t where id = 1"),
                1 => {
                    self.parse("r", "select id, v from t");
                    self.run("r");
                    self.say(ClientMessage::CloseStatement("r".to_owned()));
                    self.sync();
                }
                _ => self.query("table t"),
            }
        }
    }

    /// The reader has it all and is lost; the next one may not have.
    pub(super) fn another_standby(&mut self, setup: &mut Setup) {
        (setup.lag, setup.fresh) = (true, Fresh::Replayed);
        (setup.clients, setup.readers) = (1, 2);
        let text = self.statements.write(self.choices);
        self.query(&text);
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(Fault::Replay(9)));
        for _ in 0..2 {
            self.query("table t");
            self.events.push(Event::Calm);
        }
        let loss = self.choices.one(&[Fault::Reset, Fault::Eof, Fault::Mute]);
        let fault = loss(PeerId::READER);
        let phase = self.choices.one(&[Phase::Idle, Phase::Asked]);
        self.events
            .push(Event::Aim(PeerId::READER, phase, 0, fault));
        self.query("select 1");
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(Fault::Clock(60_000)));
        // The first read asks for the reader, and does not wait for it.
        for _ in 0..2 {
            self.query("select 1");
            self.events.push(Event::Calm);
        }
    }

    /// A READ ONLY transaction on the reader: what has a place there and what has none, before it has read and afterwards, and
    /// the reader is perhaps gone on the way.
    pub(super) fn read_transaction(&mut self, setup: &mut Setup) {
        (setup.read_transactions, setup.clients) = (true, 1);
        self.query("select id from t order by id");
        self.events.push(Event::Calm);
        let begin = self.choices.one(&[
            "begin read only",
            "start transaction isolation level repeatable read, read only",
            "begin isolation level repeatable read, read only, deferrable",
            // Read only as the session has it.
            "begin",
        ]);
        if begin == "begin" {
            let default = self.choices.one(&[
                "set default_transaction_read_only = on",
                "set session characteristics as transaction read only",
            ]);
            self.query(default);
        }
        self.query(begin);
        for _ in 0..1 + self.choices.below(5) {
            if self.choices.percent(60) {
                self.events.push(Event::Calm);
            }
            if self.choices.percent(15) {
                let loss = self.choices.one(&[Fault::Reset, Fault::Eof, Fault::Mute]);
                let phase = self.choices.one(&[Phase::Idle, Phase::Idle, Phase::Asked]);
                self.events
                    .push(Event::Aim(PeerId::READER, phase, 0, loss(PeerId::READER)));
            }
            match self.choices.below(16) {
                0..=3 => self.query("select v from t where id = 1"),
                12 | 13 => {
                    let text = self.choices.one(&[
                        "show transaction_isolation",
                        "show transaction_deferrable",
                        "show statement_timeout",
                    ]);
                    self.query(text);
                }
                14 => {
                    let text = self.choices.one(&[
                        "set transaction isolation level repeatable read",
                        "set transaction read only",
                        "set transaction not deferrable",
                    ]);
                    self.query(text);
                }
                15 => {
                    self.query("commit and chain");
                    self.query("show statement_timeout");
                }
                4 => {
                    self.parse("", "select id, v from t");
                    self.run("");
                    self.sync();
                }
                5 => self.put("savepoint a"),
                6 => self.put("rollback to a"),
                7 => self.put("set local statement_timeout = 1000"),
                8 => self.put("set transaction read write"),
                9 => self.put("select 1/0"),
                10 => self.put("commit and chain"),
                _ => {
                    let text = self.statements.any(self.choices);
                    self.query(&text);
                }
            }
        }
        let end = self.choices.one(&["commit", "rollback", "commit"]);
        self.put(end);
        let text = self.statements.write(self.choices);
        self.query(&text);
        self.query("select id from t order by id");
    }

    /// What a batch has gone back from it goes on behind, before any ReadyForQuery.
    fn goes_back_in_a_batch(&mut self) {
        for text in ["table t", "savepoint a", "select 1/0"] {
            self.query(text);
        }
        self.parse("", "rollback to a");
        self.run("");
        self.say(ClientMessage::Flush);
        self.events.push(Event::Calm);
        let text = match self.choices.percent(50) {
            true => self.statements.write(self.choices),
            false => self
                .choices
                .one(&["table t", "release a", "listen a"])
                .to_owned(),
        };
        self.parse("", &text);
        self.run("");
        self.sync();
    }

    /// Perhaps it fails, and another follows it that shows its modes.
    fn fails_and_chains(&mut self) {
        if self.choices.percent(60) {
            self.put("select 1/0");
            self.put("rollback and chain");
            self.query("show transaction_read_only");
            self.query("show transaction_isolation");
        }
    }

    /// A statement, as one driver or another sends it: alone, in a batch, looked at first, or with what it says asked for before
    /// the batch ends.
    fn put(&mut self, text: &str) {
        let form = self.choices.below(8);
        if form < 4 {
            return self.query(text);
        }
        let name = if form == 4 { "put" } else { "" };
        self.parse(name, text);
        if form == 4 || form == 5 {
            self.say(ClientMessage::DescribeStatement(name.to_owned()));
            self.say(ClientMessage::Flush);
            if self.choices.percent(50) {
                self.events.push(Event::Calm);
            }
        }
        self.run(name);
        match form {
            6 => {
                self.say(ClientMessage::Flush);
                if self.choices.percent(70) {
                    self.events.push(Event::Calm);
                }
                if self.choices.percent(50) {
                    self.sync();
                }
            }
            _ => self.sync(),
        }
        if form == 4 {
            self.say(ClientMessage::CloseStatement(name.to_owned()));
            self.sync();
        }
    }

    /// A READ ONLY transaction that the reader has given modes and settings, and that goes on at the writer before it has read:
    /// what it is there.
    pub(super) fn begun_again(&mut self, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        (setup.read_transactions, setup.clients) = (true, 1);
        self.query("select id from t order by id");
        self.events.push(Event::Calm);
        let begin = self.choices.one(&[
            "begin read only",
            "begin isolation level repeatable read, read only",
            "begin isolation level repeatable read, read only, deferrable",
            "start transaction read only, deferrable",
        ]);
        self.query(begin);
        let course = match self.choices.percent(50) {
            true => self.choices.one(&COURSES),
            false => &[],
        };
        if self.choices.percent(40) {
            self.goes_back_in_a_batch();
        }
        for text in course {
            self.put(text);
        }
        let most = if course.is_empty() { 5 } else { 2 };
        for _ in 0..self.choices.below(most) {
            let text = self.choices.one(&[
                "set local statement_timeout = 1000",
                "set local statement_timeout = 1234",
                "set transaction isolation level repeatable read",
                "set transaction read only",
                "set transaction deferrable",
                "commit and chain",
                "commit and chain",
                "rollback and chain",
                "show statement_timeout",
                "select 1/0",
                "select id from t order by id",
                "savepoint a",
            ]);
            self.put(text);
        }
        self.events.push(Event::Calm);
        match self.choices.below(6) {
            0 | 1 => {
                let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
                self.events.push(Event::Fault(loss(PeerId::READER)));
                self.events.push(Event::Calm);
            }
            2 | 3 => self.query("savepoint a"),
            4 => self.query("declare c cursor for select 1"),
            _ => {
                let text = self.statements.write(self.choices);
                self.query(&text);
            }
        }
        for name in [
            "transaction_isolation",
            "transaction_deferrable",
            "transaction_read_only",
            "statement_timeout",
        ] {
            if self.choices.percent(70) {
                self.query(&format!("show {name}"));
            }
        }
        self.fails_and_chains();
        let end = self.choices.one(&["commit", "rollback", "commit"]);
        self.query(end);
    }

    /// What may be a read is tried: again with the same text, in batches, with what is behind it, and the reader is
    /// perhaps gone on the way.
    pub(super) fn tried(&mut self, setup: &mut Setup) {
        setup.optimistic = true;
        let same = doubtful(4_000, self.choices);
        for n in 0..1 + self.choices.below(4) {
            let text = match self.choices.percent(30) {
                true => same.clone(),
                false => doubtful(4_001 + n, self.choices),
            };
            if self.choices.percent(25) {
                let loss = self.loss();
                self.events.push(loss);
            }
            match self.choices.below(4) {
                0 => {
                    let name = self.choices.one(&["", "s1"]);
                    self.parse(name, &text);
                    if self.choices.percent(50) {
                        self.say(ClientMessage::DescribeStatement(name.to_owned()));
                    }
                    if self.choices.percent(40) {
                        self.sync();
                    }
                    self.run(name);
                    if name == "s1" {
                        self.say(ClientMessage::CloseStatement(name.to_owned()));
                    }
                    self.sync();
                }
                1 => {
                    self.say(ClientMessage::Query(text));
                    self.say(ClientMessage::Query("table t".to_owned()));
                }
                _ => self.query(&text),
            }
        }
        self.query("table t");
    }
}
