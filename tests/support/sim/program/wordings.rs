//! Plays of the ways in which SQL says the same, and of those in which the same says something else.

use super::super::event::Event;
use super::super::fault::Fault;
use super::super::message::ClientMessage;
use super::super::setup::{Fresh, Setup};
use super::Program;

/// How a setting is changed, and how it is taken back.
type Changes = (&'static [&'static str], &'static [&'static str]);

/// Settings by which a server reads texts, as they are changed and as they are taken back: of strings, of characters, of
/// names.
const STRINGS: Changes = (
    &[
        "set standard_conforming_strings = off",
        "set session standard_conforming_strings to 'off'",
        "set \"standard_conforming_strings\" = false",
        "select set_config('standard_conforming_strings', 'off', false)",
    ],
    &[
        "set standard_conforming_strings = on",
        "reset standard_conforming_strings",
        "set standard_conforming_strings to default",
    ],
);
const CHARACTERS: Changes = (
    &[
        "set client_encoding = 'SJIS'",
        "set names 'sjis'",
        "set session client_encoding to sjis",
        "select set_config('client_encoding', 'sjis', false)",
    ],
    &[
        "set names 'utf8'",
        "set client_encoding to latin1",
        "set names",
        "reset client_encoding",
    ],
);
const NAMES: Changes = (
    &[
        "set search_path = app, pg_catalog, public",
        "set search_path to app, \"pg_catalog\", public",
        "set session search_path = 'app', 'pg_catalog', 'public'",
        "select set_config('search_path', 'app, pg_catalog, public', false)",
    ],
    &[
        "set search_path = app, public",
        "set search_path = pg_catalog, app, public",
        "reset search_path",
        "set search_path to default",
    ],
);

/// What stands between two words and says nothing, or hides the rest; a server ends a comment where a line ends by either
/// character.
const GAPS: [&str; 24] = [
    "--c\r",
    "--c\n",
    "--\r",
    "--\r\n",
    "--c\r--d\n",
    "--c\n--d\r",
    "--c\u{c}\r",
    "--c\u{c}",
    "--'\r",
    "--\"\r",
    "--$$\r",
    "--/*\r",
    "--\\\r",
    "--*/\n",
    "/* c */",
    "/**/\n",
    "/* a /* b */ c */",
    "/*/**/*/\r",
    "/*'*/",
    "/* --\r */",
    "/* a /* b */",
    "/*/**/ select 1 --*/",
    "/* a /*/* b */*/ select 1 --*/",
    "--c",
];

/// How a transaction begins, and how it ends.
const BEGINS: [&str; 8] = [
    "begin work",
    "begin transaction",
    "start transaction",
    "BEGIN /* now */ WORK",
    "begin work isolation level read committed",
    "start transaction isolation level read committed, read write",
    "begin transaction read write, not deferrable",
    "begin",
];
const BEGINS_TO_READ: [&str; 4] = [
    "begin work read only",
    "begin transaction isolation level repeatable read read only",
    "start transaction read only, not deferrable",
    "start transaction isolation level read committed, read only",
];
const ENDS: [&str; 16] = [
    "commit work",
    "commit transaction",
    "commit and no chain",
    "end",
    "end work",
    "END TRANSACTION",
    "end transaction and no chain",
    "commit",
    "abort",
    "abort work",
    "abort transaction",
    "abort work and no chain",
    "rollback work",
    "rollback transaction",
    "rollback work and no chain",
    "prepare transaction 'p'",
];
const CHAINS: [&str; 5] = [
    "commit and chain",
    "commit work and chain",
    "end transaction and chain",
    "rollback work and chain",
    "abort and chain",
];
const BACK: [&str; 8] = [
    "rollback to a",
    "rollback to savepoint a",
    "rollback work to savepoint a",
    "rollback transaction to a",
    "ROLLBACK WORK TO A",
    "rollback to \"a\"",
    "rollback transaction to savepoint \"a\"",
    "rollback /**/ work to/**/a",
];

