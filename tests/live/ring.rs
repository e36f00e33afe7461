//! Instances of the proxy that hand each other's cancel requests on.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::cancel::{LONG_READ, await_running, cancel, is_running};
use crate::support::client::{Client, Pace, V3_0, V3_2, eventually};
use crate::support::frame::errors;
use crate::support::lab::{Lab, split};
use crate::support::message;
use crate::support::proxy::Proxy;

const LONG_WRITE: &str = "create table ring_c as select pg_sleep(600)::text";
const FIRST: &str = "the first secret of this ring";
const SECOND: &str = "the second secret of this ring";

/// A ring's file, removed at the end.
struct Ring {
    path: PathBuf,
    ports: [u16; 2],
}

impl Drop for Ring {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl Ring {
    fn new(test: &str) -> Ring {
        let name = test.replace(':', "_");
        let path = std::env::temp_dir().join(format!("pgturnout-{}-{name}", std::process::id()));
        // Both held, so that they are two; free again when the proxies take them.
        let held = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.map(|listener| listener.local_addr().unwrap().port());
        let ring = Ring { path, ports };
        ring.write(&[FIRST]);
        ring
    }

    fn write(&self, secrets: &[&str]) {
        let mut text: String = secrets
            .iter()
            .map(|secret| format!("secret {secret}\n"))
            .collect();
        for (number, port) in (1..).zip(self.ports) {
            text += &format!("instance {number} 127.0.0.1:{port}\n");
        }
        fs::write(&self.path, text).unwrap();
    }

    fn start(&self, lab: &Lab, instance: &str) -> Proxy {
        let arguments = split(lab.cluster);
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let path = self.path.to_str().unwrap();
        arguments.extend(["--cancel-ring", path, "--cancel-instance", instance]);
        Proxy::start(lab.cluster, &arguments)
    }

