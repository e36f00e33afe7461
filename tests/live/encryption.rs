//! TLS with real clients of it, on both sides of the proxy.

use std::io::ErrorKind;

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::errors;
use crate::support::lab;
use crate::support::message;
use crate::support::proxy::Proxy;

const APP: [(&str, &str); 2] = [("user", "u_trust"), ("database", "app")];
const ALPN: &[&str] = &["postgresql"];
const IS_STANDBY: &str = "select pg_is_in_recovery()";

/// The cluster, if it came with certificates.
fn cluster(test: &str) -> Option<&'static Cluster> {
    let cluster = lab::cluster(test)?;
    if cluster.get("CERT").is_empty() {
        lab::skip(test, "no openssl, so no certificates");
        return None;
    }
    Some(cluster)
}

/// The cluster, if its servers speak TLS.
fn with_tls(test: &str) -> Option<&'static Cluster> {
    let cluster = cluster(test)?;
    if !cluster.has_tls() {
        lab::skip(test, "this server is built without TLS");
        return None;
    }
    Some(cluster)
}

fn proxy(cluster: &'static Cluster, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

fn terminating(cluster: &'static Cluster, policy: &str) -> Proxy {
    let (cert, key) = (cluster.get("CERT"), cluster.get("KEY"));
    proxy(
        cluster,
        &[
            "--client-tls",
            policy,
            "--tls-cert",
            cert,
            "--tls-key",
            key,
            "--upstream-tls",
            "disable",
        ],
    )
}

/// A connection with TLS, asked for or not.
fn encrypted(cluster: &Cluster, port: u16, asks: bool, alpn: &[&str]) -> std::io::Result<Client> {
    let mut client = Client::connect(port, Pace::Whole);
    if asks {
        client.send(&message::ssl_request());
        assert_eq!(client.byte(), b'S');
    }
    client.secure(cluster, alpn)
}

fn log_in(mut client: Client) -> Client {
    client.send(&message::startup(V3_0, &APP));
    client.finish_login(None);
    client
}

fn splits(client: &mut Client) {
    assert_eq!(client.value(IS_STANDBY), "t");
    client.run("begin");
    assert_eq!(client.value(IS_STANDBY), "f");
    client.run("commit");
}

#[test]
fn serves_clients_over_tls_however_it_begins() {
    let Some(cluster) = cluster("encryption::clients") else {
        return;
    };
    for policy in ["allow", "require"] {
        let proxy = terminating(cluster, policy);
        for (asks, alpn) in [(true, &[][..]), (true, ALPN), (false, ALPN)] {
            let client = encrypted(cluster, proxy.port, asks, alpn).unwrap();
            assert_eq!(client.alpn().is_some(), !alpn.is_empty());
            splits(&mut log_in(client));
        }
    }
    let proxy = terminating(cluster, "allow");
    splits(&mut log_in(Client::connect(proxy.port, Pace::Whole)));
}

/// PostgreSQL 17 and later refuse it too.
#[test]
fn refuses_a_direct_handshake_that_does_not_say_what_for() {
    let Some(cluster) = cluster("encryption::alpn") else {
        return;
    };
    let proxy = terminating(cluster, "allow");
    let mut client = encrypted(cluster, proxy.port, false, &[]).unwrap();
    client.send(&message::startup(V3_0, &APP));
    assert!(client.rest().is_empty());
    let error = encrypted(cluster, proxy.port, false, &["h2"])
        .err()
        .unwrap();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        ),
        "{error:?}"
    );
    let disabled = self::proxy(cluster, &["--upstream-tls", "disable"]);
    assert!(encrypted(cluster, disabled.port, false, ALPN).is_err());
}

#[test]
fn refuses_a_login_in_clear_where_tls_is_required() {
    let Some(cluster) = cluster("encryption::require") else {
        return;
    };
    let proxy = terminating(cluster, "require");
    let mut client = Client::connect(proxy.port, Pace::Whole);
    client.send(&message::startup(V3_0, &APP));
    assert_eq!(errors(&client.rest()), ["28000"]);
    let mut client = Client::connect(proxy.port, Pace::Whole);
    client.send(&message::gssenc_request());
    assert_eq!(client.byte(), b'N');
    client.send(&message::startup(V3_0, &APP));
    assert_eq!(errors(&client.rest()), ["28000"]);
}

