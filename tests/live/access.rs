//! Who is not served: guesses that are held back, and what the deny file says, at the login and later.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use pgturnout::auth::md5_password;

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{Frame, errors, tags, values};
use crate::support::lab::{self, Lab};
use crate::support::message;
use crate::support::proxy::{self, Proxy};
use crate::support::relay;

/// A file that is removed at the end.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> File {
        let name = format!("pgturnout-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        File(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn start(cluster: &'static Cluster, more: &[&str]) -> Proxy {
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    Proxy::start(cluster, &arguments)
}

/// A client that was asked for its password, and how to answer.
struct Asked {
    client: Client,
    user: &'static str,
    question: Frame,
}

impl Asked {
    fn new(proxy: &Proxy, user: &'static str) -> Asked {
        let (client, frame) = opened(proxy, user);
        assert_eq!(frame.tag, b'R', "{frame:?}");
        Asked {
            client,
            user,
            question: frame,
        }
    }

    /// What it is told, first and in the end.
    fn answers(mut self, password: &str) -> (Client, Frame) {
        let answer = match self.question.body.as_slice() {
            [0, 0, 0, 3] => password.to_owned(),
            [0, 0, 0, 5, salt @ ..] => {
                let salt = salt.try_into().unwrap();
                let answer = md5_password(self.user.as_bytes(), password.as_bytes(), salt);
                String::from_utf8(answer.to_vec()).unwrap()
            }
            _ => panic!("{:?}", self.question),
        };
        self.client.send(&message::password(&answer));
        let told = self.client.frame().expect("an answer");
        (self.client, told)
    }
}

/// A client that has opened a session, and what it was told first.
fn opened(proxy: &Proxy, user: &str) -> (Client, Frame) {
    let mut client = Client::connect(proxy.port, Pace::Whole);
    client.send(&message::startup(
        V3_0,
        &[("user", user), ("database", "app")],
    ));
    let frame = client.frame().expect("an answer");
    (client, frame)
}

pub(crate) fn refused(told: &Frame, state: &str, words: &str) {
    assert_eq!(told.tag, b'E', "{told:?}");
    assert_eq!(told.field(b'S').as_deref(), Some("FATAL"), "{told:?}");
    assert_eq!(told.field(b'C').as_deref(), Some(state), "{told:?}");
    let message = told.field(b'M').unwrap();
    assert!(message.contains(words), "{told:?}");
}

const HELD_BACK: &str = "too many failed authentication attempts";

/// Guesses that began together learn of one outcome, whoever checks them; a right one among them, too.
fn side_by_side(proxy: &Proxy, user: &'static str, right: &str) {
    let first = Asked::new(proxy, user);
    let others: Vec<_> = (0..4).map(|_| Asked::new(proxy, user)).collect();
    let (mut client, told) = first.answers("wrong");
    refused(&told, "28P01", "password authentication failed");
    assert!(client.rest().is_empty());
    for (number, other) in others.into_iter().enumerate() {
        let (mut client, told) = other.answers(if number == 2 { right } else { "wrong" });
        refused(&told, "28000", HELD_BACK);
        assert!(told.field(b'H').unwrap().contains("wait"), "{told:?}");
        assert!(client.rest().is_empty());
    }
}

/// Wrong guesses until one is held back before it is asked: each blocks twice as long, and some time that is longer than
/// this takes.
fn until_held_back(proxy: &Proxy, user: &'static str) {
    let held = (0..12).any(|_| {
        let (client, frame) = opened(proxy, user);
        match frame.tag {
            b'R' => {
                let question = frame;
                let asked = Asked {
                    client,
                    user,
                    question,
                };
                asked.answers("wrong");
                false
            }
            _ => {
                refused(&frame, "28000", HELD_BACK);
                true
            }
        }
    });
    assert!(held);
}

/// The right password gets in when the time is over, and from then on nothing is held back.
fn the_right_one_gets_in(proxy: &Proxy, user: &'static str, right: &str) {
    let got_in = || {
        let (client, frame) = opened(proxy, user);
        let question = frame;
        question.tag == b'R' && {
            let asked = Asked {
                client,
                user,
                question,
            };
            asked.answers(right).1.tag == b'R'
        }
    };
    assert!(eventually(got_in));
    for _ in 0..3 {
        let (_, told) = Asked::new(proxy, user).answers("wrong");
        refused(&told, "28P01", "password authentication failed");
    }
    assert_eq!(Asked::new(proxy, user).answers(right).1.tag, b'R');
}

