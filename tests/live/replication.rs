//! Replication sessions: handed through whole, to the primary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, process};

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::frame::{errors, tags, values};
use crate::support::lab::Lab;
use crate::support::message;

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(env::temp_dir().join(format!("pgturnout-{}-{name}", process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program of PostgreSQL's against the proxy, as the superuser.
fn run(lab: &Lab, program: &str, arguments: &[&str]) -> Output {
    let path = Path::new(lab.cluster.get("PGBIN")).join(program);
    let conninfo = format!(
        "host=127.0.0.1 port={} user=postgres application_name={}",
        lab.proxy.port, lab.application
    );
    let output = Command::new(path)
        .args(["-d", &conninfo])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    output
}

/// Whether the proxy says, sooner or later, of how many sessions it is that they pass whole.
fn passed_whole(lab: &Lab, count: usize) -> bool {
    eventually(|| lab.proxy.log().matches("why=\"replication\"").count() == count)
}

fn walsender(lab: &Lab, value: &str) -> Client {
    let mut client = Client::connect(lab.proxy.port, Pace::Whole);
    let parameters = [
        ("user", "postgres"),
        ("database", "app"),
        ("application_name", &lab.application),
        ("replication", value),
    ];
    client.send(&message::startup(V3_0, &parameters));
    client.finish_login(None);
    client
}

#[test]
fn streams_wal_both_ways_at_once() {
    let Some(lab) = Lab::new("replication::stream") else {
        return;
    };
    for value in ["true", "on", "yes", "1"] {
        let mut client = walsender(&lab, value);
        let system = client.query("IDENTIFY_SYSTEM");
        let row = system.iter().find(|frame| frame.tag == b'D').unwrap();
        let start = row.columns()[2].clone().unwrap();
        client.send(&message::query(&format!(
            "START_REPLICATION PHYSICAL {start}"
        )));
        assert_eq!(tags(&client.until(b"WE")), "W");
        lab.admin().run("select pg_switch_wal()");
        assert!(client.until(b"d").last().unwrap().body.starts_with(b"w"));
        // A status update that asks for an answer, while WAL goes on coming.
        let mut status = vec![b'r'];
        status.extend([0; 32]);
        status.push(1);
        client.send(&message::copy_data(&status));
        while client.until(b"d").last().unwrap().body[0] != b'k' {}
        client.send(&message::copy_done());
        let end = tags(&client.ready(1));
        assert!(end.ends_with("cCCZ") || end.ends_with("cCZ"), "{end}");
        // It is a session for further commands.
        client.query("IDENTIFY_SYSTEM");
    }
    assert!(passed_whole(&lab, 4));
}

/// A logical one runs SQL as well; what would be a read elsewhere stays here, and can be cancelled.
#[test]
fn runs_sql_where_the_walsender_is() {
    let Some(lab) = Lab::new("replication::database") else {
        return;
    };
    let mut client = walsender(&lab, "database");
    assert_eq!(client.value("select pg_is_in_recovery()"), "f");
    let (process_id, secret) = client.key.clone().unwrap();
    client.send(&message::query("select pg_sleep(600)"));
    let active = format!(
        "select count(*) from pg_stat_activity where pid = {process_id} and state = 'active'"
    );
    let mut admin = lab.admin();
    assert!(eventually(|| admin.value(&active) == "1"));
    assert!(eventually(|| {
        let mut cancel = Client::connect(lab.proxy.port, Pace::Whole);
        cancel.send(&message::cancel(process_id, &secret));
        assert!(cancel.rest().is_empty());
        admin.value(&active) == "0"
    }));
    assert_eq!(errors(&client.ready(1)), ["57014"]);
    assert!(passed_whole(&lab, 1));
}

/// A value that is neither yes nor no goes to the server, whose word it is.
#[test]
fn leaves_a_wrong_value_to_the_server() {
    let Some(lab) = Lab::new("replication::wrong") else {
        return;
    };
    let bytes = message::startup(V3_0, &[("user", "postgres"), ("replication", "maybe")]);
    for port in [lab.cluster.primary(), lab.proxy.port] {
        let mut client = Client::connect(port, Pace::Whole);
        client.send(&bytes);
        assert_eq!(errors(&client.rest()), ["22023"]);
    }
}

/// The end of the client's stream reaches the server behind what was asked, and the answer comes back.
#[test]
fn passes_the_end_of_the_stream_on() {
    let Some(lab) = Lab::new("replication::half_close") else {
        return;
    };
    let mut client = walsender(&lab, "database");
    client.send(&message::query("select repeat('x', 5000000)"));
    client.half_close();
    let frames = client.rest();
    assert_eq!(values(&frames)[0].len(), 5_000_000);
}

#[test]
fn serves_pg_basebackup() {
    let Some(lab) = Lab::new("replication::basebackup") else {
        return;
    };
    let folder = Folder::new("basebackup");
    let to = folder.0.to_str().unwrap();
    run(
        &lab,
        "pg_basebackup",
        &["-D", to, "-X", "stream", "-c", "fast"],
    );
    assert!(folder.0.join("backup_manifest").exists() && folder.0.join("PG_VERSION").exists());
    // One session for the files, one for the WAL meanwhile.
    assert!(passed_whole(&lab, 2));
}

#[test]
fn serves_pg_receivewal() {
    let Some(lab) = Lab::new("replication::receivewal") else {
        return;
    };
    let folder = Folder::new("receivewal");
    fs::create_dir(&folder.0).unwrap();
    let to = folder.0.to_str().unwrap();
    let mut admin = lab.admin();
    admin.run("create table if not exists replication_t (a int)");
    // Two segments on.
    let end = admin.value("select pg_current_wal_lsn() + 32000000");
    let receiver = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            run(
                &lab,
                "pg_receivewal",
                &["-D", to, "-n", "--endpos", &end, "-v"],
            )
        });
        while !receiver.is_finished() {
            admin.run("insert into replication_t values (1); select pg_switch_wal()");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        receiver.join().unwrap()
    });
    let said = String::from_utf8_lossy(&receiver.stderr);
    assert!(said.contains("stopped log streaming"), "{said}");
    assert!(fs::read_dir(&folder.0).unwrap().count() > 0);
}

#[test]
fn serves_psql() {
    let Some(lab) = Lab::new("replication::psql") else {
        return;
    };
    let path = Path::new(lab.cluster.get("PGBIN")).join("psql");
    let conninfo = format!(
        "host=127.0.0.1 port={} user=postgres dbname=app replication=database",
        lab.proxy.port
    );
    let output = Command::new(path)
        .args(["-X", "-A", "-t", "-d", &conninfo])
        .args(["-c", "IDENTIFY_SYSTEM", "-c", "select pg_is_in_recovery()"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim_end().ends_with("\nf"),
        "{said}"
    );
    assert!(said.lines().next().unwrap().ends_with("|app"), "{said}");
    assert!(passed_whole(&lab, 1));
}
