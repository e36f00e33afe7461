//! Cancelling: the key a client gets works wherever its statement runs, and nowhere else.

use crate::support::client::{Client, Pace, eventually};
use crate::support::frame::errors;
use crate::support::lab::Lab;
use crate::support::message;

const LONG_READ: &str = "select count(*) from generate_series(1, 100000000000)";
const LONG_WRITE: &str = "create table cancel_c as select pg_sleep(600)::text";

/// Whether a server is busy with this test's statement.
fn is_running(lab: &Lab, port: u16) -> bool {
    let mut admin = Client::open(port, Pace::Whole, "postgres", &[]);
    let running = format!(
        "select count(*) from pg_stat_activity where application_name = '{}' and state = 'active'",
        lab.application
    );
    admin.value(&running) == "1"
}

fn await_running(lab: &Lab, port: u16) {
    let runs = eventually(|| is_running(lab, port));
    assert!(runs, "the statement does not run");
}

/// A CancelRequest has no answer: the server closes when it has dealt with it.
fn cancel(port: u16, process_id: i32, secret: &[u8]) {
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
