//! What servers tell of themselves, and what `scan` makes of it (law L5).

use pgturnout::route::{Class, Facts, LexState, Rules, scan};

use crate::support::client::{Client, Pace};
use crate::support::lab;

/// Functions, and what runs them without naming them, in a schema of the test's own.
const OBJECTS: &str = "
    drop schema if exists facts_test cascade;
    create schema facts_test;
    set search_path to facts_test;
    create table base (a int, kind int);
    create function steady(int) returns int stable language sql as 'select $1';
    create function wild(int) returns int volatile language sql as 'select $1';
    create function wild_attribute(base) returns int volatile language sql as 'select 1';
    create view steady_view as select steady(a) from base;
    create view wild_view as select wild(a) from base;
    create view over_wild_view as select * from wild_view;
    create view locking_view as select pg_try_advisory_xact_lock(1);
    create view session_view as select pid from pg_stat_activity;
    create sequence counter;
    create unlogged table forgotten (a int);
    create table guarded (a int);
    alter table guarded enable row level security;
    create policy guard on guarded using (wild(a) = 1);
    create table parent (a int) partition by list (a);
    create unlogged table child partition of parent for values in (1);
    create operator @@@ (leftarg = int, rightarg = int, function = int4pl);
    create function wild_plus(int, int) returns int volatile language sql as 'select $1 + $2';
    create operator @#@ (leftarg = int, rightarg = int, function = wild_plus);
    create domain small as int check (value < 10);
    create domain wild_domain as int check (wild(value) < 10);
    create type made as (i int);
    create function make(int) returns made volatile language sql as 'select row($1)::facts_test.made';
    create cast (int as made) with function make(int);
    create type holder as (d wild_domain);
    create function lower(int) returns int volatile language sql as 'select $1';
    reset search_path";

fn rules(client: &mut Client) -> Rules {
    client.run(Facts::SETUP);
    let frames = client.query(Facts::QUERY);
    let mut facts = Facts::default();
    for row in frames.iter().filter(|frame| frame.tag == b'D') {
        let columns = row.columns();
        let columns: Vec<_> = columns
            .iter()
            .map(|column| column.as_deref().map(str::as_bytes))
            .collect();
        facts.row(&columns).unwrap();
    }
    assert!(facts.len() > 20, "{frames:#?}");
    let mut rules = Rules::default();
    rules.refresh(&facts);
    rules
}

#[test]
fn facts_of_both_servers_tell_what_runs_code_unseen() {
    let Some(cluster) = lab::cluster("facts_of_both_servers_tell_what_runs_code_unseen") else {
        return;
    };
    Client::open(cluster.primary(), Pace::Whole, "postgres", &[]).run(OBJECTS);
    for port in [cluster.primary(), cluster.standby()] {
        let rules = rules(&mut Client::open(port, Pace::Whole, "u_trust", &[]));
        for (text, class) in [
            ("select steady(1), facts_test.steady(1)", Class::Read),
            ("select facts_test.wild(1)", Class::Unproven),
            ("select b.wild_attribute from base b", Class::Unproven),
            ("table steady_view", Class::Read),
            ("table wild_view", Class::Unproven),
            ("table over_wild_view", Class::Unproven),
            ("table locking_view", Class::Write),
            ("table session_view", Class::Session),
            ("table counter", Class::Write),
            ("table forgotten", Class::Write),
            ("table guarded", Class::Unproven),
            ("table parent", Class::Write),
            ("select 1 @@@ 2", Class::Read),
            ("select 1 @#@ 2", Class::Unproven),
            ("select 1::small", Class::Read),
            ("select 1::wild_domain", Class::Unproven),
            ("select '(1)'::holder", Class::Unproven),
            ("select 1::made", Class::Unproven),
            ("select lower('X')", Class::Unproven),
            ("select pg_catalog.lower('X')", Class::Read),
            ("select a, kind from base", Class::Read),
        ] {
            let intent = scan(text.as_bytes(), &LexState::defaults(), &rules);
            assert_eq!(intent.class, class, "{text}: {:?}", intent.reason);
        }
    }
    Client::open(cluster.primary(), Pace::Whole, "postgres", &[])
        .run("drop schema facts_test cascade");
}