    fn both(&self, lab: &Lab) -> [Proxy; 2] {
        ["1", "2"].map(|instance| self.start(lab, instance))
    }
}

fn open(lab: &Lab, proxy: &Proxy, version: u32) -> (Client, i32, Vec<u8>) {
    let mut client = Client::connect(proxy.port, Pace::Whole);
    let parameters = [
        ("user", "u_trust"),
        ("database", "app"),
        ("application_name", lab.application.as_str()),
    ];
    client.send(&message::startup(version, &parameters));
    client.finish_login(None);
    let (process_id, secret) = client.key.clone().unwrap();
    (client, process_id, secret)
}

/// A session's key stops what runs in it, sent to this proxy.
fn stops(lab: &Lab, (client, process_id, secret): &mut (Client, i32, Vec<u8>), at: &Proxy) {
    for (sql, port) in [
        (LONG_READ, lab.cluster.standby()),
        (LONG_WRITE, lab.cluster.primary()),
    ] {
        client.send(&message::query(sql));
        await_running(lab, port);
        cancel(at.port, *process_id, secret);
        assert_eq!(errors(&client.ready(1)), ["57014"], "{sql}");
        client.run("select 1");
    }
}

fn reread(proxy: &Proxy, says: &str) {
    let before = proxy.log().matches(says).count();
    proxy.signal("HUP");
    assert!(
        eventually(|| proxy.log().matches(says).count() > before),
        "{}",
        proxy.log()
    );
}

#[test]
fn a_cancel_finds_its_session_through_either_instance() {
    let Some(lab) = Lab::new("ring::either") else {
        return;
    };
    let ring = Ring::new("ring::either");
    let proxies = ring.both(&lab);
    for version in [V3_0, V3_2] {
        for (home, other) in [(0, 1), (1, 0)] {
            let mut session = open(&lab, &proxies[home], version);
            let wide = version == V3_2 && lab.cluster.version() >= 180_000;
            assert_eq!(session.2.len(), if wide { 53 } else { 4 });
            stops(&lab, &mut session, &proxies[other]);
            stops(&lab, &mut session, &proxies[home]);
        }
    }
}

/// Whatever is sent to whichever instance, what runs runs on; and nobody is asked about a key that proves nothing.
#[test]
fn a_key_that_is_forged_or_foreign_does_nothing() {
    let Some(lab) = Lab::new("ring::forged") else {
        return;
    };
    let ring = Ring::new("ring::forged");
    let proxies = ring.both(&lab);
    // Of a ring with another secret, where the first instance is another proxy.
    let foreign = Ring::new("ring::foreign");
    foreign.write(&[SECOND]);
    let stranger = foreign.start(&lab, "1");
    let version = if lab.cluster.version() < 180_000 {
        V3_0
    } else {
        V3_2
    };
    let (mut client, process_id, secret) = open(&lab, &proxies[0], version);
    client.send(&message::query(LONG_READ));
    await_running(&lab, lab.cluster.standby());
    let mut forged = 0;
    for proxy in &proxies {
        for at in 0..secret.len() {
            let mut wrong = secret.clone();
            wrong[at] ^= 1;
            cancel(proxy.port, process_id, &wrong);
            forged += 1;
        }
        cancel(proxy.port, process_id.wrapping_add(1), &secret);
        cancel(proxy.port, process_id, &secret[..secret.len() - 1]);
        cancel(proxy.port, process_id, &[&secret[..], &[0]].concat());
        forged += 3;
    }
    cancel(stranger.port, process_id, &secret);
    assert!(is_running(&lab, lab.cluster.standby()));
    if version == V3_2 {
        for proxy in &proxies {
            proxy.signal("USR1");
            let ignored = format!(
                "cancel_received={} cancel_ignored={}",
                forged / 2,
                forged / 2
            );
            assert!(
                eventually(|| proxy.log().contains(&ignored)),
                "{}",
                proxy.log()
            );
        }
    }
    cancel(proxies[1].port, process_id, &secret);
    assert_eq!(errors(&client.ready(1)), ["57014"]);
}

/// The other instance is gone, or was never there: whoever asked is told nothing, as always.
#[test]
fn an_instance_that_is_not_there_is_no_harm() {
    let Some(lab) = Lab::new("ring::gone") else {
        return;
    };
    let ring = Ring::new("ring::gone");
    let [one, two] = ring.both(&lab);
    let (_client, process_id, secret) = open(&lab, &two, V3_0);
    drop(two);
    cancel(one.port, process_id, &secret);
    assert!(eventually(|| one
        .log()
        .contains("a cancel request could not be sent to 127.0.0.1:")));
    let mut session = open(&lab, &one, V3_0);
    stops(&lab, &mut session, &one);
}

#[test]
fn a_secret_is_changed_while_sessions_run() {
    let Some(lab) = Lab::new("ring::rotation") else {
        return;
    };
    let ring = Ring::new("ring::rotation");
    let proxies = ring.both(&lab);
    let [one, two] = &proxies;
    let mut old = open(&lab, one, V3_2);
    let read = "were read again";
    for secrets in [[FIRST, SECOND], [SECOND, FIRST]] {
        ring.write(&secrets);
        for proxy in &proxies {
            reread(proxy, read);
            // With one instance ahead of the other, too.
            stops(&lab, &mut old, two);
            let mut new = open(&lab, one, V3_2);
            stops(&lab, &mut new, two);
        }
    }
    // A file that says nothing usable changes nothing.
    ring.write(&["short"]);
    reread(one, "not read again: --cancel-ring: ");
    reread(two, "not read again: --cancel-ring: ");
    assert!(!one.log().contains("short\n"), "{}", one.log());
    stops(&lab, &mut old, two);
    // Without the first secret its keys are found at home alone.
    ring.write(&[SECOND]);
    reread(one, read);
    reread(two, read);
    stops(&lab, &mut old, one);
    let mut new = open(&lab, one, V3_2);
    stops(&lab, &mut new, two);
}

/// C01: whoever waits for the end of a cancel's connection has no later statement hit by it, however far the cancel has
/// to go and whatever has become of the statement that it meant.
#[test]
fn a_cancel_is_over_when_its_connection_is() {
    let Some(lab) = Lab::new("ring::over") else {
        return;
    };
    let ring = Ring::new("ring::over");
    let proxies = ring.both(&lab);
    let (mut client, process_id, secret) = open(&lab, &proxies[0], V3_0);
    client.run("drop table if exists ring_o; create table ring_o (a int)");
    // Around the size at which a statement lasts as long as a cancel takes to come.
    let (mut stopped, mut size) = (0, 1_000);
    for round in 0..100 {
        let (sql, next) = [
            (
                format!("select count(*) from generate_series(1, {size})"),
                "select 1",
            ),
            (
                format!("insert into ring_o select generate_series(1, {size})"),
                "delete from ring_o",
            ),
        ][round % 2]
            .clone();
        client.send(&message::query(&sql));
        cancel(proxies[round / 2 % 2].port, process_id, &secret);
        client.send(&message::query(next));
        let frames = client.ready(2);
        let failed = errors(&frames);
        // The first of the two, if any: the second began when the cancel was over.
        let first_ends = frames.iter().position(|frame| frame.tag == b'Z').unwrap();
        assert_eq!(errors(&frames[first_ends..]), [""; 0], "{next}");
        size = if failed.is_empty() {
            size * 2
        } else {
            size / 2 + 1
        };
        stopped += failed.len();
    }
    assert!(stopped > 0, "no cancel came in time");
}
