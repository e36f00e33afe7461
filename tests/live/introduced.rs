//! Clients whom a load balancer hands on: what it says of them in front of their bytes.

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{Frame, errors, values};
use crate::support::lab;
use crate::support::message;
use crate::support::proxy::Proxy;

use super::access::{File, refused};
use super::cancel::{LASTS, LONG_READ};

fn start(cluster: &'static Cluster, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

/// The header of a client at 192.0.2.`last`, through an endpoint if that has a name.
fn header(last: u8, through: &str) -> Vec<u8> {
    let mut rest = vec![192, 0, 2, last, 192, 0, 2, 1, 0xd4, 0x31, 0x15, 0x38];
    if !through.is_empty() {
        let length = u8::try_from(through.len() + 1).unwrap();
        rest.extend([&[0xea, 0, length, 1], through.as_bytes()].concat());
    }
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &rest].concat()
}

fn introduced(proxy: &Proxy, last: u8, through: &str, pace: Pace) -> Client {
    let mut client = Client::connect(proxy.port, pace);
    client.send(&header(last, through));
    client
}

/// What a client is told first that opens a session as this user.
fn first(client: &mut Client, user: &str) -> Frame {
    client.send(&message::startup(
        V3_0,
        &[("user", user), ("database", "app")],
    ));
    client.frame().expect("an answer")
}

#[test]
fn a_client_is_known_by_what_its_header_says() {
    let Some(cluster) = lab::cluster("introduced::lists") else {
        return;
    };
    let file = File::new("introduced", "address 192.0.2.8 : scans");
    let more = [
        "--proxy-protocol=require",
        "--proxy-protocol-from=all",
        "--throttle",
        "on",
    ];
    let proxy = start(
        cluster,
        &[&more[..], &["--deny-file", file.path()]].concat(),
    );
    for pace in [Pace::Whole, Pace::Bytewise] {
        let mut client = introduced(&proxy, 7, "", pace);
        client.send(&message::startup(
            V3_0,
            &[("user", "u_trust"), ("database", "app")],
        ));
        client.finish_login(None);
        assert_eq!(values(&client.query("select 7")), ["7"]);
    }
    let mut denied = introduced(&proxy, 8, "vpce-1", Pace::Whole);
    refused(&first(&mut denied, "u_trust"), "28000", "does not serve");
    let told = "from 192.0.2.8 through aws:vpce-1 denied by line 1: scans";
    assert!(eventually(|| proxy.log().contains(told)), "{}", proxy.log());
    // A wrong guess holds back whom the header names, and nobody else.
    let mut guess = introduced(&proxy, 9, "", Pace::Whole);
    assert_eq!(first(&mut guess, "u_clear").tag, b'R');
    guess.send(&message::password("wrong"));
    refused(&guess.frame().unwrap(), "28P01", "password");
    let mut again = introduced(&proxy, 9, "", Pace::Whole);
    refused(&first(&mut again, "u_clear"), "28000", "too many failed");
    let mut other = introduced(&proxy, 10, "", Pace::Whole);
    assert_eq!(first(&mut other, "u_clear").tag, b'R');
}

/// Clients of a private endpoint are those of its owner, whatever their addresses; a cancel request from elsewhere is none.
#[test]
fn a_client_may_have_to_come_through_an_endpoint() {
    let Some(cluster) = lab::cluster("introduced::allowed") else {
        return;
    };
    let file = File::new("endpoints", "endpoint aws:vpce-1 database app");
    let more = ["--proxy-protocol=require", "--proxy-protocol-from=all"];
    let proxy = start(
        cluster,
        &[&more[..], &["--allow-file", file.path()]].concat(),
    );
    for (last, through) in [(7, ""), (7, "vpce-2")] {
        let mut client = introduced(&proxy, last, through, Pace::Whole);
        refused(&first(&mut client, "u_trust"), "28000", "does not serve");
    }
    let told = "from 192.0.2.7 through aws:vpce-2 denied by the allow file";
    assert!(eventually(|| proxy.log().contains(told)), "{}", proxy.log());
    let client = introduced(&proxy, 7, "vpce-1", Pace::Whole);
    stops(&proxy, cluster, client, [(7, "vpce-2"), (8, "vpce-1")]);
}

