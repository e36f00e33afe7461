//! Short plays whose parts seldom meet by chance.

use pgturnout::session::PeerId;

use super::super::catalogue::Phase;
use super::super::choices::Choices;
use super::super::event::{Event, Scenario};
use super::super::fault::{Aside, Fault, PLAYERS};
use super::super::message::ClientMessage;
use super::super::setup::{Method, Setup};
use super::super::world::Pace;
use super::Program;

/// How many plays [`Program::staged`] chooses from.
const PLAYS: usize = 55;

/// The one of messages that count more than most.
const MANY: usize = 41;

/// The one of batches that have left in part when a cancel comes.
const CANCELLED: usize = 44;

/// What the `nth` play needs of the set-up, as far as that is chosen behind it.
pub(super) fn fitted(nth: usize, setup: Setup, choices: &mut Choices<'_>) -> Setup {
    match nth % PLAYS {
        play @ 20..26 => super::edges::fitted(play - 20, setup, choices),
        MANY => super::many::fitted(setup),
        _ => setup,
    }
}

/// The same of how long cancels take.
pub(super) fn paced(nth: usize, mut scenario: Scenario, choices: &mut Choices<'_>) -> Scenario {
    // What has left in part has left as a whole when anything else is let pass.
    if nth % PLAYS == CANCELLED && choices.percent(80) {
        scenario.setup.fittings.cancels = Pace::Prompt;
    }
    scenario
}

impl Program<'_, '_> {
    /// Everybody takes their time.
    pub(super) fn slow_login(&mut self) {
        for _ in 0..4 {
            self.moves(6);
            self.events.push(Event::Fault(Fault::Clock(1_000)));
        }
    }

    pub(super) fn query(&mut self, text: &str) {
        self.say(ClientMessage::Query(text.to_owned()));
        if self.choices.percent(40) {
            self.events.push(Event::Calm);
        }
    }

    /// Settings that parts of a transaction take back, or the whole of it.
    pub(super) fn settings_under_a_savepoint(&mut self) {
        self.query("begin");
        self.query("savepoint a");
        for _ in 0..2 + self.choices.below(6) {
            let text = match self.choices.below(12) {
                0 => "savepoint a".to_owned(),
                1 => "savepoint b".to_owned(),
                2 | 3 => "rollback to a".to_owned(),
                4 => "rollback to b".to_owned(),
                5 => "release a".to_owned(),
                6 => self.statements.failing(self.choices),
                7 => "set application_name = 'under'; savepoint b".to_owned(),
                _ => self.statements.setting(self.choices),
            };
            self.query(&text);
        }
        let end = self
            .choices
            .one(&["commit", "commit", "rollback", "commit and chain"]);
        self.query(end);
        if end == "commit and chain" {
            self.query("rollback");
        }
        self.query("select current_setting('application_name')");
    }

    /// A statement that is prepared in SQL, under a name that Bind takes, too.
    pub(super) fn prepared_in_sql(&mut self) {
        for _ in 0..3 + self.choices.below(4) {
            let text = self.statements.in_sql(self.choices);
            self.query(&text);
        }
        if self.choices.percent(30) {
            self.say(ClientMessage::Bind {
                portal: String::new(),
                statement: "q".to_owned(),
                values: Vec::new(),
            });
            self.say(ClientMessage::Execute {
                portal: String::new(),
                max_rows: 0,
            });
            self.say(ClientMessage::Sync);
        }
        self.query("select 1");
    }

    /// A role that is given back, and a statement's name with another meaning on the other server.
    pub(super) fn role_and_name_again(&mut self) {
        if self.choices.percent(50) {
            self.query("set role m_role");
            self.query("select 1");
            let back = self
                .choices
                .one(&["reset all", "reset role", "set role none"]);
            self.query(back);
            self.query("select 1");
            return;
        }
        for text in ["select 1", "insert into t values (1, 'again')", "select 1"] {
            self.say(ClientMessage::CloseStatement("again".to_owned()));
            self.say(ClientMessage::Parse {
                name: "again".to_owned(),
                text: text.to_owned(),
            });
            self.say(ClientMessage::Bind {
                portal: String::new(),
                statement: "again".to_owned(),
                values: Vec::new(),
            });
            self.say(ClientMessage::Execute {
                portal: String::new(),
                max_rows: 0,
            });
            self.say(ClientMessage::Sync);
            if self.choices.percent(60) {
                self.events.push(Event::Calm);
            }
        }
    }

