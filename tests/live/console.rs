//! The operator's console: what it shows, what it holds, and sessions that it moves.

use std::process::{Command, Output};
use std::thread;

use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::frame::{self, Frame, errors, tags};
use crate::support::proxy::Proxy;
use crate::support::{lab, message};

struct Operated {
    proxy: Proxy,
    cluster: &'static Cluster,
    primary: String,
    standby: String,
    /// The primary by another name: a server that sessions can be moved to.
    spare: String,
}

impl Operated {
    /// A proxy whose console is for `op`, who proves nothing.
    fn start(test: &str) -> Option<Operated> {
        Operated::with(test, &["--console-user", "op", "--console-auth", "trust"])
    }

    fn with(test: &str, more: &[&str]) -> Option<Operated> {
        let cluster = lab::cluster(test)?;
        let spare = format!("localhost:{}", cluster.primary());
        let mut arguments = lab::split(cluster);
        arguments.extend(["--upstream-tls", "disable", "--spare", &spare].map(str::to_owned));
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        arguments.extend(more);
        Some(Operated {
            proxy: Proxy::start(cluster, &arguments),
            cluster,
            primary: format!("127.0.0.1:{}", cluster.primary()),
            standby: format!("127.0.0.1:{}", cluster.standby()),
            spare,
        })
    }

    fn client(&self) -> Client {
        Client::open(self.proxy.port, Pace::Whole, "u_trust", &[])
    }

    fn console(&self) -> Client {
        let mut client = Client::connect(self.proxy.port, Pace::Whole);
        let who = [("user", "op"), ("database", "pgturnout")];
        client.send(&message::startup(V3_0, &who));
        client.finish_login(None);
        client
    }

    /// The session of a client, by the console's number.
    fn number_of(&self, application: &str) -> String {
        let rows = rows(&self.console().query("show sessions"));
        let of = |row: &&Vec<Option<String>>| row[3].as_deref() == Some(application);
        rows.iter().find(of).unwrap()[0].clone().unwrap()
    }

    /// A cell of a row of SHOW UPSTREAMS.
    fn upstream(&self, name: &str, column: usize) -> String {
        let rows = rows(&self.console().query("SHOW UPSTREAMS"));
        let of = |row: &&Vec<Option<String>>| row[0].as_deref() == Some(name);
        rows.iter().find(of).unwrap()[column].clone().unwrap()
    }

    fn psql(&self, user: &str, password: &str, statements: &[&str]) -> Output {
        let mut command = Command::new(format!("{}/psql", self.cluster.get("PGBIN")));
        command.args(["-X", "-A", "-t", "-w", "-h", "127.0.0.1", "-U", user]);
        command.args(["-d", "pgturnout", "-p", &self.proxy.port.to_string()]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.env("PGPASSWORD", password).output().unwrap()
    }
}

fn rows(frames: &[Frame]) -> Vec<Vec<Option<String>>> {
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    rows.map(Frame::columns).collect()
}

/// The tag of the only statement, which did not fail.
fn done(frames: &[Frame]) -> String {
    assert_eq!(errors(frames), [""; 0], "{frames:#?}");
    let complete = frames.iter().find(|frame| frame.tag == b'C').unwrap();
    let tag = complete.body.strip_suffix(b"\0").unwrap();
    String::from_utf8(tag.to_vec()).unwrap()
}

fn named(port: u16, application: &str) -> Client {
    let parameters = [("application_name", application)];
    Client::open(port, Pace::Whole, "u_trust", &parameters)
}

#[test]
fn psql_is_the_tool() {
    let secret = ["--user", "op:op-secret", "--user", "other:other-secret"];
    let more = [&secret[..], &["--console-user", "op"]].concat();
    let Some(lab) = Operated::with("console::psql", &more) else {
        return;
    };
    let shown = lab.psql(
        "op",
        "op-secret",
        &["show version; Show Help", "show sessions"],
    );
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}");
    assert!(text.contains("\nSHOW UPSTREAMS|"), "{text}");
    assert!(
        text.contains("|op|pgturnout|psql|127.0.0.1|console|"),
        "{text}"
    );
    let unknown = lab.psql("op", "op-secret", &["select 1"]);
    let text = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text.contains("HINT:  The console knows SHOW HELP;"),
        "{text}"
    );
    for (user, password) in [
        ("op", "wrong"),
        // It has a secret, and is no operator.
        ("other", "other-secret"),
        ("nobody", "op-secret"),
    ] {
        let refused = lab.psql(user, password, &["show help"]);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        let why = format!("password authentication failed for user \"{user}\"");
        assert!(text.contains(&why), "{text}");
    }
    for line in ["console, \"op\" in\n", "console, \"nobody\" refused\n"] {
        assert!(eventually(|| lab.proxy.log().contains(line)), "{line}");
    }
}

