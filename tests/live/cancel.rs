//! Cancelling: the key a client gets works wherever its statement runs, and nowhere else.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::client::{Client, Pace, V3_2, eventually};
use crate::support::frame::errors;
use crate::support::lab::{Lab, split};
use crate::support::message;
use crate::support::proxy::Proxy;

pub(crate) const LONG_READ: &str = "select count(*) from generate_series(1, 100000000000)";
const LONG_WRITE: &str = "create table cancel_c as select pg_sleep(600)::text";

/// What `pg_stat_activity` says of a statement that lasts, and not of what a reader is asked ahead of it.
pub(crate) const LASTS: &str = "state = 'active' and query ~ 'generate_series|pg_sleep'";

/// Whether a server is busy with this test's statement.
pub(crate) fn is_running(lab: &Lab, port: u16) -> bool {
    let mut admin = Client::open(port, Pace::Whole, "postgres", &[]);
    let running = format!(
        "select count(*) from pg_stat_activity where application_name = '{}' and {LASTS}",
        lab.application
    );
    admin.value(&running) == "1"
}

pub(crate) fn await_running(lab: &Lab, port: u16) {
    let runs = eventually(|| is_running(lab, port));
    assert!(runs, "the statement does not run");
}

/// A CancelRequest has no answer: the server closes when it has dealt with it.
pub(crate) fn cancel(port: u16, process_id: i32, secret: &[u8]) {
    let mut client = Client::connect(port, Pace::Whole);
    client.send(&message::cancel(process_id, secret));
    assert!(client.rest().is_empty());
}

fn cancels(test: &str, statement: &[u8], port: fn(&Lab) -> u16) {
    let Some(lab) = Lab::new(test) else {
        return;
    };
    let mut client = lab.client();
    let (process_id, secret) = client.key.clone().unwrap();
    for _ in 0..3 {
        client.send(statement);
        await_running(&lab, port(&lab));
        // A server forgets a request that arrives between two messages of a batch: ask again.
        let stopped = eventually(|| {
            cancel(lab.proxy.port, process_id, &secret);
            !is_running(&lab, port(&lab))
        });
        assert!(stopped, "the statement runs on");
        assert_eq!(errors(&client.ready(1)), ["57014"]);
        client.run("select 1");
    }
}

#[test]
fn stops_a_read() {
    cancels("cancel::read", &message::query(LONG_READ), |lab| {
        lab.cluster.standby()
    });
}

#[test]
fn stops_a_read_in_a_batch() {
    cancels("cancel::batch", &message::extended(LONG_READ, &[]), |lab| {
        lab.cluster.standby()
    });
}

#[test]
fn stops_a_write() {
    cancels("cancel::write", &message::query(LONG_WRITE), |lab| {
        lab.cluster.primary()
    });
}

#[test]
fn needs_the_secret() {
    let Some(lab) = Lab::new("cancel::secret") else {
        return;
    };
    let mut client = lab.client();
    let (process_id, secret) = client.key.clone().unwrap();
    client.send(&message::query(LONG_READ));
    await_running(&lab, lab.cluster.standby());
    let mut wrong = secret.clone();
    wrong[0] ^= 1;
    cancel(lab.proxy.port, process_id, &wrong);
    cancel(lab.proxy.port, process_id.wrapping_add(1), &secret);
    cancel(lab.proxy.port, process_id, &secret[..secret.len() - 1]);
    cancel(lab.proxy.port, process_id, &[&secret[..], &[0]].concat());
    await_running(&lab, lab.cluster.standby());
    cancel(lab.proxy.port, process_id, &secret);
    assert_eq!(errors(&client.ready(1)), ["57014"]);
}

#[test]
fn spares_the_next_statement() {
    let Some(lab) = Lab::new("cancel::idle") else {
        return;
    };
    let mut client = lab.client();
    let (process_id, secret) = client.key.clone().unwrap();
    for _ in 0..20 {
        cancel(lab.proxy.port, process_id, &secret);
        client.run("select 1");
        cancel(lab.proxy.port, process_id, &secret);
        client.run("create table if not exists cancel_i (a int)");
    }
}

#[test]
fn shows_the_process_id_of_the_writer() {
    let Some(lab) = Lab::new("cancel::process_id") else {
        return;
    };
    let mut client = lab.client();
    let (process_id, _) = client.key.clone().unwrap();
    assert_eq!(
        client.value("select pg_backend_pid()"),
        process_id.to_string()
    );
    // Clients end each other by this number.
    let end = format!("select pg_terminate_backend({process_id})");
    assert_eq!(lab.admin().value(&end), "t");
    assert_eq!(errors(&client.rest()), ["57P01"]);
}