/// Nobody gets in without a header, or with one that cannot be believed, and nobody is answered.
#[test]
fn headers_are_required() {
    let Some(cluster) = lab::cluster("introduced::required") else {
        return;
    };
    let proxy = start(
        cluster,
        &["--proxy-protocol=require", "--proxy-protocol-from=all"],
    );
    let hello = message::startup(V3_0, &[("user", "u_trust"), ("database", "app")]);
    for (bytes, why) in [
        (hello, "no header of the PROXY protocol"),
        (b"PROXY TCP4 somewhere\r\n".to_vec(), "expected an address"),
    ] {
        let mut client = Client::connect(proxy.port, Pace::Whole);
        client.send(&bytes);
        assert!(client.rest().is_empty());
        assert!(eventually(|| proxy.log().contains(why)), "{}", proxy.log());
    }
    // One that looks whether anybody is there leaves no trace.
    let lines = proxy.log().lines().count();
    let mut probe = Client::connect(proxy.port, Pace::Whole);
    probe.half_close();
    assert!(probe.rest().is_empty());
    let mut client = introduced(&proxy, 7, "", Pace::Whole);
    assert_eq!(first(&mut client, "u_trust").tag, b'R');
    assert_eq!(proxy.log().lines().count(), lines, "{}", proxy.log());
}

/// Where headers are optional, one is believed from whom it may come; from others it is an opening that makes no sense.
#[test]
fn headers_are_believed_from_whom_they_may_come() {
    let Some(cluster) = lab::cluster("introduced::believed") else {
        return;
    };
    for (from, is_believed) in [("127.0.0.0/8", true), ("192.0.2.0/24", false)] {
        let more = [
            "--proxy-protocol",
            "optional",
            "--proxy-protocol-from",
            from,
        ];
        let proxy = start(cluster, &more);
        drop(Client::open(proxy.port, Pace::Whole, "u_trust", &[]));
        let mut client = introduced(&proxy, 7, "", Pace::Whole);
        client.send(&message::startup(
            V3_0,
            &[("user", "u_trust"), ("database", "app")],
        ));
        assert_eq!(client.frame().is_some(), is_believed);
    }
}

/// A session may be cancelled from the address that its header has, which stands in front of the request, too.
#[test]
fn cancel_requests_come_with_a_header() {
    let Some(cluster) = lab::cluster("introduced::cancel") else {
        return;
    };
    let more = [
        "--proxy-protocol=require",
        "--proxy-protocol-from=all",
        "--cancel-source",
        "same-address",
    ];
    let proxy = start(cluster, &more);
    let client = introduced(&proxy, 7, "", Pace::Whole);
    stops(&proxy, cluster, client, [(8, ""), (7, "")]);
}

/// The second of two whence a cancel request comes can stop what a client runs, and the first cannot.
fn stops(
    proxy: &Proxy,
    cluster: &'static Cluster,
    mut client: Client,
    [stranger, itself]: [(u8, &str); 2],
) {
    let name = format!("introduced {}", proxy.port);
    client.send(&message::startup(
        V3_0,
        &[
            ("user", "u_trust"),
            ("database", "app"),
            ("application_name", &name),
        ],
    ));
    client.finish_login(None);
    let (process_id, secret) = client.key.clone().unwrap();
    let cancel = |(last, through)| {
        let mut request = introduced(proxy, last, through, Pace::Whole);
        request.send(&message::cancel(process_id, &secret));
        assert!(request.rest().is_empty());
    };
    let mut admin = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    let mut runs = || {
        admin.value(&format!(
            "select count(*) from pg_stat_activity \
             where application_name = '{name}' and {LASTS}"
        )) == "1"
    };
    client.send(&message::query(LONG_READ));
    assert!(eventually(&mut runs));
    cancel(stranger);
    assert!(runs(), "cancelled from elsewhere");
    assert!(eventually(|| {
        cancel(itself);
        !runs()
    }));
    assert_eq!(errors(&client.ready(1)), ["57014"]);
}
