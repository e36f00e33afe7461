//! Portals of a transaction that sets something by them: what ends them, and what has their names besides.

use super::super::event::Event;
use super::super::message::ClientMessage;
use super::super::setup::Setup;
use super::Program;
use super::prepared::with_a_reader;

/// What portals run.
const KEPT: [(&str, &str); 4] = [
    ("kept", "set my.a = 'portal'"),
    ("row", "select set_config('my.a', 'row', false)"),
    ("read", "select id from t order by id"),
    ("denied", "select 1 /* off limits */"),
];

/// What becomes of one meanwhile: `B` binds it to something, `E` runs it, `E1` asks it for a row, `C` closes it, and `Q` asks for
/// something else.
const PORTAL_COURSES: [&str; 13] = [
    "B:row E1 Q:set E1",
    "B:row E1 Q:savepoint Q:fail Q:back Q:set E1",
    "B:row E Q:chain Q:set Q:declare E",
    "Q:savepoint B:row Q:back Q:set Q:declare E",
    "B:kept E Q:chain Q:set Q:declare E",
    "B:kept E Q:chain B:read E Q:set",
    "B:kept Q:savepoint B:denied Q:back E",
    "B:row Q:savepoint B:denied Q:back E",
    "B:kept Q:savepoint B:read Q:back E",
    "B:kept Q:savepoint Q:fail Q:back E",
    "Q:savepoint B:kept Q:back Q:set Q:declare E",
    "B:kept C Q:set Q:declare E",
    "B:kept C B:row E1 Q:set",
];

/// The steps of those.
const PORTAL_STEPS: [&str; 14] = [
    "B:row",
    "B:kept",
    "B:read",
    "B:denied",
    "E",
    "E1",
    "C",
    "Q:set",
    "Q:savepoint",
    "Q:back",
    "Q:release",
    "Q:chain",
    "Q:fail",
    "Q:declare",
];

impl Program<'_, '_> {
    pub(super) fn portals(&mut self, setup: &mut Setup) {
        *setup = with_a_reader(setup.clone());
        setup.clients = 1;
        match self.choices.below(8) {
            0 | 1 => self.portal_behind_a_savepoint(setup),
            _ => self.portals_in_a_transaction(setup),
        }
    }

    /// A portal outlives what fails behind a savepoint, and what ends the transaction if that is not run.
    fn portal_behind_a_savepoint(&mut self, setup: &mut Setup) {
        self.query("select 1");
        self.query("begin");
        self.parse("kept", "set my.a = 'portal'");
        self.bind("p", "kept");
        self.sync();
        self.query("savepoint a");
        match self.choices.below(4) {
            0 => self.query("select 1/0; commit"),
            1 => {
                for text in ["select 1/0", "commit"] {
                    self.parse("", text);
                    self.run("");
                }
                self.sync();
            }
            2 => {
                setup.judged = true;
                self.query("insert into t values (9, 'no') /* off limits */");
            }
            _ => self.query(""),
        }
        self.query("rollback to a");
        self.say(ClientMessage::Execute {
            portal: "p".to_owned(),
            max_rows: 0,
        });
        self.sync();
        self.commits_and_shows();
    }

    /// Portals that set something, in a transaction in which they may end, or be the older one of a name.
    fn portals_in_a_transaction(&mut self, setup: &mut Setup) {
        setup.judged = self.choices.percent(50);
        setup.read_transactions = self.choices.percent(30);
        self.query("select 1");
        self.events.push(Event::Calm);
        for (name, text) in KEPT {
            self.parse(name, text);
            self.sync();
            // How a text is read is certain where nothing is in flight.
            self.events.push(Event::Calm);
        }
        self.query("begin");
        self.events.push(Event::Calm);
        let course = self.choices.one(&PORTAL_COURSES);
        let rests = self.choices.one(&[95, 95, 5]);
        for step in course.split(' ') {
            self.step_of_a_portal(step, rests);
        }
        for _ in 0..self.choices.below(5).saturating_sub(1) {
            let step = self.choices.one(&PORTAL_STEPS);
            self.step_of_a_portal(step, rests);
        }
        self.sync();
        self.commits_and_shows();
    }

    fn commits_and_shows(&mut self) {
        self.query("commit");
        self.events.push(Event::Calm);
        for _ in 0..2 {
            self.query("select current_setting('my.a', true)");
            self.events.push(Event::Calm);
        }
    }

    fn step_of_a_portal(&mut self, step: &str, rests: usize) {
        let execute = |max_rows| ClientMessage::Execute {
            portal: "p".to_owned(),
            max_rows,
        };
        match step.split_once(':') {
            Some(("B", name)) => self.bind("p", name),
            Some((_, kind)) => {
                let texts: &[&str] = match kind {
                    "set" => &["set my.a = 'text'", "set my.a = 'other'"],
                    "savepoint" => &["savepoint a"],
                    "back" => &["rollback to a"],
                    "release" => &["release a"],
                    "chain" => &["commit and chain", "rollback and chain", "commit; begin"],
                    "fail" => &["select 1/0"],
                    _ => &["declare p cursor for select id from t order by id"],
                };
                let text = self.choices.one(texts);
                self.say(ClientMessage::Query(text.to_owned()));
            }
            None => match step {
                "E" => self.say(execute(0)),
                "E1" => self.say(execute(1)),
                _ => self.say(ClientMessage::ClosePortal("p".to_owned())),
            },
        }
        if self.choices.percent(85) {
            self.sync();
        }
        if self.choices.percent(rests) {
            self.events.push(Event::Calm);
        }
    }
}