#[test]
fn wrong_guesses_are_held_back() {
    let Some(cluster) = lab::cluster("access::throttle") else {
        return;
    };
    let terminate = [
        "--auth",
        "terminate",
        "--accept",
        "md5",
        "--user",
        "u_md5:u_md5-secret",
    ];
    for (user, right, more) in [
        ("u_clear", "u_clear-secret", &[][..]),
        ("u_md5", "u_md5-secret", &[]),
        ("u_md5", "u_md5-secret", &["--gate", "reader"]),
        ("u_md5", "u_md5-secret", &terminate),
    ] {
        let proxy = start(cluster, &[&["--throttle", "on"], more].concat());
        side_by_side(&proxy, user, right);
        until_held_back(&proxy, user);
        if more.is_empty() {
            // Somebody else is not.
            drop(Client::open(proxy.port, Pace::Whole, "u_trust", &[]));
        }
        the_right_one_gets_in(&proxy, user, right);
        assert!(eventually(|| proxy
            .log()
            .contains("held back: too many failed")));
    }
}

#[test]
fn nothing_is_held_back_unless_it_is_asked_for() {
    let Some(cluster) = lab::cluster("access::no_throttle") else {
        return;
    };
    let proxy = start(cluster, &[]);
    for _ in 0..5 {
        let (_, told) = Asked::new(&proxy, "u_clear").answers("wrong");
        refused(&told, "28P01", "password authentication failed");
    }
}

const DENIED: &str = "the proxy does not serve this client";

/// Nobody is dialled for a client that is denied: there is nobody.
#[test]
fn a_denied_client_is_told_before_a_server_is_dialled() {
    let Some(cluster) = lab::cluster("access::deny") else {
        return;
    };
    for (rule, denied) in [
        ("user mallory : left", "mallory"),
        ("database app", "anybody"),
        ("address 127.0.0.0/8", "anybody"),
        (
            "address ::ffff:127.0.0.1 until 2999-01-01 : here",
            "anybody",
        ),
    ] {
        let file = File::new("deny-before", &format!("# whom not\n{rule}\nuser nobody"));
        let arguments = ["--writer", "127.0.0.1:1", "--deny-file", file.path()];
        let proxy = Proxy::start(cluster, &arguments);
        let (mut client, told) = opened(&proxy, denied);
        refused(&told, "28000", DENIED);
        assert!(client.rest().is_empty());
        assert!(eventually(|| proxy.log().contains("denied by line 2")));
        assert!(!proxy.log().contains("cannot be used"), "{}", proxy.log());
        if denied == "mallory" {
            let (_, told) = opened(&proxy, "alice");
            refused(&told, "08006", "could not log in to the primary");
        }
    }
}

#[test]
fn a_rule_that_has_expired_denies_nobody() {
    let Some(cluster) = lab::cluster("access::expired") else {
        return;
    };
    let file = File::new("deny-expired", "user u_trust until 2020-01-01");
    let proxy = start(cluster, &["--deny-file", file.path()]);
    drop(Client::open(proxy.port, Pace::Whole, "u_trust", &[]));
}

/// A session that is denied later ends behind what it has in flight; the others go on.
#[test]
fn open_sessions_are_looked_at_again() {
    let Some(cluster) = lab::cluster("access::recheck") else {
        return;
    };
    let file = File::new("deny-later", "");
    let proxy = start(cluster, &["--deny-file", file.path()]);
    let mut idle = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    let mut busy = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    let mut other = Client::connect(proxy.port, Pace::Whole);
    other.send(&message::startup(
        V3_0,
        &[("user", "u_clear"), ("database", "app")],
    ));
    other.finish_login(Some("u_clear-secret"));

    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    admin.run("select pg_advisory_lock(40961)");
    busy.send(&message::query(
        "select pg_advisory_lock(40961), pg_advisory_unlock(40961)",
    ));
    let waits = "select count(*) from pg_locks where locktype = 'advisory' \
        and objid = 40961 and not granted";
    assert!(eventually(|| admin.value(waits) == "1"));

    file.write("\nuser u_trust : enough");
    proxy.signal("HUP");
    let frames = idle.rest();
    assert_eq!(tags(&frames), "E");
    refused(&frames[0], "57P01", DENIED);
    assert!(eventually(|| proxy
        .log()
        .matches("ended by line 2: enough")
        .count()
        == 2));
    admin.run("select pg_advisory_unlock(40961)");
    let frames = busy.rest();
    assert_eq!(tags(&frames), "TDCZE");
    refused(&frames[4], "57P01", DENIED);
    assert_eq!(values(&other.query("select 7")), ["7"]);
    let (_, told) = opened(&proxy, "u_trust");
    refused(&told, "28000", DENIED);

    // A file that cannot be read changes nothing, and is told.
    file.write("\n\nusers u_clear");
    proxy.signal("HUP");
    assert!(eventually(|| proxy
        .log()
        .contains("left as it was: line 3")));
    assert_eq!(values(&other.query("select 8")), ["8"]);
    let (_, told) = opened(&proxy, "u_trust");
    refused(&told, "28000", DENIED);
    file.write("");
    proxy.signal("HUP");
    assert!(eventually(|| opened(&proxy, "u_trust").1.tag == b'R'));
}

