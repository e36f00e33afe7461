//! Every driver against every front: how it opens a session, how the proxy takes TLS, how the login goes.
//!
//! A session that opens reads once and writes once, and says where each ran. What does not open says why, and the tables
//! here say which it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::auth::certificate;
use crate::support::client::{Client, Pace};
use crate::support::cluster::Cluster;
use crate::support::lab;
use crate::support::proxy::{self, Proxy};

mod pgjdbc;
mod tables;
mod tokio_client;

use tables::Expect::{self, Never, Split, Writer};
use tables::{COLUMNS, LOGINS, OPTIONS};

const READ: &str = "select pg_is_in_recovery()";
const WRITE: &str = "insert into matrix_t values ('x') returning pg_is_in_recovery()";

const USERS: [&str; 4] = ["u_clear", "u_md5", "u_scram", "u_tls"];

/// What the proxy lists of a user: the password, or what the servers store of it.
fn secret(cluster: &Cluster, login: &str, user: &str) -> String {
    if !login.ends_with(":stored") {
        return format!("{user}-secret");
    }
    let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
    let stored = format!("select rolpassword from pg_authid where rolname = '{user}'");
    admin.value(&stored)
}

/// The arguments of a proxy, but for where the servers are.
fn arguments(cluster: &Cluster, login: &str, mode: &str) -> Vec<String> {
    let mut words = vec!["--client-tls", mode];
    if matches!(mode, "allow" | "require") {
        words.extend(["--tls-cert", cluster.get("CERT")]);
        words.extend(["--tls-key", cluster.get("KEY")]);
    }
    let method = login.strip_suffix(":stored").unwrap_or(login);
    let tls = match method {
        "relay+tls" | "relay+direct" => "require",
        "relay+prefer" => "prefer",
        "relay+allow" => "allow",
        _ => "disable",
    };
    words.extend(["--upstream-tls", tls]);
    if method == "relay+direct" {
        words.extend(["--upstream-tls-negotiation", "direct"]);
    }
    if !method.starts_with("relay") {
        words.extend(["--auth", "terminate", "--accept", method]);
    }
    if method == "cert" {
        words.extend(["--client-ca", cluster.get("CA")]);
    }
    let users = USERS.iter().flat_map(|user| {
        let secret = secret(cluster, login, user);
        ["--user".to_owned(), format!("{user}:{secret}")]
    });
    words.into_iter().map(str::to_owned).chain(users).collect()
}

/// Started by whoever asks first; the others wait.
type Front = Arc<OnceLock<Proxy>>;

/// The proxies, each started when it is first asked for, and shared by the tests that run at a time.
struct Fronts {
    cluster: &'static Cluster,
    started: Mutex<BTreeMap<(String, String), Front>>,
    /// A certificate of `u_scram`, and its key.
    certificate: (String, String),
}

impl Fronts {
    /// `None` when the test is skipped.
    fn shared(test: &str) -> Option<Arc<Fronts>> {
        static SHARED: Mutex<Weak<Fronts>> = Mutex::new(Weak::new());
        let cluster = lab::cluster(test)?;
        if cluster.get("CERT").is_empty() {
            lab::skip(test, "no openssl, so no certificates");
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fronts) = shared.upgrade() {
            return Some(fronts);
        }
        let mut admin = Client::open(cluster.primary(), Pace::Whole, "postgres", &[]);
        admin.run("create table if not exists matrix_t (a text)");
        let directory = Path::new(cluster.get("CA")).with_file_name("");
        let fronts = Arc::new(Fronts {
            cluster,
            started: Mutex::default(),
            certificate: certificate(cluster, &directory, "u_scram"),
        });
        *shared = Arc::downgrade(&fronts);
        Some(fronts)
    }

