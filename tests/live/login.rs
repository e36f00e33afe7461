//! Opening a session: versions, TLS questions, every method of authentication, on both servers.

use crate::support::client::{Client, Pace, V3_0, V3_2};
use crate::support::frame::{Frame, errors, tags};
use crate::support::lab::{self, Lab};
use crate::support::message;
use crate::support::proxy::Proxy;

/// A proxy that can log the users with passwords in to the reader.
fn proxy(cluster: &'static crate::support::cluster::Cluster, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--user", "u_md5:u_md5-secret"]);
    arguments.extend(["--user", "u_scram:u_scram-secret"]);
    arguments.extend(["--user", "u_clear:u_clear-secret"]);
    arguments.extend(["--user", "u_tls:u_tls-secret"]);
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

/// What the server says to these startup bytes, up to its ReadyForQuery, its question or its close.
fn opening(port: u16, bytes: &[u8]) -> Vec<Frame> {
    let mut client = Client::connect(port, Pace::Whole);
    client.send(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = client.frame() {
        let question = frame.tag == b'R' && !frame.body.starts_with(&[0; 4]);
        let last = frame.tag == b'Z' || question;
        frames.push(frame.normalised());
        if last {
            break;
        }
    }
    frames
}

fn same_opening(lab: &Lab, version: u32, parameters: &[(&str, &str)]) -> Vec<Frame> {
    let bytes = message::startup(version, parameters);
    let direct = opening(lab.cluster.primary(), &bytes);
    assert_eq!(opening(lab.proxy.port, &bytes), direct, "{parameters:?}");
    direct
}

#[test]
fn opens_as_the_server_does() {
    let Some(lab) = Lab::new("login::openings") else {
        return;
    };
    let user = ("user", "u_trust");
    let trace = same_opening(&lab, V3_0, &[user, ("database", "app")]);
    assert!(tags(&trace).ends_with("KZ"), "{trace:?}");
    let trace = same_opening(&lab, V3_0, &[user, ("database", "no such database")]);
    assert_eq!(errors(&trace), ["3D000"]);
    // The database is named like the user when it is not named.
    assert_eq!(errors(&same_opening(&lab, V3_0, &[user])), ["3D000"]);
    let trace = same_opening(
        &lab,
        V3_0,
        &[("user", "nobody at all"), ("database", "app")],
    );
    assert_eq!(errors(&trace), ["28000"]);
    let bad = ("DateStyle", "no style at all");
    let trace = same_opening(&lab, V3_0, &[user, ("database", "app"), bad]);
    assert_eq!(errors(&trace), ["22023"]);
    let twice = [("user", "nobody at all"), ("database", "app"), user];
    assert_eq!(errors(&same_opening(&lab, V3_0, &twice)), [""; 0]);
    // Whose words these are depends on who reads the message first.
    let nobody = message::startup(V3_0, &[("database", "app")]);
    for port in [lab.cluster.primary(), lab.proxy.port] {
        assert_eq!(errors(&opening(port, &nobody)), ["28000"]);
    }
}

#[test]
fn negotiates_versions_as_the_server_does() {
    let Some(lab) = Lab::new("login::versions") else {
        return;
    };
    let start = [("user", "u_trust"), ("database", "app")];
    let future = [start[0], start[1], ("_pq_.of_the_future", "yes")];
    let trace = same_opening(&lab, V3_2, &start);
    assert_eq!(tags(&trace).contains('v'), lab.cluster.version() < 180_000);
    assert!(tags(&same_opening(&lab, V3_0, &future)).contains('v'));
    same_opening(&lab, V3_2, &future);
    // As libpq's `max_protocol_version=grease` asks.
    let grease = [start[0], start[1], ("_pq_.test_protocol_negotiation", "")];
    let trace = same_opening(&lab, 0x0003_270f, &grease);
    assert_eq!(tags(&trace).matches('v').count(), 1, "{trace:?}");
    // Major versions that nobody speaks, one of them with another form of error.
    let bytes = message::startup(0x0004_0000, &start);
    for port in [lab.cluster.primary(), lab.proxy.port] {
        assert_eq!(errors(&opening(port, &bytes)), ["0A000"]);
    }
    let mut client = Client::connect(lab.proxy.port, Pace::Whole);
    client.send(&message::startup(0x0002_0000, &start));
    assert_eq!(client.byte(), b'E');
    while client.try_byte().is_some() {}
}

#[test]
fn answers_questions_about_encryption() {
    let Some(lab) = Lab::new("login::encryption") else {
        return;
    };
    let mut client = Client::connect(lab.proxy.port, Pace::Whole);
    client.send(&message::gssenc_request());
    assert_eq!(client.byte(), b'N');
    client.send(&message::ssl_request());
    assert_eq!(client.byte(), b'N');
    client.send(&message::startup(
        V3_0,
        &[("user", "u_trust"), ("database", "app")],
    ));
    client.finish_login(None);
    client.run("select 1");
}

#[test]
fn refuses_bytes_behind_an_encryption_request() {
    let Some(lab) = Lab::new("login::stuffing") else {
        return;
    };
    let start = message::startup(V3_0, &[("user", "u_trust"), ("database", "app")]);
    let mut client = Client::connect(lab.proxy.port, Pace::Whole);
    client.send(&[message::ssl_request(), start].concat());
    // A byte of refusal may come first, a login must not.
    let mut seen = Vec::new();
    while let Some(byte) = client.try_byte() {
        seen.push(byte);
    }
    assert!(!seen.contains(&b'R') && !seen.contains(&b'Z'), "{seen:?}");
}

/// Logs in with tokio-postgres and asks where a read and a write run.
pub(crate) fn ask(
    port: u16,
    user: &str,
    secret: &str,
) -> Result<(bool, bool), tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(port)
            .user(user)
            .password(secret)
            .dbname("app");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let read = client
            .query_one("select pg_is_in_recovery()", &[])
            .await?
            .get(0);
        client.batch_execute("begin").await?;
        let write = client
            .query_one("select pg_is_in_recovery()", &[])
            .await?
            .get(0);
        client.batch_execute("commit").await?;
        drop(client);
        connection.await.unwrap()?;
        Ok((read, write))
    })
}

