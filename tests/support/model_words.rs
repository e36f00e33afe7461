//! Scripts by chance, of words that a real server and the model must answer alike.

use crate::model_script::{Script, Step};

/// A small generator of numbers that is the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const TRANSACTIONS: &[&str] = &[
    "begin",
    "begin",
    "begin read only",
    "begin isolation level repeatable read",
    "begin isolation level serializable",
    "begin read write",
    "commit",
    "commit",
    "rollback",
    "savepoint a",
    "savepoint b",
    "rollback to a",
    "rollback to b",
    "release a",
    "commit and chain",
    "rollback and chain",
    "set transaction read only",
    "set transaction isolation level repeatable read",
    "set transaction read write",
];

const READS: &[&str] = &[
    "select 1",
    "select count(*) from t",
    "select count(*) from u",
    "select v from u where id = 2",
    "select max(id) from t",
    "select f_read(2)",
    "select id from t where id < 3 order by id",
    "select generate_series(1,3)",
    "values (1), (2)",
    "select 1/0",
    "select 1/(id-2) from t where id < 4",
    "select nothing",
    "selec",
    "",
    "select current_user",
    "explain select 1",
    "select id from t where id = 1 for update",
];

const WRITES: &[&str] = &[
    "insert into t values (4, 'd')",
    "insert into t values (5, 'e') returning id",
    "update t set v = 'q' where id = 2",
    "delete from t where id = 3",
    "select f_write(6)",
    "select nextval('s')",
    "select nextval('r'), lastval()",
    "update u set v = 'z' where id = 1",
    "call p_write(7)",
    "with w as (insert into t values (8, 'h') returning id) select id from w",
    "insert into t values (1/0, 'x')",
    "create temp table x (id int)",
    "insert into x values (1)",
    "select count(*) from x",
    "drop table x",
    "create table k (id int)",
    "drop table if exists k",
    "select 1 as a into k",
    "truncate t",
    "do $$ begin perform f_write(9); end $$",
];

const STATE: &[&str] = &[
    "set application_name = one",
    "set application_name = two",
    "set local application_name = three",
    "reset application_name",
    "set work_mem = '1MB'",
    "set local work_mem = '2MB'",
    "show work_mem",
    "set datestyle = german",
    "set timezone = 'nowhere'",
    "set role m_role",
    "set local role m_role",
    "reset role",
    "show role",
    "reset all",
    "discard all",
    "discard temp",
    "select set_config('application_name', 'four', false)",
    "select set_config('application_name', 'five', true)",
    "select set_config('application_name', upper('six'), false)",
    "select set_config('app.x', '3', false), set_config('TimeZone', 'UTC', true)",
    "set default_transaction_read_only = on",
    "reset default_transaction_read_only",
    "show transaction_read_only",
    "show transaction_isolation",
    "set standard_conforming_strings = off",
    "select 'a\\b'",
    "set app.x = 1",
    "set local app.x = 2",
    "show app.x",
    "prepare a as select 1",
    "prepare a as select v from t where id = 1",
    "prepare a (int) as select v from t where id = $1",
    "prepare a as insert into t values (12, 'a')",
    "execute a",
    "execute a(1)",
    "execute a; select 1",
    "deallocate a",
    "deallocate all",
    "declare c cursor for select generate_series(1,5)",
    "declare c cursor with hold for select generate_series(1,4)",
    "declare c cursor for select f_write(11)",
    "fetch 2 c",
    "fetch all c",
    "move c",
    "close c",
    "close all",
    "listen c",
    "notify c",
    "unlisten c",
    "lock table t",
    "select pg_advisory_lock(1)",
    "select pg_advisory_unlock(1)",
    "copy t from stdin",
    "copy (select count(*) from t) to stdout",
    "prepare transaction 'x'",
];

const MESSAGES: &[&str] = &[
    "B(,)",
    "B(,a)",
    "B(p,a)",
    "B(p,)",
    "B(,a,1)",
    "E()",
    "E()",
    "E(p)",
    "E(,1)",
    "E(p,1)",
    "E(c,1)",
    "DS(a)",
    "DS()",
    "DP()",
    "DP(p)",
    "DP(c)",
    "CS(a)",
    "CP(p)",
    "CP(c)",
    "S",
    "S",
    "S",
    "H",
    "d(12\\tl\\n)",
    "d(no\\n)",
    "c",
    "c",
    "f(no)",
    "F(1317,abc)",
];

fn statement(dice: &mut Dice) -> &'static str {
    let list = [TRANSACTIONS, READS, WRITES, STATE];
    let list = list[dice.below(list.len())];
    dice.one(list)
}

fn words(dice: &mut Dice) -> String {
    match dice.below(12) {
        0..=4 => format!("Q({})", statement(dice)),
        5 => format!("Q({}; {})", statement(dice), statement(dice)),
        6 => format!(
            "Q({}; {}; {})",
            statement(dice),
            statement(dice),
            statement(dice)
        ),
        7 => format!("P(a,{})", statement(dice)),
        8 => format!("P(,{}) B(,) E()", statement(dice)),
        9 => format!("P(,{}) DS() B(p,) DP(p) E(p,1) E(p)", statement(dice)),
        _ => dice.one(MESSAGES).to_owned(),
    }
}

/// The script of a number.
pub(crate) fn script(seed: u64) -> Script {
    let mut dice = Dice::new(seed);
    let lines = 2 + dice.below(8);
    let steps = (0..lines).map(|_| {
        let count = 1 + dice.below(6);
        let line: Vec<String> = (0..count).map(|_| words(&mut dice)).collect();
        Step::new(&line.join(" "))
    });
    Script {
        head: String::new(),
        name: format!("seed {seed}"),
        steps: steps.collect(),
        places: vec!["primary", "standby"],
        parameters: vec![("user".to_owned(), "u_trust".to_owned())],
    }
}
