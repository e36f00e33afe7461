//! Scenarios out of choices: what a client says, how the network moves it, and what goes wrong.

mod anew;
mod cancels;
mod distances;
mod door;
mod edges;
mod faults;
mod fitted;
mod free;
mod halves;
mod interludes;
mod kinds;
mod losses;
mod many;
mod moves;
mod portals;
mod prepared;
mod reads;
mod scenes;
mod statements;
mod transfers;
mod wordings;

use pgturnout::session::PeerId;

use super::choices::Choices;
use super::event::{Event, Scenario};
use super::fault::PLAYERS;
use super::message::ClientMessage;
use super::setup::{Caller, Setup, Start};
use super::verdict;
pub(crate) use kinds::{bytes_of, expand, of_bytes};
use statements::Statements;

/// How many requests a program has at most. Longer ones were not seen to find more, and take longer to read.
const REQUESTS: usize = 12;

/// A scenario of a client that keeps the protocol, mostly.
pub(crate) fn scenario(choices: &mut Choices<'_>) -> Scenario {
    let (setup, events) = kept(choices);
    let (setup, events) = moves::moved(setup, events, choices);
    let events = reads::known(&setup, events, choices);
    Scenario {
        setup: faults::equipped(setup, &events),
        events,
    }
}

/// The same of a session that is to move.
pub(crate) fn moving(choices: &mut Choices<'_>) -> Scenario {
    let (setup, events) = kept(choices);
    let (setup, events) = moves::relocated(setup, events, choices);
    let events = reads::known(&setup, events, choices);
    Scenario {
        setup: faults::equipped(setup, &events),
        events,
    }
}

fn kept(choices: &mut Choices<'_>) -> (Setup, Vec<Event>) {
    let setup = Setup::choose(choices);
    let faults = choices.weighted(&[(4, 0), (4, 1), (4, 3), (3, 5), (1, 9)]);
    let mut program = Program::new(choices);
    program.faults = faults;
    program.company = setup.clients > 1;
    program.write();
    let (setup, events) = judged(setup, program.events, choices);
    let (setup, events) = reads::watched(setup, events, choices);
    let (setup, mut events) = door::opened(setup, events, choices);
    reads::hinted(&setup, &mut events, choices);
    (setup, events)
}

/// Has the caller deny some of what is said, in some of the scenarios.
fn judged(setup: Setup, mut events: Vec<Event>, choices: &mut Choices<'_>) -> (Setup, Vec<Event>) {
    let judged = choices.percent(25);
    if judged {
        verdict::mark(&mut events, choices);
    }
    let judged = judged || setup.judged;
    (Setup { judged, ..setup }, events)
}

/// A scenario in which a peer says something at a time that is not the time for it: the `nth` such thing, of which there
/// are some hundreds.
pub(crate) fn untimely(nth: usize, choices: &mut Choices<'_>) -> Scenario {
    let setup = Setup {
        start: Start::Plain,
        ..Setup::choose(choices)
    };
    let mut program = Program::new(choices);
    program.untimely(nth);
    let events = program.events;
    let (setup, events) = reads::watched(setup, events, choices);
    let (setup, events) = door::opened(setup, events, choices);
    let (setup, events) = moves::moved(setup, events, choices);
    Scenario { setup, events }
}

/// A scenario for one fault in one phase: the `nth` such pair, of which there are some hundreds.
pub(crate) fn stricken(nth: usize, choices: &mut Choices<'_>) -> Scenario {
    let mut setup = Setup {
        start: Start::Plain,
        ..Setup::choose(choices)
    };
    if faults::strikes_a_reader(nth) {
        // Only who is asked can be struck then.
        setup.split = true;
        setup.caller = Caller::Nobody;
    }
    let mut program = Program::new(choices);
    program.stricken(nth);
    let events = program.events;
    let (setup, events) = reads::watched(setup, events, choices);
    let (setup, events) = door::opened(setup, events, choices);
    let (setup, events) = moves::moved(setup, events, choices);
    Scenario {
        setup: faults::equipped(setup, &events),
        events,
    }
}

/// A scenario for one fault in one phase of a session that moves: the `nth` such pair, of which there are about a thousand.
pub(crate) fn waylaid(nth: usize, choices: &mut Choices<'_>) -> Scenario {
    let (fault, phase) = faults::on_the_way(nth);
    let setup = moves::movable(Setup::choose(choices), choices);
    let setup = moves::laid_out(setup, &fault, phase, choices);
    let mut program = Program::new(choices);
    program.waylaid(&setup, fault, phase);
    let events = program.events;
    Scenario {
        setup: faults::equipped(setup, &events),
        events,
    }
}