/// Protocol 3.2: a key of ours is 32 bytes wide if the server speaks 3.2 with the client, and 4 if it does not.
#[test]
fn stops_a_read_with_a_wide_key() {
    let Some(lab) = Lab::new("cancel::wide") else {
        return;
    };
    let mut client = Client::connect(lab.proxy.port, Pace::Whole);
    let parameters = [
        ("user", "u_trust"),
        ("database", "app"),
        ("application_name", lab.application.as_str()),
    ];
    client.send(&message::startup(V3_2, &parameters));
    client.finish_login(None);
    let (process_id, secret) = client.key.clone().unwrap();
    let width = if lab.cluster.version() < 180_000 {
        4
    } else {
        32
    };
    assert_eq!(secret.len(), width);
    for (sql, port) in [
        (LONG_READ, lab.cluster.standby()),
        (LONG_WRITE, lab.cluster.primary()),
    ] {
        client.send(&message::query(sql));
        await_running(&lab, port);
        cancel(lab.proxy.port, process_id, &secret[..4.min(width - 1)]);
        await_running(&lab, port);
        assert!(eventually(|| {
            cancel(lab.proxy.port, process_id, &secret);
            !is_running(&lab, port)
        }));
        assert_eq!(errors(&client.ready(1)), ["57014"]);
    }
}

/// `Ctrl-C` in psql, on whichever server the statement runs.
#[test]
fn stops_what_psql_is_interrupted_in() {
    let Some(lab) = Lab::new("cancel::psql") else {
        return;
    };
    let psql = Path::new(lab.cluster.get("PGBIN")).join("psql");
    let mut versions = vec![""];
    if lab.cluster.version() >= 180_000 {
        versions.push("max_protocol_version=3.2");
    }
    for version in versions {
        for (sql, port) in [
            (LONG_READ, lab.cluster.standby()),
            (LONG_WRITE, lab.cluster.primary()),
        ] {
            let conninfo = format!(
                "host=127.0.0.1 port={} user=u_trust dbname=app application_name={} {version}",
                lab.proxy.port, lab.application
            );
            let child = Command::new(&psql)
                .args(["-X", "-d", &conninfo, "-c", sql])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            await_running(&lab, port);
            let interrupt = ["-INT", &child.id().to_string()];
            assert!(
                Command::new("kill")
                    .args(interrupt)
                    .status()
                    .unwrap()
                    .success()
            );
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("canceling statement due to user request"),
                "{said}"
            );
            assert!(eventually(|| !is_running(&lab, port)));
        }
    }
}

/// psql cancels in a signal handler, also in the middle of a request, which it goes on with when its cancel has been taken.
#[test]
fn does_not_wait_for_the_rest_of_a_request() {
    let Some(lab) = Lab::new("cancel::half_sent") else {
        return;
    };
    let mut client = lab.client();
    let (process_id, secret) = client.key.clone().unwrap();
    // More than all buffers between here and the session take, so that it has seen the beginning.
    let request = message::query(&format!("select pg_sleep(600) -- {}", "x".repeat(32 << 20)));
    let (now, rest) = request.split_at(request.len() / 2);
    client.send(now);
    cancel(lab.proxy.port, process_id, &secret);
    client.send(rest);
    // A server that still reads forgets the cancel.
    let answered = AtomicBool::new(false);
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            while !answered.load(Ordering::Relaxed) {
                cancel(lab.proxy.port, process_id, &secret);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let answer = client.ready(1);
        answered.store(true, Ordering::Relaxed);
        answer
    });
    assert_eq!(errors(&answer), ["57014"]);
}

/// From the session's own address, if that is asked for.
#[test]
fn may_have_to_come_from_the_sessions_address() {
    let Some(lab) = Lab::new("cancel::source") else {
        return;
    };
    let arguments = split(lab.cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--cancel-source", "same-address"]);
    let proxy = Proxy::start(lab.cluster, &arguments);
    let parameters = [("application_name", lab.application.as_str())];
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &parameters);
    let (process_id, secret) = client.key.clone().unwrap();
    client.send(&message::query(LONG_READ));
    await_running(&lab, lab.cluster.standby());
    cancel_from(
        [127, 0, 0, 2].into(),
        proxy.port,
        &message::cancel(process_id, &secret),
    );
    await_running(&lab, lab.cluster.standby());
    cancel(proxy.port, process_id, &secret);
    assert_eq!(errors(&client.ready(1)), ["57014"]);
}

/// Sends bytes from an address of this machine's, and waits for the close. The whole of 127/8 is this machine's on
/// Linux; elsewhere the address cannot be had and nothing is sent, which proves nothing and breaks nothing.
fn cancel_from(address: Ipv4Addr, port: u16, bytes: &[u8]) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if socket.bind(&SocketAddr::from((address, 0)).into()).is_err() {
        return;
    }
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())
        .unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(bytes).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
}
