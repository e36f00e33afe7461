//! A READ ONLY transaction in messages of which none needs to follow from the one before: statements that are prepared and not run,
//! portals of before, ends with a limit of rows, and a Query or a Close that no Sync parts from a batch.

use super::super::event::Event;
use super::super::message::ClientMessage;
use super::super::setup::Setup;
use super::Program;
use super::prepared::with_a_reader;

/// What shapes a transaction, or ends it.
const CONTROLS: [&str; 13] = [
    "commit",
    "rollback",
    "commit and chain",
    "rollback and chain",
    "savepoint a",
    "rollback to a",
    "release a",
    "begin read only",
    "set transaction read write",
    "set transaction isolation level repeatable read",
    "set local statement_timeout = 1000",
    "rollback transaction to savepoint a",
    "commit transaction and chain",
];

const READS: [&str; 5] = [
    "table t",
    "select id from t order by id",
    "show timezone",
    "select 1/0",
    "",
];

/// Courses of a transaction, step by step: `P:` prepares and `Q:` asks for a text of a kind, `B` binds and `E` runs the unnamed portal,
/// `Bp` and `Ep` one of a name, `E1` with a limit of rows; `H` flushes, `S` syncs, `C` closes what nobody has, and with `.` all come
/// to rest.
const COURSES: [&str; 20] = [
    "Q:read P:chain B E H . S Q:read Q:write",
    "Q:read Q:fail P:chain B E H . S Q:read Q:write",
    "Q:read Q:fail P:chain B E H . C H P:read B E S . Q:write",
    "Q:read P:chain B E H . P:empty Bp H . P:savepoint B E H . Ep S",
    "Q:read P:end B E H . P:empty Bp H . P:write B E H . Ep S",
    "Q:read P:chain B E H . P:read B E H . P:savepoint B E S",
    "Q:read . P:read Bp S . Ep P:end B E P:write B E S",
    "Q:read . P:read Bp H . Ep P:end B E P:write B E S",
    "Q:read Q:fail . PQ:rollback P:empty B E P:write B E S",
    "Q:read Q:fail . PQ:rollback P:empty B E P:read B E S",
    "Q:read . C Q:end",
    "Q:read . C Q:read Q:end",
    "Q:end C Q:write",
    "Q:read Q:end C Q:read",
    "C P:read Q:end Q:write",
    "Q:read P:end B E1 S Q:write",
    "Q:read P:end Bp Ep S Q:write",
    "Q:show P:show Bp H P:savepoint B E H . Ep S",
    "P:fail B E H . Q:end S Q:write",
    "Q:end . P:begin PQ:read H . P:write B E S Q:write",
];

/// Portals that are bound and were not run: what was run to its end is not run again, but named statements are prepared anew.
#[derive(Default)]
struct Names {
    bound: Vec<&'static str>,
    prepared: Vec<&'static str>,
}

impl Program<'_, '_> {
    pub(super) fn free_messages(&mut self, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        (setup.read_transactions, setup.clients) = (true, 1);
        self.query("select id from t order by id");
        self.events.push(Event::Calm);
        for (text, percent) in [
            ("begin read only", 90),
            ("table t", 50),
            ("savepoint a", 25),
            ("select 1/0", 25),
        ] {
            if self.choices.percent(percent) {
                self.query(text);
            }
        }
        self.events.push(Event::Calm);
        let mut names = Names::default();
        let least = match self.choices.percent(60) {
            true => {
                let course = self.choices.one(&COURSES);
                course.split(' ').for_each(|step| self.step(step));
                0
            }
            false => 2,
        };
        for _ in 0..least + self.choices.below(least * 3 + 1) {
            self.free_message(&mut names);
        }
        self.say(ClientMessage::Sync);
        self.events.push(Event::Calm);
        let text = self.statements.write(self.choices);
        self.query(&text);
        self.query("rollback");
        self.query("select id from t order by id");
    }