/// A scenario around one of the plays whose parts seldom meet by chance: the `nth` of them.
pub(crate) fn staged(nth: usize, choices: &mut Choices<'_>) -> Scenario {
    let mut setup = Setup {
        split: true,
        start: Start::Plain,
        ..Setup::choose(choices)
    };
    let mut program = Program::new(choices);
    program.staged(nth, &mut setup);
    let (setup, events) = judged(setup, program.events, choices);
    let (setup, events) = reads::watched(setup, events, choices);
    let (mut setup, mut events) = door::opened(setup, events, choices);
    setup.fittings.short_messages &= !prepared::has_long_messages(&events);
    reads::hinted(&setup, &mut events, choices);
    let (setup, events) = moves::moved(setup, events, choices);
    let setup = scenes::fitted(nth, setup, choices);
    Scenario {
        setup: faults::equipped(setup, &events),
        events,
    }
}

/// A scenario whose client's bytes are anything.
pub(crate) fn wild(choices: &mut Choices<'_>) -> Scenario {
    let setup = Setup {
        wild: true,
        ..Setup::choose(choices)
    };
    let mut events = Vec::new();
    for _ in 0..1 + choices.below(8) {
        events.push(Event::Raw(wild_bytes(choices)));
        if choices.percent(60) {
            events.push(Event::Calm);
        }
    }
    let (setup, events) = reads::watched(setup, events, choices);
    let (setup, events) = door::opened(setup, events, choices);
    let (setup, events) = moves::moved(setup, events, choices);
    Scenario { setup, events }
}

fn wild_bytes(choices: &mut Choices<'_>) -> Vec<u8> {
    let startup = b"\0\0\0\x21\0\x03\0\0user\0alice\0database\0app\0\0";
    match choices.below(10) {
        8 | 9 => openings(choices),
        0 => vec![0, 0, 0, 8, 4, 210, 22, 47],
        1 => vec![0, 0, 0, 8, 4, 210, 22, 48],
        2 => startup.to_vec(),
        3 => [&[0, 0, 0, 8, 4, 210, 22, 47][..], startup].concat(),
        4 => b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd".to_vec(),
        5 => b"Q\0\0\0\x0dselect 1\0".to_vec(),
        6 => vec![b'Q', 0xff, 0xff, 0xff, 0xff],
        _ => (0..choices.below(24)).map(|_| choices.byte()).collect(),
    }
}

/// A name longer than those are kept, which tells itself from others behind where it is cut, or before.
fn long_name(choices: &mut Choices<'_>) -> String {
    let at = choices.one(&[61, 62, 63]);
    let end = choices.one(&["a", "b", "c"]);
    format!("{}{end}{}", "n".repeat(at), "n".repeat(69 - at))
}

/// Requests for encryption, one behind the other, and what comes near being one.
fn openings(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..1 + choices.below(4) {
        let kind = choices.one(&[47, 48, 48, 47, 46]);
        let length = choices.weighted(&[(12, 8), (1, 9), (1, 7), (1, 12)]);
        out.extend([0, 0, 0, length, 4, 210, 22, kind]);
        out.extend(vec![0; usize::from(length).saturating_sub(8)]);
    }
    out
}

struct Program<'c, 'b> {
    choices: &'c mut Choices<'b>,
    events: Vec<Event>,
    statements: Statements,
    /// Whether there is a second client.
    company: bool,
    /// How many faults are still to come.
    faults: usize,
    /// Whether the client has flushed and waits for what it gets, for ever.
    waits: bool,
    /// Whether a Sync was sent within copy data: until more is asked nobody knows whether it is answered.
    doubts: bool,
}

impl<'c, 'b> Program<'c, 'b> {
    fn new(choices: &'c mut Choices<'b>) -> Program<'c, 'b> {
        Program {
            choices,
            events: Vec::new(),
            statements: Statements::default(),
            company: false,
            faults: 0,
            waits: false,
            doubts: false,
        }
    }

