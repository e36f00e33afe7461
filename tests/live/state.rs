//! What a session remembers is the same wherever its next statement runs (law L7).

use crate::support::frame::{errors, tags, values};
use crate::support::lab::{Lab, Script};
use crate::support::message::{bind, execute, query, sync};

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