#[test]
fn without_operators_it_is_a_database_like_others() {
    let Some(cluster) = lab::cluster("console::off") else {
        return;
    };
    let arguments = lab::split(cluster);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let proxy = Proxy::start(cluster, &arguments);
    let mut client = Client::connect(proxy.port, Pace::Whole);
    let who = [("user", "u_trust"), ("database", "pgturnout")];
    client.send(&message::startup(V3_0, &who));
    let refused = client.until(b"EZ");
    assert!(errors(&refused)[0].contains("3D000"), "{refused:?}");
}

#[tokio::test]
async fn drivers_speak_to_it_by_the_extended_protocol() {
    let Some(lab) = Operated::start("console::driver") else {
        return;
    };
    let config = format!(
        "host=127.0.0.1 port={} user=op dbname=pgturnout",
        lab.proxy.port
    );
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let _session = named(lab.proxy.port, "watched");
    let rows = client.query("show sessions", &[]).await.unwrap();
    let watched = |row: &&tokio_postgres::Row| row.get::<_, Option<&str>>(3) == Some("watched");
    let row = rows.iter().find(watched).unwrap();
    assert_eq!(row.get::<_, &str>("state"), "idle");
    assert_eq!(row.get::<_, &str>("writer"), lab.primary);
    assert_eq!(row.get::<_, &str>("reader"), lab.standby);
    assert!(row.get::<_, i64>("session") > 0);
    let error = client.query("show sesions", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42601");
    let stats = client.prepare("show stats").await.unwrap();
    for _ in 0..2 {
        let rows = client.query(&stats, &[]).await.unwrap();
        let accepted = |row: &&tokio_postgres::Row| row.get::<_, &str>(1) == "accepted_conns";
        assert_eq!(rows.iter().find(accepted).unwrap().get::<_, i64>(2), 2);
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

#[test]
fn a_login_waits_for_a_writer_that_is_drained() {
    let Some(lab) = Operated::start("console::drain") else {
        return;
    };
    let mut before = lab.client();
    let mut console = lab.console();
    let frames = console.query(&format!("drain '{}'", lab.primary));
    assert_eq!(done(&frames), "DRAIN");
    assert_eq!(before.value("select 1"), "1", "who is there stays");
    let port = lab.proxy.port;
    let waiting = thread::spawn(move || {
        Client::open(port, Pace::Whole, "u_trust", &[]).value("select 40 + 2")
    });
    assert!(eventually(|| lab.upstream(&lab.primary, 6) == "1"));
    assert_eq!(lab.upstream(&lab.primary, 2), "drained");
    assert!(!waiting.is_finished());
    let frames = console.query(&format!("RESUME '{}'", lab.primary));
    assert_eq!(done(&frames), "RESUME");
    assert_eq!(waiting.join().unwrap(), "42");
    // One that waits while another takes the place goes there.
    done(&console.query(&format!("drain '{}'", lab.primary)));
    let waiting = thread::spawn(move || {
        let mut client = named(port, "waited");
        client.value("select 40 + 2")
    });
    assert!(eventually(|| lab.upstream(&lab.primary, 6) == "1"));
    // Nobody is left there who could show that the other can serve.
    drop(before);
    let (from, to) = (&lab.primary, &lab.spare);
    let frames = console.query(&format!("migrate all from '{from}' to '{to}'"));
    assert_eq!(done(&frames), "MIGRATE 0");
    assert_eq!(waiting.join().unwrap(), "42");
    assert_eq!(lab.upstream(&lab.spare, 1), "writer");
}

#[test]
fn a_reader_that_is_drained_is_none_to_new_sessions() {
    let Some(lab) = Operated::start("console::reader") else {
        return;
    };
    let mut console = lab.console();
    done(&console.query(&format!("drain '{}'", lab.standby)));
    let recovering = "select pg_is_in_recovery()";
    assert_eq!(lab.client().value(recovering), "f");
    done(&console.query(&format!("resume '{}'", lab.standby)));
    assert_eq!(lab.client().value(recovering), "t");
}

#[test]
fn sessions_are_held_between_transactions() {
    let Some(lab) = Operated::start("console::pause") else {
        return;
    };
    let mut client = lab.client();
    client.run("begin");
    let mut console = lab.console();
    let pause = format!("pause '{}' within 0", lab.primary);
    let refused = console.query(&pause);
    assert_eq!(tags(&refused), "TDEZ");
    assert!(errors(&refused)[0].contains("55000"), "{refused:?}");
    let detail = refused[2].field(b'D').unwrap();
    assert!(detail.contains("idle in transaction"), "{detail}");
    assert_eq!(lab.upstream(&lab.primary, 2), "open", "all or none");
    client.run("commit");
    assert_eq!(done(&console.query(&pause)), "PAUSE 1");
    assert_eq!(lab.upstream(&lab.primary, 5), "1");
    client.send(&message::query("select 40 + 2"));
    done(&console.query("show sessions"));
    assert_eq!(
        lab.upstream(&lab.primary, 5),
        "1",
        "nothing of it was taken"
    );
    done(&console.query(&format!("resume '{}'", lab.primary)));
    assert_eq!(frame::values(&client.ready(1)), ["42"]);
}

#[test]
fn one_session_moves_with_what_it_has() {
    let Some(lab) = Operated::start("console::session") else {
        return;
    };
    let mut client = named(lab.proxy.port, "moved");
    client.run("set work_mem = '77MB'");
    let own = "select pg_backend_pid()";
    let before = client.value(own);
    let number = lab.number_of("moved");
    let mut console = lab.console();
    let frames = console.query(&format!("migrate session {number} to '{}'", lab.spare));
    assert_eq!(done(&frames), "MIGRATE 1");
    let row = &rows(&frames)[0];
    let cells: Vec<_> = row.iter().map(Option::as_deref).collect();
    assert_eq!(
        cells[..3],
        [Some(number.as_str()), Some("moved"), Some("1")]
    );
    assert!(cells[3].is_some_and(|held| held.parse::<u64>().is_ok()));
    assert_eq!(client.value("show work_mem"), "77MB");
    assert_ne!(client.value(own), before);
    let again = console.query(&format!("migrate session {number} to '{}'", lab.spare));
    assert_eq!(done(&again), "MIGRATE 0");
    let stats = rows(&console.query("show stats"));
    let counted = |name: &str| {
        let of = |row: &&Vec<Option<String>>| row[1].as_deref() == Some(name);
        stats.iter().find(of).unwrap()[2].clone().unwrap()
    };
    assert_eq!([counted("attempted"), counted("success")], ["1", "1"]);
    assert_eq!([counted("ended"), counted("error_recoverable")], ["1", "0"]);
    assert_eq!(counted("held_us"), counted("held_us_longest"));
    assert_eq!(
        Some(counted("held_us")).as_deref(),
        cells[3],
        "the pause that the client saw"
    );
    let frames = console.query(&format!("migrate session 999 to '{}'", lab.spare));
    assert!(errors(&frames)[0].contains("42704"), "{frames:?}");
    let frames = console.query(&format!("migrate session {number} to 'nowhere:1'"));
    assert!(errors(&frames)[0].contains("42704"), "{frames:?}");
}

#[test]
fn all_move_but_those_that_cannot_and_the_operator_learns_why() {
    let Some(lab) = Operated::start("console::all") else {
        return;
    };
    let mut clients: Vec<Client> = (0..8).map(|_| lab.client()).collect();
    for client in &mut clients {
        client.run("set application_name = 'mover'");
    }
    let mut stuck = lab.client();
    stuck.run("create temp table t (a int); insert into t values (42)");
    let mut console = lab.console();
    let (from, to) = (&lab.primary, &lab.spare);
    let frames = console.query(&format!("migrate all from '{from}' to '{to}' within 3"));
    let rows = rows(&frames);
    let with = |result: &str| {
        let of = |row: &&Vec<Option<String>>| row[1].as_deref() == Some(result);
        rows.iter().filter(of).count()
    };
    assert_eq!((with("moved"), with("stuck")), (8, 1), "{rows:?}");
    let error = frames.iter().find(|frame| frame.tag == b'E').unwrap();
    let detail = error.field(b'D').unwrap();
    assert!(detail.contains("temporary objects"), "{detail}");
    for client in &mut clients {
        assert_eq!(client.value("show application_name"), "mover");
    }
    assert_eq!(
        stuck.value("select a from t"),
        "42",
        "it goes on where it is"
    );
    assert_eq!(lab.upstream(&lab.spare, 1), "writer");
    assert_eq!(lab.upstream(&lab.primary, 1), "spare");
    let fresh = named(lab.proxy.port, "fresh");
    assert_eq!(lab.upstream(&lab.spare, 3), "9");
    drop(fresh);
    // What stands in the way is ended.
    let number = &rows
        .iter()
        .find(|row| row[1].as_deref() == Some("stuck"))
        .unwrap()[0];
    let number = number.as_deref().unwrap();
    let frames = console.query(&format!("terminate session {number}"));
    assert_eq!(done(&frames), "TERMINATE");
    assert!(errors(&stuck.until(b"E"))[0].contains("57P01"));
    assert!(eventually(|| lab.upstream(&lab.primary, 3) == "0"));
}

/// A transaction is waited for, and the rows come as sessions move, not at the end.
#[test]
fn a_session_in_a_transaction_is_waited_for() {
    let Some(lab) = Operated::start("console::wait") else {
        return;
    };
    let mut busy = lab.client();
    busy.run("begin");
    let mut idle = lab.client();
    let mut console = lab.console();
    let (from, to) = (&lab.primary, &lab.spare);
    let text = format!("migrate all from '{from}' to '{to}'");
    console.send(&message::query(&text));
    let first = console.until(b"D");
    assert_eq!(tags(&first), "TD");
    assert_eq!(idle.value("select 1"), "1");
    busy.run("commit");
    let rest: Vec<Frame> = console.ready(1);
    assert_eq!(done(&rest), "MIGRATE 2");
    assert_eq!(busy.value("select 2"), "2");
}

/// A session that holds a lock is refused, and the same statement moves it once it does not.
#[test]
fn what_was_refused_moves_with_a_later_try() {
    let Some(lab) = Operated::start("console::later") else {
        return;
    };
    let mut holder = lab.client();
    holder.run("set work_mem = '4321kB'");
    holder.run("select pg_advisory_lock(4321)");
    let mut console = lab.console();
    let (from, to) = (&lab.primary, &lab.spare);
    console.send(&message::query(&format!(
        "migrate all from '{from}' to '{to}' within 120"
    )));
    let told = |frames: &[Frame]| {
        let row = rows(frames).into_iter().find(|row| row[0].is_some());
        let row = row.unwrap_or_else(|| panic!("{frames:?}"));
        let cell = |at: usize| row[at].clone().unwrap_or_default();
        (cell(1), cell(2).parse::<u32>().unwrap_or_default(), cell(4))
    };
    let (result, tries, why) = told(&console.until(b"D"));
    assert_eq!((&*result, tries), ("refused", 1), "{why}");
    assert!(why.contains("advisory locks are held: 1"), "{why}");
    // Meanwhile it works where it is.
    assert_eq!(holder.value("show work_mem"), "4321kB");
    assert_eq!(lab.upstream(&lab.primary, 3), "1");
    holder.run("select pg_advisory_unlock(4321)");
    let frames = console.ready(1);
    let (result, tries, why) = told(&frames);
    assert_eq!(result, "moved", "{why}");
    assert!(tries >= 2, "{tries}");
    assert_eq!(done(&frames), "MIGRATE 1");
    assert_eq!(holder.value("show work_mem"), "4321kB");
    assert_eq!(lab.upstream(&lab.primary, 3), "0");
    assert_eq!(lab.upstream(&lab.spare, 3), "1");
}

#[test]
fn what_takes_long_can_be_cancelled() {
    let Some(lab) = Operated::start("console::cancel") else {
        return;
    };
    let mut busy = lab.client();
    busy.run("begin");
    let mut console = lab.console();
    let text = format!("pause '{}' within 600", lab.primary);
    console.send(&message::query(&text));
    assert!(eventually(|| lab.upstream(&lab.primary, 2) == "paused"));
    let (id, secret) = console.key.clone().unwrap();
    let mut canceller = Client::connect(lab.proxy.port, Pace::Whole);
    canceller.send(&message::cancel(id, &secret));
    let frames = console.ready(1);
    assert!(errors(&frames)[0].contains("57014"), "{frames:?}");
    assert_eq!(lab.upstream(&lab.primary, 2), "open");
    assert_eq!(busy.value("select 1"), "1");
}

#[test]
fn a_shutdown_ends_it() {
    let Some(mut lab) = Operated::start("console::shutdown") else {
        return;
    };
    let mut console = lab.console();
    lab.proxy.terminate();
    assert!(errors(&console.rest())[0].contains("57P01"));
    assert!(lab.proxy.wait().success());
}

/// A session that waits for the end of its transaction does not move after all when the operator has given up.
#[test]
fn a_move_that_is_given_up_is_none() {
    let Some(lab) = Operated::start("console::given_up") else {
        return;
    };
    let mut busy = Client::open(
        lab.proxy.port,
        Pace::Whole,
        "u_trust",
        &[("application_name", "busy")],
    );
    busy.run("begin");
    let number = lab.number_of("busy");
    let state = || {
        let rows = rows(&lab.console().query("show sessions"));
        let of = |row: &&Vec<Option<String>>| row[0].as_deref() == Some(&*number);
        rows.iter().find(of).unwrap().clone()
    };
    let is = |wanted: &str| state().iter().flatten().any(|cell| cell == wanted);
    let mut console = lab.console();
    console.send(&message::query(&format!(
        "migrate session {number} to '{}'",
        lab.spare
    )));
    assert!(eventually(|| is("moving")));
    let (id, secret) = console.key.clone().unwrap();
    let mut canceller = Client::connect(lab.proxy.port, Pace::Whole);
    canceller.send(&message::cancel(id, &secret));
    assert!(errors(&console.ready(1))[0].contains("57014"));
    assert!(eventually(|| !is("moving")));
    // Not at its deadline. The log is written beside the answer.
    assert!(eventually(|| lab.proxy.log().contains("it was cancelled")));
    busy.run("commit");
    assert_eq!(busy.value("select 1"), "1");
    assert!(is(&lab.primary) && !is(&lab.spare));
}

/// A port that nobody listens at.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
}

const MONITOR: [&str; 2] = ["--monitor", "u_trust@app"];
const TRUST: [&str; 4] = ["--console-user", "op", "--console-auth", "trust"];

impl Operated {
    /// The only error of a statement: its state, its detail and its hint.
    fn fails(&self, text: &str) -> [String; 3] {
        let frames = self.console().query(text);
        let error = frames.iter().find(|frame| frame.tag == b'E');
        let error = error.unwrap_or_else(|| panic!("{text}: {frames:?}"));
        [b'C', b'D', b'H'].map(|field| error.field(field).unwrap_or_default())
    }

    fn roles(&self) -> [String; 2] {
        [&self.primary, &self.spare].map(|name| self.upstream(name, 1))
    }
}

#[test]
fn a_server_that_cannot_be_reached_takes_no_place() {
    for monitor in [&[][..], &MONITOR] {
        let nobody = nobody();
        let more = [&TRUST[..], &["--spare", &nobody], monitor].concat();
        let Some(lab) = Operated::with("console::unreachable", &more) else {
            return;
        };
        let mut client = lab.client();
        let text = format!("migrate all from '{}' to '{nobody}'", lab.primary);
        let [state, _, hint] = lab.fails(&text);
        assert_eq!([&*state, &*hint], ["08001", "Nothing is changed."]);
        assert_eq!(lab.upstream(&lab.primary, 1), "writer");
        assert_eq!(lab.upstream(&nobody, 1), "spare");
        assert_eq!(client.value("select 1"), "1");
        assert_eq!(lab.client().value("select 40 + 2"), "42");
    }
}

#[test]
fn a_standby_takes_no_writers_place() {
    let more = [&TRUST[..], &MONITOR].concat();
    for (more, detail) in [
        (&more[..], "It is a standby, and takes no writes."),
        // Who is not asked is tried.
        (&TRUST, "the new server is a standby"),
    ] {
        let Some(lab) = Operated::with("console::standby", more) else {
            return;
        };
        let mut client = lab.client();
        let (from, to) = (&lab.primary, &lab.standby);
        let [state, said, _] = lab.fails(&format!("migrate all from '{from}' to '{to}' within 1"));
        assert_eq!(state, "55000");
        assert!(said.ends_with(detail), "{said}");
        assert_eq!(lab.upstream(from, 1), "writer");
        assert_eq!(lab.upstream(to, 1), "reader");
        let write = "create temp table t as select 42 as a";
        client.run(write);
        lab.client().run(write);
    }
}

/// The new server was found fit, and nobody could be moved there: new sessions go where they went.
#[test]
fn a_place_that_nobody_could_be_moved_to_goes_back() {
    let more = [&TRUST[..], &MONITOR].concat();
    let Some(lab) = Operated::with("console::back", &more) else {
        return;
    };
    let mut stuck = lab.client();
    stuck.run("create temp table t as select 42 as a");
    let (from, to) = (&lab.primary, &lab.spare);
    let text = format!("migrate all from '{from}' to '{to}' within 1");
    let frames = lab.console().query(&text);
    let places: Vec<_> = rows(&frames)
        .into_iter()
        .filter(|row| row[0].is_none())
        .map(|row| (row[1].clone().unwrap(), row[4].clone().unwrap()))
        .collect();
    let took = format!("{to} takes the place of {from}");
    let back = format!("{from} has its place back: no session is served there");
    let both = [("replaced".to_owned(), took), ("put back".to_owned(), back)];
    assert_eq!(places, both);
    let hint = frames.iter().find(|frame| frame.tag == b'E').unwrap();
    let hint = hint.field(b'H').unwrap();
    assert!(
        hint.starts_with(&format!("New sessions go to {from} as before")),
        "{hint}"
    );
    assert_eq!(lab.roles(), ["writer", "spare"]);
    // So it does when the operator gives up.
    let mut console = lab.console();
    console.send(&message::query(&format!(
        "migrate all from '{from}' to '{to}'"
    )));
    assert!(eventually(|| lab.roles() == ["spare", "writer"]));
    let (id, secret) = console.key.clone().unwrap();
    let mut canceller = Client::connect(lab.proxy.port, Pace::Whole);
    canceller.send(&message::cancel(id, &secret));
    assert!(errors(&console.ready(1))[0].contains("57014"));
    assert_eq!(lab.roles(), ["writer", "spare"]);
    assert_eq!(stuck.value("select a from t"), "42");
}

/// What can never be is refused at once, not tried until time is up.
#[test]
fn a_move_that_can_never_be_is_refused_at_once() {
    let Some(lab) = Operated::start("console::never") else {
        return;
    };
    let _client = named(lab.proxy.port, "own");
    let number = lab.number_of("own");
    let began = std::time::Instant::now();
    let text = format!("migrate session {number} reader to '{}'", lab.primary);
    let [state, _, hint] = lab.fails(&text);
    assert_eq!(state, "55000");
    assert_eq!(hint, "Its reads run there whenever it has no reader.");
    let unsplit = [&["--split", "off"][..], &TRUST].concat();
    let Some(lab) = Operated::with("console::never", &unsplit) else {
        return;
    };
    let _client = named(lab.proxy.port, "own");
    let number = lab.number_of("own");
    let [state, detail, _] = lab.fails(&format!(
        "migrate session {number} reader to '{}'",
        lab.spare
    ));
    assert_eq!(state, "55000");
    assert_eq!(
        detail,
        format!("session {number}: the session has no reader")
    );
    assert!(
        began.elapsed().as_secs() < 50,
        "it was tried again and again"
    );
}

/// The second operator is told who was first, and can end that.
#[test]
fn two_operators_do_not_undo_each_others_work() {
    let Some(lab) = Operated::start("console::two") else {
        return;
    };
    let mut busy = named(lab.proxy.port, "busy");
    busy.run("begin");
    let number = lab.number_of("busy");
    let (primary, spare) = (&lab.primary, &lab.spare);
    let own = [
        ("user", "op"),
        ("database", "pgturnout"),
        ("application_name", "first"),
    ];
    let mut first = Client::connect(lab.proxy.port, Pace::Whole);
    first.send(&message::startup(V3_0, &own));
    first.finish_login(None);
    let operator = lab.number_of("first");
    for (text, clashes) in [
        (
            format!("PAUSE '{primary}' WITHIN 600"),
            vec![
                format!("resume '{primary}'"),
                format!("drain '{primary}'"),
                format!("pause '{primary}'"),
                format!("migrate all from '{primary}' to '{spare}'"),
                format!("migrate session {number} to '{spare}'"),
            ],
        ),
        (
            format!("MIGRATE ALL FROM '{primary}' TO '{spare}' WITHIN 600"),
            vec![
                format!("drain '{spare}'"),
                format!("pause '{primary}'"),
                format!("migrate all from '{spare}' to '{primary}'"),
                format!("migrate session {number} to '{spare}'"),
            ],
        ),
        (
            format!("MIGRATE SESSION {number} TO '{spare}' WITHIN 600"),
            vec![
                format!("migrate session {number} to '{spare}'"),
                format!("migrate all from '{primary}' to '{spare}'"),
                format!("pause '{primary}'"),
            ],
        ),
    ] {
        first.send(&message::query(&text));
        let probe = match text.starts_with("PAUSE") {
            true => format!("resume '{primary}'"),
            false => format!("resume '{spare}'"),
        };
        let mut begun = || {
            let refused = !errors(&lab.console().query(&probe)).is_empty();
            // The probe may itself have been in the way of what it looks for.
            if !refused && first.has_heard(&message::tagged(b'Z', b"I")) {
                let why = first.ready(1);
                assert!(errors(&why)[0].contains("55006"), "{text}: {why:?}");
                first.send(&message::query(&text));
            }
            refused
        };
        assert!(eventually(&mut begun), "{text}");
        for clash in &clashes {
            let [state, detail, hint] = lab.fails(clash);
            assert_eq!(state, "55006", "{clash}");
            assert_eq!(detail, format!("The console's session {operator}: {text}."));
            assert!(
                hint.ends_with(&format!("TERMINATE SESSION {operator} gives it up.")),
                "{hint}"
            );
        }
        let (id, secret) = first.key.clone().unwrap();
        let mut canceller = Client::connect(lab.proxy.port, Pace::Whole);
        canceller.send(&message::cancel(id, &secret));
        assert!(errors(&first.ready(1))[0].contains("57014"));
    }
    assert_eq!(
        done(&lab.console().query(&format!("drain '{spare}'"))),
        "DRAIN"
    );
}

/// What a hint names does what it says.
#[test]
fn hints_name_what_helps() {
    let Some(lab) = Operated::start("console::hints") else {
        return;
    };
    let mut busy = named(lab.proxy.port, "busy");
    busy.run("begin");
    let number = lab.number_of("busy");
    let primary = &lab.primary;
    let [_, _, hint] = lab.fails(&format!("pause '{primary}' within 0"));
    let terminate = format!("TERMINATE SESSION {number}");
    assert_eq!(
        hint,
        format!(
            "No session is paused now. {terminate} ends what was in the way; \
             PAUSE '{primary}' WITHIN more than 0 seconds waits longer."
        )
    );
    assert_eq!(lab.upstream(primary, 2), "open");
    done(&lab.console().query(&terminate));
    let mut client = named(lab.proxy.port, "next");
    let pause = format!("PAUSE '{primary}' WITHIN 10");
    assert_eq!(done(&lab.console().query(&pause)), "PAUSE 1");
    let number = lab.number_of("next");
    let back = format!("migrate session {number} to '{primary}'");
    let [_, _, hint] = lab.fails(&back);
    assert_eq!(hint, format!("RESUME '{primary}' opens it."));
    done(&lab.console().query(&format!("RESUME '{primary}'")));
    assert_eq!(done(&lab.console().query(&back)), "MIGRATE 0");
    assert_eq!(client.value("select 1"), "1");
    let [_, _, hint] = lab.fails("drain 'nowhere:1'");
    let named = "Another one has to be named with --spare when the proxy starts.";
    assert!(hint.ends_with(named), "{hint}");
    let [_, _, hint] = lab.fails("terminate session 999");
    assert_eq!(hint, "SHOW SESSIONS lists them.");
}

/// The words of a move reach the session, and mistakes in them are shown where they are.
#[test]
fn how_a_session_moves_can_be_said() {
    let Some(lab) = Operated::start("console::with") else {
        return;
    };
    let mut client = named(lab.proxy.port, "listener");
    client.run("listen c");
    let number = lab.number_of("listener");
    let text = format!("migrate session {number} to '{}' within 1", lab.spare);
    let [_, detail, _] = lab.fails(&text);
    assert!(detail.contains("listens on channels"), "{detail}");
    client.run("do $$ begin perform 1; end $$");
    let [_, detail, _] = lab.fails(&format!("{text} with (listen = move)"));
    assert!(detail.contains("procedure"), "{detail}");
    let with = format!("{text} with (listen = move, trust = probe, timeout = '5s')");
    assert_eq!(done(&lab.console().query(&with)), "MIGRATE 1");
    client.send(&message::query("notify c, 'heard'"));
    client.until(b"A");
    let wrong = lab.psql(
        "op",
        "",
        &["migrate session 1 to 'b:2' with (lissen = move)"],
    );
    let text = String::from_utf8(wrong.stderr).unwrap();
    let place = "LINE 1: migrate session 1 to 'b:2' with (lissen = move)\n                                         ^";
    assert!(text.contains("a move has no option \"lissen\""), "{text}");
    assert!(text.contains(place), "{text}");
    assert!(
        text.contains("HINT:  A move knows trust = journal | probe;"),
        "{text}"
    );
    let help = rows(&lab.console().query("show help"));
    let listed =
        |row: &Vec<Option<String>>| row[0].as_deref() == Some("  WITH (listen = refuse | move)");
    assert!(help.iter().any(listed));
}

/// A cancel reaches the server that a session has moved to.
#[test]
fn a_cancel_behind_a_move_hits_the_new_server() {
    // On the writer, wherever a read could go.
    let unsplit = [&["--split", "off"][..], &TRUST].concat();
    let Some(lab) = Operated::with("console::moved_cancel", &unsplit) else {
        return;
    };
    let mut client = named(lab.proxy.port, "cancelled");
    let number = lab.number_of("cancelled");
    let text = format!("migrate session {number} to '{}'", lab.spare);
    assert_eq!(done(&lab.console().query(&text)), "MIGRATE 1");
    client.send(&message::query("select pg_sleep(6)"));
    let mut admin = Client::open(lab.cluster.primary(), Pace::Whole, "postgres", &[]);
    let running = "select count(*) from pg_stat_activity \
        where application_name = 'cancelled' and wait_event = 'PgSleep'";
    assert!(eventually(|| admin.value(running) == "1"));
    let (id, secret) = client.key.clone().unwrap();
    let mut canceller = Client::connect(lab.proxy.port, Pace::Whole);
    canceller.send(&message::cancel(id, &secret));
    assert!(errors(&client.ready(1))[0].contains("57014"));
    assert_eq!(client.value("select 40 + 2"), "42");
}