/// What makes something of the name `tmp` that only the session's server has.
const TEMPORARY: [&str; 23] = [
    "create local temp table tmp (a int)",
    "create local temporary table tmp (a int)",
    "create global temp table tmp (a int)",
    "create global temporary table tmp (a int)",
    "create temporary table tmp (a int)",
    "CREATE TEMP TABLE IF NOT EXISTS Tmp (a int)",
    "create table pg_temp.tmp (a int)",
    "create table \"pg_temp\".tmp (a int)",
    "explain select 1; create table pg_temp.tmp (a int)",
    "copy (select 1) to stdout; create table pg_temp.tmp (a int)",
    "create temp table tmp as select 1 as a",
    "create local temp table tmp as select 2 as a",
    "select 1 as a into temp tmp",
    "select 1 as a into temporary table tmp",
    "select 1 as a into local temp tmp",
    "select 1 as a into global temporary table tmp",
    "select 1 as a into pg_temp.tmp",
    "create temp view tmp as select 1 as a",
    "create or replace local temporary view tmp as select 2 as a",
    "explain analyze create temp table tmp as select 1 as a",
    "explain analyze create local temporary table tmp as select 3 as a",
    "prepare q as select 3 as a into temp tmp; execute q",
    "set search_path = pg_temp, public; create table tmp (a int)",
];

/// Settings of one transaction: those that a transaction of reads may have on the reader, and others.
const LOCALS: [&str; 8] = [
    "set local statement_timeout = 1000",
    "set local statement_timeout to '2s'",
    "set local extra_float_digits = 2",
    "set local enable_seqscan to off",
    "set local work_mem = '8MB'",
    "set local my.a = 'local'",
    "select set_config('my.a', 'local', true)",
    "set local time zone 'CET'",
];

/// Settings of the session, in the words that there are for them.
const SETTINGS: [&str; 50] = [
    "set session my.a = 'session'",
    "set my.a to 'to'",
    "set my . a = 'apart'",
    "set \"my\".\"a\" = 'quoted'",
    "set \"my.a\" to 'whole'",
    "SET MY.A TO 'Loud'",
    "set /* local */ my.a = 'comment'",
    "set my.a = 'a', 'b'",
    "set my.a = $$dollar$$",
    "set my.a = e'escape'",
    "set my.a to default",
    "reset my.a",
    "RESET \"my\".a",
    "select set_config('my.a', 'called', false)",
    "select pg_catalog.set_config('MY.a', 'qualified', false)",
    "select set_config('my.a', 'local', true)",
    "select set_config('my.a', 'it''s', false), 1",
    "explain select 1; select set_config('my.a', 'explained', false)",
    "copy (select 1) to stdout; select set_config('my.a', 'copied', false)",
    "set local my.a = 'local'",
    "set time zone 'Europe/Berlin'",
    "set session time zone 'UTC'",
    "set local time zone 'CET'",
    "set time zone local",
    "set time zone default",
    "set time zone 5",
    "set time zone -3",
    "set timezone to 'Asia/Tokyo'",
    "SET \"TimeZone\" = 'GMT'",
    "reset time zone",
    "reset timezone",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction read write, isolation level repeatable read",
    "set session characteristics as transaction isolation level read committed",
    "set session characteristics as transaction not deferrable",
    "reset default_transaction_isolation",
    "set schema 'app'",
    "set search_path = \"$user\", app, public",
    "set datestyle to iso, ymd",
    "set datestyle = 'SQL', 'dmy'",
    "set application_name = unquoted",
    "set application_name to \"Quoted\"",
    "set application_name = 'it''s'",
    "set session application_name to default",
    "set work_mem = 100",
    "set statement_timeout to '2s'",
    "set session role m_role",
    "set role to none",
    "set session authorization default",
    "reset session authorization",
];

/// Reads that show settings.
const SHOWN: [&str; 6] = [
    "select current_setting('my.a', true)",
    "show time zone",
    "show application_name",
    "select current_setting('datestyle')",
    "select current_user",
    "select 1",
];

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