    fn write(&mut self) {
        if self.faults > 0 && self.choices.percent(25) {
            self.faults -= 1;
            self.fault_at_first();
        }
        match self.choices.below(20) {
            0..=13 => self.events.push(Event::Calm),
            14 => self.slow_login(),
            _ => {
                self.moves(12);
                if self.faults > 0 && self.choices.percent(50) {
                    self.faults -= 1;
                    self.fault();
                    self.moves(12);
                }
            }
        }
        let requests = 1 + self.choices.below(REQUESTS);
        for _ in 0..requests {
            if self.company && self.choices.percent(60) {
                let text = self.statements.beside(self.choices);
                self.events
                    .push(Event::SayBeside(ClientMessage::Query(text)));
            }
            self.request();
            if self.waits {
                return;
            }
            if self.choices.percent(55) {
                self.events.push(Event::Calm);
            } else {
                self.moves(8);
            }
            if self.faults > 0 && self.choices.percent(35) {
                self.faults -= 1;
                match self.choices.below(16) {
                    0 => self.torn_row(),
                    2 => self.torn_description(),
                    1 => self.reader_comes_back(),
                    _ => self.fault(),
                }
                self.moves(4);
            }
        }
        if self.choices.percent(10) && !self.doubts {
            self.say(ClientMessage::Terminate);
            if self.choices.percent(40) {
                // No server reads on.
                self.request();
            }
        }
    }

    fn say(&mut self, message: ClientMessage) {
        self.events.push(Event::Say(message));
    }

    /// The network and the driver do some of what they can.
    fn moves(&mut self, most: usize) {
        for _ in 0..self.choices.below(most + 1) {
            let peer = self.choices.one(&PLAYERS);
            let size = self.choices.one(&[1, 5, 6, 13, 40, 200, 100_000]);
            let event = match self.choices.below(8) {
                0..=2 => Event::Arrive(peer, size),
                3 | 4 => Event::Leave(peer, size),
                5 => Event::Act,
                _ => Event::Serve(self.choices.one(&[PeerId::WRITER, PeerId::READER])),
            };
            self.events.push(event);
        }
    }

    fn request(&mut self) {
        match self.choices.below(25) {
            0..=6 => {
                let text = self.statements.any(self.choices);
                self.say(ClientMessage::Query(text));
            }
            7 => self.several_in_one(),
            8..=14 => self.batches(),
            15 => self.copy_in_simple(),
            16 => self.copy_in_extended(),
            17 => self.copy_out(),
            18 => self.transaction(),
            19 => self.settings_under_a_savepoint(),
            20 => self.set_and_read(),
            21 => self.kept_on_the_writer(),
            22 => self.role_and_name_again(),
            23 => self.prepared_in_sql(),
            _ => self.oddity(),
        }
    }

    fn several_in_one(&mut self) {
        let count = 2 + self.choices.below(3);
        let texts: Vec<String> = (0..count)
            .map(|_| self.statements.any(self.choices))
            .collect();
        self.say(ClientMessage::Query(texts.join("; ")));
    }

    /// A transaction block of simple queries.
    fn transaction(&mut self) {
        let begin = self.choices.one(&[
            "begin",
            "begin",
            "start transaction",
            "begin read only",
            "begin isolation level repeatable read",
        ]);
        self.say(ClientMessage::Query(begin.to_owned()));
        for _ in 0..self.choices.below(5) {
            let text = match self.choices.below(8) {
                0 => "savepoint a".to_owned(),
                1 => "rollback to a".to_owned(),
                2 => "release a".to_owned(),
                3 => self.statements.setting(self.choices),
                _ => self.statements.any(self.choices),
            };
            self.say(ClientMessage::Query(text));
            if self.choices.percent(40) {
                self.events.push(Event::Calm);
            }
        }
        if self.choices.percent(85) {
            let end = self
                .choices
                .one(&["commit", "rollback", "commit", "end", "abort"]);
            self.say(ClientMessage::Query(end.to_owned()));
        }
    }

    /// Extended batches, one behind the other.
    fn batches(&mut self) {
        for _ in 0..self.choices.weighted(&[(6, 1), (2, 2), (1, 4)]) {
            for _ in 0..self.choices.weighted(&[(1, 0), (8, 1), (4, 2), (2, 4)]) {
                self.extended();
                if self.choices.percent(12) {
                    self.say(ClientMessage::Flush);
                    self.waits = self.choices.percent(15);
                    if self.waits {
                        return;
                    }
                    self.moves(6);
                }
            }
            if self.choices.percent(94) {
                self.say(ClientMessage::Sync);
            }
        }
    }