/// A CancelRequest may come encrypted as well, and stops what runs.
#[test]
fn takes_a_cancel_over_tls() {
    let Some(cluster) = cluster("encryption::cancel") else {
        return;
    };
    let proxy = terminating(cluster, "require");
    let mut client = log_in(encrypted(cluster, proxy.port, true, ALPN).unwrap());
    let (process_id, secret) = client.key.clone().unwrap();
    for sql in [
        "select pg_sleep(601)",
        "create table encryption_c as select pg_sleep(602)::text",
    ] {
        for asks in [true, false] {
            client.send(&message::query(sql));
            let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
            let mut standby = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
            let mut runs = || {
                let sql = format!(
                    "select count(*) from pg_stat_activity where usename = 'u_trust' and query = '{sql}' and state = 'active'"
                );
                admin.value(&sql) == "1" || standby.value(&sql) == "1"
            };
            assert!(eventually(&mut runs), "it does not run");
            assert!(eventually(|| {
                let mut cancel = encrypted(cluster, proxy.port, asks, ALPN).unwrap();
                cancel.send(&message::cancel(process_id, &secret));
                assert!(cancel.rest().is_empty());
                !runs()
            }));
            assert_eq!(errors(&client.ready(1)), ["57014"], "{sql}");
        }
    }
}

/// The server's own certificate, and a session that nobody reads.
#[test]
fn hands_encryption_through() {
    let Some(cluster) = with_tls("encryption::passthrough") else {
        return;
    };
    for upstream in ["disable", "require"] {
        let proxy = proxy(
            cluster,
            &["--client-tls", "passthrough", "--upstream-tls", upstream],
        );
        let mut client = log_in(encrypted(cluster, proxy.port, true, &[]).unwrap());
        assert_eq!(client.value(IS_STANDBY), "f");
        assert_eq!(
            client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()"),
            "t"
        );
        let big = client.value("select repeat('x', 3000000)");
        assert_eq!(big.len(), 3_000_000);
        // The key is the server's own, and so is the cancel, which comes as the client sends it.
        let (process_id, secret) = client.key.clone().unwrap();
        client.send(&message::query("select pg_sleep(600)"));
        let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
        let active = format!(
            "select count(*) from pg_stat_activity where pid = {process_id} and state = 'active'"
        );
        assert!(eventually(|| admin.value(&active) == "1"));
        assert!(eventually(|| {
            let mut cancel = encrypted(cluster, proxy.port, true, &[]).unwrap();
            cancel.send(&message::cancel(process_id, &secret));
            assert!(cancel.rest().is_empty());
            admin.value(&active) == "0"
        }));
        assert_eq!(errors(&client.ready(1)), ["57014"]);
        assert!(proxy.says("why=\"encrypted end to end\""));
        // Whoever asks for no TLS is served, and split.
        splits(&mut log_in(Client::connect(proxy.port, Pace::Whole)));
    }
}

/// libpq before 17 sends its cancels in clear, whatever the session: they are the server's to judge.
#[test]
fn hands_a_cancel_in_clear_through() {
    let Some(cluster) = with_tls("encryption::passthrough_cancel") else {
        return;
    };
    let proxy = proxy(cluster, &["--client-tls", "passthrough"]);
    let mut client = log_in(encrypted(cluster, proxy.port, true, &[]).unwrap());
    let (process_id, secret) = client.key.clone().unwrap();
    client.send(&message::query("select pg_sleep(600)"));
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    let active = format!(
        "select count(*) from pg_stat_activity where pid = {process_id} and state = 'active'"
    );
    assert!(eventually(|| admin.value(&active) == "1"));
    assert!(eventually(|| {
        let mut cancel = Client::connect(proxy.port, Pace::Whole);
        cancel.send(&message::cancel(process_id, &secret));
        assert!(cancel.rest().is_empty());
        admin.value(&active) == "0"
    }));
    assert_eq!(errors(&client.ready(1)), ["57014"]);
}

