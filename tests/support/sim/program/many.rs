//! A play of messages with as many types, formats and values as their counts can say.

use pgturnout::session::PeerId;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::super::setup::Setup;
use super::Program;
use super::prepared::with_a_reader;

/// How many: as few as there can be, what has the sign of a signed count, and as many as there can be.
const MOST: [(usize, usize); 6] = [
    (1, 0),
    (1, 1),
    (2, 0x7FFF),
    (4, 0x8000),
    (1, 0xC000),
    (2, 0xFFFF),
];

/// Texts with no more parameters than the first one.
const TEXTS: [&str; 4] = [
    "select v from t where id = $1",
    "insert into t values ($1, 'many')",
    "select 1",
    "table t",
];

const INT4: u32 = 23;
const NAME: &str = "many";

/// What the play needs of the set-up, as far as that is chosen behind it.
pub(super) fn fitted(mut setup: Setup) -> Setup {
    setup.tight = false;
    setup.fittings.short_messages = false;
    setup.fittings.roomy = true;
    setup
}

impl Program<'_, '_> {
    /// A statement with many parameters, most of which it does not use, where it was prepared and where it was not.
    pub(super) fn many(&mut self, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        let text = self.choices.one(&TEXTS);
        let number = self.choices.weighted(&MOST);
        let name = self.choices.one(&[NAME, NAME, ""]);
        self.say(ClientMessage::ParseAs {
            name: name.to_owned(),
            text: text.to_owned(),
            types: vec![INT4; number],
        });
        if self.choices.percent(30) {
            self.say(ClientMessage::DescribeStatement(name.to_owned()));
        }
        self.asks_calmly();
        // One that uses a parameter has it, whatever it was said to have.
        let needed = number.max(usize::from(text.contains("$1")));
        for _ in 0..1 + self.choices.below(2) {
            self.runs_elsewhere(name, needed);
        }
        if self.choices.percent(25) {
            self.calls();
        }
    }

    fn asks_calmly(&mut self) {
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
    }

    /// It runs on the other server, or on one that has nothing of it.
    fn runs_elsewhere(&mut self, name: &str, number: usize) {
        let begins = match self.choices.below(4) {
            0 => {
                let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
                let lost = Event::Fault(loss(PeerId::READER));
                let later = Event::Fault(Fault::Clock(60_000));
                self.events.extend([lost, Event::Calm, later]);
                // Asks for the reader, and does not wait for it.
                self.query("select 1");
                self.events.push(Event::Calm);
                false
            }
            1 | 2 => {
                self.query("begin");
                self.events.push(Event::Calm);
                true
            }
            _ => false,
        };
        self.bind_many(name, number);
        self.say(ClientMessage::Execute {
            portal: String::new(),
            max_rows: 0,
        });
        self.asks_calmly();
        if begins {
            self.query("rollback");
        }
    }

    fn bind_many(&mut self, statement: &str, number: usize) {
        let other = self.choices.weighted(&MOST);
        let formats = match self.choices.below(6) {
            0 => vec![0],
            1 => vec![0; number],
            2 => vec![0; other],
            _ => Vec::new(),
        };
        let results = match self.choices.below(6) {
            0 => vec![0],
            1 => vec![0; other],
            _ => Vec::new(),
        };
        let mut values = vec![None; number];
        if let Some(first) = values.first_mut() {
            *first = Some("1".to_owned());
        }
        self.say(ClientMessage::BindAs {
            portal: String::new(),
            statement: statement.to_owned(),
            formats,
            values,
            results,
        });
    }

    /// A function that has one argument.
    fn calls(&mut self) {
        let number = self.choices.weighted(&MOST);
        let formats = self.choices.weighted(&MOST);
        self.say(ClientMessage::CallAs {
            function: 1_317,
            formats: vec![0; formats],
            arguments: vec![Some("x".to_owned()); number],
        });
        self.events.push(Event::Calm);
    }
}