    /// One statement by extended messages, whole or in part.
    fn extended(&mut self) {
        let name = match self.choices.below(20) {
            0 => long_name(self.choices),
            at => ["", "", "s1", "s2", "s3"][at % 5].to_owned(),
        };
        let portal = self.choices.one(&["", "", "", "p1"]).to_owned();
        let parses = self.choices.percent(70) || !self.statements.is_prepared(&name);
        if parses && self.choices.percent(97) {
            let text = self.statements.preparable(self.choices);
            self.statements.prepare(&name, &text);
            if !name.is_empty() && self.choices.percent(50) {
                self.say(ClientMessage::CloseStatement(name.clone()));
            }
            self.say(ClientMessage::Parse {
                name: name.clone(),
                text,
            });
        }
        let only_prepares = self.choices.percent(12);
        if only_prepares || self.choices.percent(25) {
            self.say(ClientMessage::DescribeStatement(name.clone()));
        }
        if only_prepares {
            return;
        }
        let values = self.statements.values(&name, self.choices);
        self.say(ClientMessage::Bind {
            portal: portal.clone(),
            statement: name.clone(),
            values,
        });
        if self.choices.percent(50) {
            self.say(ClientMessage::DescribePortal(portal.clone()));
        }
        let max_rows = self.choices.weighted(&[(6, 0), (1, 1), (1, 2)]);
        self.say(ClientMessage::Execute {
            portal: portal.clone(),
            max_rows,
        });
        if max_rows > 0 && self.choices.percent(50) {
            self.say(ClientMessage::Execute {
                portal: portal.clone(),
                max_rows: 0,
            });
        }
        if self.choices.percent(8) {
            self.say(ClientMessage::ClosePortal(portal));
        }
        if self.choices.percent(8) {
            self.statements.close(&name);
            self.say(ClientMessage::CloseStatement(name));
        }
    }

    fn rows(&mut self) {
        for _ in 0..self.choices.below(4) {
            let row = match self.choices.below(8) {
                0 => "not a number\tx\n".to_owned(),
                _ => self.statements.row(),
            };
            self.say(ClientMessage::CopyData(row));
            if self.choices.percent(15) {
                self.moves(4);
            }
            if self.choices.percent(6) {
                self.doubts = true;
                self.say(ClientMessage::Sync);
            }
        }
        match self.choices.below(8) {
            0 => self.say(ClientMessage::CopyFail("the client gives up".to_owned())),
            _ => self.say(ClientMessage::CopyDone),
        }
    }

    fn copy_in_simple(&mut self) {
        let copies = self.choices.weighted(&[(6, 1), (1, 2)]);
        let text = vec!["copy t from stdin"; copies].join("; ");
        self.say(ClientMessage::Query(text));
        for _ in 0..copies {
            if self.choices.percent(50) {
                self.events.push(Event::Calm);
            }
            self.rows();
        }
    }

    fn copy_in_extended(&mut self) {
        self.say(ClientMessage::Parse {
            name: String::new(),
            text: "copy t from stdin".to_owned(),
        });
        self.say(ClientMessage::Bind {
            portal: String::new(),
            statement: String::new(),
            values: Vec::new(),
        });
        self.say(ClientMessage::Execute {
            portal: String::new(),
            max_rows: 0,
        });
        match self.choices.below(3) {
            // As libpq does: the Sync of the Execute is ignored during the copy.
            0 => self.say(ClientMessage::Sync),
            1 => self.say(ClientMessage::Flush),
            _ => {}
        }
        if self.choices.percent(50) {
            self.events.push(Event::Calm);
        }
        self.rows();
        self.say(ClientMessage::Sync);
    }

    fn copy_out(&mut self) {
        let text = self.choices.one(&[
            "copy t to stdout",
            "copy (select id from t order by id) to stdout",
        ]);
        self.say(ClientMessage::Query(text.to_owned()));
    }

    /// What a client may do and seldom does.
    fn oddity(&mut self) {
        match self.choices.below(11) {
            0 => self.say(ClientMessage::Query(String::new())),
            1 => self.say(ClientMessage::Sync),
            2 => self.say(ClientMessage::Flush),
            3 => self.say(ClientMessage::FunctionCall(1_598)),
            4 => self.say(ClientMessage::CopyDone),
            5 => self.say(ClientMessage::CopyData("out of place".to_owned())),
            6 | 7 => {
                // A cursor that DECLARE made is a portal.
                let portal = self.choices.one(&["nobody", "c"]).to_owned();
                self.say(ClientMessage::Execute {
                    portal,
                    max_rows: 0,
                });
                self.say(ClientMessage::Sync);
            }
            8 => {
                self.say(ClientMessage::Malformed('H'));
                if self.choices.percent(70) {
                    self.say(ClientMessage::Sync);
                }
            }
            _ => self.say(ClientMessage::CloseStatement("nobody".to_owned())),
        }
    }
}