    fn port(&self, login: &str, mode: &str) -> u16 {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let front = started.entry((login.to_owned(), mode.to_owned()));
        let front = Arc::clone(front.or_default());
        drop(started);
        let start = || {
            let servers = lab::split(self.cluster);
            let arguments = arguments(self.cluster, login, mode);
            let all: Vec<&str> = servers
                .iter()
                .chain(&arguments)
                .map(String::as_str)
                .collect();
            Proxy::start(self.cluster, &all)
        };
        front.get_or_init(start).port
    }

    /// Where and as whom, in libpq's words.
    fn conninfo(&self, (login, mode): (&str, &str), user: &str, tls: bool) -> String {
        let mut words = format!(
            "host=127.0.0.1 port={} user={user} password={user}-secret dbname=app",
            self.port(login, mode)
        );
        if !tls {
            return words + " sslmode=disable";
        }
        words += " sslmode=require";
        if login.starts_with("cert") {
            let (cert, key) = &self.certificate;
            write!(words, " sslcert={cert} sslkey={key}").unwrap();
        }
        words
    }
}

/// One attempt.
struct Cell {
    what: String,
    conninfo: String,
    expect: Expect,
}

/// What a driver can do.
#[derive(Clone, Copy)]
struct Skills {
    tls: bool,
    /// It says which SQLSTATE refused it.
    states: bool,
    binding: Binding,
    /// The options it knows, by their names; none if it is not libpq.
    options: &'static [&'static str],
}

/// What a driver can do about channel binding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Binding {
    Unknown,
    WhenAsked,
    Offered,
}

/// The cells of one run, and how many are left out for what reason.
#[derive(Default)]
struct Cells {
    cells: Vec<Cell>,
    left_out: BTreeMap<&'static str, usize>,
}

impl Cells {
    fn of(fronts: &Fronts, skills: Skills) -> Cells {
        let mut all = Cells::default();
        for (login, user, expected) in LOGINS {
            for ((mode, tls), expect) in COLUMNS.into_iter().zip(*expected) {
                // A driver that binds when it is asked to is asked where nothing else will do.
                let asks =
                    tls && login.starts_with("scram-plus") && skills.binding != Binding::Unknown;
                let options = if asks { "channel_binding=require" } else { "" };
                all.add(fronts, skills, (login, mode, user, tls, options, expect));
            }
        }
        if !skills.options.is_empty() {
            for row in OPTIONS {
                all.add(fronts, skills, *row);
            }
        }
        all
    }

    fn add(
        &mut self,
        fronts: &Fronts,
        skills: Skills,
        (login, mode, user, tls, options, expect): (&str, &str, &str, bool, &str, Expect),
    ) {
        let encrypts = tls || ["sslmode=prefer", "sslmode=allow"].contains(&options);
        let needs_server = login.starts_with("relay+") || (mode == "passthrough" && encrypts);
        let known = |option: &str| match option.split_once('=') {
            Some(("sslmode" | "channel_binding", _)) | None => true,
            Some((name, _)) => skills.options.contains(&name),
        };
        let reason = if matches!(expect, Never) {
            return;
        } else if encrypts && !skills.tls {
            "a driver built without TLS"
        } else if !options.split(' ').all(known) {
            "an option that this libpq does not know"
        } else if needs_server && !fronts.cluster.has_tls() {
            "a server built without TLS"
        } else {
            self.cells.push(Cell {
                what: format!(
                    "{login}, {mode}, {user}, {} {options}",
                    if tls { "TLS" } else { "clear" }
                ),
                conninfo: format!("{} {options}", fronts.conninfo((login, mode), user, tls)),
                expect: expect.with(skills, fronts.cluster),
            });
            return;
        };
        *self.left_out.entry(reason).or_default() += 1;
    }
}

impl Expect {
    fn with(self, skills: Skills, cluster: &Cluster) -> Expect {
        let (is, yes, no) = match self {
            Expect::IfOffersBinding(yes, no) => (skills.binding == Binding::Offered, yes, no),
            Expect::IfBinds(yes, no) => (skills.binding != Binding::Unknown, yes, no),
            Expect::From18(yes, no) => (cluster.version() >= 180_000, yes, no),
            Split | Writer | Never | Expect::No(_) => return self,
        };
        if is { *yes } else { *no }
    }

