//! What users of other proxies reported, as they did it, directly and through the proxy. `tests/data/failures.txt` has the
//! list.

use crate::support::client::{Client, Pace};
use crate::support::frame::{errors, values};
use crate::support::lab::{self, Lab, Script};
use crate::support::message::{bind, copy_data, copy_done, execute, flush, parse, query, sync};
use crate::support::proxy::Proxy;

const TABLE: &str = "drop table if exists reports_t; create table reports_t (a int, b text)";

fn one(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[]), execute("", 0)].concat()
}

/// One Sync is one transaction, however many statements are before it.
#[test]
fn a_batch_that_fails_takes_back_all_that_it_wrote() {
    let Some(lab) = Lab::new("reports::batch") else {
        return;
    };
    let insert = || one("insert into reports_t values (1)");
    let count = "select count(*) from reports_t";
    let script = Script::new()
        .setup(TABLE)
        .send([insert(), insert(), one("select 1/0"), insert(), sync()].concat())
        .ready(1)
        .query(count)
        .send(
            [
                one(count),
                insert(),
                flush(),
                insert(),
                one("select 1/0"),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .query(count)
        .send([insert(), insert(), sync()].concat())
        .ready(1)
        .query(count);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "0", "0", "2"]);
    assert_eq!(errors(&trace), ["22012", "22012"]);
}

/// A portal runs to its end once, and again it is an error or has no more rows.
#[test]
fn a_portal_that_ran_is_over() {
    let Some(lab) = Lab::new("reports::portal") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .query("insert into reports_t values (1), (2)")
        .send(
            [
                one("select a from reports_t order by a"),
                execute("", 0),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .send(
            [
                one("insert into reports_t values (3)"),
                execute("", 0),
                sync(),
            ]
            .concat(),
        )
        .ready(1)
        .query("select count(*) from reports_t");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "2", "2"]);
    assert_eq!(errors(&trace), ["55000"]);
}

/// As `psql` sends what is piped to it: a row in each message.
#[test]
fn copies_a_thousand_rows_one_by_one() {
    let Some(lab) = Lab::new("reports::copy") else {
        return;
    };
    let rows =
        (1..=1000).map(|row| copy_data(format!("{row},Some random {row}th text\n").as_bytes()));
    let script = Script::new()
        .setup(TABLE)
        .send(query("copy reports_t from stdin (format csv);"))
        .until(b"G")
        .send([rows.collect::<Vec<_>>().concat(), copy_done()].concat())
        .ready(1)
        .query(
            "select count(*) from reports_t where b = 'Some random ' || a || 'th text' and a between 1 and 1000",
        );
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1000"]);
    assert_eq!(errors(&trace), [""; 0]);
}

#[test]
fn prepares_and_executes_in_sql_inside_and_outside_of_transactions() {
    let Some(lab) = Lab::new("reports::prepare") else {
        return;
    };
    let script = Script::new()
        .setup(TABLE)
        .query("begin")
        .query("prepare reports_p (int) as select $1 * 2")
        .query("execute reports_p(1)")
        .query("commit")
        .query("execute reports_p(2)")
        .query("begin")
        .query("execute reports_p(3)")
        .query("prepare reports_w as insert into reports_t values (1)")
        .query("execute reports_w")
        .query("rollback")
        // What was prepared stays, what it did does not.
        .query("select count(*) from reports_t")
        .query("execute reports_w")
        .query("select count(*) from reports_t")
        .query("execute reports_p(4)");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["2", "4", "6", "0", "1", "8"]);
    assert_eq!(errors(&trace), [""; 0]);
}

/// A name is taken once, by SQL or by the protocol, and whoever comes second changes nothing.
#[test]
fn a_name_that_is_prepared_twice_keeps_its_first_meaning() {
    let Some(lab) = Lab::new("reports::twice") else {
        return;
    };
    let run = |name| [bind("", name, &[]), execute("", 0), sync()].concat();
    let script = Script::new()
        .query("prepare a as select 1")
        .query("prepare a as select 2")
        .query("execute a")
        .send([parse("a", "select 3"), sync()].concat())
        .ready(1)
        .send(run("a"))
        .ready(1)
        .send([parse("b", "select 4"), sync()].concat())
        .ready(1)
        .query("prepare b as select 5")
        .send(run("b"))
        .ready(1)
        .query("execute b");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "1", "4", "4"]);
    assert_eq!(errors(&trace), ["42P05"; 3]);
}

/// What a connection wrote is there for the next one, on the standby, where commits wait for that to have replayed them.
#[test]
fn the_next_connection_reads_what_the_last_one_wrote() {
    let Some(lab) = Lab::new("reports::next") else {
        return;
    };
    let Some(cluster) = lab::cluster("reports::next") else {
        return;
    };
    lab.admin().run(TABLE);
    let split = lab::split(cluster);
    let arguments: Vec<&str> = split.iter().map(String::as_str).collect();
    let proxy = Proxy::start(cluster, &arguments);
    let session = || Client::open(proxy.port, Pace::Whole, "postgres", &[]);
    let waits = lab.admin().value("show synchronous_commit");
    assert_eq!(waits, "remote_apply");
    for row in 1..=20 {
        session().run(&format!("insert into reports_t values ({row})"));
        let read = "select count(*) || ' ' || pg_is_in_recovery() from reports_t";
        assert_eq!(session().value(read), format!("{row} true"));
    }
}