/// Files that change while a client opens its connection are held against all that it says of itself, with the answer of one
/// that is not let in.
#[test]
fn who_has_yet_to_say_who_it_is_is_not_looked_at() {
    let Some(cluster) = lab::cluster("access::recheck_opening") else {
        return;
    };
    let file = File::new("allow-opening", "address 192.0.2.0/24 user u_trust");
    let proxy = start(cluster, &["--allow-file", file.path()]);
    let mut clients = ["u_trust", "u_clear"].map(|user| {
        let mut client = Client::connect(proxy.port, Pace::Whole);
        client.send(&message::ssl_request());
        assert_eq!(client.byte(), b'N');
        (client, user)
    });
    file.write("address 192.0.2.0/24 user u_clear");
    proxy.signal("HUP");
    assert!(eventually(|| proxy.log().contains("has changed")));
    file.write("address 127.0.0.1 user u_trust");
    proxy.signal("HUP");
    assert!(eventually(
        || proxy.log().matches("has changed").count() == 2
    ));
    let [trusted, other] = clients.each_mut().map(|(client, user)| {
        client.send(&message::startup(
            V3_0,
            &[("user", user), ("database", "app")],
        ));
        client.frame().expect("an answer")
    });
    assert_eq!(trusted.tag, b'R');
    refused(&other, "28000", DENIED);
    assert!(!proxy.log().contains("ended by"), "{}", proxy.log());
}

/// Whom the allow file has no rule for is not served, now or later; a deny file goes first.
#[test]
fn only_those_who_are_allowed_are_served() {
    let Some(cluster) = lab::cluster("access::allow") else {
        return;
    };
    let allowed = File::new("allow", "address 127.0.0.0/8 user u_trust : tests");
    let denied = File::new("allow-deny", "");
    let files = ["--allow-file", allowed.path(), "--deny-file", denied.path()];
    let proxy = start(cluster, &files);
    let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
    assert_eq!(values(&client.query("select 7")), ["7"]);
    let (mut other, told) = opened(&proxy, "u_clear");
    refused(&told, "28000", DENIED);
    assert!(other.rest().is_empty());
    let why = "denied by the allow file, which has no rule for it";
    assert!(eventually(|| proxy.log().contains(why)));

    allowed.write("address 127.0.0.1 user u_clear");
    proxy.signal("HUP");
    let frames = client.rest();
    assert_eq!(tags(&frames), "E");
    refused(&frames[0], "57P01", DENIED);
    assert!(proxy.says("the allow file has changed"));
    assert_eq!(opened(&proxy, "u_clear").1.tag, b'R');
    denied.write("user u_clear : both");
    proxy.signal("HUP");
    assert!(eventually(|| proxy
        .log()
        .contains("the deny file has changed")));
    let (_, told) = opened(&proxy, "u_clear");
    refused(&told, "28000", DENIED);
    assert!(eventually(|| proxy
        .log()
        .contains("denied by line 1: both")));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let file = File::new("deny-bad", "user a\nuser");
    let allow = File::new("allow-bad", "address ::1\nuser a");
    for (option, path, message) in [
        (
            "--deny-file",
            file.path(),
            "line 2: a network or a name is missing",
        ),
        ("--deny-file", "/nowhere/deny", "No such file"),
        (
            "--allow-file",
            allow.path(),
            "line 2: expected `address` or `endpoint`",
        ),
    ] {
        let output = Command::new(proxy::program())
            .args(["--listen", "127.0.0.1:0", "--writer", "127.0.0.1:1"])
            .args([option, path])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        let named = format!("{option}: {path}: {message}");
        assert!(told.contains(&named), "{told}");
    }
}

