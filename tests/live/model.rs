//! The model PostgreSQL of the simulator against the real one: the same scripts, equal traces.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use std::{env, fs};

use crate::model_script::{
    LOCKED_OUT, NOT_LOCKED_OUT, Script, Side, Step, Trace, begin, count, encode, frames, play,
    scripts,
};
use crate::model_words;
use crate::modelled::Modelled;
use crate::sim::server::{Cluster as Model, Node, Server, ServerOptions, ServerPhase};
use crate::support::client::{Client, Pace, V3_0, eventually};
use crate::support::cluster::Cluster;
use crate::support::lab;
use crate::support::message;
use crate::support::proxy::Proxy;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/model.txt");

/// How long a server may take to say what the model said it would.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all scripts find in the database, and the model from the beginning.
const SETUP: [&str; 11] = [
    "create table t (id int, v text); create table u (id int, v text)",
    "create sequence s; create sequence r",
    "create function f_read(n int) returns int stable language sql
        as 'select count(*)::int from t where id = n'",
    "create function f_write(n int) returns int volatile language sql
        as 'insert into t values (n, ''w'') returning id'",
    "create procedure p_write(n int) language sql as 'insert into t values (n, ''p'')'",
    "create schema app; create function app.length(v text) returns int volatile strict language sql
        as 'insert into t values (pg_catalog.length(v), ''w'') returning id'",
    "grant usage on schema app to public",
    "grant all on t, u to public",
    "grant all on sequence s, r to public",
    "grant all on schema public to public",
    "grant m_role to u_trust",
];

/// Undoes what scripts did.
const RESET: &str = "drop table if exists k; drop table if exists k2; truncate t, u;
    insert into t values (1, 'a'), (2, 'b'), (3, 'c'); insert into u table t;
    alter sequence s restart; alter sequence r restart";

fn admin(cluster: &Cluster, database: &str) -> Client {
    let mut client = Client::connect(cluster.primary(), Pace::Whole);
    let parameters = [("user", "postgres"), ("database", database)];
    client.send(&message::startup(V3_0, &parameters));
    client.finish_login(None);
    client
}

struct Real {
    stream: TcpStream,
    gathered: Vec<u8>,
    trace: Trace,
    closed: bool,
}

impl Real {
    fn new(port: u16) -> Real {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Real {
            stream,
            gathered: Vec::new(),
            trace: Trace::default(),
            closed: false,
        }
    }

    fn read(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.gathered.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => self.closed = true,
            Err(_) => return false,
        }
        frames(&mut self.gathered, &mut self.trace);
        true
    }
}

impl Side for Real {
    fn send(&mut self, bytes: &[u8]) {
        // A server that closed says so when it is read from.
        let _ = self.stream.write_all(bytes);
    }

    fn hear(&mut self, words: usize) -> String {
        while self.trace.words.len() < words && !self.closed && self.read(PATIENCE) {}
        // Nothing more may come; the time is only to notice what should not be there.
        while !self.closed && self.read(Duration::from_millis(3)) {}
        if self.closed {
            self.trace.words.push("closed".to_owned());
        }
        self.trace.line()
    }
}

/// Plays a script on both sides and tells of the first difference.
fn compare(
    script: &Script,
    cluster: &Cluster,
    admin: &mut Client,
    database: &str,
    report: &mut String,
) {
    let version = cluster.version() / 10_000;
    for place in &script.places {
        admin.run(RESET);
        let (port, node) = match *place {
            "primary" => (cluster.primary(), Node::Primary),
            _ => (cluster.standby(), Node::Standby),
        };
        let model = play(&mut Modelled::new(node, version), script, database, &[]);
        let real = play(&mut Real::new(port), script, database, &model);
        let Some(at) = (0..real.len()).find(|&at| real[at] != model[at]) else {
            continue;
        };
        let sent = match at {
            0 => "login",
            at => script
                .steps
                .get(at - 1)
                .map_or("X", |step| step.send.as_str()),
        };
        let (name, real, model) = (&script.name, &real[at], &model[at]);
        writeln!(
            report,
            "{name} on the {place}\n> {sent}\nreal:  {real}\nmodel: {model}\n"
        )
        .unwrap();
    }
}

