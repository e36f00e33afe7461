//! The metrics of the proxy, scraped while sessions are open, and its summary.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::cancel::cancel;
use crate::support::client::{Client, Pace, eventually};
use crate::support::frame::errors;
use crate::support::lab;
use crate::support::message;
use crate::support::proxy::Proxy;

struct Scraped {
    proxy: Proxy,
    /// What upstreams are called.
    primary: String,
    standby: String,
}

impl Scraped {
    fn start(test: &str) -> Option<Scraped> {
        Scraped::start_with(test, &[])
    }

    fn start_with(test: &str, more: &[&str]) -> Option<Scraped> {
        let cluster = lab::cluster(test)?;
        let mut arguments = lab::split(cluster);
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments.extend(["--upstream-tls", "disable", "--metrics", "0"].map(str::to_owned));
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Some(Scraped {
            proxy: Proxy::start(cluster, &arguments),
            primary: format!("127.0.0.1:{}", cluster.primary()),
            standby: format!("127.0.0.1:{}", cluster.standby()),
        })
    }

    fn client(&self) -> Client {
        Client::open(self.proxy.port, Pace::Whole, "u_trust", &[])
    }

    /// What a request over HTTP is answered with.
    fn asked(&self, request: &str) -> String {
        let says_where = || self.proxy.log().contains("metrics on http://");
        assert!(eventually(says_where), "{}", self.proxy.log());
        let log = self.proxy.log();
        let (_, address) = log.split_once("metrics on http://").expect("it says where");
        let (address, _) = address.split_once("/metrics").expect("a path");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The metrics: each line's name with labels, and its number.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let answer = self.asked("GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(body.ends_with("# EOF\n"));
        body.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, number) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), number.parse().unwrap())
            })
            .collect()
    }
}

#[test]
fn what_sessions_do_is_scraped() {
    let Some(lab) = Scraped::start("metrics::scraped") else {
        return;
    };
    let mut client = lab.client();
    assert_eq!(client.value("select 40 + 2"), "42");
    client.run("create temporary table metrics_t (a int)");
    client.run("insert into metrics_t values (1), (2)");
    client.run("begin");
    let rows = client.query("delete from nowhere");
    assert_eq!(errors(&rows).len(), 1);
    client.run("rollback");

    let (primary, standby) = (&lab.primary, &lab.standby);
    let expected = |open: f64, left: f64| {
        [
            ("accepted_conns_total".to_owned(), open + left),
            ("successful_conns_total".to_owned(), open + left),
            ("conns".to_owned(), open),
            ("client_disconnect_total".to_owned(), left),
            ("sessions_unencrypted_total".to_owned(), open + left),
            ("statements_select_total".to_owned(), 1.0),
            ("statements_insert_total".to_owned(), 1.0),
            ("statements_other_total".to_owned(), 3.0),
            ("transactions_total".to_owned(), 4.0),
            ("transactions_commit_total".to_owned(), 3.0),
            ("transactions_rollback_total".to_owned(), 1.0),
            ("errors_error_total".to_owned(), 1.0),
            // The client's, and what it was asked of us before.
            (
                format!("upstream_statements_select_total{{upstream=\"{standby}\"}}"),
                2.0,
            ),
            (
                format!("upstream_statements_select_total{{upstream=\"{primary}\"}}"),
                0.0,
            ),
            (
                format!("upstream_errors_total{{upstream=\"{primary}\"}}"),
                1.0,
            ),
            (
                format!("requests_routed_total{{upstream=\"{standby}\",reason=\"PlainSelect\"}}"),
                1.0,
            ),
            (
                format!(
                    "requests_routed_total{{upstream=\"{primary}\",reason=\"pinned: temporary objects\"}}"
                ),
                4.0,
            ),
            (
                format!("request_duration_seconds_count{{upstream=\"{standby}\"}}"),
                1.0,
            ),
            (
                format!("request_duration_seconds_count{{upstream=\"{primary}\"}}"),
                5.0,
            ),
        ]
    };
    let check = |expected: [(String, f64); 19]| {
        let found = lab.scrape();
        for (name, number) in expected {
            let metric = format!("pgturnout_{name}");
            assert_eq!(found.get(&metric), Some(&number), "{metric}");
        }
    };
    // While the session idles, again, and when it has ended: nothing counts twice.
    check(expected(1.0, 0.0));
    check(expected(1.0, 0.0));
    drop(client);
    assert!(eventually(
        || lab.scrape().get("pgturnout_conns") == Some(&0.0)
    ));
    check(expected(0.0, 1.0));
}