/// A standby serves alone whose primary cannot be had, and refuses what writes by itself.
#[test]
fn a_session_without_a_primary_is_read_only() {
    let Some(cluster) = lab::cluster("access::read_only") else {
        return;
    };
    let standby = format!("127.0.0.1:{}", cluster.standby());
    let nobody = ["--writer", "127.0.0.1:1", "--reader", &standby];
    for gate in ["writer", "reader"] {
        let more = ["--writer-down", "read-only", "--gate", gate];
        let proxy = Proxy::start(cluster, &[&nobody[..], &more].concat());
        let mut client = Client::open(proxy.port, Pace::Whole, "u_trust", &[]);
        assert_eq!(client.value("select pg_is_in_recovery()"), "t");
        let frames = client.query("create table read_only (i int)");
        assert_eq!(errors(&frames), ["25006"]);
        assert!(eventually(|| proxy.log().contains("alone, read-only")));
    }
    let proxy = Proxy::start(cluster, &nobody);
    let (_, told) = opened(&proxy, "u_trust");
    refused(&told, "08006", "could not log in to the primary");
}

/// A primary that is away for a moment is waited for, and the client learns nothing.
#[test]
fn a_primary_that_comes_back_is_dialled_again() {
    let Some(cluster) = lab::cluster("access::writer_retry") else {
        return;
    };
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = away.local_addr().unwrap().port();
    drop(away);
    let writer = format!("127.0.0.1:{port}");
    let proxy = Proxy::start(cluster, &["--writer", &writer, "--writer-retry", "100:100"]);
    let listen = proxy.port;
    let client = thread::spawn(move || {
        let mut client = Client::open(listen, Pace::Whole, "u_trust", &[]);
        client.value("select pg_is_in_recovery()")
    });
    assert!(eventually(|| proxy
        .log()
        .contains("is dialled again, try 2")));
    relay::serve(TcpListener::bind(&writer).unwrap(), cluster.primary());
    assert_eq!(client.join().unwrap(), "f");
}

/// F12: PostgreSQL closes without a word what has a length that cannot be; the proxy says why, unless it passes that on.
#[test]
fn a_stream_that_makes_no_sense_is_told_or_passed_on() {
    for (more, told) in [
        (&[][..], &["08P01"][..]),
        (&["--out-of-sync", "close"], &[]),
        (&["--out-of-sync", "pass"], &[]),
    ] {
        let Some(lab) = Lab::with("access::out_of_sync", more) else {
            return;
        };
        let mut client = lab.client();
        client.run("select 1");
        client.send(b"Q\0\0\0\x03");
        assert_eq!(errors(&client.rest()), told, "{more:?}");
        let passes = || lab.proxy.log().contains("it passes unread from here on");
        let passed = more.last() == Some(&"pass");
        assert!(if passed {
            eventually(passes)
        } else {
            !passes()
        });
    }
}

/// A client that the proxy lets in gets its replication session, with the primary.
#[test]
fn replication_behind_a_proxy_that_checks() {
    let Some(cluster) = lab::cluster("access::replication") else {
        return;
    };
    let more = [
        "--auth",
        "terminate",
        "--accept",
        "md5",
        "--user",
        "postgres:postgres-secret",
    ];
    let proxy = start(cluster, &more);
    for (password, lets_in) in [("postgres-secret", true), ("wrong", false)] {
        let mut client = Client::connect(proxy.port, Pace::Whole);
        let parameters = [("user", "postgres"), ("replication", "true")];
        client.send(&message::startup(V3_0, &parameters));
        let question = client.frame().unwrap();
        let user = "postgres";
        let asked = Asked {
            client,
            user,
            question,
        };
        let (mut client, told) = asked.answers(password);
        if !lets_in {
            refused(&told, "28P01", "password authentication failed");
            continue;
        }
        assert_eq!(told.tag, b'R');
        client.finish_login(None);
        let frames = client.query("IDENTIFY_SYSTEM");
        assert_eq!(tags(&frames), "TDCZ", "{frames:?}");
        assert!(eventually(|| proxy.log().contains("why=\"replication\"")));
    }
}