    fn is_met(self, said: &str, states: bool) -> bool {
        match self {
            Split => said == "t f",
            Writer => said == "f f",
            Expect::No(why) => {
                let state = !states || said.starts_with(why.state);
                state && why.words.iter().any(|words| said.contains(words))
            }
            Expect::IfOffersBinding(..) | Expect::IfBinds(..) | Expect::From18(..) | Never => false,
        }
    }
}

/// Compares all outcomes, then fails with all that differ.
fn judge(driver: &str, skills: Skills, all: &Cells, said: &[String]) {
    let cells = &all.cells;
    assert_eq!(said.len(), cells.len(), "{driver}: {said:#?}");
    let wrong: Vec<String> = cells
        .iter()
        .zip(said)
        .filter(|(cell, said)| !cell.expect.is_met(said, skills.states))
        .map(|(cell, said)| {
            format!(
                "{}: expected {:?}, and it says {said:?}",
                cell.what, cell.expect
            )
        })
        .collect();
    let left_out: Vec<String> = all
        .left_out
        .iter()
        .map(|(why, count)| format!("; left out, {why}: {count}"))
        .collect();
    // Past the capture of output: what was left out is to be known of a run that passed, too.
    let line = format!("{driver}: {} cells{}\n", cells.len(), left_out.concat());
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(wrong.is_empty(), "{driver}:\n{}", wrong.join("\n"));
}

/// What a script that opens sessions says of each.
fn run(mut script: Command, cells: &[Cell]) -> Vec<String> {
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = cells
        .iter()
        .map(|cell| cell.conninfo.clone() + "\n")
        .collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Where the drivers of a language are, or why they are nowhere.
fn drivers(language: &str) -> Result<PathBuf, String> {
    static GOT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut got = GOT.lock().unwrap_or_else(PoisonError::into_inner);
    let get = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/get-drivers.sh");
        let output = Command::new("bash")
            .arg(script)
            .arg(language)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(PathBuf::from(text(&output.stdout)))
        } else {
            let said = text(&output.stderr);
            let reason = said.lines().last().unwrap_or_default();
            // A language is for whoever sets the machine up; its drivers are ours to get.
            let ours = output.status.code() != Some(3);
            let everything = std::env::var_os("CI").is_some_and(|ci| ci == "true");
            assert!(
                !(ours && everything),
                "CI=true and no drivers of {language}: {reason}"
            );
            Err(reason.to_owned())
        }
    };
    got.entry(language.to_owned()).or_insert_with(get).clone()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

fn python(test: &str, driver: &str) -> Option<Command> {
    match drivers("python") {
        Ok(python) => {
            let mut command = Command::new(python);
            command.arg(script("matrix.py")).arg(driver);
            Some(command)
        }
        Err(reason) => {
            lab::skip(test, &reason);
            None
        }
    }
}

/// Options of libpq by the version that brought them.
const OPTIONS_15: &[&str] = &["channel_binding"];
const OPTIONS_18: &[&str] = &[
    "channel_binding",
    "sslnegotiation",
    "require_auth",
    "min_protocol_version",
    "max_protocol_version",
];

#[test]
fn psycopg() {
    const TEST: &str = "matrix::psycopg";
    let Some((fronts, command)) = Fronts::shared(TEST).zip(python(TEST, "psycopg")) else {
        return;
    };
    let skills = Skills {
        tls: true,
        states: false,
        binding: Binding::Offered,
        // The package brings a libpq of its own, of version 18.
        options: OPTIONS_18,
    };
    let cells = Cells::of(&fronts, skills);
    judge("psycopg", skills, &cells, &run(command, &cells.cells));
}