    fn step(&mut self, step: &str) {
        let execute = |portal: &str, max_rows| ClientMessage::Execute {
            portal: portal.to_owned(),
            max_rows,
        };
        match step.split_once(':') {
            Some((tag, kind)) => {
                let text = self.of_kind(kind);
                match tag {
                    "Q" => self.say(ClientMessage::Query(text)),
                    "PQ" => self.parse("f1", &text),
                    _ => self.parse("", &text),
                }
            }
            None => match step {
                "B" => self.bind("", ""),
                "Bp" => self.bind("p", ""),
                "E" => self.say(execute("", 0)),
                "Ep" => self.say(execute("p", 0)),
                "E1" => self.say(execute("", 1)),
                "H" => self.say(ClientMessage::Flush),
                "S" => self.say(ClientMessage::Sync),
                "C" => self.say(ClientMessage::CloseStatement("nobody".to_owned())),
                _ => self.events.push(Event::Calm),
            },
        }
    }

    fn of_kind(&mut self, kind: &str) -> String {
        let texts: &[&str] = match kind {
            "read" => &["table t", "select id from t order by id"],
            "show" => &["show timezone", "show transaction_isolation"],
            "fail" => &["select 1/0"],
            "empty" => &["", ";"],
            "begin" => &["begin read only", "start transaction read only"],
            "savepoint" => &[
                "savepoint a",
                "set transaction isolation level repeatable read",
            ],
            "chain" => &["commit and chain", "rollback and chain"],
            "end" => &["commit", "rollback", "end"],
            "rollback" => &["rollback", "abort"],
            _ => &[
                "insert into t values (7, 'free')",
                "delete from t where id = 2",
                "select pg_advisory_lock(1)",
            ],
        };
        self.choices.one(texts).to_owned()
    }

    fn free_message(&mut self, names: &mut Names) {
        match self.choices.below(20) {
            0..=4 => {
                let text = self.free_text();
                self.say(ClientMessage::Query(text));
                self.rests();
            }
            5..=12 => self.free_statement(names),
            13 | 14 => {
                let portal = names.bound.pop().unwrap_or("nobody");
                self.say(ClientMessage::Execute {
                    portal: portal.to_owned(),
                    max_rows: 0,
                });
            }
            15 => {
                let portal = self.choices.one(&["", "p"]);
                let name = self.choices.one(&["", "f1", "f2"]);
                self.bind(portal, name);
                names.bound.push(portal);
            }
            16 => {
                let name = self.choices.one(&["", "f1", "f2", "nobody"]).to_owned();
                self.say(ClientMessage::CloseStatement(name));
            }
            17 => {
                let name = self.choices.one(&["", "p", "nobody"]).to_owned();
                self.say(ClientMessage::ClosePortal(name));
            }
            _ => self.sync_or_flush(),
        }
    }

    /// A statement from its Parse on, of whose other messages each may be left out.
    fn free_statement(&mut self, names: &mut Names) {
        let name = self.choices.one(&["", "", "", "f1", "f2"]);
        let portal = self.choices.one(&["", "", "", "p"]);
        let text = self.free_text();
        if names.prepared.contains(&name) {
            self.say(ClientMessage::CloseStatement(name.to_owned()));
        }
        if !name.is_empty() {
            names.prepared.push(name);
        }
        self.parse(name, &text);
        if self.choices.percent(15) {
            self.say(ClientMessage::DescribeStatement(name.to_owned()));
        }
        if self.choices.percent(15) {
            self.sync_or_flush();
        }
        if self.choices.percent(90) {
            self.bind(portal, name);
            names.bound.retain(|bound| *bound != portal);
            names.bound.push(portal);
        }
        if self.choices.percent(10) {
            self.sync_or_flush();
        }
        if names.bound.contains(&portal) && self.choices.percent(90) {
            names.bound.retain(|bound| *bound != portal);
            let max_rows = self.choices.one(&[0, 0, 0, 1]);
            self.say(ClientMessage::Execute {
                portal: portal.to_owned(),
                max_rows,
            });
        }
        if self.choices.percent(70) {
            self.sync_or_flush();
        }
    }

    fn free_text(&mut self) -> String {
        match self.choices.below(20) {
            0..=9 => self.choices.one(&CONTROLS).to_owned(),
            10..=16 => self.choices.one(&READS).to_owned(),
            _ => self.statements.write(self.choices),
        }
    }

    fn sync_or_flush(&mut self) {
        let message = match self.choices.percent(50) {
            true => ClientMessage::Sync,
            false => ClientMessage::Flush,
        };
        self.say(message);
        self.rests();
    }

    fn rests(&mut self) {
        if self.choices.percent(45) {
            self.events.push(Event::Calm);
        }
    }
}