/// A database with what the model has, for a test of its own.
pub(crate) fn prepare(cluster: &Cluster, database: &str) -> Client {
    let mut first = admin(cluster, "postgres");
    first.query("create role m_role");
    first.query(&format!("drop database if exists {database}"));
    first.run(&format!("create database {database}"));
    let mut client = admin(cluster, database);
    SETUP.iter().for_each(|sql| client.run(sql));
    client
}

#[test]
fn traces_of_the_model_are_those_of_postgresql() {
    let Some(cluster) = lab::cluster("model::traces_of_the_model_are_those_of_postgresql") else {
        return;
    };
    let mut client = prepare(cluster, "model");
    let text = fs::read_to_string(FILE).unwrap();
    let mut report = String::new();
    for script in scripts(&text) {
        compare(&script, cluster, &mut client, "model", &mut report);
    }
    assert!(report.is_empty(), "{report}");
}

/// First packets, and what follows from them.
fn openings() -> Vec<Vec<u8>> {
    let packet = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&length.to_be_bytes(), body].concat()
    };
    let user = &b"user\0u_trust\0database\0app\0"[..];
    let start = |version: &[u8; 4], rest: &[u8]| packet(&[&version[..], user, rest].concat());
    vec![
        start(&[0, 3, 0, 0], b"\0"),
        start(&[0, 3, 0, 1], b"\0"),
        start(&[0, 3, 0, 2], b"\0"),
        start(&[0, 3, 0, 9], b"_pq_.a\0b\0_pq_.c\0\0\0"),
        start(&[0, 2, 0, 0], b"\0"),
        start(&[0, 4, 0, 0], b"\0"),
        start(&[0, 3, 0, 0], b""),
        start(&[0, 3, 0, 0], b"\0x"),
        start(&[0, 3, 0, 0], b"datestyle\0nonsense\0\0"),
        packet(b"\0\x03\0\0\0"),
        packet(b"\0\x03\0\0database\0app\0\0"),
        packet(&80_877_104_u32.to_be_bytes()),
        vec![0, 0, 0, 3, 0, 3, 0, 0],
        vec![0, 1, 0, 0, 0, 3, 0, 0],
        vec![0, 0, 0, 9],
    ]
}

/// An answer, whose first byte may be one of its own.
fn opened(mut bytes: Vec<u8>) -> String {
    let mut trace = Trace::default();
    // To GSSENCRequest servers with GSSAPI say G, as the model never does.
    if matches!(bytes[..], [b'N' | b'G', ..]) {
        trace.words.push("N".to_owned());
        bytes.remove(0);
    }
    if bytes.starts_with(b"EFATAL:  ") && bytes.ends_with(b"\n\0") {
        return "an error of protocol 2".to_owned();
    }
    frames(&mut bytes, &mut trace);
    trace.line()
}

#[test]
fn first_packets_are_answered_alike() {
    let Some(cluster) = lab::cluster("model::first_packets_are_answered_alike") else {
        return;
    };
    for bytes in openings() {
        let mut stream = TcpStream::connect(("127.0.0.1", cluster.primary())).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut real = Vec::new();
        // A server that leaves bytes unread resets the connection.
        let _ = stream.read_to_end(&mut real);
        let options = ServerOptions {
            version: cluster.version() / 10_000,
            ..ServerOptions::default()
        };
        let (mut server, mut model) = (Server::new(Node::Primary, 7, options), Model::new());
        server.receive(&bytes);
        server.eof();
        while server.step(&mut model) {}
        let shown = bytes.escape_ascii();
        assert_eq!(opened(server.output()), opened(real), "{shown}");
        assert!(server.is_closed(), "{shown}");
    }
}

