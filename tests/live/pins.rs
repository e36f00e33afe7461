//! What a standby cannot have, by whichever words it came, and what no standby is.

use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, values};
use crate::support::lab::{self, Lab, Script};
use crate::support::message::extended;
use crate::support::proxy::Proxy;

#[test]
fn reads_see_temporary_objects_by_every_name() {
    let Some(lab) = Lab::new("pins::temporary") else {
        return;
    };
    for making in [
        "select 1 as a into pg_temp.pins_t",
        "explain (analyze, costs off, timing off, summary off) create temp table pins_t as select 1",
        "set search_path = pg_temp, public; create table pins_t (a int)",
    ] {
        let script = Script::new()
            .query(making)
            .query("select count(*) from pins_t")
            .query("discard all")
            .query("select count(*) from pins_t");
        assert_eq!(errors(&lab.same_plain(&script)), ["42P01"], "{making}");
    }
    let script = Script::new()
        .parameter("options", "-c search_path=pg_temp,\\ public")
        .query("create table pins_t (a int)")
        .query("select a from pins_t");
    assert_eq!(errors(&lab.same_plain(&script)), [""; 0]);
}

#[test]
fn reads_see_settings_changed_through_their_view() {
    let Some(lab) = Lab::new("pins::view") else {
        return;
    };
    let script = Script::new()
        .query("update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'")
        .query("select '2024-07-01 00:00Z'::timestamptz");
    let trace = lab.same_plain(&script);
    assert_eq!(values(&trace), ["Asia/Tokyo", "2024-07-01 09:00:00+09"]);
}

/// The proxy logs in to the standby at the first read only.
#[test]
fn a_roles_defaults_count_from_the_clients_next_login() {
    let Some(lab) = Lab::new("pins::defaults") else {
        return;
    };
    let script = Script::new()
        .setup("alter role u_trust reset pins.later")
        .query("alter role u_trust set pins.later = 'x'")
        .query("select current_setting('pins.later', true)")
        .query("alter role u_trust reset pins.later");
    assert_eq!(values(&lab.same_plain(&script)), [""]);
}

#[test]
fn serializable_sessions_read() {
    let Some(lab) = Lab::new("pins::serializable") else {
        return;
    };
    let script = Script::new()
        .parameter("options", "-c default_transaction_isolation=serializable")
        .query("select 1")
        .extended("show transaction_isolation", &[]);
    assert_eq!(values(&lab.same_plain(&script)), ["1", "serializable"]);
}

/// What a role or a database has by default no server reports.
#[test]
fn sessions_that_are_serializable_by_default_read() {
    let Some(lab) = Lab::new("pins::serializable_default") else {
        return;
    };
    let mut admin = lab.admin();
    admin.run("drop database if exists pins_serializable");
    admin.run("create database pins_serializable");
    admin.run("alter database pins_serializable set default_transaction_isolation = serializable");
    let open = |port| {
        let parameters = [("database", "pins_serializable")];
        Client::open(port, Pace::Whole, "u_trust", &parameters)
    };
    let port = "select inet_server_port()";
    let (primary, standby) = (lab.cluster.primary(), lab.cluster.standby());
    let mut client = open(lab.proxy.port);
    // The standby answers it, which proves nothing.
    assert_eq!(client.value("show work_mem"), "4MB");
    for _ in 0..2 {
        assert_eq!(client.value(port), primary.to_string());
    }
    assert_eq!(client.value("show transaction_isolation"), "serializable");
    let pinned = "pin session=1 why=\"serializable transactions, which a standby refuses\"";
    assert!(eventually(|| lab.proxy.log().matches(pinned).count() == 1));
    // The standby refuses that, too.
    client.run("discard all");
    assert_eq!(client.value(port), primary.to_string());
    drop(client);
    let mut client = open(lab.proxy.port);
    client.run("set default_transaction_isolation = 'repeatable read'");
    assert_eq!(client.value(port), standby.to_string());
    client.run("reset default_transaction_isolation");
    assert_eq!(client.value(port), primary.to_string());
    drop(client);
    let mut batches = open(lab.proxy.port);
    batches.send(&extended("select $1::int", &[Some("7")]));
    assert_eq!(values(&batches.ready(1)), ["7"]);
    assert_eq!(batches.value(port), primary.to_string());
}

/// Each read takes less time than the session may idle, all of them more.
#[test]
fn reads_keep_a_session_from_idling() {
    let Some(lab) = Lab::new("pins::idle") else {
        return;
    };
    if lab.cluster.version() < 140_000 {
        return lab::skip("pins::idle", "no idle_session_timeout");
    }
    let script = Script::new()
        .query("set idle_session_timeout = '2s'")
        .query("select pg_sleep(1.5)")
        .query("select pg_sleep(1.5)")
        .query("create temp table pins_i (a int)");
    assert_eq!(errors(&lab.same_plain(&script)), [""; 0]);
}

/// Its own servers: it promotes one of them.
#[test]
fn a_promoted_standby_serves_no_reads() {
    if lab::cluster("pins::promoted").is_none() {
        return;
    }
    let cluster = Cluster::start("promoted").unwrap();
    if cluster.version() < 140_000 {
        return lab::skip("pins::promoted", "no in_hot_standby");
    }
    let arguments = lab::split(&cluster);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&cluster, &arguments);
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    let port = "select inet_server_port()";
    let standby = cluster.standby().to_string();
    let primary = cluster.primary().to_string();
    assert_eq!(client.value(port), standby);
    let mut admin = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    assert_eq!(admin.value("select pg_promote()"), "t");
    // The answer with which the standby says so is the last that it gives.
    assert_eq!(client.value(port), standby);
    assert_eq!(client.value(port), primary);
    let mut late = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(late.value(port), primary);
}

/// M09: two servers changed roles, and the proxy was not told.
#[test]
fn a_writer_that_is_a_standby_is_told_of_and_its_refusals_are_the_clients() {
    let Some(cluster) = lab::cluster("pins::demoted") else {
        return;
    };
    if cluster.version() < 140_000 {
        return lab::skip("pins::demoted", "no in_hot_standby");
    }
    let (primary, standby) = (cluster.primary(), cluster.standby());
    let [writer, reader] = [standby, primary].map(|port| format!("127.0.0.1:{port}"));
    let proxy = Proxy::start(cluster, &["--writer", &writer, "--reader", &reader]);
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    for _ in 0..2 {
        let refused = client.query("create table pins_d (a int)");
        assert_eq!(errors(&refused), ["25006"]);
        // Nor is a primary a reader, whatever it is called.
        assert_eq!(
            client.value("select inet_server_port()"),
            standby.to_string()
        );
    }
    assert!(proxy.says("request=4"), "{}", proxy.log());
    let log = proxy.log();
    let said = format!("the writer at {writer} is a standby and refuses writes");
    assert_eq!(log.matches(&said).count(), 1, "{log}");
    let reader_is_none = format!("the reader at {reader} cannot be used: it is not a standby");
    assert_eq!(log.matches(&reader_is_none).count(), 1, "{log}");
}
