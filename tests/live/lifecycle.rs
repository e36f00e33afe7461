//! The program itself: how it starts, ends, and bears peers that fail or do not read.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::cancel::{LASTS, await_running, is_running};
use crate::support::client::{Client, Pace, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{errors, values};
use crate::support::lab::{self, Lab};
use crate::support::message;
use crate::support::proxy::{self, Proxy};

#[test]
fn wrong_usage_names_the_flag() {
    for (arguments, named) in [
        (&["--listen", "127.0.0.1:0"][..], "--writer"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--listen", "127.0.0.1:0", "--writer"], "--writer"),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--writer",
                "127.0.0.1:1",
                "--gate",
                "nobody",
            ],
            "--gate",
        ),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--writer",
                "127.0.0.1:1",
                "--client-tls",
                "require",
            ],
            "--tls-cert",
        ),
    ] {
        let output = Command::new(proxy::program())
            .args(arguments)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(named), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_every_flag() {
    let output = Command::new(proxy::program())
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in [
        "--listen",
        "--writer",
        "--reader",
        "--user",
        "--users-file",
        "--gate",
        "--split",
        "--client-tls",
        "--tls-cert",
        "--tls-key",
        "--upstream-tls",
        "--upstream-ca",
        "--log-routes",
        "--config",
    ] {
        assert!(help.contains(flag), "{flag} is missing from\n{help}");
    }
}

#[test]
fn finishes_open_requests_when_told_to_stop() {
    let Some(mut lab) = Lab::new("lifecycle::stop") else {
        return;
    };
    lab.admin()
        .run("drop table if exists lifecycle_s; create table lifecycle_s (a text)");
    let mut idle = lab.client();
    idle.run("select 1");
    let mut admin = lab.admin();
    admin.run("select pg_advisory_lock(4712)");
    let mut busy = lab.client();
    busy.send(&message::query(
        "insert into lifecycle_s select 'done' from pg_advisory_xact_lock(4712)",
    ));
    let running =
        "select count(*) from pg_stat_activity where query like 'insert into lifecycle_s%'";
    assert!(eventually(|| admin.value(running) == "1"));
    lab.proxy.terminate();
    let port = lab.proxy.port;
    assert!(eventually(
        || TcpStream::connect(("127.0.0.1", port)).is_err()
    ));
    admin.run("select pg_advisory_unlock(4712)");
    assert_eq!(errors(&busy.ready(1)), [""; 0]);
    assert_eq!(lab.proxy.wait().code(), Some(0));
    assert_eq!(admin.value("select a from lifecycle_s"), "done");
    for client in [&mut idle, &mut busy] {
        assert_eq!(farewell(client), "FATAL 57P01");
    }
}

/// Severity and SQLSTATE of all that a client gets before its connection ends.
fn farewell(client: &mut Client) -> String {
    let frames = client.rest();
    let [error] = frames.as_slice() else {
        panic!("{frames:#?}");
    };
    let field = |code| error.field(code).unwrap();
    format!("{} {}", field(b'V'), field(b'C'))
}

#[test]
fn a_request_without_end_does_not_keep_it_from_stopping() {
    let Some(mut lab) = Lab::new("lifecycle::endless") else {
        return;
    };
    let mut client = lab.client();
    client.send(&message::query("select pg_sleep(3600)"));
    let mut standby = Client::open(lab.cluster.standby(), Pace::Whole, "postgres", &[]);
    let of_the_client = format!(
        "from pg_stat_activity where application_name = '{}' and {LASTS}",
        lab.application
    );
    let running = format!("select count(*) {of_the_client}");
    assert!(eventually(|| standby.value(&running) == "1"));
    lab.proxy.terminate();
    assert_eq!(farewell(&mut client), "FATAL 57P01");
    assert_eq!(lab.proxy.wait().code(), Some(0));
    assert!(lab.proxy.log().contains("timed out: requests in flight"));
    // A server that sleeps does not notice that nobody listens.
    standby.run(&format!("select pg_terminate_backend(pid) {of_the_client}"));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let Some(cluster) = lab::cluster("lifecycle::unread_log") else {
        return;
    };
    let arguments = lab::split(cluster);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut proxy = Proxy::start_unread(cluster, &arguments);
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    // A line for each: several times the 64 KiB that a pipe holds.
    let (batches, size) = (8, 500);
    for _ in 0..batches {
        client.send(&message::query("select 1").repeat(size));
        assert_eq!(errors(&client.ready(size)), [""; 0]);
    }
    proxy.terminate();
    assert_eq!(farewell(&mut client), "FATAL 57P01");
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let Some(lab) = Lab::new("lifecycle::memory") else {
        return;
    };
    let mut client = lab.client();
    client.run("select 1");
    let Some(before) = lab.proxy.resident() else {
        return lab::skip(
            "lifecycle::memory",
            "this system does not tell a process's memory",
        );
    };
    // 1 GiB, from a row that is not small and 1,024 of them.
    client.send(&message::query(
        "select repeat('x', 1048576) from generate_series(1, 1024)",
    ));
    let mut most = 0;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        most = most.max(lab.proxy.resident().unwrap());
    }
    let mut rows = 0;
    while let Some(frame) = client.frame() {
        match frame.tag {
            b'D' => rows += 1,
            b'Z' => break,
            _ => {}
        }
        if rows % 64 == 0 {
            most = most.max(lab.proxy.resident().unwrap());
        }
    }
    assert_eq!(rows, 1024);
    assert!(most < before + 16 * 1024, "{before} KiB grew to {most} KiB");
}