#[test]
fn whoever_asks_for_something_else_is_told_so() {
    let Some(lab) = Scraped::start("metrics::http") else {
        return;
    };
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("hello\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(10_000)), "431"),
    ] {
        let answer = lab.asked(&request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    assert_eq!(
        lab.scrape().get("pgturnout_accepted_conns_total"),
        Some(&0.0)
    );
}

#[test]
fn a_signal_has_a_summary_written() {
    let Some(lab) = Scraped::start("metrics::summary") else {
        return;
    };
    let mut client = lab.client();
    assert_eq!(client.value("select 40 + 2"), "42");
    lab.proxy.signal("USR1");
    let line = format!("summary: to {}: 1 for \"PlainSelect\"", lab.standby);
    for told in [
        &line,
        "summary: sessions open: 1\n",
        "summary: connections: accepted_conns=1 successful_conns=1\n",
        "summary: clients: messages=",
    ] {
        assert!(lab.proxy.says(told), "{told}: {}", lab.proxy.log());
    }
    assert_eq!(client.value("select 41 + 1"), "42", "it goes on");
}

/// Before there is a session there is somebody to count, too.
#[test]
fn connections_without_the_header_they_need_are_counted() {
    let more = [
        "--proxy-protocol",
        "require",
        "--proxy-protocol-from",
        "all",
    ];
    let Some(lab) = Scraped::start_with("metrics::unintroduced", &more) else {
        return;
    };
    for bytes in [&b"PROXY TCP4 somewhere\r\n"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::connect(lab.proxy.port, Pace::Whole);
        client.send(bytes);
        assert!(client.rest().is_empty());
    }
    let refused = || lab.scrape()["pgturnout_proxy_header_refused_conns_total"];
    assert!(eventually(|| refused() == 2.0), "{}", refused());
}

#[test]
fn what_becomes_of_a_cancel_request_is_counted() {
    let Some(lab) = Scraped::start("metrics::cancels") else {
        return;
    };
    let mut client = lab.client();
    let (process_id, secret) = client.key.clone().unwrap();
    let counted = || {
        let metrics = lab.scrape();
        ["received", "ignored", "forwarded", "successful"]
            .map(|what| metrics[&format!("pgturnout_cancel_{what}_total")])
    };
    // Nothing runs, and then nobody has the key.
    cancel(lab.proxy.port, process_id, &secret);
    cancel(lab.proxy.port, process_id, &[0; 4]);
    assert!(
        eventually(|| counted() == [2.0, 2.0, 0.0, 0.0]),
        "{:?}",
        counted()
    );
    client.send(&message::query("select pg_sleep(600)"));
    let answered = AtomicBool::new(false);
    let mut sent = 0.0;
    thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            let mut sent = 0.0;
            while !answered.load(Ordering::Relaxed) {
                cancel(lab.proxy.port, process_id, &secret);
                sent += 1.0;
                thread::sleep(Duration::from_millis(50));
            }
            sent
        });
        assert_eq!(errors(&client.ready(1)), ["57014"]);
        answered.store(true, Ordering::Relaxed);
        sent = canceller.join().unwrap();
    });
    let [received, ignored, forwarded, successful] = counted();
    assert_eq!(received, 2.0 + sent);
    assert_eq!(ignored + forwarded, received);
    assert!(forwarded >= 1.0 && successful == forwarded);
    assert!(lab.scrape()["pgturnout_dial_latency_seconds_count"] >= 2.0);
}