    /// Several changes of one setting, and a read that shows what is left of them; or strings under the other rule.
    pub(super) fn set_and_read(&mut self) {
        if self.choices.percent(30) {
            self.query("set standard_conforming_strings = off");
            let text = self.statements.backslash(self.choices);
            self.query(&text);
            return;
        }
        for _ in 0..1 + self.choices.below(3) {
            let text = self.choices.one(&[
                "set application_name = 'first'",
                "set application_name = 'second'",
                "set local application_name = 'local'",
                "reset application_name",
            ]);
            self.query(text);
        }
        self.query("select current_setting('application_name')");
    }

    /// What only the writer has, and what takes it away.
    pub(super) fn kept_on_the_writer(&mut self) {
        if self.choices.percent(30) {
            self.query("declare c cursor with hold for select id from t order by id");
            if self.choices.percent(60) {
                self.query("select 1");
            }
            self.say(ClientMessage::Execute {
                portal: "c".to_owned(),
                max_rows: 1,
            });
            self.say(ClientMessage::Sync);
            self.query("close c");
            return;
        }
        self.query("create temp table tmp (a int)");
        let text = self.choices.one(&[
            "select 1",
            "discard plans",
            "discard temp",
            "discard all",
            "drop table if exists tmp",
            "reset all",
        ]);
        self.query(text);
        self.query("select a from tmp");
    }

