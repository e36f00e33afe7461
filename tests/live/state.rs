//! What a session remembers is the same wherever its next statement runs (law L7).

use crate::support::client::{Client, Pace};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, tags, values};
use crate::support::lab::{self, Lab, Script};
use crate::support::message::{bind, execute, query, sync};
use crate::support::proxy::Proxy;

#[test]
fn reads_see_settings() {
    let Some(lab) = Lab::new("state::settings") else {
        return;
    };
    let time = "select '2024-07-01 00:00Z'::timestamptz";
    let script = Script::new()
        .query("set timezone = 'America/New_York'")
        .query(time)
        .query("set datestyle = 'German'")
        .extended(time, &[])
        .query("begin")
        .query("set local timezone = 'Asia/Tokyo'")
        .query(time)
        .query("commit")
        .query(time)
        .query("begin")
        .query("set timezone = 'Asia/Tokyo'")
        .query("rollback")
        .query(time)
        .query("set timezone = 'no such zone'")
        .query(time)
        .query("reset timezone")
        .query(time)
        .query("set intervalstyle = 'iso_8601'; select '1 day'::interval")
        .query("select '1 day'::interval")
        .query("reset all")
        .query(time)
        .query("select '1 day'::interval");
    let trace = lab.same(&script.parameter("timezone", "Europe/Berlin"));
    assert_eq!(errors(&trace), ["22023"]);
    assert_eq!(values(&trace)[0], "2024-06-30 20:00:00-04");
    assert_eq!(values(&trace)[5], "30.06.2024 20:00:00 EDT");
}

#[test]
fn reads_see_settings_of_the_startup_message() {
    let Some(lab) = Lab::new("state::startup_settings") else {
        return;
    };
    let script = Script::new()
        .parameter("DateStyle", "SQL, DMY")
        .parameter("options", "-c intervalstyle=iso_8601 -c my.setting=mine")
        .query("select date '2024-07-01', interval '1 day'")
        .query("select current_setting('my.setting')")
        .query("set datestyle = 'ISO'")
        .query("select date '2024-07-01'")
        .query("reset datestyle")
        .query("select date '2024-07-01'");
    let trace = lab.same(&script);
    assert_eq!(
        values(&trace),
        ["01/07/2024", "mine", "2024-07-01", "01/07/2024"]
    );
}

#[test]
fn reads_see_all_of_a_setting_made_in_parts() {
    let Some(lab) = Lab::new("state::datestyle") else {
        return;
    };
    // Each SET changes one half: how dates are written, or in which order they are read.
    let script = Script::new()
        .parameter("DateStyle", "Postgres, MDY")
        .query("set datestyle to iso")
        .query("set datestyle to ymd")
        .query("select date '1999-01-08', date '99-01-08'")
        .query("set datestyle to german")
        .query("select date '1999-01-08'");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["1999-01-08", "08.01.1999"]);
}

#[test]
fn reads_see_the_search_path() {
    let Some(lab) = Lab::new("state::search_path") else {
        return;
    };
    let script = Script::new()
        .setup(
            "drop schema if exists state_a, state_b cascade; \
             create schema state_a; create table state_a.t as select 'a' v; \
             create schema state_b; create table state_b.t as select 'b' v; \
             grant usage on schema state_a, state_b to public; \
             grant select on state_a.t, state_b.t to public",
        )
        .query("set search_path = state_a")
        .query("select v from t")
        .query("set search_path to state_b, public")
        .extended("select v from t", &[])
        .query("select set_config('search_path', 'state_a', false)")
        .query("select v from t")
        .query("begin; set search_path to state_b; savepoint s; set search_path to state_a")
        .query("rollback to s; commit")
        .query("select v from t");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["a", "b", "state_a", "a", "b"]);
}

#[test]
fn reads_see_how_strings_are_written() {
    let Some(lab) = Lab::new("state::strings") else {
        return;
    };
    let script = Script::new()
        .query(r"select '\', 'x'")
        .query("set standard_conforming_strings = off; set escape_string_warning = off")
        .query(r"select 'it\'s; delete from nothing'")
        .query("select 'one'")
        .query("set standard_conforming_strings = on")
        .query(r"select '\'");
    lab.same(&script);
}

