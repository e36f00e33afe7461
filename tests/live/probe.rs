//! The queries by which a session moves, run directly on real servers, as a user without privileges.

use std::collections::BTreeSet;

use bytes::BytesMut;
use pgturnout::migrate::postgres::{
    Difference, Found, Listening, OtherOids, PROBE_STATEMENT, Part, Probe, ProbeFailed, Refusal,
    Remembered, Restore, RestoreFailed, Scope, Surrounding, TypeLookup, TypeMap, TypeTrouble,
    Types, differences, refusals, same_oids, surroundings, types_to_look_up,
};
use pgturnout::migrate::{AnswerFault, Heard, Look};
use pgturnout::wire::{Header, Writer};

use crate::support::client::{Client, Pace};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, tags, values};
use crate::support::message::{bind, close_statement, execute, parse, query, sync};

/// What reads an answer.
trait Reads<T> {
    fn header(&mut self, header: Header) -> Result<Look, AnswerFault>;
    fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<T>, AnswerFault>;
}

macro_rules! reads {
    ($reader:ty, $answer:ty) => {
        impl Reads<$answer> for $reader {
            fn header(&mut self, header: Header) -> Result<Look, AnswerFault> {
                <$reader>::header(self, header)
            }
            fn body(&mut self, tag: u8, body: &[u8]) -> Result<Heard<$answer>, AnswerFault> {
                <$reader>::body(self, tag, body)
            }
        }
    };
}
reads!(Probe, Result<Found, ProbeFailed>);
reads!(TypeLookup, Result<Types, ProbeFailed>);
reads!(Restore<Vec<u8>>, Result<(), RestoreFailed>);

/// Shows a server's messages to a reader, up to the end of the answer.
fn read<T: std::fmt::Debug>(client: &mut Client, reader: &mut impl Reads<T>) -> T {
    loop {
        let frame = client.frame().expect("the server closed");
        let frame_len = u32::try_from(frame.body.len() + 5).unwrap();
        let header = Header {
            tag: frame.tag,
            frame_len,
        };
        match reader
            .header(header)
            .unwrap_or_else(|fault| panic!("{fault}: {frame:?}"))
        {
            Look::Client => panic!("nothing is owed: {frame:?}"),
            Look::Aside | Look::Discard => {}
            Look::Body => match reader.body(frame.tag, &frame.body).unwrap() {
                Heard::More => {}
                Heard::Farewell(state) => panic!("{state:?}"),
                Heard::Done(answer) => return answer,
            },
        }
    }
}

fn try_probe(client: &mut Client, scope: Scope, custom: &[&str]) -> Result<Found, ProbeFailed> {
    let mut probe = Probe::new(scope, custom.iter().map(|name| name.as_bytes()));
    let mut out = BytesMut::new();
    probe.write(&mut out).unwrap();
    client.send(&out);
    read(client, &mut probe)
}

fn probe(client: &mut Client, custom: &[&str]) -> Found {
    try_probe(client, Scope::WithIdentity, custom).unwrap_or_else(|why| panic!("{why}"))
}

fn cluster(test: &str) -> Option<&'static Cluster> {
    let cluster = Cluster::shared();
    if cluster.is_none() {
        eprintln!("SKIPPED probe::{test}: no PostgreSQL");
    }
    cluster
}

fn open(port: u16) -> Client {
    Client::open(port, Pace::Whole, "u_trust", &[])
}

fn superuser(port: u16) -> Client {
    Client::open(port, Pace::Whole, "postgres", &[])
}

/// No statements.
const NONE: [Vec<u8>; 0] = [];

/// The body of a Parse message.
fn statement(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut writer = Writer::message(&mut out, "Parse", b'P');
    writer.cstr("name", name.as_bytes());
    writer.cstr("text", text.as_bytes());
    writer.count("types", types.len());
    for oid in types {
        writer.u32("type", *oid);
    }
    writer.finish().unwrap();
    out[5..].to_vec()
}