#[test]
fn a_server_that_does_not_read_costs_no_memory() {
    let Some(lab) = Lab::new("lifecycle::server_memory") else {
        return;
    };
    // Whoever holds the lock makes the server stop reading in the middle of the COPY.
    let mut admin = lab.admin();
    admin.run(
        "drop table if exists lifecycle_m; create table lifecycle_m (a text); \
         create or replace function lifecycle_wait() returns trigger language plpgsql as \
           $$ begin perform pg_advisory_xact_lock(4711); return new; end $$; \
         create trigger wait before insert on lifecycle_m \
           for each row execute function lifecycle_wait()",
    );
    let mut client = lab.client();
    client.run("select 1");
    let Some(before) = lab.proxy.resident() else {
        return lab::skip(
            "lifecycle::server_memory",
            "this system does not tell a process's memory",
        );
    };
    admin.run("select pg_advisory_lock(4711)");
    let mut all = message::query("copy lifecycle_m from stdin");
    let row = [&[b'y'; 1023][..], b"\n"].concat();
    let chunk = message::copy_data(&row.repeat(64));
    for _ in 0..512 {
        all.extend_from_slice(&chunk);
    }
    all.extend(message::copy_done());
    let sender = thread::spawn(move || {
        client.send(&all);
        client
    });
    let mut most = 0;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        most = most.max(lab.proxy.resident().unwrap());
    }
    admin.run("select pg_advisory_unlock(4711)");
    let mut client = sender.join().unwrap();
    let frames = client.ready(1);
    assert_eq!(errors(&frames), [""; 0]);
    assert!(most < before + 16 * 1024, "{before} KiB grew to {most} KiB");
}

#[test]
fn ends_the_servers_sessions_with_the_clients() {
    let Some(lab) = Lab::new("lifecycle::close") else {
        return;
    };
    let mut client = lab.client();
    client.run("select 1");
    client.run("create temp table lifecycle_c (a int)");
    drop(client);
    let sessions = format!(
        "select count(*) from pg_stat_activity where application_name = '{}'",
        lab.application
    );
    for port in [lab.cluster.primary(), lab.cluster.standby()] {
        let mut admin = Client::open(port, Pace::Whole, "postgres", &[]);
        let ended = eventually(|| admin.value(&sessions) == "0");
        assert!(ended, "a session outlives its client");
    }
}

/// A server that runs something does not find out that nobody waits for it.
#[test]
fn stops_what_runs_for_a_client_that_dies() {
    let Some(lab) = Lab::new("lifecycle::dies") else {
        return;
    };
    for (port, sql) in [
        (
            lab.cluster.primary(),
            "select pg_sleep(3000), pg_backend_pid()",
        ),
        (lab.cluster.standby(), "select pg_sleep(3000)"),
    ] {
        let mut client = lab.client();
        client.send(&message::query(sql));
        await_running(&lab, port);
        drop(client);
        let stopped = eventually(|| !is_running(&lab, port));
        assert!(stopped, "{sql}: runs on");
    }
}

/// Its own servers: it stops one of them.
#[test]
fn the_writer_serves_when_the_reader_is_gone() {
    if lab::cluster("lifecycle::reader_gone").is_none() {
        return;
    }
    let cluster = Cluster::start("reader-gone").unwrap();
    let arguments = lab::split(&cluster);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let proxy = Proxy::start(&cluster, &arguments);
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(client.value("select pg_is_in_recovery()"), "t");
    cluster.standby_do("stop");
    // Idle sessions go on, and new ones come.
    assert_eq!(client.value("select pg_is_in_recovery()"), "f");
    client.run("create table lifecycle_r (a int)");
    let mut late = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(late.value("select pg_is_in_recovery()"), "f");
    cluster.standby_do("start");
    let mut next = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(next.value("select pg_is_in_recovery()"), "t");
}

#[test]
fn a_reader_that_dies_in_an_answer_costs_the_answer_only() {
    let Some(lab) = Lab::new("lifecycle::reader_dies") else {
        return;
    };
    let mut client = lab.client();
    client.run("select 1");
    client.send(&message::query(
        "select count(*) from generate_series(1, 100000000000)",
    ));
    let mut admin = Client::open(lab.cluster.standby(), Pace::Whole, "postgres", &[]);
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where application_name = '{}' and {LASTS}",
        lab.application
    );
    assert!(eventually(|| !values(&admin.query(&end)).is_empty()));
    // The server's own FATAL would end a session that has another server left.
    let frames = client.ready(1);
    assert_eq!(errors(&frames).len(), 1, "{frames:#?}");
    client.run("create table if not exists lifecycle_d (a int)");
    assert_eq!(client.value("select 1"), "1");
}
