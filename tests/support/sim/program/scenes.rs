//! Short plays whose parts seldom meet by chance.

use pgturnout::session::PeerId;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::Program;

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

    /// Settings that a part of a transaction takes back, or the whole of it.
    pub(super) fn settings_under_a_savepoint(&mut self) {
        self.query("begin");
        for step in 0..4 {
            if self.choices.percent(50) {
                let text = self.statements.setting(self.choices);
                self.query(&text);
            }
            match step {
                0 => self.query("savepoint a"),
                1 => {
                    let end = self.choices.one(&["rollback to a", "release a"]);
                    self.query(end);
                }
                _ => {}
            }
        }
        let end = self.choices.one(&["commit", "rollback"]);
        self.query(end);
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

    /// A long row is on its way when its sender is gone.
    pub(super) fn torn_row(&mut self) {
        self.events.push(Event::Calm);
        self.say(ClientMessage::Query("select repeat('x', 9000)".to_owned()));
        let (client, reader) = (PeerId::CLIENT, PeerId::READER);
        let (arrived, left) = (self.choices.below(9_000), self.choices.below(9_000));
        for event in [
            Event::Arrive(client, 100_000),
            Event::Leave(reader, 100_000),
            Event::Serve(reader),
            Event::Arrive(reader, arrived),
            Event::Leave(client, left),
            Event::Fault(Fault::Cut(reader, 0)),
        ] {
            self.events.push(event);
        }
    }

    /// The reader is gone in the middle of what it says of a statement.
    pub(super) fn torn_description(&mut self) {
        self.events.push(Event::Calm);
        self.say(ClientMessage::Parse {
            name: String::new(),
            text: "select id, v from t".to_owned(),
        });
        self.say(ClientMessage::DescribeStatement(String::new()));
        self.say(ClientMessage::Sync);
        self.events.push(Event::Arrive(PeerId::CLIENT, 100_000));
        self.events.push(Event::Leave(PeerId::READER, 100_000));
        for _ in 0..3 {
            self.events.push(Event::Serve(PeerId::READER));
        }
        let left = self.choices.below(80);
        self.events
            .push(Event::Fault(Fault::Cut(PeerId::READER, left)));
        self.events.push(Event::Calm);
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
}