#[test]
fn asyncpg() {
    const TEST: &str = "matrix::asyncpg";
    let Some((fronts, command)) = Fronts::shared(TEST).zip(python(TEST, "asyncpg")) else {
        return;
    };
    let skills = Skills {
        tls: true,
        states: true,
        binding: Binding::Unknown,
        options: &[],
    };
    let cells = Cells::of(&fronts, skills);
    judge("asyncpg", skills, &cells, &run(command, &cells.cells));
}

#[test]
fn node_postgres() {
    const TEST: &str = "matrix::node_postgres";
    let Some(fronts) = Fronts::shared(TEST) else {
        return;
    };
    let path = match drivers("node") {
        Ok(path) => path,
        Err(reason) => return lab::skip(TEST, &reason),
    };
    let mut command = Command::new("node");
    command
        .arg(script("matrix.js"))
        .env("NODE_PATH", path)
        .env("NODE_NO_WARNINGS", "1");
    let skills = Skills {
        tls: true,
        states: true,
        binding: Binding::WhenAsked,
        options: &[],
    };
    let cells = Cells::of(&fronts, skills);
    judge("node-postgres", skills, &cells, &run(command, &cells.cells));
}

/// psql of a version, whatever the servers' is.
fn psql(test: &str, major: u32, options: &'static [&'static str]) {
    let Some(fronts) = Fronts::shared(test) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cluster.sh");
    let found = Command::new("bash")
        .arg(script)
        .args(["find", &major.to_string()])
        .output()
        .unwrap();
    if !found.status.success() {
        return lab::skip(test, &format!("no psql of version {major}"));
    }
    let psql = Path::new(String::from_utf8(found.stdout).unwrap().trim()).join("psql");
    // Nobody listens there: what it complains of is that, or that it does not know TLS.
    let tried = Command::new(&psql)
        .args(["-d", "host=127.0.0.1 port=1 sslmode=require"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&tried.stderr);
    let skills = Skills {
        tls: !complaint.contains("SSL support is not compiled in"),
        states: false,
        binding: Binding::Offered,
        options,
    };
    let cells = Cells::of(&fronts, skills);
    let said: Vec<String> = cells
        .cells
        .iter()
        .map(|cell| psql_says(&psql, &cell.conninfo))
        .collect();
    judge(&format!("psql {major}"), skills, &cells, &said);
}

fn psql_says(psql: &Path, conninfo: &str) -> String {
    let output = Command::new(psql)
        .args(["-XAtq", "-d", conninfo])
        .args(["-c", READ])
        .args(["-c", WRITE])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    String::from_utf8_lossy(&said).trim().replace('\n', " ")
}

#[test]
fn psql_15() {
    psql("matrix::psql", 15, OPTIONS_15);
}

#[test]
fn psql_18() {
    psql("matrix::psql", 18, OPTIONS_18);
}

#[test]
fn tokio_postgres() {
    let Some(fronts) = Fronts::shared("matrix::tokio_postgres") else {
        return;
    };
    let skills = Skills {
        tls: true,
        states: true,
        binding: Binding::Offered,
        options: &[],
    };
    let all = Cells::of(&fronts, skills);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ca = fronts.cluster.get("CA");
    let said: Vec<String> = all
        .cells
        .iter()
        .map(|cell| runtime.block_on(tokio_client::says(&cell.conninfo, ca)))
        .collect();
    judge("tokio-postgres", skills, &all, &said);
}

#[test]
fn contradictions_do_not_start() {
    let Some(cluster) = lab::cluster("matrix::contradictions") else {
        return;
    };
    for (login, _, expected) in LOGINS {
        for ((mode, _), expect) in COLUMNS.into_iter().zip(*expected) {
            if !matches!(expect, Never) {
                continue;
            }
            let output = Command::new(proxy::program())
                .args(["--listen", "127.0.0.1:0"])
                .args(lab::split(cluster))
                .args(arguments(cluster, login, mode))
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{login}, {mode}");
        }
    }
}