fn prepare(client: &mut Client, body: &[u8]) {
    let mut frame = vec![b'P'];
    frame.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    frame.extend_from_slice(body);
    client.send(&[frame, sync()].concat());
    // A warning of an escape in a literal may come with it.
    assert!(tags(&client.ready(1)).ends_with("1Z"));
}

fn restore(client: &mut Client, mut restore: Restore<Vec<u8>>) -> Result<(), RestoreFailed> {
    let mut out = BytesMut::new();
    // In small portions: nothing waits for an answer.
    while !restore.write(&mut out, 100).unwrap() {}
    client.send(&out);
    read(client, &mut restore)
}

fn shown(of: &[impl ToString]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

/// Each kind of state, found and refused by its name; and a session that has none is found to have none.
#[test]
fn finds_what_cannot_move() {
    let Some(cluster) = cluster("finds_what_cannot_move") else {
        return;
    };
    let rows: [(&str, &str); 13] = [
        ("select pg_advisory_lock(1)", "advisory locks are held: 1"),
        (
            "select pg_advisory_lock_shared(1), pg_advisory_lock(2, 3), pg_advisory_lock(2, 3)",
            "advisory locks are held: 2",
        ),
        (
            "create temp table probe_t (a int)",
            "temporary objects exist: ",
        ),
        (
            "create temp view probe_v as select 1",
            "temporary objects exist: ",
        ),
        ("create temp sequence probe_s", "temporary objects exist: "),
        (
            "create function pg_temp.f() returns int language sql as 'select 1'",
            "temporary objects exist: ",
        ),
        (
            "create type pg_temp.probe_y as enum ('a')",
            "temporary objects exist: ",
        ),
        (
            "create domain pg_temp.probe_d as int",
            "temporary objects exist: ",
        ),
        (
            "select 1 as a into temp probe_i",
            "temporary objects exist: ",
        ),
        (
            "begin; declare c cursor with hold for select 1; commit",
            "cursors WITH HOLD are open: 1",
        ),
        (
            "listen a; listen \"B\"\"c\"",
            "the session listens on channels: 2",
        ),
        ("prepare sql_made as select 1", "prepared in SQL: sql_made"),
        (
            "create operator pg_temp.=== (leftarg = int, rightarg = int, function = int4eq)",
            "temporary objects exist: ",
        ),
    ];
    for (made, why) in rows {
        let mut client = open(cluster.primary());
        client.run(made);
        let found = probe(&mut client, &[]);
        let refused = shown(&refusals(&found, [], Listening::Refuse));
        assert_eq!(refused.len(), 1, "{made}: {refused:?}");
        assert!(refused[0].starts_with(why), "{made}: {refused:?}");
    }
    // What is gone is not found: pg_my_temp_schema() alone would say that it is there.
    let mut client = open(cluster.primary());
    client.run("create temp table probe_t (a int); drop table probe_t; select pg_advisory_lock(1); select pg_advisory_unlock(1)");
    client.run("begin; declare c cursor for select 1; select pg_advisory_xact_lock(7); commit; listen a; unlisten *");
    let found = probe(&mut client, &[]);
    assert_eq!(refusals(&found, [], Listening::Refuse), []);
    assert_ne!(client.value("select pg_my_temp_schema()"), "0");
    assert_eq!(found.version, i32::try_from(cluster.version()).unwrap());
    assert_eq!(
        (&*found.database, &*found.session_user, &*found.role),
        (&b"app"[..], &b"u_trust"[..], &b"none"[..])
    );
    assert!(!found.in_recovery && !found.superuser);
    let identity = found.identity.as_ref().expect("any user may ask for it");
    assert_eq!(identity.timeline, 1);
    let standby = probe(&mut open(cluster.standby()), &[]);
    assert!(standby.in_recovery && same_oids(&found, &standby));
    assert!(surroundings(&found, &standby).contains(&Surrounding::Standby));
    assert!(standby.identity.as_ref().unwrap().lsn.is_some());
}

/// A client that has put false functions, operators, types and tables before those of PostgreSQL.
#[test]
fn no_search_path_changes_what_it_finds() {
    let Some(cluster) = cluster("no_search_path_changes_what_it_finds") else {
        return;
    };
    let mut admin = superuser(cluster.primary());
    admin.run(
        "drop schema if exists probe_evil cascade; create schema probe_evil authorization u_trust",
    );
    let mut client = open(cluster.primary());
    client.run("set search_path = probe_evil, pg_temp, pg_catalog");
    for (head, result) in [
        ("current_setting(pg_catalog.text)", "pg_catalog.text"),
        (
            "current_setting(pg_catalog.text, pg_catalog.bool)",
            "pg_catalog.text",
        ),
        ("pg_is_in_recovery()", "pg_catalog.bool"),
        ("pg_backend_pid()", "pg_catalog.int4"),
        ("pg_my_temp_schema()", "pg_catalog.oid"),
        ("pg_encoding_to_char(pg_catalog.int4)", "pg_catalog.name"),
        ("length(pg_catalog.text)", "pg_catalog.int4"),
        ("count(pg_catalog.int4)", "pg_catalog.int8"),
        ("current_database()", "pg_catalog.name"),
        ("unnest(pg_catalog.text[])", "pg_catalog.text"),
        (
            "set_config(pg_catalog.text, pg_catalog.text, pg_catalog.bool)",
            "pg_catalog.text",
        ),
        ("cardinality(pg_catalog.text[])", "pg_catalog.int4"),
        ("same(pg_catalog.text, pg_catalog.text)", "pg_catalog.bool"),
        ("same(pg_catalog.oid, pg_catalog.oid)", "pg_catalog.bool"),
        ("same(pg_catalog.int4, pg_catalog.int4)", "pg_catalog.bool"),
        ("same(pg_catalog.name, pg_catalog.name)", "pg_catalog.bool"),
    ] {
        client.run(&format!(
            "create function probe_evil.{head} returns {result} language plpgsql as 'begin raise exception ''evil''; end'"
        ));
    }
    for of in ["text", "oid", "int4", "name"] {
        for operator in ["=", "<>"] {
            client.run(&format!(
                "create operator probe_evil.{operator} (leftarg = pg_catalog.{of}, rightarg = pg_catalog.{of}, function = probe_evil.same)"
            ));
        }
    }
    client.run("create table probe_evil.pg_settings (name pg_catalog.text); create table probe_evil.pg_locks (a pg_catalog.int4); create table probe_evil.pg_type (a pg_catalog.int4)");
    client.run("create domain probe_evil.text as pg_catalog.int4; create domain probe_evil.int4 as pg_catalog.text; create domain probe_evil.oid as pg_catalog.text");
    assert_eq!(
        errors(&client.query("select current_setting('role')")),
        ["P0001"],
        "the trap works"
    );
    client.run("set work_mem = 1234; select pg_catalog.set_config('app.user', 'alice', false)");
    let mut found = probe(&mut client, &["app.user", "app.none"]);
    assert_eq!(found.setting(b"work_mem"), Some(&b"1234"[..]));
    assert_eq!(
        found.custom[&b"app.user"[..]].as_deref(),
        Some(&b"alice"[..])
    );
    assert_eq!(found.custom[&b"app.none"[..]], None);
    assert_eq!(
        found.setting(b"search_path"),
        Some(&b"probe_evil, pg_temp, pg_catalog"[..])
    );

    // The lookups and the restore under the same path.
    let oids = types_to_look_up([16_384, 25]).unwrap();
    let mut lookup = TypeLookup::names(&oids);
    let mut out = BytesMut::new();
    lookup.write(&mut out).unwrap();
    client.send(&out);
    read(&mut client, &mut lookup).unwrap();
    let mut target = open(cluster.primary());
    target.run("set search_path = probe_evil, pg_temp, pg_catalog");
    let before = probe(&mut target, &["app.user", "app.none"]);
    let plan = Restore::new(
        &found,
        &before,
        NONE,
        TypeMap::identity(),
        Listening::Refuse,
    )
    .unwrap();
    assert_eq!(restore(&mut target, plan), Ok(()));
    let after = probe(&mut target, &["app.user", "app.none"]);
    found.identity = None;
    assert_eq!(
        differences(&found, &after, &TypeMap::identity(), Listening::Refuse),
        []
    );
    admin.run("drop schema probe_evil cascade");
}

/// Nothing of a probe stays, whether it succeeds or fails, and the client's unnamed statement is as it was.
#[test]
fn leaves_no_trace() {
    let Some(cluster) = cluster("leaves_no_trace") else {
        return;
    };
    let mut client = open(cluster.primary());
    client.send(&[parse("", "select 'unnamed'"), sync()].concat());
    client.ready(1);
    client.run("set statement_timeout = 0");
    client.send(&[parse("", "select 'unnamed'"), sync()].concat());
    client.ready(1);
    let unnamed = |client: &mut Client| {
        client.send(&[bind("", "", &[]), execute("", 0), sync()].concat());
        values(&client.ready(1))
    };
    let listed = |client: &mut Client| probe(client, &[]).statements.len();
    assert_eq!(listed(&mut client), 0);
    assert_eq!(unnamed(&mut client), ["unnamed"]);
    // A name that no setting can have fails in Execute, when the statement exists already.
    let bad = "x".repeat(100_000);
    let long = try_probe(&mut client, Scope::WithIdentity, &[&bad]);
    assert!(long.is_ok(), "current_setting(…, true) takes any name");
    assert_eq!(unnamed(&mut client), ["unnamed"]);
    // Inside a failed transaction everything fails; ReadyForQuery says so, and a probe has no business there.
    client.run("begin");
    client.query("select 1/0");
    let reader = Probe::new(Scope::WithIdentity, []);
    let mut out = BytesMut::new();
    reader.write(&mut out).unwrap();
    client.send(&out);
    let frames = client.ready(2);
    assert_eq!(tags(&frames), "EZ3Z");
    client.run("rollback");
    let name = std::str::from_utf8(PROBE_STATEMENT).unwrap();
    let left = format!("select count(*) from pg_prepared_statements where name = '{name}'");
    assert_eq!(client.value(&left), "0");
    // One that has failed half way leaves nothing to the next.
    client.send(&[parse(name, "select 1"), sync()].concat());
    client.ready(1);
    let clash = try_probe(&mut client, Scope::WithIdentity, &[]).unwrap_err();
    assert_eq!(clash.to_string(), "the probe failed (42P05)");
    assert!(!clash.may_be_for_its_identity());
    assert!(try_probe(&mut client, Scope::WithIdentity, &[]).is_ok());
}

/// An administrator who keeps the cluster's identity to himself.
#[test]
fn does_without_the_identity() {
    let Some(cluster) = cluster("does_without_the_identity") else {
        return;
    };
    // In a database of its own, so that nobody else misses the function.
    let mut admin = superuser(cluster.primary());
    admin.run("drop database if exists probe_closed");
    admin.run("create database probe_closed");
    let mut admin = Client::connect(cluster.primary(), Pace::Whole);
    let login = [("user", "postgres"), ("database", "probe_closed")];
    admin.send(&crate::support::message::startup(
        crate::support::client::V3_0,
        &login,
    ));
    admin.finish_login(None);
    admin.run("revoke execute on function pg_control_system() from public");
    let mut client = Client::connect(cluster.primary(), Pace::Whole);
    let login = [("user", "u_trust"), ("database", "probe_closed")];
    client.send(&crate::support::message::startup(
        crate::support::client::V3_0,
        &login,
    ));
    client.finish_login(None);
    let refused = try_probe(&mut client, Scope::WithIdentity, &[]).unwrap_err();
    assert_eq!(refused.to_string(), "the probe failed (42501)");
    assert!(refused.may_be_for_its_identity());
    let found = try_probe(&mut client, Scope::SessionOnly, &[]).unwrap();
    assert_eq!(
        (&*found.database, found.identity.is_none()),
        (&b"probe_closed"[..], true)
    );
}

/// A session of every kind of state that can move, on another session of the same server: found again, field by field.
#[test]
fn restores_what_it_finds() {
    let Some(cluster) = cluster("restores_what_it_finds") else {
        return;
    };
    let mut admin = superuser(cluster.primary());
    admin
        .run("drop role if exists probe_role; create role probe_role; grant probe_role to u_trust");
    let mut source = open(cluster.primary());
    for sql in [
        "set client_encoding = latin1",
        "set datestyle = 'SQL, DMY'",
        "set timezone = '<+03:30>-3:30'",
        "set standard_conforming_strings = off",
        "set search_path = \"$user\", public, \"a b\"\"c\", 'x''y'",
        "set work_mem = '77MB'",
        "set statement_timeout = '13min'",
        "set lock_timeout = '14min'",
        "set extra_float_digits = 2",
        "set intervalstyle = iso_8601",
        "set bytea_output = escape",
        "set default_transaction_isolation = 'repeatable read'",
        "set application_name = 'caf\u{e9}'",
        "set enable_seqscan = off",
        "set app.who = 'a\\\\b''c'",
        "set role probe_role",
        "listen \"we \"\"ird\"; listen plain",
    ] {
        // In Latin-1, as the session has it from its first statement on.
        let latin: Vec<u8> = query(sql)
            .into_iter()
            .filter(|byte| *byte != 0xc3)
            .collect();
        let mut latin = latin;
        let length = u32::try_from(latin.len() - 1).unwrap();
        latin[1..5].copy_from_slice(&length.to_be_bytes());
        source.send(&latin);
        assert_eq!(errors(&source.ready(1)), [""; 0], "{sql}");
    }
    let statements = [
        statement("one", "select $1::int4, $2", &[0, 25]),
        statement("Two \"2\"", "select 'x\\'y' as a", &[]),
        statement("empty", "", &[]),
        statement("", "select 'the unnamed one'", &[]),
    ];
    for body in &statements {
        prepare(&mut source, body);
    }
    let names: Vec<&[u8]> = vec![b"one", b"Two \"2\"", b"empty", b""];
    let custom = ["app.who"];
    let found = probe(&mut source, &custom);
    assert_eq!(
        refusals(
            &found,
            names.iter().map(|name| (*name, Remembered::Parse)),
            Listening::Move
        ),
        []
    );
    assert_eq!(found.statements[&b"one"[..]].types, [23, 25]);

    let mut target = open(cluster.primary());
    let before = probe(&mut target, &custom);
    let missing = differences(&found, &before, &TypeMap::identity(), Listening::Move);
    assert!(missing.len() > 16, "{missing:?}");
    let plan = Restore::new(
        &found,
        &before,
        statements.to_vec(),
        TypeMap::identity(),
        Listening::Move,
    );
    assert_eq!(restore(&mut target, plan.unwrap()), Ok(()));
    let after = probe(&mut target, &custom);
    let left = differences(&found, &after, &TypeMap::identity(), Listening::Move);
    assert_eq!(shown(&left), [""; 0]);
    assert_eq!(
        (&after.settings, &after.custom, &after.statements),
        (&found.settings, &found.custom, &found.statements)
    );
    // And as a client sees it.
    for client in [&mut source, &mut target] {
        client.send(&[bind("", "", &[]), execute("", 0), sync()].concat());
        assert_eq!(values(&client.ready(1)), ["the unnamed one"]);
        client.send(
            &[
                bind("", "one", &[Some("1"), Some("b")]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        );
        assert_eq!(values(&client.ready(1)), ["1"]);
        assert_eq!(
            client.value("select current_user || current_setting('datestyle')"),
            "probe_roleSQL, DMY"
        );
        assert_eq!(client.value("show app.who"), "a\\b'c");
    }
    // One thing more on either side is a difference.
    for (spoil, difference) in [
        (
            "set work_mem = '78MB'",
            "another value of the setting work_mem",
        ),
        ("set geqo = off", "set on the new server alone: geqo"),
        (
            "set app.who = 'z'",
            "another value of the custom setting app.who",
        ),
        ("reset role", "another role"),
        ("deallocate one", "the new server lacks the statement one"),
        ("prepare more as select 1", "a statement too many: more"),
        ("unlisten plain", "other channels of LISTEN"),
        (
            "select pg_advisory_lock(5)",
            "the session on the new server is not fresh",
        ),
    ] {
        let mut target = open(cluster.primary());
        let before = probe(&mut target, &custom);
        let plan = Restore::new(
            &found,
            &before,
            statements.to_vec(),
            TypeMap::identity(),
            Listening::Move,
        );
        restore(&mut target, plan.unwrap()).unwrap();
        target.run(spoil);
        let after = probe(&mut target, &custom);
        let left = differences(&found, &after, &TypeMap::identity(), Listening::Move);
        assert_eq!(shown(&left), [difference], "{spoil}");
    }
}

/// Settings that only a superuser may change, changed by one who became somebody else afterwards.
#[test]
fn restores_a_superusers_settings_before_its_role() {
    let Some(cluster) = cluster("restores_a_superusers_settings_before_its_role") else {
        return;
    };
    let mut source = superuser(cluster.primary());
    for sql in [
        "set log_min_duration_statement = 4711",
        "set session_replication_role = replica",
        "set session authorization u_trust",
    ] {
        source.run(sql);
    }
    // Who may not read a setting does not see it: an operator's business, not the session's meaning.
    let found = probe(&mut source, &[]);
    assert_eq!(&*found.session_user, b"u_trust");
    assert!(!found.superuser);
    let mut target = superuser(cluster.primary());
    let before = probe(&mut target, &[]);
    assert!(before.superuser);
    let plan = Restore::new(
        &found,
        &before,
        NONE,
        TypeMap::identity(),
        Listening::Refuse,
    )
    .unwrap();
    assert_eq!(restore(&mut target, plan), Ok(()));
    let after = probe(&mut target, &[]);
    assert_eq!(
        differences(&found, &after, &TypeMap::identity(), Listening::Refuse),
        []
    );
    assert_eq!(
        after.setting(b"session_replication_role"),
        Some(&b"replica"[..])
    );
    assert_eq!(target.value("select session_user"), "u_trust");
}

/// What the new server refuses is told by its name, and what it does not know before anything is sent.
#[test]
fn names_what_is_refused() {
    let Some(cluster) = cluster("names_what_is_refused") else {
        return;
    };
    superuser(cluster.primary())
        .run("drop table if exists probe_gone; create table probe_gone (a int)");
    let mut source = open(cluster.primary());
    let body = statement("of_gone", "select * from probe_gone", &[]);
    prepare(&mut source, &body);
    superuser(cluster.primary()).run("drop table probe_gone");
    let mut found = probe(&mut source, &[]);
    let mut target = open(cluster.primary());
    let before = probe(&mut target, &[]);
    let fine = statement("fine", "select 1", &[]);
    let plan = Restore::new(
        &found,
        &before,
        vec![fine, body],
        TypeMap::identity(),
        Listening::Refuse,
    );
    let why = restore(&mut target, plan.unwrap()).unwrap_err();
    let part = Part::Statement {
        name: Box::from(&b"of_gone"[..]),
    };
    assert!(matches!(&why, RestoreFailed::Refused { part: refused, .. } if *refused == part));
    assert_eq!(
        why.to_string(),
        "the new server refuses the statement of_gone (42P01)"
    );

    let work_mem = found.settings[&b"work_mem"[..]].clone();
    let mut work_mem = work_mem;
    work_mem.origin = pgturnout::migrate::postgres::Origin::Session;
    found
        .settings
        .insert(Box::from(&b"of_another_version"[..]), work_mem);
    let plan = Restore::new(
        &found,
        &before,
        NONE,
        TypeMap::identity(),
        Listening::Refuse,
    );
    assert_eq!(
        plan.unwrap_err().to_string(),
        "the new server has no setting of_another_version"
    );
    let name = Box::from(&b"of_another_version"[..]);
    let unknown = Difference::UnknownSetting { name };
    assert!(
        differences(&found, &before, &TypeMap::identity(), Listening::Refuse).contains(&unknown)
    );
    let listed = refusals(
        &found,
        [(&b"lost"[..], Remembered::Parse)],
        Listening::Refuse,
    );
    let name = |name: &[u8]| Box::from(name);
    assert_eq!(
        listed,
        [
            Refusal::UnknownStatement {
                name: name(b"of_gone")
            },
            Refusal::LostStatement {
                name: name(b"lost")
            }
        ]
    );
    target.send(&[close_statement("fine"), sync()].concat());
}

/// A server that was built anew, in which types of one name have other OIDs.
#[test]
fn finds_types_under_other_oids() {
    let Some(cluster) = cluster("finds_types_under_other_oids") else {
        return;
    };
    let copy = Cluster::start("probe-copy").unwrap();
    let make = "create schema probe_types; create type probe_types.mood as enum ('happy', 'sad'); grant usage on schema probe_types to public";
    superuser(cluster.primary()).run(&format!(
        "drop schema if exists probe_types cascade; {make}"
    ));
    superuser(copy.primary())
        .run("create type probe_shift as enum ('a'); create type probe_shift2 as enum ('a')");
    superuser(copy.primary()).run(make);
    let (mut source, mut target) = (open(cluster.primary()), open(copy.primary()));
    let body = statement("moody", "select $1 < 'sad'", &[type_oid(&mut source)]);
    prepare(&mut source, &body);
    let (found, before) = (probe(&mut source, &[]), probe(&mut target, &[]));
    assert!(!same_oids(&found, &before));
    assert_eq!(surroundings(&found, &before), [Surrounding::OtherCluster]);
    let all = found
        .statements
        .values()
        .flat_map(|one| one.types.iter().copied());
    let oids: BTreeSet<u32> = types_to_look_up(all).unwrap();
    assert_eq!(oids.len(), 1);
    let mut out = BytesMut::new();
    let mut lookup = TypeLookup::names(&oids);
    lookup.write(&mut out).unwrap();
    source.send(&out);
    let names = read(&mut source, &mut lookup).unwrap();
    assert_eq!(
        names.values().map(ToString::to_string).collect::<Vec<_>>(),
        ["probe_types.mood"]
    );
    out.clear();
    let mut lookup = TypeLookup::oids(&names);
    lookup.write(&mut out).unwrap();
    target.send(&out);
    let there = read(&mut target, &mut lookup).unwrap();
    let refused = TypeMap::between(&oids, &names, &there, OtherOids::Refuse).unwrap_err();
    assert!(
        matches!(&refused[..], [TypeTrouble::OtherOid(name)] if name.to_string() == "probe_types.mood")
    );
    let map = TypeMap::between(&oids, &names, &there, OtherOids::Remap).unwrap();
    assert_eq!(map.get(type_oid(&mut source)), type_oid(&mut target));

    let plan = Restore::new(&found, &before, vec![body], map.clone(), Listening::Refuse).unwrap();
    assert_eq!(restore(&mut target, plan), Ok(()));
    let after = probe(&mut target, &[]);
    assert_eq!(differences(&found, &after, &map, Listening::Refuse), []);
    let unmapped = differences(&found, &after, &TypeMap::identity(), Listening::Refuse);
    assert_eq!(shown(&unmapped), ["other types of parameters of moody"]);
    target.send(&[bind("", "moody", &[Some("happy")]), execute("", 0), sync()].concat());
    assert_eq!(values(&target.ready(1)), ["t"]);
}

fn type_oid(client: &mut Client) -> u32 {
    client
        .value("select 'probe_types.mood'::regtype::oid")
        .parse()
        .unwrap()
}