#[test]
fn obeys_a_timeout_and_a_read_only_default() {
    let Some(lab) = Lab::new("state::limits") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists state_l; create table state_l (a int)")
        .query("set statement_timeout = 50")
        .query("select count(*) from generate_series(1, 100000000000)")
        .query("set statement_timeout = 0")
        // 25006 from the writer itself is the client's answer, not a reason to try again.
        .query("set default_transaction_read_only = on")
        .query("insert into state_l values (1)")
        .query("set default_transaction_read_only = off")
        .query("insert into state_l values (2)")
        .query("select a from state_l");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["57014", "25006"]);
    assert_eq!(values(&trace), ["2"]);
}

#[test]
fn reads_see_the_role() {
    let Some(lab) = Lab::new("state::role") else {
        return;
    };
    let script = Script::new()
        .setup(
            "do $$ begin if not exists (select from pg_roles where rolname = 'state_r') then \
             create role state_r; grant state_r to u_trust; end if; end $$",
        )
        .query("set role state_r")
        .query("select current_user, session_user")
        .query("reset role")
        .query("select current_user");
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["state_r", "u_trust"]);
}

/// A superuser may be anybody; both servers have to think so.
#[test]
fn reads_and_writes_see_who_the_session_is() {
    let Some(lab) = Lab::new("state::authorization") else {
        return;
    };
    lab.admin().run(
        "drop table if exists state_u; \
         create table state_u (who text default current_user || ' ' || session_user); \
         grant all on state_u to public",
    );
    let open = |port| Client::open(port, Pace::Whole, "postgres", &[]);
    let (mut direct, mut client) = (open(lab.cluster.primary()), open(lab.proxy.port));
    let standby = lab.cluster.standby().to_string();
    for (change, who) in [
        ("select 1", "postgres postgres"),
        ("set session authorization u_clear", "u_clear u_clear"),
        ("set role u_clear", "u_clear u_clear"),
        ("reset session authorization", "postgres postgres"),
        ("set role u_md5", "u_md5 postgres"),
        ("set session authorization u_scram", "u_scram u_scram"),
        ("set session authorization u_md5", "u_md5 u_md5"),
        ("set session authorization default", "postgres postgres"),
        (
            "begin; set local session authorization u_clear; commit",
            "postgres postgres",
        ),
        (
            "begin; set session authorization u_clear; rollback",
            "postgres postgres",
        ),
        (
            "begin; savepoint a; set session authorization u_clear; rollback to a; \
             set role u_md5; commit",
            "u_md5 postgres",
        ),
        ("discard all", "postgres postgres"),
    ] {
        for session in [&mut direct, &mut client] {
            session.run(change);
            let asked = session.value("select current_user || ' ' || session_user");
            assert_eq!(asked, who, "{change}");
            let wrote = session.value("insert into state_u default values returning who");
            assert_eq!(wrote, who, "{change}");
        }
        assert_eq!(
            client.value("select inet_server_port()"),
            standby,
            "{change}"
        );
    }
}

/// Its own servers, for others keep no prepared transactions. What is prepared leaves the session, and settings of its
/// transaction stay.
#[test]
fn transactions_of_two_phases_end_where_they_began() {
    if lab::cluster("state::two_phases").is_none() {
        return;
    }
    let cluster = Cluster::start_set("two-phases", "max_prepared_transactions = 4").unwrap();
    let arguments = lab::split(&cluster);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&cluster, &arguments);
    let open = |port| Client::open(port, Pace::Whole, "u_trust", &[]);
    let (mut direct, mut client) = (open(cluster.primary()), open(proxy.port));
    let port = "select inet_server_port()";
    direct.run("create table two_phases (a int)");
    for (how, left) in [("commit", "1"), ("rollback", "0")] {
        for session in [&mut direct, &mut client] {
            session.run("begin");
            session.run("set timezone = 'Asia/Tokyo'");
            session.run("insert into two_phases values (1)");
            session.run("prepare transaction 'two'");
            assert_eq!(session.value("select count(*) from two_phases"), "0");
            assert_eq!(session.value("show timezone"), "Asia/Tokyo");
            let here = session.value("select gid from pg_prepared_xacts");
            assert_eq!(here, "two");
            let refused = session.query("begin; prepare transaction 'two'; commit");
            assert_eq!(errors(&refused), ["42710"]);
            session.run(&format!("{how} prepared 'two'"));
            assert_eq!(session.value("select count(*) from two_phases"), left);
            let refused = session.query(&format!("{how} prepared 'two'"));
            assert_eq!(errors(&refused), ["42704"]);
            session.run("reset timezone; delete from two_phases");
        }
        assert_eq!(client.value(port), cluster.standby().to_string());
    }
    // Another session ends what this one began.
    client.run("begin; insert into two_phases values (2); prepare transaction 'other'");
    assert_eq!(client.value(port), cluster.standby().to_string());
    let mut other = open(proxy.port);
    other.run("commit prepared 'other'");
    assert_eq!(client.value("select count(*) from two_phases"), "1");
}