    /// The reader is lost, and later there again, with nothing of what it had.
    pub(super) fn reader_comes_back(&mut self) {
        let again = |program: &mut Self, parses: bool| {
            let (name, text) = ("back".to_owned(), "select v from t where id = 1".to_owned());
            if parses {
                program.say(ClientMessage::Parse {
                    name: name.clone(),
                    text,
                });
            }
            program.say(ClientMessage::Bind {
                portal: String::new(),
                statement: name,
                values: Vec::new(),
            });
            program.say(ClientMessage::Execute {
                portal: String::new(),
                max_rows: 0,
            });
            program.say(ClientMessage::Sync);
            program.events.push(Event::Calm);
        };
        let setting = self.statements.setting(self.choices);
        self.query(&setting);
        again(self, true);
        let loss = self.choices.one(&[Fault::Reset, Fault::Eof]);
        self.events.push(Event::Fault(loss(PeerId::READER)));
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(Fault::Clock(60_000)));
        // The first read asks for the reader, and does not wait for it.
        for _ in 0..2 {
            again(self, false);
        }
    }

    /// One of the plays below, with a request before it and one behind it, and what it needs of the setup.
    pub(super) fn staged(&mut self, nth: usize, setup: &mut Setup) {
        let play = nth % PLAYS;
        if play == 0 {
            if setup.login == Method::Trust {
                setup.login = Method::Md5;
            }
            self.halting_login();
        }
        self.events.push(Event::Calm);
        if self.choices.percent(40) {
            let text = self.statements.any(self.choices);
            self.query(&text);
        }
        match play {
            0 => {}
            1 => self.unnamed_behind_a_loss(),
            2 => self.batch_that_moves(),
            3 => self.dropped_in_sql(),
            4 => self.repaired_in_vain(),
            5 => self.taken_name(),
            7 => self.promoted(),
            8 => self.styles(),
            9 => self.aside_in_an_answer(),
            10 => self.reader_comes_back(),
            11 => self.asked_behind_a_shutdown(),
            12 => self.given_up_in_an_answer(),
            13 => self.written_and_read(setup),
            14 => self.tried(setup),
            15 => self.another_standby(setup),
            16 | 17 => self.read_transaction(setup),
            18 => self.begun_again(setup),
            19 => self.taken_back(),
            20..26 => self.at_the_edge(play - 20, setup),
            26..32 => self.prepared_otherwise(play - 26, setup),
            32..38 => self.worded_otherwise(play - 32, setup),
            38..41 => self.at_a_distance(play - 38, setup),
            MANY => self.many(setup),
            42..45 => self.in_halves(play - 42, setup),
            45..49 => self.free_messages(setup),
            49..53 => self.anew(play - 49, setup),
            53..55 => self.portals(setup),
            _ => {
                setup.tight = true;
                self.dropped_by_what_is_not_known();
            }
        }
        self.events.push(Event::Calm);
        self.query("select 1");
    }

    /// A transaction that takes back, or does again, what it did; and a read that shows what is left of it on the other server.
    fn taken_back(&mut self) {
        if self.choices.percent(30) {
            self.query("create temp table tmp (a int)");
            self.query("begin");
            self.query("discard temp");
            self.events.push(Event::Calm);
            if self.choices.percent(70) {
                self.query("create temp table tmp (a int)");
            }
            let end = self.choices.one(&["commit", "rollback"]);
            self.query(end);
            self.query("select a from tmp");
            return;
        }
        self.query("begin");
        for text in [
            "set my.a = 'one'",
            "savepoint a",
            "set my.a = 'two'",
            "savepoint a",
            "set my.a = 'three'",
            "rollback to a",
            "release a",
            "set my.a = 'four'",
            "rollback to a",
        ] {
            // No server reports it: nothing but what was repeated shows.
            if self.choices.percent(70) {
                self.query(text);
            }
        }
        let end = self
            .choices
            .one(&["commit", "commit", "commit", "rollback"]);
        self.query(end);
        self.query("select current_setting('my.a', true)");
    }

    /// The reader becomes a primary, says so in its next answer, and is asked again.
    fn promoted(&mut self) {
        self.query("select 1");
        self.events.push(Event::Calm);
        self.events.push(Event::Fault(Fault::Promote));
        for _ in 0..3 {
            if self.choices.percent(70) {
                self.events.push(Event::Calm);
            }
            let text = self.statements.read(self.choices);
            self.query(&text);
        }
    }

    /// Of one setting the parts are set one by one.
    fn styles(&mut self) {
        for _ in 0..1 + self.choices.below(3) {
            let style = self
                .choices
                .one(&["German", "ymd", "SQL", "dmy", "ISO, MDY"]);
            self.query(&format!("set datestyle = '{style}'"));
            if self.choices.percent(30) {
                let text = self.statements.read(self.choices);
                self.query(&text);
            }
        }
    }

    /// The writer says something while an answer of the reader's is on its way.
    fn aside_in_an_answer(&mut self) {
        self.query("select 1");
        self.events.push(Event::Calm);
        self.say(ClientMessage::Query("select repeat('x', 9000)".to_owned()));
        let (client, writer, reader) = (PeerId::CLIENT, PeerId::WRITER, PeerId::READER);
        let (part, rest) = (self.choices.below(9_000), self.choices.below(9_000));
        let aside = self.choices.one(&[Aside::Notice, Aside::Parameter]);
        for event in [
            Event::Arrive(client, 100_000),
            Event::Leave(reader, 100_000),
            Event::Serve(reader),
            Event::Arrive(reader, part),
            Event::Fault(Fault::Async(writer, aside)),
            Event::Arrive(writer, 100_000),
            Event::Arrive(reader, rest),
            Event::Leave(client, 100_000),
            Event::Calm,
            // The reader says something within a copy of its own, too.
            Event::Aim(reader, Phase::CopyOut, 0, Fault::Async(reader, aside)),
        ] {
            self.events.push(event);
        }
        self.query("copy t to stdout");
    }

    /// The reader breaks the protocol while the client does not read what it has said before.
    fn given_up_in_an_answer(&mut self) {
        self.query("select 1");
        self.events.push(Event::Calm);
        self.say(ClientMessage::Query("select repeat('x', 9000)".to_owned()));
        let (client, reader) = (PeerId::CLIENT, PeerId::READER);
        for event in [
            Event::Arrive(client, 100_000),
            Event::Leave(reader, 100_000),
            Event::Serve(reader),
            Event::Fault(Fault::Stall(client)),
            Event::Arrive(reader, 100_000),
            Event::Fault(Fault::Lie(reader, b"R\0\0\0\x08\0\0\0\0".to_vec())),
            Event::Arrive(reader, 100_000),
            Event::Act,
            Event::Fault(Fault::Deadline),
            Event::Calm,
        ] {
            self.events.push(event);
        }
    }

    /// The proxy is shut down while a request waits, and the client asks for more.
    fn asked_behind_a_shutdown(&mut self) {
        if self.choices.percent(50) {
            self.query("begin");
            self.events.push(Event::Calm);
        }
        let slow = self.choices.one(&[PeerId::WRITER, PeerId::READER]);
        let stop = self.choices.one(&[Fault::Stall, Fault::Mute]);
        self.events.push(Event::Fault(stop(slow)));
        let text = self.statements.any(self.choices);
        self.say(ClientMessage::Query(text));
        self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
        self.events.push(Event::Fault(Fault::ShutDownProxy));
        for _ in 0..2 {
            let text = self.statements.write(self.choices);
            self.query(&text);
        }
    }

    /// Everybody says what they have to say at a login, and takes a while for it.
    fn halting_login(&mut self) {
        for _ in 0..16 {
            for peer in PLAYERS {
                self.events.push(Event::Arrive(peer, 100_000));
                self.events.push(Event::Leave(peer, 100_000));
                self.events.push(Event::Act);
            }
            self.events.push(Event::Serve(PeerId::WRITER));
            self.events.push(Event::Serve(PeerId::READER));
            if self.choices.percent(30) {
                self.events.push(Event::Fault(Fault::Clock(300)));
            }
        }
    }

    pub(super) fn parse(&mut self, name: &str, text: &str) {
        self.say(ClientMessage::Parse {
            name: name.to_owned(),
            text: text.to_owned(),
        });
    }

    pub(super) fn bind(&mut self, portal: &str, statement: &str) {
        self.say(ClientMessage::Bind {
            portal: portal.to_owned(),
            statement: statement.to_owned(),
            values: Vec::new(),
        });
    }

    pub(super) fn run(&mut self, name: &str) {
        self.bind("", name);
        self.say(ClientMessage::Execute {
            portal: String::new(),
            max_rows: 0,
        });
    }

    pub(super) fn sync(&mut self) {
        self.say(ClientMessage::Sync);
        if self.choices.percent(60) {
            self.events.push(Event::Calm);
        }
    }

    /// The unnamed statement, and a request that is lost with the reader.
    fn unnamed_behind_a_loss(&mut self) {
        let text = match self.choices.percent(50) {
            true => self.statements.read(self.choices),
            false => self.statements.write(self.choices),
        };
        self.parse("", &text);
        if self.choices.percent(30) {
            self.run("");
        }
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
        let loss = self.loss();
        self.events.push(loss);
        let text = self.statements.read(self.choices);
        self.query(&text);
        self.events.push(Event::Calm);
        self.run("");
        self.sync();
    }

    /// A batch that begins as a read and goes on as a write, and perhaps the reader is gone on the way.
    fn batch_that_moves(&mut self) {
        let text = self.statements.read(self.choices);
        self.parse("moves", &text);
        if self.choices.percent(50) {
            self.say(ClientMessage::DescribeStatement("moves".to_owned()));
        }
        self.say(ClientMessage::Flush);
        self.events.push(Event::Calm);
        if self.choices.percent(30) {
            let loss = self.loss();
            self.events.push(loss);
            self.events.push(Event::Calm);
            let text = self.statements.any(self.choices);
            self.query(&text);
            self.sync();
            return;
        }
        let text = self.statements.write(self.choices);
        self.parse("", &text);
        self.run("");
        if self.choices.percent(70) {
            let reader = PeerId::READER;
            self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
            if self.choices.percent(50) {
                self.events.push(Event::Leave(reader, 100_000));
            }
            let loss = self.choices.one(&[Fault::Reset, Fault::Eof, Fault::Mute]);
            self.events.push(Event::Fault(loss(reader)));
            if self.choices.percent(30) {
                self.events.push(Event::Fault(Fault::Deadline));
            }
        }
        self.sync();
        self.run("moves");
        self.sync();
    }

    /// A statement of the protocol's that SQL drops.
    fn dropped_in_sql(&mut self) {
        let text = self.statements.read(self.choices);
        self.parse("s1", &text);
        if self.choices.percent(50) {
            self.run("s1");
        }
        self.sync();
        let drop = self
            .choices
            .one(&["deallocate s1", "deallocate all", "discard all"]);
        match self.choices.percent(60) {
            true => self.query(drop),
            false => {
                self.parse("", drop);
                self.run("");
                self.sync();
            }
        }
        self.run("s1");
        self.sync();
        let text = self.statements.read(self.choices);
        self.parse("s1", &text);
        self.run("s1");
        self.sync();
    }

    /// A statement of the reader's is needed on the writer behind what fails there, and in the next batch again.
    fn repaired_in_vain(&mut self) {
        let text = self.statements.read(self.choices);
        self.parse("s1", &text);
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
        self.query("create temp table tmp (a int)");
        let text = match self.choices.percent(70) {
            true => self.statements.failing(self.choices),
            false => self.statements.write(self.choices),
        };
        self.parse("", &text);
        self.run("");
        self.run("s1");
        self.say(ClientMessage::Sync);
        self.run("s1");
        self.sync();
    }

    /// A name is taken, so that a Parse fails that would have made a read of a write, or the other way round; what
    /// follows does not wait to hear of it.
    fn taken_name(&mut self) {
        let write = self.statements.write(self.choices);
        let read = self.statements.read(self.choices);
        let (first, second) = match self.choices.percent(70) {
            true => (write, read),
            false => (read, write),
        };
        self.parse("s1", &first);
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
        self.parse("s1", &second);
        self.say(ClientMessage::Sync);
        self.run("s1");
        self.sync();
    }

    /// A statement is dropped by one that was not remembered, in the batch that goes on with what it drops.
    fn dropped_by_what_is_not_known(&mut self) {
        for name in ["s1", "s2"] {
            let text = self.statements.read(self.choices);
            self.parse(name, &text);
            self.sync();
        }
        let text = self.statements.write(self.choices);
        self.parse("", &text);
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
        let drop = self
            .choices
            .one(&["deallocate s1", "deallocate all", "discard all"]);
        self.parse("s3", drop);
        self.bind("p1", "s3");
        self.say(ClientMessage::Execute {
            portal: "p1".to_owned(),
            max_rows: 0,
        });
        self.run("s1");
        self.sync();
    }
}
