//! Plays of the ways in which SQL says the same, and of those in which the same says something else.

mod texts;

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::super::setup::{Fresh, Setup};
use super::Program;
use texts::{
    BACK, BEGINS, BEGINS_TO_READ, CHAINS, CHARACTERS, Changes, ENDS, GAPS, LOCALS, NAMES, SETTINGS,
    SHOWN, STRINGS, TEMPORARY,
};

impl Program<'_, '_> {
    pub(super) fn worded_otherwise(&mut self, nth: usize, setup: &mut Setup) {
        match nth {
            0 => self.read_by_other_rules(),
            1 => self.prepared_by_other_rules(),
            2 => self.commented(),
            3 if self.choices.percent(50) => self.writes_in_other_words(setup),
            3 => self.transaction_in_other_words(setup),
            4 => self.temporary_in_other_words(),
            _ if self.choices.percent(40) => self.chained_to(setup),
            _ => self.settings_in_other_words(),
        }
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.choices.below(of.len())]
    }

    /// Settings that have a say in what a text means, and a text of which that is true: of one statement, so that it can be
    /// prepared, or of several.
    fn rules(&mut self, prepared: bool) -> (Changes, String) {
        let n = self.statements.next();
        let hides = self.choices.percent(40);
        match self.choices.below(3) {
            0 => match (prepared, hides) {
                (false, _) => (STRINGS, self.statements.backslash(self.choices)),
                (true, true) => (STRINGS, format!("select 'a\\', ', f_write({n}) --'")),
                (true, false) => (STRINGS, format!("select 'a\\', f_write({n}), ' --'")),
            },
            // The last byte of the letter and the backslash are one character in the other encoding.
            1 => {
                let text = match (prepared, hides) {
                    (false, true) => {
                        format!("select e'É\\', '; insert into t values ({n}, $$k$$) --'")
                    }
                    (false, false) => {
                        format!("select e'É\\'; insert into t values ({n}, $$k$$) --'")
                    }
                    (true, true) => format!("select e'É\\', ', f_write({n}) --'"),
                    (true, false) => format!("select e'É\\', f_write({n}), ' --'"),
                };
                (CHARACTERS, text)
            }
            _ => {
                let texts = [
                    "values (length('four'))",
                    "select upper('abc'), length('four')",
                    "select v from t where id = length('a') order by id",
                    "select length('four')",
                    "select length('four')",
                ];
                (NAMES, self.pick(&texts).to_owned())
            }
        }
    }

    /// A change that stays, or that is taken back.
    fn changes(&mut self, change: &str) {
        match self.choices.below(10) {
            0 => {
                self.query("begin");
                self.query(change);
                let end = self.choices.one(&["commit", "rollback"]);
                self.query(end);
            }
            1 => {
                self.query("begin");
                self.query("savepoint a");
                self.query(change);
                let end = self.choices.one(&["rollback to a", "release a"]);
                self.query(end);
                self.query("commit");
            }
            2 => {
                self.parse("", change);
                self.run("");
                self.sync();
            }
            3 => self.query(&format!("select 1; {change}")),
            _ => self.query(change),
        }
        self.settles();
    }

    /// What was said is answered, mostly: in the middle of something nobody knows by which rules texts are read.
    fn settles(&mut self) {
        if self.choices.percent(85) {
            self.events.push(Event::Calm);
        }
    }

    /// One text again and again, while what it means changes.
    fn read_by_other_rules(&mut self) {
        for _ in 0..5 {
            let ((there, back), text) = self.rules(false);
            self.query(&text);
            self.settles();
            let change = self.pick(there);
            self.changes(change);
            self.query(&text);
            self.settles();
            let change = self.pick(back);
            self.changes(change);
            if self.choices.percent(40) {
                self.query(&text);
                self.settles();
            }
        }
    }

    /// A statement that is prepared under other rules than it is run under.
    fn prepared_by_other_rules(&mut self) {
        for name in ["s1", "s2", "s3", "q"] {
            let ((there, back), text) = self.rules(true);
            let in_sql = self.choices.percent(30);
            let runs = |program: &mut Self| match in_sql {
                true => program.query(&format!("execute {name}")),
                false => {
                    if program.choices.percent(25) {
                        program.say(ClientMessage::DescribeStatement(name.to_owned()));
                    }
                    program.run(name);
                    program.sync();
                }
            };
            match in_sql {
                true => self.query(&format!("prepare {name} as {text}")),
                false => {
                    self.parse(name, &text);
                    self.sync();
                }
            }
            if self.choices.percent(60) {
                runs(self);
            }
            let change = self.pick(there);
            self.changes(change);
            runs(self);
            let change = self.pick(back);
            self.changes(change);
            if self.choices.percent(60) {
                runs(self);
            }
        }
    }

    /// Comments and quotes with a write behind them, or in them.
    fn commented(&mut self) {
        for _ in 0..4 + self.choices.below(4) {
            let n = self.statements.next();
            let (gap, other) = (self.pick(&GAPS), self.pick(&GAPS));
            let text = match self.choices.below(10) {
                0 => format!("{gap}insert into t values ({n}, 'g')"),
                1 => format!("{gap}{other}insert into t values ({n}, 'g')"),
                2 => format!("select 1 {gap}{other}; insert into t values ({n}, 'g')"),
                3 => format!("select 'a' {gap}'; insert into t values ({n}, $$g$$) --'"),
                4 => format!("select e'a' {gap}'\\'; insert into t values ({n}, $$g$$) --'"),
                7 => format!("select e'a' {gap}'\\', '; insert into t values ({n}, $$g$$) --'"),
                5 => format!("select 1 as \"{gap}\"; insert into t values ({n}, 'g') {other}"),
                6 => format!("select $a${gap}$a$; insert into t values ({n}, 'g')"),
                _ => format!("select 1 {gap}; insert into t values ({n}, 'g')"),
            };
            match text.contains(';') || self.choices.percent(60) {
                true => self.query(&text),
                false => {
                    self.parse("", &text);
                    self.run("");
                    self.sync();
                }
            }
        }
    }

    /// A transaction that is begun, taken back in parts and ended in words of all kinds.
    fn transaction_in_other_words(&mut self, setup: &mut Setup) {
        for _ in 0..2 {
            let reads = self.choices.percent(30);
            setup.read_transactions |= reads;
            let begin = match reads {
                true => self.pick(&BEGINS_TO_READ),
                false => self.pick(&BEGINS),
            };
            self.query(begin);
            self.takes_back();
            let end = self.pick(&ENDS);
            self.query(end);
            self.settles();
            self.query("select current_setting('my.a', true)");
            self.query("select current_setting('my.b', true)");
        }
    }

    /// Settings, and what takes them back, in one transaction or in several that are chained.
    fn takes_back(&mut self) {
        loop {
            for text in ["set my.a = 'one'", "savepoint a", "set my.a = 'two'"] {
                if self.choices.percent(80) {
                    self.query(text);
                }
            }
            if self.choices.percent(15) {
                self.query("select 1/0");
            }
            for _ in 0..self.choices.weighted(&[(1, 0), (5, 1), (1, 2)]) {
                let back = self.pick(&BACK);
                self.query(back);
            }
            if self.choices.percent(30) {
                let release = self.pick(&["release a", "release savepoint a", "RELEASE \"a\""]);
                self.query(release);
            }
            if self.choices.percent(30) {
                self.query("set my.b = 'three'");
            }
            if !self.choices.percent(30) {
                return;
            }
            let chain = self.pick(&CHAINS);
            self.query(chain);
        }
    }

    /// Writes that nothing shows but the functions that are called, where they do not stand alone, and a read of them.
    fn writes_in_other_words(&mut self, setup: &mut Setup) {
        (setup.lag, setup.fresh, setup.clients) = (true, Fresh::Replayed, 1);
        for _ in 0..4 {
            let n = self.statements.next();
            match self.choices.below(9) {
                0 => self.query(&format!("begin; select f_write({n}); commit")),
                1 => self.query(&format!("set my.a = 'x'; select f_write({n})")),
                2 => self.query(&format!(
                    "select pg_advisory_lock(1), f_write({n}), pg_advisory_unlock(1)"
                )),
                3 => self.query(&format!(
                    "declare c cursor with hold for select f_write({n}); close c"
                )),
                4 => {
                    self.query("begin");
                    self.query(&format!("declare c cursor for select f_write({n})"));
                    self.query("fetch all from c");
                    self.query("commit work");
                }
                5 => self.query(&format!(
                    "begin; savepoint a; select f_write({n}); end work"
                )),
                6 => self.query(&format!(
                    "select set_config('my.a', 'x', true), f_write({n})"
                )),
                _ => {
                    self.query("begin work");
                    self.query("set local search_path = app, pg_catalog, public");
                    self.settles();
                    self.query("select length('four')");
                    self.query("end");
                }
            }
            self.settles();
            self.query("table t");
            self.settles();
            if self.choices.percent(70) {
                self.events.push(Event::Fault(Fault::Replay(9)));
            }
        }
    }

    /// What only the writer has, in words of all kinds, and what reads it.
    fn temporary_in_other_words(&mut self) {
        for _ in 0..5 {
            self.makes_temporary();
            self.events.push(Event::Calm);
            let takes = self
                .choices
                .one(&["discard temp", "discard temporary", "discard all"]);
            self.query(takes);
            self.settles();
        }
        self.makes_temporary();
        let takes = self.pick(&[
            "drop table pg_temp.tmp",
            "reset all",
            "set search_path = public",
        ]);
        self.query(takes);
        self.query("select a from tmp");
    }

    fn makes_temporary(&mut self) {
        let mut read = "select a from tmp";
        let make = match self.choices.below(10) {
            0 => {
                read = "select id from t order by id";
                "create local temp table t (id int, v text)"
            }
            1 => {
                read = "select last_value from tmp";
                self.pick(&[
                    "create temp sequence tmp",
                    "create local temporary sequence tmp",
                    "create global temp sequence tmp",
                ])
            }
            _ => self.pick(&TEMPORARY),
        };
        if self.choices.percent(30) {
            self.query(read);
        }
        match self.choices.below(8) {
            0 if !make.contains(';') => {
                self.parse("", make);
                self.run("");
                self.sync();
            }
            1 => {
                self.query("begin");
                self.query(make);
                let end = self.choices.one(&["commit", "commit", "rollback"]);
                self.query(end);
            }
            2 => self.query(&format!("select 1; {make}")),
            _ => self.query(make),
        }
        self.query(read);
        self.settles();
    }

    /// Settings of one transaction, and the one behind it that goes on with the same modes and begins without them.
    fn chained_to(&mut self, setup: &mut Setup) {
        let reads = self.choices.percent(75);
        setup.read_transactions |= reads;
        let begin = match reads {
            true => self.pick(&["begin read only", "start transaction read only", "begin"]),
            false => self.pick(&BEGINS),
        };
        self.query(begin);
        for _ in 0..1 + self.choices.below(2) {
            for _ in 0..1 + self.choices.below(2) {
                let local = self.pick(&LOCALS);
                self.query(local);
            }
            if self.choices.percent(25) {
                self.query("select v from t where id = 1");
            }
            let chain = self.pick(&CHAINS);
            self.query(chain);
        }
        if self.choices.percent(25) {
            let local = self.pick(&LOCALS);
            self.query(local);
        }
        if reads && self.choices.percent(70) {
            self.query("set transaction read write");
        }
        let text = match self.choices.percent(60) {
            true => self.statements.write(self.choices),
            false => "select current_setting('statement_timeout')".to_owned(),
        };
        self.query(&text);
        let end = self.pick(&ENDS);
        self.query(end);
        self.query("select id from t order by id");
    }

    /// Settings that are changed in words of all kinds, and reads that run under them.
    fn settings_in_other_words(&mut self) {
        let block = self.choices.percent(30);
        if block {
            self.query("begin");
        }
        for _ in 0..1 + self.choices.below(4) {
            let text = self.pick(&SETTINGS);
            match self.choices.percent(80) {
                true => self.query(text),
                false => {
                    self.parse("", text);
                    self.run("");
                    self.sync();
                }
            }
            if self.choices.percent(60) {
                let read = self.pick(&SHOWN);
                self.query(read);
            }
        }
        if block {
            let end = self.pick(&ENDS);
            self.query(end);
        }
        let read = self.pick(&SHOWN);
        self.query(read);
    }
}