#[test]
fn finds_temporary_tables() {
    let Some(lab) = Lab::new("state::temporary") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists state_t; create table state_t as select 'permanent' v; grant select on state_t to public")
        .query("select v from state_t")
        .query("create temp table state_t as select 'temporary' v")
        .query("select v from state_t")
        .extended("select v from state_t", &[])
        .query("drop table state_t")
        .query("select v from state_t")
        .query("select 'into' v into temp state_i")
        .query("select v from state_i");
    let trace = lab.same(&script);
    assert_eq!(
        values(&trace),
        ["permanent", "temporary", "temporary", "permanent", "into"]
    );
}

#[test]
fn hears_notifications() {
    let Some(lab) = Lab::new("state::listen") else {
        return;
    };
    let script = Script::new()
        .query("listen state_c")
        .query("notify state_c, 'one'")
        .query("select 1")
        .query("select pg_notify('state_c', 'two')")
        .query("unlisten *")
        .query("notify state_c, 'three'")
        .query("select 2");
    let trace = lab.same(&script);
    assert_eq!(tags(&trace).matches('A').count(), 2);
}

#[test]
fn hears_notifications_of_others_while_idle() {
    let Some(lab) = Lab::new("state::listen_idle") else {
        return;
    };
    let mut client = lab.client();
    client.run("listen state_i");
    client.run("select 1");
    lab.admin().run("notify state_i, 'from outside'");
    let frame = client.frame().unwrap();
    assert_eq!(frame.tag, b'A', "{frame:?}");
    assert!(frame.body.ends_with(b"state_i\0from outside\0"));
}

#[test]
fn keeps_locks_cursors_and_sequence_values() {
    let Some(lab) = Lab::new("state::pins") else {
        return;
    };
    let script = Script::new()
        .setup("drop sequence if exists state_s; create sequence state_s; grant all on sequence state_s to public")
        .query("select nextval('state_s')")
        .query("select currval('state_s')")
        .query("select lastval()")
        .query("select pg_advisory_lock(7)")
        .query("select count(*) from pg_locks where locktype = 'advisory' and objid = 7")
        .query("select pg_advisory_unlock(7)")
        .query("begin")
        .query("declare state_c cursor with hold for select generate_series(1, 3)")
        .query("fetch state_c")
        .query("commit")
        .query("fetch state_c")
        .query("select 1")
        .query("fetch all from state_c")
        .query("close state_c")
        .query("fetch state_c")
        .query("select setseed(0.5)")
        .query("select random()");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["34000"]);
}

#[test]
fn keeps_statements_prepared_in_sql() {
    let Some(lab) = Lab::new("state::prepare") else {
        return;
    };
    let script = Script::new()
        .setup("drop table if exists state_p; create table state_p (a int)")
        .query("prepare r as select count(*) from state_p")
        .query("prepare w(int) as insert into state_p values ($1)")
        .query("execute r")
        .query("execute w(1)")
        .query("execute r")
        // One name space for both protocols.
        .send([bind("", "r", &[]), execute("", 0), sync()].concat())
        .ready(1)
        .send([bind("", "w", &[Some("2")]), execute("", 0), sync()].concat())
        .ready(1)
        .query("deallocate r")
        .query("execute r")
        .send([query("prepare x as select 1"), query("execute x")].concat())
        .ready(2);
    let trace = lab.same(&script);
    assert_eq!(values(&trace), ["0", "1", "1", "1"]);
    assert_eq!(errors(&trace), ["26000"]);
}