/// A proxy that has no TLS stands for a server built without it.
#[test]
fn hands_a_servers_refusal_through_but_for_a_server_that_must_not_refuse() {
    let Some(cluster) = cluster("encryption::refusal") else {
        return;
    };
    let server = proxy(cluster, &["--upstream-tls", "disable", "--split", "off"]);
    let server = format!("127.0.0.1:{}", server.port);
    let passing = |tls: &str| {
        let more = ["--client-tls", "passthrough", "--upstream-tls", tls];
        Proxy::start(cluster, &[&["--writer", &server][..], &more].concat())
    };
    let open = passing("disable");
    let mut client = Client::connect(open.port, Pace::Whole);
    client.send(&message::ssl_request());
    assert_eq!(client.byte(), b'N');
    let mut client = log_in(client);
    assert_eq!(client.value(IS_STANDBY), "f");
    let strict = passing("require");
    let mut client = Client::connect(strict.port, Pace::Whole);
    client.send(&message::ssl_request());
    assert_eq!(errors(&client.rest()), ["08006"]);
}

/// This user is refused in clear.
#[test]
fn tries_again_with_tls_where_clear_is_refused() {
    let Some(cluster) = with_tls("encryption::allow") else {
        return;
    };
    let proxy = proxy(
        cluster,
        &["--upstream-tls", "allow", "--user", "u_tls:u_tls-secret"],
    );
    let (read, write) = crate::login::ask(proxy.port, "u_tls", "u_tls-secret").unwrap();
    assert_eq!((read, write), (true, false));
    for told in [
        "the writer at",
        "the reader at",
        "refused a login without TLS",
    ] {
        assert!(proxy.says(told), "{told}: {}", proxy.log());
    }
    // Nobody asks for more than is needed.
    let mut client = log_in(Client::connect(proxy.port, Pace::Whole));
    let ssl = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(client.value(ssl), "f");
}

/// Two proxies in a row: the outer one begins with the handshake, the inner one takes it.
#[test]
fn begins_with_the_handshake_toward_an_upstream() {
    let Some(cluster) = cluster("encryption::direct_upstream") else {
        return;
    };
    let inner = terminating(cluster, "require");
    let writer = format!("127.0.0.1:{}", inner.port);
    let ca = cluster.get("CA");
    let outer = Proxy::start(
        cluster,
        &[
            "--writer",
            &writer,
            "--upstream-tls",
            "verify-full",
            "--upstream-ca",
            ca,
            "--upstream-tls-negotiation",
            "direct",
        ],
    );
    splits(&mut log_in(Client::connect(outer.port, Pace::Whole)));
}

/// `0.0.0.0` leads here and is in no certificate.
#[test]
fn asks_who_answers_as_far_as_it_is_told_to() {
    let Some(cluster) = cluster("encryption::verified_upstream") else {
        return;
    };
    let inner = terminating(cluster, "require");
    let (ca, not_ca) = (cluster.get("CA"), cluster.get("CERT"));
    for (policy, host, ca, is_believed) in [
        ("verify-ca", "0.0.0.0", ca, true),
        ("verify-ca", "127.0.0.1", not_ca, false),
        ("verify-full", "127.0.0.1", ca, true),
        ("verify-full", "0.0.0.0", ca, false),
    ] {
        let writer = format!("{host}:{}", inner.port);
        let upstream = ["--upstream-tls", policy, "--upstream-ca", ca];
        let outer = Proxy::start(cluster, &[&["--writer", &writer][..], &upstream].concat());
        let mut client = Client::connect(outer.port, Pace::Whole);
        client.send(&message::startup(V3_0, &APP));
        let answer = client.frame().expect("an answer");
        assert_eq!(
            answer.tag,
            if is_believed { b'R' } else { b'E' },
            "{policy} {host}"
        );
        if !is_believed {
            let told = || outer.log().contains("TLS failed: invalid peer certificate");
            assert!(eventually(told), "{}", outer.log());
        }
    }
}
