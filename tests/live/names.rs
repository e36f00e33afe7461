//! One name space of prepared statements for both protocols, wherever the statements were prepared.

use crate::support::frame::{errors, values};
use crate::support::lab::{Lab, Script};
use crate::support::message::{bind, execute, parse, sync};

#[test]
fn forgets_what_deallocate_and_discard_remove() {
    let Some(lab) = Lab::new("names::deallocate") else {
        return;
    };
    let run = |name| [bind("", name, &[]), execute("", 0), sync()].concat();
    let both = || [parse("a", "select 1"), parse("b", "select 2"), sync()].concat();
    let script = Script::new()
        .send(both())
        .ready(1)
        .send(run("a"))
        .ready(1)
        .query("deallocate a")
        .send(run("a"))
        .ready(1)
        .send(run("b"))
        .ready(1)
        .query("deallocate all")
        .send(run("b"))
        .ready(1)
        .send(both())
        .ready(1)
        .send(run("b"))
        .ready(1)
        .query("discard all")
        .send(run("b"))
        .ready(1)
        .query("deallocate b");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1", "2", "2"]);
    assert_eq!(errors(&trace), ["26000"; 4]);
}

#[test]
fn executes_in_sql_what_was_parsed() {
    let Some(lab) = Lab::new("names::execute") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists names_t; create table names_t (a int)")
        .send([parse("e", "select count(*) from names_t"), sync()].concat())
        .ready(1)
        .query("execute e")
        .send([parse("w", "insert into names_t values ($1)"), sync()].concat())
        .ready(1)
        .query("execute w(1)")
        .query("execute e")
        .query("select name from pg_prepared_statements order by name")
        .query("deallocate e")
        .query("select name from pg_prepared_statements order by name")
        .send([bind("", "e", &[]), execute("", 0), sync()].concat())
        .ready(1);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1", "e", "w", "w"]);
    assert_eq!(errors(&trace), ["26000"]);
}