#[test]
fn starts_afresh_after_discard_all() {
    let Some(lab) = Lab::new("state::discard") else {
        return;
    };
    let script = Script::new()
        .query("set timezone = 'Asia/Tokyo'")
        .query("create temp table state_d (a int)")
        .query("listen state_d")
        .query("discard all")
        .query("select '2024-07-01 00:00Z'::timestamptz")
        .query("select count(*) from state_d")
        .query("notify state_d")
        .query("select 1");
    let trace = lab.same(&script.parameter("timezone", "UTC"));
    assert_eq!(errors(&trace), ["42P01"]);
    assert_eq!(values(&trace), ["2024-07-01 00:00:00+00", "1"]);
}

/// S03: by PostgreSQL's own account, whatever happens under savepoints.
#[test]
fn reads_see_settings_that_outlive_their_savepoints() {
    let Some(lab) = Lab::new("state::savepoints") else {
        return;
    };
    let shows = "select current_setting('state.a', true), current_setting('TimeZone')";
    let script = Script::new()
        .parameter("timezone", "UTC")
        .query("begin; set state.a = '1'")
        .query("savepoint s; set state.a = '2'; set timezone = 'Asia/Tokyo'")
        .query("savepoint S; set state.a = '3'")
        .query("rollback to s")
        .query("release s")
        .query("select 1/0")
        .query("rollback to s")
        .query("set local timezone = 'Europe/Berlin'")
        .query("commit")
        .query(shows)
        .query("begin; savepoint a; set state.a = '4'; release a; rollback")
        .query(shows)
        .query("begin; savepoint a; set state.a = '5'; release a; savepoint b; reset timezone")
        .query("rollback to b; commit and chain")
        .query("set state.a = '6'; rollback")
        .query(shows)
        .query("set state.a = '7'; select 1/0")
        .query(shows)
        .extended("set state.a = '8'", &[])
        .query(shows)
        .query("begin; reset state.a; savepoint a; set role none; rollback to a; commit")
        .query(shows)
        // A custom setting that was named is there from then on.
        .query("begin; set state.never = '1'; rollback")
        .query("select current_setting('state.never')")
        .query("begin; savepoint a; set local state.nor = '1'; rollback to a; commit")
        .query("select current_setting('state.nor')")
        .query("set state.gone = '1'")
        .query("discard all")
        .query("select current_setting('state.gone')");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["22012", "22012"]);
    assert_eq!(values(&trace)[0], "1");
}

#[test]
fn reads_see_what_set_config_sets() {
    let Some(lab) = Lab::new("state::set_config") else {
        return;
    };
    let shows = "select current_setting('state.b', true), current_setting('search_path')";
    let script = Script::new()
        .query("select set_config('state.b', 'it''s', false), set_config('Search_Path', 'a, \"B c\"', false)")
        .query(shows)
        .query("begin; select set_config('state.b', 'gone', true)")
        .query(shows)
        .query("commit")
        .query(shows)
        .query("begin; savepoint s; select set_config('state.b', 'gone', false); rollback to s; commit")
        .query(shows)
        .query("select pg_catalog.set_config('role', 'none', false) as \"from\"")
        .query("select set_config('timezone', 'nowhere', false)")
        .query("select set_config('state.b', upper('computed'), false)")
        .query(shows)
        .query("discard all")
        .query(shows);
    assert_eq!(errors(&lab.same(&script)), ["22023"]);
}

/// What a function sets for itself ends with it. What it sets for the session is seen where servers report it.
#[test]
fn reads_see_what_functions_leave_behind() {
    let Some(lab) = Lab::new("state::functions") else {
        return;
    };
    let time = "select '2024-07-01 00:00Z'::timestamptz";
    let script = Script::new()
        .setup(
            "create or replace function state_own() returns text language sql volatile \
             set timezone = 'Asia/Tokyo' as $$ select '2024-07-01 00:00Z'::timestamptz::text $$; \
             create or replace function state_leak() returns text language sql volatile \
             as $$ select set_config('timezone', 'Asia/Tokyo', false) $$",
        )
        .parameter("timezone", "UTC")
        .query(time)
        .query("select state_own()")
        .query(time)
        .query("select state_leak()")
        .query(time)
        .query("discard all")
        .query(time);
    let trace = lab.same(&script);
    assert_eq!(values(&trace)[4], "2024-07-01 09:00:00+09");
}

