//! Texts of statements, in the SQL that the model server knows.

use super::super::checks::NEEDLE;
use super::super::choices::Choices;

/// What a program's statements need to know of those before them.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// Makes each row and each write one of its kind, so that one that ran twice or never is seen.
    serial: u32,
    /// Names of prepared statements with how many parameters they take.
    prepared: Vec<(String, usize)>,
}

impl Statements {
    pub(super) fn next(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn any(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(20) {
            0..=7 => self.read(choices),
            8..=12 => self.write(choices),
            13 | 14 => self.setting(choices),
            15 => self.session(choices),
            16 => self.failing(choices),
            17 => self.transaction(choices),
            _ => self.disguised(choices),
        }
    }

    /// A row for COPY.
    pub(super) fn row(&mut self) -> String {
        format!("{}\t{NEEDLE}\n", self.next())
    }

    pub(super) fn read(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(14) {
            12 => "select pg_sleep(0.1)".to_owned(),
            0 => "select 1".to_owned(),
            1 => format!("select '{NEEDLE}'"),
            2 => "select id from t order by id".to_owned(),
            3 => "select v from t where id = 1".to_owned(),
            4 => "select pg_is_in_recovery()".to_owned(),
            5 => "values (1), (2)".to_owned(),
            6 => "select upper('abc'), length('four')".to_owned(),
            7 => "table t".to_owned(),
            8 => "select generate_series(1, 3)".to_owned(),
            9 => "explain select 1".to_owned(),
            10 => "select current_setting('application_name')".to_owned(),
            11 => "copy t to stdout".to_owned(),
            _ => "select repeat('x', 9000)".to_owned(),
        }
    }

    pub(super) fn write(&mut self, choices: &mut Choices<'_>) -> String {
        let n = self.next();
        match choices.below(10) {
            0..=3 => format!("insert into t values ({n}, '{NEEDLE}')"),
            4 => format!("insert into t values ({n}, 'a') returning id"),
            5 => format!("update t set v = 'w{n}'"),
            6 => format!("delete from t where id = {n}"),
            7 => format!("select f_write({n})"),
            8 => {
                let inner = match choices.below(3) {
                    0 => format!("insert into t values ({n}, 'w')"),
                    1 => format!("update t set v = 'u{n}'"),
                    _ => format!("delete from t where id = {n}"),
                };
                format!("with w as ({inner} returning id) select id from w")
            }
            _ => "select nextval('s')".to_owned(),
        }
    }

    pub(super) fn setting(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(18) {
            0 => format!("set application_name = 'app{}'", choices.below(3)),
            1 => "set search_path = app, public".to_owned(),
            2 => "set local application_name = 'local'".to_owned(),
            3 => "reset application_name".to_owned(),
            4 => "set timezone = 'Europe/Berlin'".to_owned(),
            5 => "reset all".to_owned(),
            6 => "set standard_conforming_strings = off".to_owned(),
            7 => {
                let style = choices.one(&["German", "ymd", "ISO, MDY", "dmy"]);
                format!("set datestyle = '{style}'")
            }
            8 => "show application_name".to_owned(),
            9 => "select set_config('application_name', 'configured', false)".to_owned(),
            15 => {
                // The servers report one of them.
                let name = choices.one(&["application_name", "my.b"]);
                format!("select set_config('{name}', upper('abc'), false)")
            }
            16 => "select set_config('my.a', 'x', true), set_config('TimeZone', 'UTC', false)"
                .to_owned(),
            17 => choices
                .one(&[
                    "set my.a = 'custom'",
                    "select set_config('my.a', 'x', true)",
                    "show my.a",
                    "select current_setting('my.a', true)",
                ])
                .to_owned(),
            10 => "set statement_timeout = 1000".to_owned(),
            11 => "set role m_role".to_owned(),
            12 => "reset role".to_owned(),
            13 => format!("set application_name = 'two'; {}", self.write(choices)),
            _ => choices
                .one(&[
                    "set application_name to default",
                    "set default_transaction_read_only = on",
                    "set default_transaction_read_only to off",
                    "set session characteristics as transaction read only",
                    "set session characteristics as transaction read write",
                    "reset default_transaction_read_only",
                ])
                .to_owned(),
        }
    }

    /// A statement of the second client, which meets nothing of the first one's.
    pub(super) fn beside(&mut self, choices: &mut Choices<'_>) -> String {
        let n = self.next();
        match choices.below(12) {
            0..=2 => "select id, v from u order by id".to_owned(),
            3 | 4 => format!("insert into u values ({n}, 'beside')"),
            5 => format!("update u set v = 'b{n}'"),
            6 => "select nextval('r')".to_owned(),
            7 => format!("set application_name = 'beside{n}'"),
            8 => "select current_setting('application_name')".to_owned(),
            9 => "listen d".to_owned(),
            10 => "notify d".to_owned(),
            _ => choices.one(&["begin", "commit", "rollback"]).to_owned(),
        }
    }

    fn session(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(21) {
            19 => format!("deallocate {}", super::long_name(choices)),
            20 => format!(
                "savepoint {name}; rollback to {name}",
                name = super::long_name(choices)
            ),
            0 => "listen c".to_owned(),
            1 => "notify c".to_owned(),
            2 => "select pg_advisory_lock(1)".to_owned(),
            3 => "select pg_advisory_unlock(1)".to_owned(),
            4 => "create temp table tmp (a int)".to_owned(),
            5 => "drop table if exists tmp".to_owned(),
            6 => "prepare q as select 1".to_owned(),
            7 => "execute q".to_owned(),
            8 => "deallocate all".to_owned(),
            9 => "discard all".to_owned(),
            10 => "declare c cursor with hold for select 1".to_owned(),
            11 => "close c".to_owned(),
            12 => "unlisten *".to_owned(),
            13..=15 => "select a from tmp".to_owned(),
            16 => "deallocate s1".to_owned(),
            17 => "create temp table tmp (a int)".to_owned(),
            _ => "discard plans".to_owned(),
        }
    }

    /// PREPARE, EXECUTE or DEALLOCATE of the one statement that has this name.
    pub(super) fn in_sql(&mut self, choices: &mut Choices<'_>) -> String {
        let n = self.next();
        match choices.below(14) {
            0 | 1 => "prepare q as select 1".to_owned(),
            2 => "prepare q as select current_setting('application_name')".to_owned(),
            3 => "prepare q (int) as select v from t where id = $1".to_owned(),
            4 => format!("prepare q as insert into t values ({n}, 'sql')"),
            5 => "prepare q as select set_config('application_name', 'q', false)".to_owned(),
            6 => "deallocate q".to_owned(),
            7 => choices.one(&["deallocate all", "discard all"]).to_owned(),
            8 => "execute q(1)".to_owned(),
            9 => "execute q; select 1".to_owned(),
            _ => "execute q".to_owned(),
        }
    }

    pub(super) fn failing(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(4) {
            0 => "select 1/0".to_owned(),
            1 => "selec 1".to_owned(),
            2 => "select * from nowhere".to_owned(),
            _ => "insert into t values (1, 2, 3)".to_owned(),
        }
    }

    fn transaction(&mut self, choices: &mut Choices<'_>) -> String {
        choices
            .one(&[
                "begin",
                "commit",
                "rollback",
                "savepoint a",
                "begin read only",
            ])
            .to_owned()
    }

    /// Writes that look like reads, and reads that look like writes.
    fn disguised(&mut self, choices: &mut Choices<'_>) -> String {
        let n = self.next();
        match choices.below(15) {
            0 => format!("/* select */ insert into t values ({n}, 'c')"),
            1 => format!("select 1; insert into t values ({n}, 'm')"),
            2 => "select id from t for update".to_owned(),
            3 => format!("explain analyze insert into t values ({n}, 'e')"),
            4 => "select 'insert into t values (1)'".to_owned(),
            5 => "select $$; delete from t$$".to_owned(),
            6 => format!("do $$ begin perform f_write({n}); end $$"),
            7 => format!("call p_write({n})"),
            8 => format!("select f_read({n})"),
            // A continued literal keeps the kind of its first piece.
            9 => format!("select e'a'\n'\\' , '; insert into t values ({n}, $$e$$) --'"),
            10 => format!("select 'a'\n'b; ' ; insert into t values ({n}, 'b')"),
            11 | 12 => self.backslash(choices),
            13 => ";".to_owned(),
            _ => "-- delete from t\nselect 1".to_owned(),
        }
    }

    /// What a backslash means, and with it how many statements there are, depends on a setting.
    pub(super) fn backslash(&mut self, choices: &mut Choices<'_>) -> String {
        let n = self.next();
        match choices.below(2) {
            0 => format!("select 'a\\', '; insert into t values ({n}, $$s$$) --'"),
            _ => format!("select 'a\\'; insert into t values ({n}, $$t$$) --'"),
        }
    }

    /// A statement that Parse takes: one, and no transaction statement too often.
    pub(super) fn preparable(&mut self, choices: &mut Choices<'_>) -> String {
        match choices.below(16) {
            0..=2 => "select $1::int".to_owned(),
            3 => "select v from t where id = $1".to_owned(),
            4 => format!("insert into t values ($1, 'p{}')", self.next()),
            5..=9 => self.read(choices),
            10 | 11 => self.write(choices),
            12 => self.setting(choices),
            13 => self.transaction(choices),
            14 => self.failing(choices),
            _ => self.session(choices),
        }
    }

    pub(super) fn prepare(&mut self, name: &str, text: &str) {
        self.close(name);
        let parameters = usize::from(text.contains("$1"));
        self.prepared.push((name.to_owned(), parameters));
    }

    pub(super) fn close(&mut self, name: &str) {
        self.prepared.retain(|(known, _)| known != name);
    }

    pub(super) fn is_prepared(&self, name: &str) -> bool {
        self.prepared.iter().any(|(known, _)| known == name)
    }

    /// Values for the parameters of a prepared statement.
    pub(super) fn values(&mut self, name: &str, choices: &mut Choices<'_>) -> Vec<String> {
        let found = self.prepared.iter().find(|(known, _)| known == name);
        let count = found.map_or(0, |(_, count)| *count);
        (0..count)
            .map(|_| match choices.below(8) {
                0 => "not a number".to_owned(),
                _ => (1_000 + self.next()).to_string(),
            })
            .collect()
    }
}