fn code(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(tokio_postgres::error::SqlState::code)
}

fn logs_in(test: &str, user: &str) {
    let Some(cluster) = lab::cluster(test) else {
        return;
    };
    let secret = format!("{user}-secret");
    assert_eq!(
        ask(cluster.primary(), user, &secret).unwrap(),
        (false, false)
    );
    let proxy = proxy(cluster, &[]);
    assert_eq!(ask(proxy.port, user, &secret).unwrap(), (true, false));
    // The server is asked for the truth each time, whatever the proxy knows.
    let error = ask(proxy.port, user, "a wrong password").unwrap_err();
    assert_eq!(code(&error), Some("28P01"), "{error:?}");
}

#[test]
fn logs_in_with_md5() {
    logs_in("login::md5", "u_md5");
}

#[test]
fn logs_in_with_scram() {
    logs_in("login::scram", "u_scram");
}

#[test]
fn relays_a_cleartext_password_but_does_not_send_one_of_its_own() {
    let Some(cluster) = lab::cluster("login::cleartext") else {
        return;
    };
    let proxy = proxy(cluster, &["--upstream-tls", "disable"]);
    // Without TLS to the reader it may not be logged in to, and the writer serves alone.
    assert_eq!(
        ask(proxy.port, "u_clear", "u_clear-secret").unwrap(),
        (false, false)
    );
}

#[test]
fn serves_from_the_writer_without_a_credential_for_the_reader() {
    let Some(lab) = Lab::new("login::no_credential") else {
        return;
    };
    assert_eq!(
        ask(lab.proxy.port, "u_scram", "u_scram-secret").unwrap(),
        (false, false)
    );
}

#[test]
fn logs_in_to_the_reader_over_tls() {
    let Some(cluster) = lab::cluster("login::upstream_tls") else {
        return;
    };
    if !cluster.has_tls() {
        return lab::skip("login::upstream_tls", "this server is built without TLS");
    }
    let more = [
        "--upstream-tls",
        "verify-full",
        "--upstream-ca",
        cluster.get("CA"),
    ];
    let proxy = proxy(cluster, &more);
    assert_eq!(ask(proxy.port, "u_trust", "").unwrap(), (true, false));
    let secret = "u_clear-secret";
    assert_eq!(ask(proxy.port, "u_clear", secret).unwrap(), (true, false));
    // This user is refused without TLS.
    assert_eq!(
        ask(proxy.port, "u_tls", "u_tls-secret").unwrap(),
        (true, false)
    );
    assert!(ask(cluster.primary(), "u_tls", "u_tls-secret").is_err());
}