/// The order of dates is set while a SET LOCAL has another style: what is left of both is not what the SET says.
#[test]
fn reads_see_what_a_set_local_has_a_part_in() {
    let Some(lab) = Lab::new("state::in_part") else {
        return;
    };
    let date = "select date '2024-07-01', date '02-03-2004'";
    let script = Script::new()
        .parameter("DateStyle", "ISO, MDY")
        .query("begin; set local datestyle = german; set datestyle = ymd; commit")
        .query(date)
        .query("show datestyle")
        .query("discard all")
        .query(date);
    lab.same(&script);
}

/// What keeps reads on the primary, and what sends them back to the standby.
#[test]
fn pins_end_with_their_reason() {
    let Some(lab) = Lab::new("state::unpinned") else {
        return;
    };
    let mut client = lab.client();
    let here = "select pg_is_in_recovery()";
    for (pin, stays, lift) in [
        (
            "create temp table state_u (a int)",
            "reset all",
            "discard temp",
        ),
        (
            "create temp table state_u (a int)",
            "discard plans",
            "discard all",
        ),
        (
            "set default_transaction_isolation = serializable",
            "deallocate all",
            "set default_transaction_isolation = 'read committed'",
        ),
        (
            "set time zone interval '1' hour",
            "reset datestyle",
            "reset all",
        ),
        (
            "select set_config('timezone', upper('utc'), false)",
            "reset all",
            "discard all",
        ),
    ] {
        assert_eq!(client.value(here), "t", "before {pin}");
        client.run(pin);
        assert_eq!(client.value(here), "f", "{pin}");
        client.run(stays);
        assert_eq!(client.value(here), "f", "{pin}; {stays}");
        client.run(lift);
        assert_eq!(client.value(here), "t", "{pin}; {lift}");
    }
    for free in [
        "listen state_u",
        "select pg_advisory_lock(8)",
        "declare state_u cursor with hold for select 1",
        "set my.custom = 'x'",
        "begin; savepoint s; set my.custom = 'y'; rollback to s; commit",
        "prepare state_u as select 1",
        "set default_transaction_read_only = on",
    ] {
        client.run(free);
        assert_eq!(client.value(here), "t", "{free}");
    }
}

/// A read that was prepared in SQL runs where reads run, with the types and the name that it was given.
#[test]
fn executes_on_the_standby_what_is_prepared_in_sql() {
    let Some(lab) = Lab::new("state::execute") else {
        return;
    };
    let mut client = lab.client();
    client.run("prepare here as select pg_is_in_recovery()");
    assert_eq!(client.value("execute here"), "t");
    client.run("begin");
    assert_eq!(client.value("execute here"), "f");
    client.run("commit");
    assert_eq!(client.value("EXECUTE Here;"), "t");
    client.run("deallocate here");
    client.run("prepare here(int) as select pg_is_in_recovery()::text || $1");
    assert_eq!(client.value("execute here(-1)"), "true-1");
    let script = Script::new()
        .setup("drop table if exists state_e; create table state_e (a int); grant all on state_e to public")
        .query("prepare p (text, numeric(4,1), bool, double precision) as select $1, $2 / 3, $3, $4 / 3")
        .query("execute p('1', 2, 't', 4)")
        .query("execute p(1, 2, true, 4)")
        .query("execute p('1')")
        .query("execute p('1', 'two', true, 4)")
        .query("prepare p as select 1")
        .query("begin; prepare q as select count(*) from state_e; rollback")
        .query("execute q")
        .query("deallocate p; prepare p as insert into state_e values (1) returning a")
        .query("execute p; execute q")
        .query("execute q")
        .query("discard all")
        .query("execute q")
        .query("select 1");
    let trace = lab.same(&script);
    assert_eq!(errors(&trace), ["42601", "22P02", "42P05", "26000"]);
}