/// Scripts by chance: so many are tried, or `PGTURNOUT_SEEDS`, from `PGTURNOUT_SEED` on.
const SEEDS: u64 = 25;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn scripts_by_chance_leave_equal_traces() {
    let Some(cluster) = lab::cluster("model::scripts_by_chance_leave_equal_traces") else {
        return;
    };
    let mut client = prepare(cluster, "chance");
    let first = number("PGTURNOUT_SEED", 1);
    let mut report = String::new();
    for seed in first..first + number("PGTURNOUT_SEEDS", SEEDS) {
        compare(
            &model_words::script(seed),
            cluster,
            &mut client,
            "chance",
            &mut report,
        );
    }
    assert!(report.is_empty(), "{report}");
}

/// What the split changes: nothing that the client can see.
#[test]
fn scripts_by_chance_leave_equal_traces_through_the_proxy() {
    let Some(cluster) = lab::cluster("model::through_the_proxy") else {
        return;
    };
    let mut client = prepare(cluster, "split");
    let arguments = lab::split(cluster);
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let plain = Proxy::start(cluster, &arguments);
    arguments.extend(["--optimistic", "on"]);
    let optimistic = Proxy::start(cluster, &arguments);
    let version = cluster.version() / 10_000;
    let first = number("PGTURNOUT_SEED", 1);
    let mut report = String::new();
    for seed in first..first + number("PGTURNOUT_SEEDS", SEEDS) {
        let script = model_words::script(seed);
        let mut run = |port, expected: &[String]| {
            client.run(RESET);
            play(&mut Real::new(port), &script, "split", expected)
        };
        let model = play(
            &mut Modelled::new(Node::Primary, version),
            &script,
            "split",
            &[],
        );
        let direct = run(cluster.primary(), &model);
        for (how, proxy) in [("split", &plain), ("optimistic", &optimistic)] {
            let proxied = run(proxy.port, &direct);
            for (at, (direct, proxied)) in direct.iter().zip(&proxied).enumerate() {
                if direct != proxied {
                    let sent = at.checked_sub(1).and_then(|at| script.steps.get(at));
                    let sent = sent.map_or("login or end", |step| step.send.as_str());
                    writeln!(
                        report,
                        "seed {seed}, {how}\n> {sent}\ndirect:  {direct}\nproxied: {proxied}\n"
                    )
                    .unwrap();
                    break;
                }
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// How many sessions wait, in the words of `pg_stat_activity`.
const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = 'locked' and usename = 'u_trust' and wait_event_type = 'Lock'";

/// A session of each on a node, with equal answers to its login and to a line.
fn both(cluster: &Cluster, node: Node, database: &str, before: &str) -> (Real, Modelled) {
    let script = Script {
        head: String::new(),
        name: String::new(),
        places: Vec::new(),
        parameters: vec![("user".to_owned(), "u_trust".to_owned())],
        steps: vec![Step::new(before)],
    };
    let mut model = Modelled::new(node, cluster.version() / 10_000);
    let mut real = Real::new(match node {
        Node::Primary => cluster.primary(),
        Node::Standby | Node::Second => cluster.standby(),
    });
    let modelled = begin(&mut model, &script, database, &[]);
    assert_eq!(begin(&mut real, &script, database, &modelled), modelled);
    (real, model)
}

/// Both answer a line alike.
fn alike(real: &mut Real, model: &mut Modelled, line: &str) {
    model.send(&encode(line));
    real.send(&encode(line));
    let expected = model.hear(0);
    assert_eq!(real.hear(count(&expected)), expected, "{line}");
}

#[test]
fn statements_wait_for_a_locked_table_alike() {
    let Some(cluster) = lab::cluster("model::statements_wait_for_a_locked_table_alike") else {
        return;
    };
    let mut client = prepare(cluster, "locked");
    let mut outside = admin(cluster, "locked");
    for (at, [before, line]) in LOCKED_OUT.iter().enumerate() {
        for cancels in [true, false] {
            client.run(RESET);
            let (mut real, mut model) = both(cluster, Node::Primary, "locked", before);
            outside.run("begin; lock table t in access exclusive mode");
            model.cluster.lock_outside("t");
            for side in [&mut real as &mut dyn Side, &mut model] {
                side.send(&encode(line));
            }
            let mut expected = model.hear(0);
            assert_eq!(model.server.phase(), ServerPhase::Waiting, "{line}");
            assert!(eventually(|| client.value(WAITING) == "1"), "{line}");
            if cancels {
                client.run(&WAITING.replace("count(*)", "pg_cancel_backend(pid)"));
                assert!(eventually(|| client.value(WAITING) == "0"), "{line}");
                model.server.cancel();
                expected = [expected, model.hear(0)].join(" ");
            }
            outside.run("commit");
            model.cluster.unlock_outside();
            expected = [expected, model.hear(0)].join(" ").trim().to_owned();
            let words = count(&expected);
            assert_eq!(real.hear(words), expected, "{at}: {line}");
        }
    }
    for [before, line] in NOT_LOCKED_OUT {
        client.run(RESET);
        let (mut real, mut model) = both(cluster, Node::Primary, "locked", before);
        outside.run("begin; lock table t in access exclusive mode");
        model.cluster.lock_outside("t");
        alike(&mut real, &mut model, line);
        outside.run("commit");
    }
}

#[test]
fn notifications_of_another_session_come_alike() {
    let Some(cluster) = lab::cluster("model::notifications_of_another_session_come_alike") else {
        return;
    };
    let mut outside = prepare(cluster, "locked_n");
    let (mut real, mut model) = both(cluster, Node::Primary, "locked_n", "Q(listen c)");
    let mut notify = |model: &mut Modelled, payload: &str| {
        outside.run(&format!("notify c, '{payload}'"));
        model.cluster.notify_outside("c", payload);
    };
    notify(&mut model, "x");
    assert_eq!(
        (real.hear(1), model.hear(0)),
        ("A(c,x)".into(), "A(c,x)".into())
    );
    for line in ["Q(begin)", "Q(select 1; commit)"] {
        notify(&mut model, line);
        alike(&mut real, &mut model, line);
    }
}

#[test]
fn a_promoted_standby_answers_alike() {
    if lab::cluster("model::a_promoted_standby_answers_alike").is_none() {
        return;
    }
    let cluster = Cluster::start("model-promoted").unwrap();
    prepare(&cluster, "promoted").run(RESET);
    let sessions = [
        (
            "",
            "Q(insert into t values (5, 'e')) Q(select pg_is_in_recovery()) Q(listen c)",
        ),
        (
            "",
            "Q(begin; delete from u; rollback) Q(show in_hot_standby) Q(begin read write)",
        ),
        (
            "Q(begin; select 1)",
            "Q(show in_hot_standby; insert into t values (6, 'f')) Q(rollback; show in_hot_standby)",
        ),
        (
            "Q(begin; savepoint a)",
            "Q(show transaction_read_only) Q(rollback to a) Q(commit and chain) Q(show transaction_read_only)",
        ),
        (
            "Q(begin; select 1)",
            "Q(delete from u) Q(commit) Q(update u set v = 'x' where id = 1; select nextval('s'))",
        ),
        (
            "Q(begin isolation level repeatable read; select 1)",
            "Q(select count(*) from u) Q(commit) Q(select count(*) from u)",
        ),
    ];
    let mut sides: Vec<(Real, Modelled)> = sessions
        .iter()
        .map(|(before, _)| both(&cluster, Node::Standby, "promoted", before))
        .collect();
    let mut admin = Client::open(cluster.standby(), Pace::Whole, "postgres", &[]);
    assert_eq!(admin.value("select pg_promote()"), "t");
    for ((real, model), (_, line)) in sides.iter_mut().zip(sessions) {
        model.cluster.promote();
        assert_eq!(
            (real.hear(0), model.hear(0)),
            (String::new(), String::new())
        );
        alike(real, model, line);
    }
}
